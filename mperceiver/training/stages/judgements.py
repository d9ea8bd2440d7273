"""What stage 3 is told of its training crops: the probabilities P that a predictor gives of them, as it will of photographs.

A photograph is judged by all of its crops together, and the predictor has not seen it before. Both can be had here (see the keys
``judged_crops`` and ``judged_folds`` of ``config.runs.Stage``): a DRM that learned with surer and better P would trust P too far.
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
from mperceiver.training.stages.batches import CachedBatches
from mperceiver.training.stages.common import trained_predictor

EMBEDDINGS_AT_ONCE = 4096  # that a predictor judges


def judgements(
    run_name: str, run: Run, spec: Stage, foundation: Towers, cached: list[CachedLatents], inputs: dict
) -> list[Tensor]:
    """P of each crop of each dataset, (crops, N) on the CPU. ``spec``: of stage 3; ``inputs``: see ``fit``.

    Raises DataError if ``judged_folds`` is more than the number of photographs.
    """
    predictor, seed = trained_predictor(foundation, run_name, run), run.seed + 2
    if spec.judged_folds:
        logits = _unseen_logits(run_name, run, spec.judged_folds, foundation, cached, inputs)
    else:
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
    """The mean of each crop's logits and those of others of its picture, (crops, classes); in all 1, 2, 4, ... or ``most`` crops."""
    count, crops = latents.crops.per_picture, np.arange(len(latents))
    most = min(most, count)
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

    The crops of one photograph are of one part, in whatever dataset they are. Raises DataError if there are fewer photographs than parts.
    """
    sources = [[latents.crops.source(i) for i in range(len(latents))] for latents in cached]
    photographs = sorted({source for each in sources for source in each}, key=lambda s: picture_seed("folds", s, seed))
    if len(photographs) < folds:
        raise DataError(
            f"drm.judged_folds is {folds}, but {', '.join(latents.crops.name for latents in cached)} has {len(photographs)} photographs"
        )
    part = {source: place % folds for place, source in enumerate(photographs)}
    return [np.array([part[source] for source in each], np.int64) for each in sources]


def _unseen_logits(
    run_name: str, run: Run, folds: int, foundation: Towers, cached: list[CachedLatents], inputs: dict
) -> list[Tensor]:
    """Logits of each crop by the predictor that was trained without its photograph, (crops, classes) for each dataset."""
    spec = config.load("runs", config.weights_of(run_name)["predictor"]).predictor
    if spec is None:
        raise config.ConfigError(
            "drm.judged_folds: the predictor's weights were converted, not trained; remove the key"
        )
    spec, seed = _shared_by_all(spec), run.seed + 3
    parts = parts_of(cached, folds, seed)
    batches = CachedBatches(run, foundation, spec, run.tasks)
    mean, deviation = (x.to(processes.device()) for x in batches.statistics(run.seed))
    torch.manual_seed(seed)
    module = FoldPredictors(folds, lambda: build_predictor(foundation, run)).train().to(processes.device())

    def draw(rng: np.random.Generator, phase: Phase) -> dict[str, Any]:
        rows = batches.mixture.balanced(rng, max(phase.batch // len(run.tasks), 1))
        labels = batches.mixture.classes(rows, run.model.predictor_clean)
        part = torch.tensor([parts[d][row] for d, row in rows])
        return batches.read(rows, phase, rng) | {"labels": torch.from_numpy(labels), "part": part}

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

    states = folds_folder(run_name) / "predictors.pt"
    fit(f"{run_name} predictors of folds", module, objective, spec, seed=seed, resume=states, inputs=inputs, draw=draw)
    module.eval().requires_grad_(False)
    of_folds = [_logits(lambda e: module((e - mean) / deviation).transpose(0, 1), latents) for latents in cached]
    return [
        logits[torch.arange(len(logits)), part]
        for logits, part in zip(of_folds, map(torch.from_numpy, parts), strict=True)
    ]


def _shared_by_all(spec: Stage) -> Stage:
    """Stage 1's settings for the processes that train stage 3: as many pictures a step, shared by all of them."""
    count = processes.world().num_processes
    if spec.accumulate % count == 0:
        return spec
    phases = [
        phase.model_copy(update={"batch": max(phase.batch * spec.accumulate // count, 1)}) for phase in spec.phases
    ]
    return spec.model_copy(update={"accumulate": count, "phases": phases})
