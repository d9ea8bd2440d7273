"""What belongs to a step: its phase, its learning rate, its batches, and which weights decay."""

import math

from torch import nn

from mperceiver.config.runs import Phase, Stage


class TrainingError(RuntimeError):
    """Training cannot continue; the message says at which step and why."""


def learning_rate(spec: Stage, step: int, share: float | None = None) -> float:
    """The learning rate of ``step`` (from 0): a linear warm-up, then a cosine from ``lr`` to ``lr_end``.

    ``share``: the part of the training that is done, 0 to 1, where its length is not ``spec.steps``.
    """
    if step < spec.warmup_steps:
        return spec.lr * (step + 1) / spec.warmup_steps
    progress = (step - spec.warmup_steps) / max(spec.steps - spec.warmup_steps, 1) if share is None else share  # 0 to 1
    return spec.lr_end + (spec.lr - spec.lr_end) * (1 + math.cos(math.pi * progress)) / 2


def phase_at(spec: Stage, step: int, share: float | None = None) -> Phase:
    """The phase of ``step`` (from 0). Steps that rounding the phases' shares leaves over belong to the last phase.

    ``share``: the part of the training that is done, 0 to 1, where its length is not ``spec.steps``.
    """
    step = step if share is None else int(share * spec.steps)
    return spec.phases[next((i for i, end in enumerate(_phase_ends(spec)) if step < end), -1)]


def _phase_ends(spec: Stage) -> list[int]:
    """The number of steps that are done at the end of each phase."""
    ends = [round(spec.steps * sum(p.share for p in spec.phases[: i + 1])) for i in range(len(spec.phases) - 1)]
    return [*ends, spec.steps]


def share_of_pixels(spec: Stage, step: int) -> float:
    """The part of the training's pixels that the steps before ``step`` (from 0) have, 0 to 1. A step of large crops takes longer."""
    done = total = begin = 0
    for phase, end in zip(spec.phases, _phase_ends(spec), strict=True):
        pixels = phase.batch * phase.crop_px**2
        done += pixels * (min(max(step, begin), end) - begin)
        total += pixels * (end - begin)
        begin = end
    return done / total


def parameter_groups(module: nn.Module, spec: Stage) -> list[dict]:
    """The optimiser's two parameter groups: matrices and kernels with weight decay; norms, biases, gates and prompt pools without.

    Frozen parameters are in neither. Raises TrainingError if no parameter is left.
    """
    decayed: list[nn.Parameter] = []
    spared: list[nn.Parameter] = []
    for name, parameter in module.named_parameters():
        if parameter.requires_grad:
            # A vector has one number a channel, whatever its shape: (C,) or (C, 1, 1). The name is asked too, because the
            # CM-Adapter's bias is a matrix, one row for each degradation. The number of a pool among several is no part of its name.
            vector = parameter.numel() == max(parameter.shape, default=1)
            spare = vector or name.rstrip(".0123456789").endswith(("pool", "bias", "bias_table"))
            (spared if spare else decayed).append(parameter)
    if not decayed and not spared:
        raise TrainingError("nothing to train: no parameter requires a gradient")
    return [{"params": decayed, "weight_decay": spec.weight_decay}, {"params": spared, "weight_decay": 0.0}]


def own_batches(spec: Stage, process: int, processes: int) -> range:
    """The indices of those batches of a step that belong to ``process``, one of ``processes``.

    The pictures of a step do not depend on the number of processes. So the number of GPUs changes how long a training takes,
    but not what it learns from. Raises TrainingError if the ``accumulate`` batches cannot be shared evenly.
    """
    if spec.accumulate % processes:
        raise TrainingError(
            f"{processes} processes cannot share a step of {spec.accumulate} batches (`accumulate`) evenly. A step has batch x "
            f"accumulate pictures, whatever the number of processes: in the run's file, set `accumulate` to a multiple of "
            f"{processes} and lower `batch` by the same factor, so that the step stays as large"
        )
    return range(process, spec.accumulate, processes)
