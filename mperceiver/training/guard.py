"""Looks at the numbers of every step before it changes a weight, and lets all processes agree when to stop.

A loss, or a gradient's norm, that is no finite number must not reach the weights; but asking a GPU for a number each step
would leave it idle while the host catches up. So the flag stays on the device: the fused optimiser reads it there and
changes nothing if it is raised, nor in any step after, and the host reads it one step later, when it is long there. The
weights are then those before the bad step. On a CPU there is nothing to wait for: the host looks before the step.
"""

from collections import deque
from typing import Any, NamedTuple

import torch
from accelerate import Accelerator
from torch import Tensor


class NotFinite(Exception):
    """A step's loss or gradient is no finite number: ``step`` and what was told ``about`` it."""

    def __init__(self, step: int, about: Any) -> None:
        super().__init__(step)
        self.step, self.about = step, about


class _Pending(NamedTuple):
    step: int
    flags: Tensor  # on the host, or on its way there
    there: Any  # the CUDA event of their arrival
    about: Any


class Guard:
    """``stop`` and ``save``: whether any process was asked to stop, and whether it is time to save, known to all at one step."""

    def __init__(self, accelerator: Accelerator, late: int) -> None:
        """``late``: how many steps after its own a flag is read; 0 waits for the device."""
        self.accelerator, self.late = accelerator, late
        self.bad = torch.zeros((), device=accelerator.device)
        self.waiting: deque[_Pending] = deque()
        self.stop = self.save = False

    def look(self, step: int, numbers: list[Tensor], stop: bool, save: bool, about: Any) -> Tensor:
        """Look at a step's scalars; return 1.0 on the device if the step must not be taken, else 0.0.

        Raises NotFinite for a step whose flag is due.
        """
        device = self.bad.device
        found = torch.stack([number.detach().float().reshape(()).to(device, non_blocking=True) for number in numbers])
        asked = [torch.full((), float(flag), device=device) for flag in (stop, save)]  # no copy from the host
        flags = torch.stack([1 - found.isfinite().all().float(), *asked])
        flags = self.accelerator.reduce(flags, "sum").clamp(max=1)
        self.bad = torch.maximum(self.bad, flags[0])
        there = None
        if flags.is_cuda:
            flags = flags.to("cpu", non_blocking=True)
            there = torch.cuda.Event()
            there.record()
        self.waiting.append(_Pending(step, flags, there, about))
        self.read(self.late)
        return self.bad

    def read(self, late: int = 0) -> None:
        """Read the flags of all but the last ``late`` steps. Raises NotFinite for the first bad one."""
        while len(self.waiting) > late:
            step, flags, there, about = self.waiting.popleft()
            if there is not None:
                there.synchronize()
            bad, stop, save = flags.tolist()
            if bad:
                raise NotFinite(step, about)
            self.stop |= bool(stop)
            self.save |= bool(save)
