"""Stage 1: the degradation predictor."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mperceiver.config.runs import Phase, Run, Stage
from mperceiver.models import towers
from mperceiver.models.predictor import build_predictor
from mperceiver.training import processes
from mperceiver.training.loop import fit
from mperceiver.training.losses import focal
from mperceiver.training.stages.common import frozen_work, start


def train_predictor(run_name: str, run: Run, spec: Stage, resume: Path, inputs: dict) -> tuple[nn.Module, str]:
    """Focal loss on CLIP embeddings, balanced over the degradations (section 3.1)."""
    torch.manual_seed(run.seed)
    foundation = towers.load(run.foundation, "cpu" if run.cached else processes.device())
    work = frozen_work(run, foundation, spec, run.tasks)
    mean, deviation = work.statistics(run.seed)
    predictor = start(build_predictor(foundation, run), run, "predictor")
    if run.start_from:  # its weights are of embeddings as they are; training sees them standardised
        predictor.fold_standardisation(*(x.to(processes.device()) for x in (-mean / deviation, 1 / deviation)))

    def draw(rng: np.random.Generator, phase: Phase) -> dict[str, Any]:
        drawn = work.mixture.balanced(rng, max(phase.batch // len(run.tasks), 1))
        return work.looks(drawn, phase, rng) | {"labels": torch.from_numpy(work.mixture.labels(drawn))}

    def losses(module: nn.Module, batch: dict[str, Any], generator, phase: Phase, step: int) -> dict[str, Tensor]:
        x, labels = work.embedding(batch), batch["labels"]
        logits = module((x - mean.to(x)) / deviation.to(x))
        accuracy = (logits.argmax(1) == labels).float().mean()
        return {"loss": focal(logits, labels, spec.gamma), "accuracy": accuracy}

    curve = fit(
        f"{run_name} predictor",
        predictor,
        losses,
        spec,
        seed=run.seed,
        resume=resume / "predictor.pt",
        inputs=inputs,
        draw=draw,
    )
    predictor.cpu().fold_standardisation(mean, deviation)
    return predictor, curve
