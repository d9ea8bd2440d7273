"""A baseline's one stage: a restoration network on random crops of the same pairs."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mperceiver import config
from mperceiver.config.runs import NetworkStage, Phase, Run
from mperceiver.data.read.loader import PreparedDataset
from mperceiver.models import baselines, towers
from mperceiver.models.blocks import use_channels_last
from mperceiver.training import processes
from mperceiver.training.loop import fit
from mperceiver.training.losses import PictureLosses
from mperceiver.training.resume import Training
from mperceiver.training.stages.common import mixed, ready_to_train


def train_network(run_name: str, run: Run, spec: NetworkStage, resume: Path, inputs: dict) -> tuple[nn.Module, str]:
    """Train a network with its architecture's own losses. Raises ConfigError for an unknown architecture."""
    if run.published:
        raise config.ConfigError(
            f"{config.path_of('runs', run_name)}: its weights are those of {run.published.file}, which are not trained; remove the run's "
            f"file and make it again: mperceiver convert {run.published.file} {run_name} --architecture {spec.architecture}"
        )
    torch.manual_seed(run.seed)
    architecture = baselines.architecture_of(run_name, spec)
    mixture = mixed([PreparedDataset(name) for name in run.train], spec)
    number_of_task = _numbers(run_name, run, mixture.tasks) if "task" in architecture.needs else None
    network = ready_to_train(baselines.build(run_name, run), run, "network", architecture.adopt)
    if spec.channels_last:
        use_channels_last(network)
    clip = towers.load_image_tower(run.foundation) if "clip_view" in architecture.needs and run.foundation else None
    picture_losses = PictureLosses(spec.losses, processes.device())

    def draw(rng: np.random.Generator, phase: Phase) -> dict[str, Any]:
        one_task = "one_task" in architecture.needs
        rows = mixture.draw_one_task(rng, phase.batch) if one_task else mixture.draw(rng, phase.batch)
        lq, gt, task = mixture.batch(rows, phase.crop_px, rng, spec.flip)
        batch = {"ids": mixture.ids(rows), "lq": lq, "gt": gt}
        if number_of_task is not None:
            batch["task"] = number_of_task[task]
        if "second_view" in architecture.needs:
            batch["second_view"], _, _ = mixture.batch(rows, phase.crop_px, rng, spec.flip)
        if clip:
            batch |= {"clip_view": clip.view(lq), "clip_view_gt": clip.view(gt)}
        return batch

    def objective(
        module: nn.Module, batch: dict[str, Any], generator: torch.Generator, phase: Phase, step: int
    ) -> dict[str, Tensor]:
        return architecture.losses(module, batch, picture_losses, step, generator)

    curve = fit(
        Training(f"{run_name} network", spec, run.seed, resume / "network.pt", inputs),
        network,
        objective,
        adversary=picture_losses.discriminator,
        draw=draw,
        any_module=True,
    )
    return network, curve


def _numbers(run_name: str, run: Run, tasks: list[str]) -> Tensor:
    """The number among the run's ``tasks`` of each of these tasks, int64. Raises ConfigError for one that is none of them."""
    unknown = [task for task in tasks if task not in run.tasks]
    if unknown:
        raise config.ConfigError(
            f"{config.path_of('runs', run_name)}: the pictures of `train` are also of task {unknown[0]}, which `tasks` does not name"
        )
    return torch.tensor([run.tasks.index(task) for task in tasks])
