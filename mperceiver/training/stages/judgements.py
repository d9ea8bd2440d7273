"""The probabilities P of stage 3's training crops, estimated by a predictor as it will estimate those of photographs.

A photograph is judged by all of its crops together, and the predictor was not trained on it. The keys ``judged_crops`` and
``judged_folds`` of ``config.runs.Stage`` give the training crops both. A DRM that is trained with surer or more accurate P than it gets
later would rely on P too much.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mperceiver import config
from mperceiver.config.runs import Phase, Run, Stage
from mperceiver.data import DataError
from mperceiver.models.predictor import DegradationPredictor, build_predictor
from mperceiver.models.towers import Towers
from mperceiver.seeds import picture_seed
from mperceiver.training import processes
from mperceiver.training.discarding import folds_folder
from mperceiver.training.latents import CachedLatents
from mperceiver.training.loop import fit
from mperceiver.training.losses import focal
from mperceiver.training.resume import Training
from mperceiver.training.stages.batches import CachedBatches, labelled
from mperceiver.training.stages.common import trained_predictor

EMBEDDINGS_AT_ONCE = 4096  # that a predictor gets in one batch


def judgements(
    run_name: str, run: Run, spec: Stage, foundation: Towers, cached: list[CachedLatents], inputs: dict
) -> list[Tensor]:
    """P of each crop of each dataset, (crops, N) on the CPU. ``spec``: of stage 3; ``inputs``: see ``fit``.

    Raises:
        ConfigError: ``judged_folds`` does not fit the stage 1 whose training is to be repeated.
        DataError: there are too few crops of a picture for ``judged_crops``, or too few photographs for ``judged_folds``.
    """
    seed = run.seed + 2
    if spec.judged_folds:
        # This predictor only turns logits into P, for which it needs no trained weights. Building it draws as many random numbers as
        # `trained_predictor` does, so that stage 3 continues with the same ones with and without folds.
        predictor = build_predictor(foundation, run)
        logits = _unseen_logits(run_name, run, spec, spec.judged_folds, foundation, cached, inputs)
    else:
        predictor = trained_predictor(foundation, run_name, run)
        logits = [_logits(predictor, latents) for latents in cached]
    if spec.judged_crops > 1:
        logits = [
            _of_pictures(each, latents, spec.judged_crops, seed) for each, latents in zip(logits, cached, strict=True)
        ]
    with torch.no_grad():
        return [predictor.shared_out(predictor.classes(each)).cpu() for each in logits]


@torch.no_grad()
def _logits(judge: Callable[[Tensor], Tensor], latents: CachedLatents) -> Tensor:
    """What ``judge`` returns for the embeddings of all crops, which are read a part at a time."""
    parts = torch.arange(len(latents)).split(EMBEDDINGS_AT_ONCE)
    embeddings = (torch.stack([latents.embedding(i) for i in rows.tolist()]) for rows in parts)
    return torch.cat([judge(some.to(processes.device())) for some in embeddings])


def _of_pictures(logits: Tensor, latents: CachedLatents, most: int, seed: int) -> Tensor:
    """Each crop's logits, averaged with those of other crops of its picture, (crops, classes).

    A mean is over 1, 2, 4, … or ``most`` crops, drawn at random. Raises DataError if a picture has fewer than ``most`` crops.
    """
    count, crops = latents.crops.per_picture, np.arange(len(latents))
    if most > count:
        raise DataError(
            f"drm.judged_crops is {most}, but {latents.crops.name} has {count} crops of each picture: lower it, or raise `encode.crops` of the dataset"
        )
    rng = np.random.default_rng(picture_seed(latents.crops.name, "pictures", seed))
    numbers = sorted({*(2**k for k in range(most.bit_length())), most})
    others = rng.permuted(np.tile(np.arange(1, count), (len(crops), 1)), axis=1)
    own = np.concatenate([np.zeros((len(crops), 1), int), others], axis=1)  # a crop, then the others, counted from it
    rows = (crops // count * count)[:, None] + (crops[:, None] + own) % count  # a picture's crops follow each other
    sums = logits[rows].cumsum(1)  # (crops, count, classes)
    drawn = torch.from_numpy(rng.choice(numbers, len(crops))).to(logits.device)
    return sums[torch.arange(len(crops)), drawn - 1] / drawn[:, None]


# ---------------------------------------------------------------- predictors that have not seen a part of the photographs


class FoldPredictors(nn.Module):
    """A predictor for each part of the photographs: embeddings (B, C_clip) -> logits (folds, B, classes)."""

    def __init__(self, folds: int, new_predictor: Callable[[], DegradationPredictor]) -> None:
        super().__init__()
        self.predictors = nn.ModuleList(new_predictor() for _ in range(folds))

    def forward(self, embeddings: Tensor) -> Tensor:
        return torch.stack([predictor(embeddings) for predictor in self.predictors])


def parts_of(cached: list[CachedLatents], folds: int, seed: int) -> list[np.ndarray]:
    """The part, from 0 to ``folds`` - 1, that each crop of each dataset belongs to, int64 (crops,).

    The crops of one photograph are of one part, in whatever dataset they are; the photograph of a ready-made pair is its ground truth.
    Raises DataError if there are fewer photographs than parts, or if the photographs of a task are all of one part.
    """
    # `source` is the digest of one file, or those of a pair's, of which the ground truth's is the last.
    sources = [[latents.crops.source(i).split()[-1] for i in range(len(latents))] for latents in cached]
    photographs = sorted({source for each in sources for source in each}, key=lambda s: picture_seed("folds", s, seed))
    names = ", ".join(latents.crops.name for latents in cached)
    if len(photographs) < folds:
        raise DataError(f"drm.judged_folds is {folds}, but {names} has {len(photographs)} photographs")
    part = {source: place % folds for place, source in enumerate(photographs)}
    of_crops = [np.array([part[source] for source in each], np.int64) for each in sources]
    of_tasks: dict[str, set[int]] = {}
    for latents, own in zip(cached, of_crops, strict=True):
        for task, each in zip(latents.crops.tasks, own.tolist(), strict=True):
            of_tasks.setdefault(task, set()).add(each)
    if alone := [task for task, own in of_tasks.items() if len(own) == 1]:
        raise DataError(
            f"drm.judged_folds is {folds}: all photographs of {alone[0]} in {names} are of one part, so its crops would be judged by a predictor that "
            "knows no such picture; lower it, or add photographs"
        )
    return of_crops


def _unseen_logits(
    run_name: str, run: Run, drm: Stage, folds: int, foundation: Towers, cached: list[CachedLatents], inputs: dict
) -> list[Tensor]:
    """Logits of each crop by the predictor that was trained without its photograph, (crops, classes) for each dataset."""
    spec, seed = _stage_1(run_name, run, drm.accumulate), run.seed + 3
    parts = parts_of(cached, folds, seed)
    batches = CachedBatches(run, foundation, spec, run.tasks)
    mean, deviation = (x.to(processes.device()) for x in batches.statistics(run.seed))

    def draw(rng: np.random.Generator, phase: Phase) -> dict[str, Any]:
        rows, batch = labelled(batches, run, rng, phase)
        return batch | {"part": torch.tensor([parts[d][row] for d, row in rows])}

    def objective(
        module: nn.Module, batch: dict[str, Any], generator: torch.Generator, phase: Phase, step: int
    ) -> dict[str, Tensor]:
        logits, labels = module((batches.embedding(batch) - mean) / deviation), batch["labels"]
        losses, unseen_right = logits.new_zeros(()), logits.new_zeros(())
        for fold in range(folds):
            seen = batch["part"] != fold
            own = focal(logits[fold][seen], labels[seen], spec.gamma) if seen.any() else 0 * logits[fold].sum()
            losses = losses + own
            unseen_right = unseen_right + (logits[fold].argmax(1) == labels)[~seen].sum()
        return {"loss": losses, "unseen_accuracy": unseen_right / len(labels)}

    # Forked, so that stage 3 has the same random numbers whether these trainings have just run or ended before a stop. Weights
    # are drawn on the CPU.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = FoldPredictors(folds, lambda: build_predictor(foundation, run)).train().to(processes.device())
        resume, identity = folds_folder(run_name) / "predictors.pt", inputs | {"judged_folds": folds}
        training = Training(f"{run_name} predictors of folds", spec, seed, resume, identity)
        fit(training, module, objective, draw=draw)
    module.eval().requires_grad_(False)
    of_folds = [_logits(lambda e: module((e - mean) / deviation).transpose(0, 1), latents) for latents in cached]
    return [
        logits[torch.arange(len(logits)), part]
        for logits, part in zip(of_folds, map(torch.from_numpy, parts), strict=True)
    ]


def _stage_1(run_name: str, run: Run, accumulate: int) -> Stage:
    """The settings of the run's stage 1, for processes that share the ``accumulate`` batches of a step of stage 3.

    A step has ``accumulate`` batches here too, and as many pictures of each task as in stage 1, rounded to a multiple of
    ``accumulate``. Raises ConfigError if stage 1 cannot be repeated with this run's crops.
    """
    trainer = config.weights_of(run_name)["predictor"]
    first = config.load("runs", trainer)
    spec, tasks = first.predictor, len(run.tasks)
    obstacles = {
        "was converted, not trained": spec is None,
        "was trained on other datasets": first.train != run.train,
        "has other tasks": first.tasks != run.tasks,
        "has other settings in `model`": _of_predictor(first) != _of_predictor(run),
        f"starts from the weights of run {first.start_from}": first.start_from is not None,
        "was trained on random crops (`cached: false`)": not first.cached,
        "was trained for a CPU time (`cpu_seconds`)": spec is not None and spec.cpu_seconds is not None,
    }
    reason = next((what for what, is_so in obstacles.items() if is_so), None)
    if spec is None or reason:
        raise config.ConfigError(
            f"{config.path_of('runs', run_name)}: drm.judged_folds repeats the training of the predictor, but that of run {trainer} {reason}; remove the key"
        )

    def shared(phase: Phase) -> Phase:
        of_task = max(phase.batch // tasks, 1) * spec.accumulate
        return phase.model_copy(update={"batch": max(round(of_task / accumulate), 1) * tasks})

    return spec.model_copy(update={"accumulate": accumulate, "phases": [shared(phase) for phase in spec.phases]})


def _of_predictor(run: Run) -> dict[str, Any]:
    return {key: value for key, value in run.model if key.startswith("predictor")}
