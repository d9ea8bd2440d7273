"""Restoration networks that are trained as baselines, by the same loop and on the same pairs as MPerceiver.

To add a baseline: write its network in a file of its own, name it in ARCHITECTURES, and add a test. Everything else is the
same for all: a run of kind `network` trains it, a method of kind `network` restores with it.
"""

import inspect
from typing import Any

import torch
from torch import nn

from mperceiver import config
from mperceiver.config.runs import NetworkStage, Run
from mperceiver.models import towers
from mperceiver.models.baselines import airnet, da_clip, wgws
from mperceiver.models.baselines.architecture import Architecture
from mperceiver.models.baselines.da_clip import Steering
from mperceiver.models.baselines.nafnet import nafnet
from mperceiver.models.baselines.network import TaskNetwork, Told
from mperceiver.models.baselines.promptir import PromptIR
from mperceiver.models.baselines.restormer import Restormer
from mperceiver.models.baselines.transweather import TransWeather
from mperceiver.models.predictor import build_predictor
from mperceiver.models.restorer import Restorer
from mperceiver.models.weights import load_weights
from mperceiver.wording import did_you_mean

ARCHITECTURES: dict[str, Architecture] = {
    "airnet": Architecture(airnet.AirNet, multiple=1, losses=airnet.losses, needs=frozenset({"second_view"})),
    "da-clip": Architecture(
        da_clip.DaClip,
        multiple=1,
        losses=da_clip.losses,
        needs=frozenset({"task", "clip_view"}),
        count="tasks",
        restorer=da_clip.DiffusionRestorer,
    ),
    "nafnet": Architecture(nafnet, multiple=16),
    "promptir": Architecture(PromptIR, multiple=8),
    "restormer": Architecture(Restormer, multiple=8),
    "transweather": Architecture(TransWeather, multiple=16, minimum=48),
    "wgws": Architecture(
        wgws.WGWSNet,
        multiple=4,
        losses=wgws.losses,
        needs=frozenset({"task", "one_task"}),
        count="banks",
        adopt=wgws.adopt,
    ),
    "wgws-general": Architecture(wgws.general, multiple=4),
}


def architecture_of(run_name: str, spec: NetworkStage) -> Architecture:
    """The architecture that a run's stage names. Raises ConfigError if it is unknown, or cannot be trained on the run's crops."""
    file = config.path_of("runs", run_name)
    if spec.architecture not in ARCHITECTURES:
        raise config.ConfigError(
            f"{file}: network.architecture: {spec.architecture} is unknown{did_you_mean(spec.architecture, ARCHITECTURES)}. Known are "
            f"{', '.join(ARCHITECTURES)}; a new one is named in ARCHITECTURES in mperceiver/models/baselines/__init__.py"
        )
    architecture = ARCHITECTURES[spec.architecture]
    for phase in spec.phases:
        if phase.crop_px % architecture.multiple or phase.crop_px < architecture.minimum:
            least = f", at least {architecture.minimum}" if architecture.minimum > 1 else ""
            raise config.ConfigError(
                f"{file}: network.phases: crop_px: {phase.crop_px}: {spec.architecture} takes pictures with sides that are multiples of "
                f"{architecture.multiple} px{least}"
            )
    return architecture


def build(run_name: str, run: Run) -> nn.Module:
    """The untrained network of a run. Raises ConfigError for arguments that the architecture or the run's tasks do not allow."""
    spec, file = run.network, config.path_of("runs", run_name)
    assert spec is not None
    architecture, arguments = architecture_of(run_name, spec), dict(spec.arguments)
    _check_arguments(f"{file}: network.arguments", architecture, arguments)
    if architecture.count:
        if arguments.setdefault(architecture.count, len(run.tasks)) != len(run.tasks):
            raise config.ConfigError(
                f"{file}: network.arguments.{architecture.count}: is the number of the run's `tasks`, {len(run.tasks)}; leave it out"
            )
    if "clip_view" in architecture.needs:
        if run.foundation is None:
            raise config.ConfigError(f"{file}: {spec.architecture} needs a `foundation`, whose CLIP it is trained with")
        arguments["clip"] = towers.load_image_tower(run.foundation)
    try:
        return architecture.build(**arguments)
    except (ArithmeticError, AssertionError, LookupError, RuntimeError, TypeError, ValueError) as error:
        # what the code of networks raises for a value that it cannot use
        raise config.ConfigError(
            f"{file}: network.arguments: {spec.architecture} cannot be built with {spec.arguments}: {type(error).__name__}: {error}"
        ) from error


def _check_arguments(where: str, architecture: Architecture, arguments: dict[str, Any]) -> None:
    """Raise ConfigError for an argument that the architecture's function does not have, or one that it needs and is not given."""
    parameters = inspect.signature(architecture.build).parameters
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        return
    given_here = {architecture.count, "clip" if "clip_view" in architecture.needs else None}  # ``build`` adds these
    known = [name for name in parameters if name not in given_here]
    for name in arguments:
        if name not in parameters:
            raise config.ConfigError(
                f"{where}: no argument {name}{did_you_mean(name, known)}; there are {', '.join(known) or 'none'}"
            )
    for name in known:
        if parameters[name].default is inspect.Parameter.empty and name not in arguments:
            raise config.ConfigError(f"{where}: {name} is missing; it has no default")


def load_restorer(
    method_name: str, device: torch.device | str = "cpu"
) -> Restorer[Told] | Restorer[Steering] | Restorer[None]:
    """The restorer of a method of kind `network`, with the weights of its run.

    Raises ConfigError, LineageError: the method or its run is not described or does not fit, or weights are missing.
    """
    method = config.load("methods", method_name)
    weights = config.method_weights(method_name)
    run = config.load("runs", weights["network"])
    assert run.network is not None
    architecture = architecture_of(weights["network"], run.network)
    network = build(weights["network"], run).requires_grad_(True)
    files = config.weights_files(method_name)
    load_weights(files["network"], network)
    parts = towers.freeze(network), architecture.multiple, device, architecture.minimum
    if method.task == "general":
        return architecture.restorer(*parts, run.tasks)
    if "one_task" not in architecture.needs:
        raise config.ConfigError(
            f"{config.path_of('methods', method_name)}: task: {run.network.architecture} has no weights for a single task"
        )
    if method.task == "given":
        return TaskNetwork(*parts, run.tasks)
    foundation_name = config.method_foundation(method_name)
    assert foundation_name is not None and method.predictor is not None
    foundation, telling = towers.load(foundation_name, device), config.load("runs", weights["predictor"])
    predictor = build_predictor(foundation, telling)
    load_weights(files["predictor"], predictor)
    told_by = (foundation, towers.freeze(predictor).to(device), telling.tasks)
    return TaskNetwork(*parts, run.tasks, told_by, method.clip_crop_px)
