"""A baseline: one stage on random crops of the same pairs."""

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
from mperceiver.training.stages.common import mixed, start


def train_network(run_name: str, run: Run, spec: NetworkStage, resume: Path, inputs: dict) -> tuple[nn.Module, str]:
    """A restoration network on random crops of the same pairs."""
    torch.manual_seed(run.seed)
    mixture = mixed([PreparedDataset(name) for name in run.train])
    network = start(baselines.build(spec), run, "network")
    picture_losses = PictureLosses(spec.losses, processes.device())

    def draw(rng: np.random.Generator, phase: Phase) -> dict[str, Any]:
        drawn = mixture.draw(rng, phase.batch)
        lq, gt, _ = mixture.batch(drawn, phase.crop_px, rng, spec.flip)
        return {"ids": mixture.ids(drawn), "lq": lq, "gt": gt}

    def losses(module: nn.Module, batch: dict[str, Any], generator, phase: Phase, step: int) -> dict[str, Tensor]:
        return picture_losses(module(batch["lq"]), batch["gt"], step)

    curve = fit(
        f"{run_name} network",
        network,
        losses,
        spec,
        seed=run.seed,
        resume=resume / "network.pt",
        inputs=inputs,
        adversary=picture_losses.discriminator,
        draw=draw,
    )
    return network, curve
