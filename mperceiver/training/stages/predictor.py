"""Stage 1: the degradation predictor (section 3.1)."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mperceiver.config.runs import Phase, Run, Stage
from mperceiver.models.predictor import build_predictor
from mperceiver.training import processes
from mperceiver.training.loop import fit
from mperceiver.training.losses import focal
from mperceiver.training.resume import Training
from mperceiver.training.stages.batches import batches_of, labelled
from mperceiver.training.stages.common import load_foundation, ready_to_train


def train_predictor(run_name: str, run: Run, spec: Stage, resume: Path, inputs: dict) -> tuple[nn.Module, str]:
    """Train with the focal loss on CLIP embeddings, with equally many pictures of each degradation in a batch.

    The predictor learns on standardised embeddings; afterwards the standardisation becomes part of its first layer.
    """
    torch.manual_seed(run.seed)
    foundation = load_foundation(run, "cpu" if run.cached else processes.device())
    batches = batches_of(run, foundation, spec, run.tasks)
    mean, deviation = batches.statistics(run.seed)
    predictor = ready_to_train(build_predictor(foundation, run), run, "predictor")
    if run.start_from:  # those weights expect raw embeddings: take the standardisation out of the first layer
        predictor.fold_standardisation(*(x.to(processes.device()) for x in (-mean / deviation, 1 / deviation)))

    def draw(rng: np.random.Generator, phase: Phase) -> dict[str, Any]:
        return labelled(batches, run, rng, phase)[1]

    def objective(
        module: nn.Module, batch: dict[str, Any], generator: torch.Generator, phase: Phase, step: int
    ) -> dict[str, Tensor]:
        embedding, labels = batches.embedding(batch), batch["labels"]
        logits = module((embedding - mean.to(embedding)) / deviation.to(embedding))
        accuracy = (logits.argmax(1) == labels).float().mean()
        return {"loss": focal(logits, labels, spec.gamma), "accuracy": accuracy}

    curve = fit(
        Training(f"{run_name} predictor", spec, run.seed, resume / "predictor.pt", inputs),
        predictor,
        objective,
        draw=draw,
    )
    predictor.cpu().fold_standardisation(mean, deviation)
    return predictor, curve
