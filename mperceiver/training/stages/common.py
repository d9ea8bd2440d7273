"""What several stages need: the mixture of their datasets, the modules they start from, and the latents they share."""

from typing import TypeVar

import torch
from torch import nn

from mperceiver import config, paths
from mperceiver.config.runs import Run, Stage
from mperceiver.data import DataError
from mperceiver.data.read.crops import FixedCrops
from mperceiver.data.read.loader import PreparedDataset
from mperceiver.data.read.mixture import Mixture
from mperceiver.models import towers
from mperceiver.models.predictor import DegradationPredictor, build_predictor
from mperceiver.models.towers import Towers
from mperceiver.models.weights import Adopt, load_weights
from mperceiver.training import processes
from mperceiver.training.latents import CachedLatents

M = TypeVar("M", bound=nn.Module)


def mixed(datasets: list[PreparedDataset] | list[FixedCrops], spec: Stage, tasks: list[str] | None = None) -> Mixture:
    """The pictures of ``tasks`` in these datasets, drawn as the stage wants them; without ``tasks``, all pictures.

    A few-shot run needs all of them, because its task is none of the predictor's classes.
    """
    tasks = tasks or list(dict.fromkeys(task for dataset in datasets for task in dataset.tasks))
    return Mixture(datasets, tasks, weights=spec.task_weights)


def load_foundation(run: Run, device: torch.device | str) -> Towers:
    """The frozen networks that a run of MPerceiver is trained with."""
    assert run.foundation is not None  # ``config.stage_inputs`` refuses such a run
    return towers.load(run.foundation, device)


def check_crop_px(run_name: str, stage: str, spec: Stage, foundation: Towers, multiple: int) -> None:
    """Raise ConfigError unless the crops of all phases have sides that are multiples of ``multiple``, in pixels."""
    for phase in spec.phases:
        if phase.crop_px % multiple:
            raise config.ConfigError(
                f"{config.path_of('runs', run_name)}: {stage}.phases: crop_px {phase.crop_px} is no multiple of {multiple}, which "
                f"{foundation.name} needs"
            )


def all_latents(run: Run) -> list[CachedLatents]:
    """The cached latents of each training dataset.

    Raises DataError unless the crops of all datasets have one size, since a batch is cut at one place.
    """
    assert run.foundation is not None  # ``config.stage_inputs`` refuses such a run
    cached = [CachedLatents(run.foundation, name) for name in run.train]
    if len({latents.shape for latents in cached}) > 1:
        sizes = ", ".join(f"{name} {latents.shape[1:]}" for name, latents in zip(run.train, cached, strict=True))
        raise DataError(f"a run's training datasets must have one crop_px; their latents are {sizes}")
    return cached


def ready_to_train(module: M, run: Run, stage: str, adopt: Adopt | None = None) -> M:
    """Load the weights that the run starts from, if any; freeze what the stage's ``only`` leaves out; move to the device.

    ``adopt``: see ``load_weights``. Raises ConfigError if ``only`` names a module that does not exist.
    """
    if run.start_from:
        load_weights(paths.weights_file(config.weights_of(run.start_from)[stage], stage), module, adopt)
    if only := getattr(run, stage).only:
        names = [name for name, _ in module.named_parameters()]
        wrong = [prefix for prefix in only if not any(f"{name}.".startswith(f"{prefix}.") for name in names)]
        if wrong:
            modules = ", ".join(dict.fromkeys(name.split(".")[0] for name in names))
            raise config.ConfigError(
                f"{stage}.only: there is no {wrong[0]}; its modules are {modules}, and the modules inside them"
            )
        for name, parameter in module.named_parameters():
            parameter.requires_grad_(any(f"{name}.".startswith(f"{prefix}.") for prefix in only))
    return module.train().to(processes.device())


def trained_predictor(foundation: Towers, run_name: str, run: Run) -> DegradationPredictor:
    """The run's trained predictor, frozen."""
    predictor = build_predictor(foundation, run)
    load_weights(paths.weights_file(config.weights_of(run_name)["predictor"], "predictor"), predictor)
    return towers.freeze(predictor).to(foundation.device)
