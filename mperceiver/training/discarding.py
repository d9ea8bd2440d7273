"""When a training's resume states are removed: once its weights are written and nothing can take them away any more.

Snakemake removes the outputs of a job that has ended well if it finds something wrong with them afterwards: a missing file, a
time before that of an input. So in a workflow a training leaves its states, from which the same command writes the weights
again in seconds, and the states are removed when the workflow has ended well. Nothing here imports torch: Snakemake's head calls it.
"""

import contextlib
import re
import shutil
from pathlib import Path

from mperceiver import config, paths

STATE = re.compile(r"(\w+)-\d{8}\.pt")


def state_files(path: Path) -> list[Path]:
    """All states of the training with ``path``, such as results/resume/demo/drm.pt, oldest first."""
    return sorted(path.parent.glob(f"{path.stem}-{'[0-9]' * 8}{path.suffix}"))


def unfinished_curve(path: Path) -> Path:
    """The curve (CSV) of a training that is still running."""
    return path.with_suffix(".csv")


def latents_folder(run: str) -> Path:
    """The folder of the latents that stage 2 sampled for stage 3; it exists while stage 3 trains."""
    return paths.resume_folder(run) / "latents"


def folds_folder(run: str) -> Path:
    """The folder of the resume states of the predictors that judge stage 3's crops; it exists while stage 3 trains."""
    return paths.resume_folder(run) / "folds"


def in_workflow() -> bool:
    """Whether this process is a job of Snakemake's."""
    return config.experiment_of_workflow() is not None


def discard_states(path: Path) -> None:
    """Remove a training's resume states and its unfinished curve."""
    for file in [*state_files(path), unfinished_curve(path)]:
        file.unlink(missing_ok=True)


def discard_stage(run: str, stage: str) -> None:
    """Remove the states, latents and folds that a finished stage leaves in case its weights are taken away."""
    discard_states(paths.resume_file(run, stage))
    if stage == "drm":
        for folder in (latents_folder(run), folds_folder(run)):
            shutil.rmtree(folder, ignore_errors=True)


def discard_finished() -> None:
    """Remove the states of all trainings whose card is newer than their states, of all runs.

    The states of a training in progress are newer than the card of an earlier one, and stay.
    """
    for folder in sorted(paths.RESUME.glob("*/")):
        stages = {match[1] for file in folder.iterdir() if (match := STATE.fullmatch(file.name))}
        for stage in sorted(stages):
            card = paths.weights_card(folder.name, stage)
            newest = max(file.stat().st_mtime for file in state_files(paths.resume_file(folder.name, stage)))
            if card.is_file() and paths.weights_file(folder.name, stage).is_file() and card.stat().st_mtime >= newest:
                discard_stage(folder.name, stage)
        with contextlib.suppress(OSError):  # something else is in it
            folder.rmdir()
