"""Checks the losses and the gradients of every step before a weight changes, and lets all processes stop at the same step.

A loss or a gradient norm that is NaN or infinite must not change the weights. But reading a number from a GPU at every step
would leave the GPU idle while the host catches up. So the check writes a flag on the device: the fused optimiser reads the
flag there, and changes no weight in that step or in any later one. The host reads the flag one step later, when the copy has
arrived without waiting. The weights are then still those before the bad step. On a CPU there is nothing to wait for, so the
host reads the flag before the step.
"""

from collections import deque
from typing import Any, NamedTuple

import torch
from accelerate import Accelerator
from torch import Tensor


class NonFinite(Exception):
    """A loss or a gradient norm of ``step`` is NaN or infinite; ``evidence`` is what the guard was given with that step."""

    def __init__(self, step: int, evidence: Any) -> None:
        super().__init__(step)
        self.step, self.evidence = step, evidence


class _Pending(NamedTuple):
    """The flags of a step that the host has not read."""

    step: int
    flags: Tensor  # (3,) on the host, or on its way there: not finite, stop, save
    copied: Any  # the CUDA event after the copy to the host; None on a CPU
    evidence: Any


class Guard:
    """Finds steps with NaN or infinite numbers on the device; on a GPU the host reads the flag a step later.

    Attributes:
        stop, save: whether a process was asked to stop, and whether it is time to save; equal in all processes.
    """

    def __init__(self, accelerator: Accelerator, delay: int) -> None:
        """``delay``: the number of steps after which the host reads a step's flags; 0 waits for the device."""
        self.accelerator, self.delay = accelerator, delay
        self.bad = torch.zeros((), device=accelerator.device)
        self.pending: deque[_Pending] = deque()
        self.stop = self.save = False

    def check(self, step: int, numbers: list[Tensor], stop: bool, save: bool, evidence: Any) -> Tensor:
        """Check the scalars of a step; return 1.0 on the device if the step must not change the weights, else 0.0.

        Args:
            numbers: losses and gradient norms, scalars.
            stop: whether this process was asked to stop.
            save: whether this process finds it time to save.
            evidence: goes into the NonFinite that this step may raise later.

        Raises NonFinite if a step whose flags are read now was bad.
        """
        device = self.bad.device
        scalars = torch.stack([number.detach().float().reshape(()).to(device, non_blocking=True) for number in numbers])
        # Filled on the device, so that nothing is copied from the host.
        requests = [torch.full((), float(flag), device=device) for flag in (stop, save)]
        flags = torch.stack([1 - scalars.isfinite().all().float(), *requests])
        flags = self.accelerator.reduce(flags, "sum").clamp(max=1)
        self.bad = torch.maximum(self.bad, flags[0])
        copied = None
        if flags.is_cuda:
            flags = flags.to("cpu", non_blocking=True)
            copied = torch.cuda.Event()
            copied.record()
        self.pending.append(_Pending(step, flags, copied, evidence))
        self.read_flags(self.delay)
        return self.bad

    def read_flags(self, delay: int = 0) -> None:
        """Read the flags of all steps but the last ``delay``. Raises NonFinite for the first bad step."""
        while len(self.pending) > delay:
            step, flags, copied, evidence = self.pending.popleft()
            if copied is not None:
                copied.synchronize()
            bad, stop, save = flags.tolist()
            if bad:
                raise NonFinite(step, evidence)
            self.stop |= bool(stop)
            self.save |= bool(save)
