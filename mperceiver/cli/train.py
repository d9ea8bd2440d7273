"""Verbs of the training stages."""

import os

from mperceiver import config
from mperceiver.cli.base import RunName, Threads, quiet, verb


def _train(run: str, stage: str, threads: int) -> None:
    from mperceiver.training import slurm

    if spec := getattr(config.load("runs", run), stage):  # a stage that the run lacks is told later
        slurm.spread(f"train_{stage}", run, threads, spec.accumulate)
    sharing = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))  # a launcher's processes on this machine
    quiet(threads and max(threads // sharing, 1))
    from mperceiver.training import processes
    from mperceiver.training.stages import train

    processes.say(str(train(run, stage)))
    processes.leave()


@verb
def train_predictor(run: RunName, threads: Threads = 0) -> None:
    """Stage 1: the degradation predictor."""
    _train(run, "predictor", threads)


@verb
def train_branches(run: RunName, threads: Threads = 0) -> None:
    """Stage 2: the textual and the visual branch."""
    _train(run, "branches", threads)


@verb
def train_drm(run: RunName, threads: Threads = 0) -> None:
    """Stage 3: the detail refinement module."""
    _train(run, "drm", threads)


@verb
def train_network(run: RunName, threads: Threads = 0) -> None:
    """A baseline's one stage."""
    _train(run, "network", threads)
