"""What a training changes: the weights of a module and of its adversary, their optimisers, the moving average, the loss scale."""

import contextlib
from typing import Any, cast

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast
from torch import Tensor, nn

from mperceiver.config.runs import Stage
from mperceiver.models.branches import HALF
from mperceiver.training.schedule import TrainingError, parameter_groups

ADVERSARY_BETAS = (0.5, 0.9)  # a short memory, since its target moves (Real-ESRGAN, StableSR)
SKIPS = 20  # steps in a row that fp16 may skip; the loss scale, 65536 at the start, is then far below 1


class Learner:
    """A module with its optimiser and everything else that a step changes. Each process has one, and they stay equal.

    The losses must call ``wrapped``: with several processes this is torch's DistributedDataParallel around the module, which
    averages the gradients of the module's own parameters while they are computed. Frozen towers that the module uses without
    owning them are not wrapped. An adversary is small and is called several times in a step, so its gradients are averaged
    after the backward pass.

    Autocast and the loss scale are set here and not through accelerate, which allows one precision in a process only.
    """

    def __init__(
        self,
        module: nn.Module,
        adversary: nn.Module | None,
        spec: Stage,
        accelerator: Accelerator,
        whole_state: bool = False,
    ) -> None:
        """``whole_state``: ``state`` also holds the parameters that require no gradient."""
        self.whole_state = whole_state
        self.module, self.adversary, self.spec, self.accelerator = module, adversary, spec, accelerator
        self.trained = [p for group in parameter_groups(module, spec) for p in group["params"]]
        module.to(accelerator.device)
        self.optimiser = torch.optim.AdamW(parameter_groups(module, spec), lr=spec.lr, betas=spec.betas, fused=True)
        self.adversary_optimiser: torch.optim.AdamW | None = None
        if adversary is not None:
            broadcast(adversary.to(accelerator.device).state_dict())
            self.adversary_optimiser = torch.optim.AdamW(
                adversary.parameters(), lr=spec.lr, betas=ADVERSARY_BETAS, fused=True
            )
        self.optimisers: list[torch.optim.Optimizer] = [self.optimiser]
        if self.adversary_optimiser is not None:
            self.optimisers.append(self.adversary_optimiser)
        device = accelerator.device.type
        self.scaler = torch.amp.GradScaler(device) if spec.precision == "fp16" else None
        self.skipped = 0  # steps in a row
        self.ema = None
        if spec.ema_decay is not None:
            from diffusers.training_utils import EMAModel

            self.ema = EMAModel(self.trained, decay=spec.ema_decay, foreach=True)
        self.wrapped = accelerator.prepare_model(module)
        self.wrapped_was_called = accelerator.num_processes == 1
        if not self.wrapped_was_called:
            self.wrapped.register_forward_pre_hook(self._note_call)

    def autocast(self) -> contextlib.AbstractContextManager:
        """The context in which losses are computed, at the stage's precision."""
        half = HALF.get(self.spec.precision)
        return torch.autocast(self.accelerator.device.type, half, enabled=half is not None)

    def synchronised(self, last: bool) -> contextlib.AbstractContextManager:
        """The context of one batch's forward and backward pass: only the ``last`` batch of a step averages the gradients."""
        return contextlib.nullcontext() if last else self.accelerator.no_sync(self.wrapped)

    def backward(self, losses: dict[str, Tensor], batches: int) -> None:
        """Add the gradients of one of this process's ``batches`` batches in a step."""
        for key in ("loss", "adversary"):
            if key in losses and (key == "loss" or self.adversary_optimiser):
                loss = losses[key] / batches
                (self.scaler.scale(loss) if self.scaler else loss).backward()

    def finish_gradients(self) -> list[Tensor]:
        """Average and unscale a step's gradients, and clip the module's; return the norms before: the module's, then the adversary's.

        Raises TrainingError if several processes train and the losses did not call ``wrapped``: no gradient was averaged then.
        """
        if not self.wrapped_was_called:
            raise TrainingError(
                f"{type(self.module).__name__} can be trained by one process only: "
                "the losses must call the wrapped module's forward()"
            )
        if self.adversary is not None and self.accelerator.num_processes > 1:
            _average_gradients(self.adversary, self.accelerator)
        if self.scaler:
            for optimiser in self._due_optimisers():
                self.scaler.unscale_(optimiser)
        norms = [nn.utils.clip_grad_norm_(self.trained, self.spec.clip_norm)]
        if self.adversary is not None and self.adversary_optimiser in self._due_optimisers():
            norms.append(nn.utils.get_total_norm([p.grad for p in self.adversary.parameters() if p.grad is not None]))
        return norms

    def take_step(self, lr: float, bad: Tensor) -> None:
        """Update the weights with the gradients at a learning rate, unless ``bad`` is 1. In fp16 a step whose gradients overflow is skipped."""
        for optimiser in self.optimisers:
            for group in optimiser.param_groups:
                group["lr"] = lr
        for optimiser in self._due_optimisers():
            if self.scaler:
                self.scaler.step(optimiser)
            else:
                cast(Any, optimiser).found_inf = bad  # the fused optimiser reads the flag on the device
                optimiser.step()
        if self.scaler:
            scale = self.scaler.get_scale()
            self.scaler.update()
            self.skipped = self.skipped + 1 if self.scaler.get_scale() < scale else 0
        for optimiser in self.optimisers:
            optimiser.zero_grad(set_to_none=True)
        if self.ema:
            self.ema.step(self.trained)

    def _note_call(self, *_: object) -> None:
        self.wrapped_was_called = True

    def _due_optimisers(self) -> list[torch.optim.Optimizer]:
        """The optimisers whose parameters have gradients: an adversary may have none in the first steps."""
        resting = self.adversary is None or all(p.grad is None for p in self.adversary.parameters())
        return [self.optimiser] if resting else self.optimisers

    def use_average(self) -> None:
        """Replace the weights by their moving average, if there is one."""
        if self.ema:
            self.ema.copy_to(self.trained)

    # ------------------------------------------------------------ state

    def state(self) -> dict:
        """All that the next step depends on, except its number. Frozen parameters are left out unless ``whole_state``."""
        names = {name for name, p in self.module.named_parameters() if p.requires_grad or self.whole_state}
        names |= {name for name, _ in self.module.named_buffers()}
        state: dict[str, Any] = {
            "module": {k: v for k, v in self.module.state_dict().items() if k in names},
            "optimiser": self.optimiser.state_dict(),
        }
        if self.adversary is not None and self.adversary_optimiser is not None:
            state |= {
                "adversary": self.adversary.state_dict(),
                "adversary_optimiser": self.adversary_optimiser.state_dict(),
            }
        if self.scaler:
            state |= {"scaler": self.scaler.state_dict(), "skipped": self.skipped}
        if self.ema:
            state["ema"] = self.ema.state_dict()
        return state

    def load(self, state: dict) -> None:
        """Continue from a ``state()``. Raises TrainingError if it is the state of another module."""
        own = {name: tensor.shape for name, tensor in self.module.state_dict().items()}
        trained = {name for name, parameter in self.module.named_parameters() if parameter.requires_grad}
        wrong = trained - set(state["module"]) | {k for k, v in state["module"].items() if own.get(k) != v.shape}
        if wrong:
            raise TrainingError(f"does not fit the model ({sorted(wrong)[:3]})")
        self.module.load_state_dict(state["module"], strict=False)
        self.optimiser.load_state_dict(state["optimiser"])
        if self.adversary is not None and self.adversary_optimiser is not None:
            self.adversary.load_state_dict(state["adversary"])
            self.adversary_optimiser.load_state_dict(state["adversary_optimiser"])
        if self.scaler:
            self.scaler.load_state_dict(state["scaler"])
            self.skipped = state["skipped"]
        if self.ema:
            self.ema.load_state_dict(state["ema"])
            self.ema.to(self.accelerator.device)


def _average_gradients(module: nn.Module, accelerator: Accelerator) -> None:
    """Average all gradients over the processes, in one message."""
    gradients = [p.grad for p in module.parameters() if p.grad is not None]
    if gradients:
        mean = accelerator.reduce(torch.cat([g.reshape(-1) for g in gradients]), "mean")
        parts = mean.split([g.numel() for g in gradients])
        torch._foreach_copy_(gradients, [part.view_as(g) for part, g in zip(parts, gradients, strict=True)])
