"""What a step is to be: its phase, its learning rate, and which weights decay."""

import math

from torch import nn

from mperceiver.config.runs import Phase, Stage


class TrainingError(RuntimeError):
    """Training cannot go on; the message says at which step and why."""


def learning_rate(spec: Stage, step: int) -> float:
    """Linear warm-up, then a cosine from ``lr`` to ``lr_end``, per step."""
    if step < spec.warmup_steps:
        return spec.lr * (step + 1) / spec.warmup_steps
    done = (step - spec.warmup_steps) / max(spec.steps - spec.warmup_steps, 1)
    return spec.lr_end + (spec.lr - spec.lr_end) * (1 + math.cos(math.pi * done)) / 2


def phase_at(spec: Stage, step: int) -> Phase:
    """The phase that a step belongs to; what rounding leaves over is the last one's."""
    ends = [round(spec.steps * sum(p.share for p in spec.phases[: i + 1])) for i in range(len(spec.phases) - 1)]
    return spec.phases[next((i for i, end in enumerate(ends) if step < end), -1)]


def groups(module: nn.Module, spec: Stage) -> list[dict]:
    """The optimiser's two groups: weight decay for matrices and kernels only, not for norms, biases, gates and prompt pools.

    What is frozen is in neither. Raises TrainingError if nothing is left.
    """
    decayed, spared = [], []
    for name, parameter in module.named_parameters():
        if parameter.requires_grad:
            # One number a channel, whatever its shape: (C,), (C, 1, 1); the CM-Adapter has one bias for each degradation.
            vector = parameter.numel() == max(parameter.shape, default=1)
            spare = vector or name.endswith(("pool", "bias", "bias_table"))
            (spared if spare else decayed).append(parameter)
    if not decayed and not spared:
        raise TrainingError("nothing to train: no parameter requires a gradient")
    return [{"params": decayed, "weight_decay": spec.weight_decay}, {"params": spared, "weight_decay": 0.0}]


def parts_of(spec: Stage, process: int, processes: int) -> range:
    """Which of a step's ``accumulate`` batches are this process's.

    A step is of the same pictures however many processes share it, so the number of GPUs changes the time a run takes and
    not what it learns. Raises TrainingError if the batches cannot be shared out evenly.
    """
    if spec.accumulate % processes:
        raise TrainingError(
            f"{processes} processes cannot share a step of {spec.accumulate} batches (`accumulate`) evenly. A step is of batch x "
            f"accumulate pictures however many processes there are: set `accumulate` to a multiple of {processes} and `batch` to "
            "that much less in the run's file, and the step stays as large"
        )
    return range(process, spec.accumulate, processes)
