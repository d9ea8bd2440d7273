"""What a training changes: the weights of a module and of its adversary, their optimisers, their average, the loss's scale."""

import contextlib

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from mperceiver.config.runs import Stage
from mperceiver.training.schedule import TrainingError, groups, learning_rate

RIVAL_BETAS = (0.5, 0.9)  # no long memory of a moving target (Real-ESRGAN, StableSR)
SKIPS = 20  # steps in a row that half precision may skip: its loss scale, 65536 at the start, is then far below 1


class Learner:
    """A module, its optimiser and all that goes with them; every process of a training has one, and they stay equal.

    ``wrapped`` is what the losses are to call: with several processes torch's DistributedDataParallel, which averages the
    gradients of the module's own parameters while they are computed. Frozen towers that the module reaches without owning
    them are no part of it. An adversary is small and called several times a step: its gradients are averaged afterwards.

    Precision is the run's and not the launcher's, so autocast and the scale of an fp16 loss are here and not accelerate's,
    which has one precision a process.
    """

    def __init__(self, module: nn.Module, adversary: nn.Module | None, spec: Stage, accelerator: Accelerator) -> None:
        self.module, self.adversary, self.spec, self.accelerator = module, adversary, spec, accelerator
        self.trained = [p for group in groups(module, spec) for p in group["params"]]
        module.to(accelerator.device)
        self.optimiser = torch.optim.AdamW(groups(module, spec), lr=spec.lr, betas=spec.betas, fused=True)
        self.rival = None
        if adversary is not None:
            _equal_everywhere(adversary.to(accelerator.device))
            self.rival = torch.optim.AdamW(adversary.parameters(), lr=spec.lr, betas=RIVAL_BETAS, fused=True)
        self.optimisers = [self.optimiser, self.rival] if self.rival else [self.optimiser]
        device = accelerator.device.type
        self.scaler = torch.amp.GradScaler(device) if spec.precision == "fp16" else None
        self.skipped = 0  # steps in a row
        self.average = None
        if spec.ema_decay is not None:
            from diffusers.training_utils import EMAModel

            self.average = EMAModel(self.trained, decay=spec.ema_decay, foreach=True)
        self.wrapped = accelerator.prepare_model(module)
        self.called = accelerator.num_processes == 1
        if not self.called:
            self.wrapped.register_forward_pre_hook(self._call)

    def precision(self) -> contextlib.AbstractContextManager:
        """The autocast that losses are computed in."""
        half = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(self.spec.precision)
        return torch.autocast(self.accelerator.device.type, half, enabled=half is not None)

    def sharing(self, last: bool) -> contextlib.AbstractContextManager:
        """Around the forward and the backward pass of one batch: gradients travel with a step's last one only."""
        return contextlib.nullcontext() if last else self.accelerator.no_sync(self.wrapped)

    def backward(self, found: dict[str, Tensor], share: int) -> None:
        """Add the gradients of one of a process's ``share`` batches a step."""
        for key in ("loss", "adversary"):
            if key in found and (key == "loss" or self.rival):
                loss = found[key] / share
                (self.scaler.scale(loss) if self.scaler else loss).backward()

    def gradients(self) -> list[Tensor]:
        """Make the gradients of a step ready; return their norms before clipping: the module's, and its adversary's.

        Raises TrainingError if several processes trained a module past its wrapper, each on its own.
        """
        if not self.called:
            raise TrainingError(
                f"{type(self.module).__name__} can be trained by one process only: its losses go round its forward"
            )
        if self.rival and self.accelerator.num_processes > 1:
            _average_gradients(self.adversary, self.accelerator)
        if self.scaler:
            for optimiser in self._moved():
                self.scaler.unscale_(optimiser)
        norms = [nn.utils.clip_grad_norm_(self.trained, self.spec.clip_norm)]
        if self.rival in self._moved():
            norms.append(nn.utils.get_total_norm([p.grad for p in self.adversary.parameters() if p.grad is not None]))
        return norms

    def take(self, step: int, bad: Tensor) -> None:
        """Take a step with the gradients there are, unless ``bad`` is 1; in fp16 one whose gradients overflow is skipped."""
        for optimiser in self.optimisers:
            for group in optimiser.param_groups:
                group["lr"] = learning_rate(self.spec, step)
        for optimiser in self._moved():
            if self.scaler:
                self.scaler.step(optimiser)
            else:
                optimiser.found_inf = bad  # the fused kernel reads it where it is
                optimiser.step()
        if self.scaler:
            scale = self.scaler.get_scale()
            self.scaler.update()
            self.skipped = self.skipped + 1 if self.scaler.get_scale() < scale else 0
        for optimiser in self.optimisers:
            optimiser.zero_grad(set_to_none=True)
        if self.average:
            self.average.step(self.trained)

    def _call(self, *_: object) -> None:
        self.called = True

    def _moved(self) -> list[torch.optim.Optimizer]:
        """The optimisers that have gradients: an adversary may rest at first."""
        rests = self.rival is None or all(p.grad is None for p in self.adversary.parameters())
        return [self.optimiser] if rests else self.optimisers

    def finish(self) -> None:
        """Put the averaged weights in the place of the last ones."""
        if self.average:
            self.average.copy_to(self.trained)

    # ------------------------------------------------------------ state

    def state(self) -> dict:
        """All that the next step depends on but its number: plain data and tensors, none of a frozen parameter."""
        names = {name for name, parameter in self.module.named_parameters() if parameter.requires_grad}
        names |= {name for name, _ in self.module.named_buffers()}
        state = {
            "module": {k: v for k, v in self.module.state_dict().items() if k in names},
            "optimiser": self.optimiser.state_dict(),
        }
        if self.adversary is not None:
            state |= {"adversary": self.adversary.state_dict(), "rival": self.rival.state_dict()}
        if self.scaler:
            state |= {"scaler": self.scaler.state_dict(), "skipped": self.skipped}
        if self.average:
            state["average"] = self.average.state_dict()
        return state

    def load(self, state: dict) -> None:
        """Go back to a ``state``. Raises TrainingError if it is not one of this module."""
        own = {name: tensor.shape for name, tensor in self.module.state_dict().items()}
        wanted = {name for name, parameter in self.module.named_parameters() if parameter.requires_grad}
        wrong = wanted - set(state["module"]) | {k for k, v in state["module"].items() if own.get(k) != v.shape}
        if wrong:
            raise TrainingError(f"does not fit the model ({sorted(wrong)[:3]})")
        self.module.load_state_dict(state["module"], strict=False)
        self.optimiser.load_state_dict(state["optimiser"])
        if self.adversary is not None:
            self.adversary.load_state_dict(state["adversary"])
            self.rival.load_state_dict(state["rival"])
        if self.scaler:
            self.scaler.load_state_dict(state["scaler"])
            self.skipped = state["skipped"]
        if self.average:
            self.average.load_state_dict(state["average"])
            self.average.to(self.accelerator.device)


def _equal_everywhere(module: nn.Module) -> None:
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        for tensor in module.state_dict().values():
            torch.distributed.broadcast(tensor, 0)


def _average_gradients(module: nn.Module, accelerator: Accelerator) -> None:
    """All of them in one message."""
    gradients = [p.grad for p in module.parameters() if p.grad is not None]
    if gradients:
        mean = accelerator.reduce(torch.cat([g.reshape(-1) for g in gradients]), "mean")
        parts = mean.split([g.numel() for g in gradients])
        torch._foreach_copy_(gradients, [part.view_as(g) for part, g in zip(parts, gradients, strict=True)])
