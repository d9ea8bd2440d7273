"""Verbs that train, one for each stage, and the one that takes published weights."""

import os
from pathlib import Path
from typing import Annotated

import typer

from mperceiver.cli.base import RunName, Threads, fail, prepare_torch, verb
from mperceiver.printing import say

PANEL = "Training"


def _train(run: str, stage: str, threads: int) -> None:
    """Train a stage, in this process or in several that SLURM or torchrun starts; print the path of its card."""
    from mperceiver import commits, config
    from mperceiver.training import cores, slurm

    if settings := getattr(config.load("runs", run), stage):  # `train` below reports a stage that the run does not have
        slurm.relaunch_with_srun(f"train_{stage}", run, threads, settings.accumulate)
    # A launcher starts several processes of a training on one machine; they share its cores.
    told = os.environ.get("LOCAL_WORLD_SIZE", "")
    prepare_torch(threads and max(threads // max(int(told) if told.isdecimal() else 1, 1), 1))
    if settings:
        commits.require()
        for file in config.files_of_inputs(config.stage_inputs(run, stage)):
            Path(file).stat()  # a missing file is reported once, before several processes start
        cores.train_on_cores(f"train_{stage}", run, settings, threads)
    from mperceiver.training import processes
    from mperceiver.training.stages import train

    processes.say(str(train(run, stage)))
    processes.leave()


@verb(PANEL)
def train_predictor(run: RunName, threads: Threads = 0) -> None:
    """Train stage 1 of a run: the degradation predictor."""
    _train(run, "predictor", threads)


@verb(PANEL)
def train_branches(run: RunName, threads: Threads = 0) -> None:
    """Train stage 2 of a run: the textual and the visual branch."""
    _train(run, "branches", threads)


@verb(PANEL)
def train_drm(run: RunName, threads: Threads = 0) -> None:
    """Train stage 3 of a run: the detail refinement module."""
    _train(run, "drm", threads)


@verb(PANEL)
def train_network(run: RunName, threads: Threads = 0) -> None:
    """Train the one stage of a baseline's run."""
    _train(run, "network", threads)


@verb(PANEL)
def convert(
    checkpoint: Annotated[Path, typer.Argument(help="A published checkpoint: .safetensors, .pth, .pt or .ckpt.")],
    run: Annotated[str, typer.Argument(help="Name of the run to make: config/runs/<name>.yaml.")],
    architecture: Annotated[str, typer.Option(help="The network it is of: airnet, promptir, restormer, …")],
    arguments: Annotated[
        str, typer.Option(help="Its size where it is not the published default, as JSON: '{\"width\": 20}'.")
    ] = "{}",
    tasks: Annotated[
        str, typer.Option(help="Of wgws: the tasks in the order of its flags, with commas: snow,rain,raindrop.")
    ] = "",
) -> None:
    """Make a run of a published checkpoint of another method. Code in the file is never run; what does not fit is listed."""
    import json

    prepare_torch()
    from mperceiver.training import published

    try:
        given = json.loads(arguments)
    except json.JSONDecodeError as error:
        fail(f"--arguments: no JSON ({error})")
    if not isinstance(given, dict):
        fail("--arguments: a JSON object is wanted, such as '{\"width\": 20}'")
    say(published.convert(checkpoint, run, architecture, given, tasks.split(",") if tasks else None))
