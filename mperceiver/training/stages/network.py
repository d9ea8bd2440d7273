"""A baseline's one stage: a restoration network on random crops of the same pairs."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mperceiver.config.runs import NetworkStage, Phase, Run
from mperceiver.data.read.loader import PreparedDataset
from mperceiver.models import baselines
from mperceiver.training import processes
from mperceiver.training.loop import fit
from mperceiver.training.losses import PictureLosses
from mperceiver.training.stages.common import mixed, ready_to_train


def train_network(run_name: str, run: Run, spec: NetworkStage, resume: Path, inputs: dict) -> tuple[nn.Module, str]:
    """Train a network with its architecture's own losses. Raises ConfigError for an unknown architecture."""
    torch.manual_seed(run.seed)
    mixture = mixed([PreparedDataset(name) for name in run.train])
    architecture = baselines.architecture_of(spec)
    network = ready_to_train(architecture.build(**spec.arguments), run, "network")
    picture_losses = PictureLosses(spec.losses, processes.device())

    def draw(rng: np.random.Generator, phase: Phase) -> dict[str, Any]:
        rows = mixture.draw(rng, phase.batch)
        lq, gt, task = mixture.batch(rows, phase.crop_px, rng, spec.flip)
        batch = {"ids": mixture.ids(rows), "lq": lq, "gt": gt}
        if "task" in architecture.needs:
            batch["task"] = task
        if "second_view" in architecture.needs:
            batch["second_view"], _, _ = mixture.batch(rows, phase.crop_px, rng, spec.flip)
        return batch

    def objective(
        module: nn.Module, batch: dict[str, Any], generator: torch.Generator, phase: Phase, step: int
    ) -> dict[str, Tensor]:
        return architecture.losses(module, batch, picture_losses, step)

    curve = fit(
        f"{run_name} network",
        network,
        objective,
        spec,
        seed=run.seed,
        resume=resume / "network.pt",
        inputs=inputs,
        adversary=picture_losses.discriminator,
        draw=draw,
    )
    return network, curve
