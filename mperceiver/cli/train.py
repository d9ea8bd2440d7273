"""Verbs that train: one for each stage."""

import os

from mperceiver.cli.base import RunName, Threads, prepare_torch, verb

PANEL = "Training"


def _train(run: str, stage: str, threads: int) -> None:
    from mperceiver import config
    from mperceiver.training import slurm

    if settings := getattr(config.load("runs", run), stage):  # `train` below reports a stage that the run does not have
        slurm.relaunch_with_srun(f"train_{stage}", run, threads, settings.accumulate)
    # A launcher starts several processes of a training on one machine; they share its cores.
    told = os.environ.get("LOCAL_WORLD_SIZE", "")
    prepare_torch(threads and max(threads // max(int(told) if told.isdecimal() else 1, 1), 1))
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
