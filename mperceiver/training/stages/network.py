"""A baseline: one stage on random crops of the same pairs."""

from pathlib import Path

import torch
from torch import Tensor, nn

from mperceiver.config import NetworkStage, Phase, Run
from mperceiver.data.loader import Prepared
from mperceiver.models import baselines
from mperceiver.training import processes
from mperceiver.training.loop import fit
from mperceiver.training.losses import PictureLosses
from mperceiver.training.stages.common import mixed, start


def train_network(run_name: str, run: Run, spec: NetworkStage, resume: Path, inputs: dict) -> tuple[nn.Module, str]:
    """A restoration network on random crops of the same pairs."""
    torch.manual_seed(run.seed)
    mixture = mixed([Prepared(name) for name in run.train])
    network = start(baselines.build(spec), run, "network")
    picture_losses = PictureLosses(spec.losses, processes.device())

    def losses(module: nn.Module, rng, generator, phase: Phase, step: int) -> dict[str, Tensor]:
        lq, gt, _ = mixture.batch(mixture.draw(rng, phase.batch), phase.crop_px, rng, spec.flip)
        return picture_losses(module(lq.to(generator.device)), gt.to(generator.device), step)

    curve = fit(
        f"{run_name} network",
        network,
        losses,
        spec,
        seed=run.seed,
        resume=resume / "network.pt",
        inputs=inputs,
        adversary=picture_losses.discriminator,
    )
    return network, curve
