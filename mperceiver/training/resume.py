"""Resume states: the last two states of a training, each written whole and checked when it is read."""

import hashlib
import json
import pickle
import zipfile
from pathlib import Path

import torch

from mperceiver import files
from mperceiver.config.runs import Stage
from mperceiver.training import processes
from mperceiver.training.schedule import TrainingError

STATES_KEPT = 2
# What reading a damaged state may raise.
DAMAGE = (RuntimeError, EOFError, OSError, ValueError, KeyError, pickle.UnpicklingError, zipfile.BadZipFile)


class ResumeStates:
    """The states of one training: with ``path`` results/resume/demo/drm.pt, drm-00000200.pt and drm-00000400.pt beside it.

    The number is that of the steps taken. A state carries a fingerprint of the settings and the data of its training. A state
    with another fingerprint is not used, and is removed when the first new state is written.
    """

    def __init__(self, path: Path, title: str, spec: Stage, seed: int, inputs: dict | None) -> None:
        self.path, self.title = path, title
        text = json.dumps([spec.model_dump(mode="json"), seed, inputs], sort_keys=True)
        self.fingerprint = hashlib.sha256(text.encode()).hexdigest()
        self.sound: list[Path] = []  # states of this training that were read or written without damage, oldest first

    def newest(self) -> dict | None:
        """The newest state that can be read and has this training's fingerprint; None if the training has to start from step 0.

        Raises TrainingError if there are states but none of them can be read: days of training must not be lost unnoticed.
        """
        damaged, foreign = [], []
        for path in reversed(_state_files(self.path)):
            try:
                state = read_state(path)
            except DAMAGE as error:
                damaged.append(path)
                processes.say(f"{self.title}: {path} is damaged ({error}); trying the state before it")
                continue
            if state["fingerprint"] == self.fingerprint:
                self.sound = [path]
                return state
            foreign.append(path)
        if foreign:
            processes.say(
                f"{self.title}: {foreign[0]} was made under other settings or data; starting from the beginning"
            )
        elif damaged:
            names = ", ".join(map(str, damaged))
            raise TrainingError(
                f"{self.title}: none of its resume states can be read ({names}). Remove these files to start from the beginning"
            )
        return None

    def save(self, state: dict) -> None:
        """Write ``state``, which has its number of steps under "step". The state before it is kept, all others are removed."""
        path = self.path.with_name(f"{self.path.stem}-{state['step']:08d}{self.path.suffix}")
        with files.atomic_file(path) as beside:
            write_state(beside, state | {"fingerprint": self.fingerprint})
        self.sound = [*(sound for sound in self.sound if sound != path), path][-STATES_KEPT:]
        for other in _state_files(self.path):
            if other not in self.sound:
                other.unlink(missing_ok=True)


def write_state(path: Path, state: dict) -> None:
    """Write a state with torch. Raises OSError where the disk is full."""
    with path.open(
        "wb"
    ) as file:  # given a path, torch's own writer does not report a full disk, and leaves its file open
        torch.save(state, file)


def read_state(path: Path) -> dict:
    """Read a state onto the CPU. Raises one of DAMAGE if a byte of it has changed.

    The check is needed because torch writes checksums into the file but does not compare them when it reads.
    """
    with zipfile.ZipFile(path) as file:
        bad = file.testzip()
    if bad is not None:
        raise zipfile.BadZipFile(f"checksum of {bad} differs")
    return torch.load(path, weights_only=True, map_location="cpu")


def discard_states(path: Path) -> None:
    """Remove a training's resume states and its unfinished curve, once its weights are written."""
    for file in [*_state_files(path), unfinished_curve(path)]:
        file.unlink(missing_ok=True)


def unfinished_curve(path: Path) -> Path:
    """The curve (CSV) of a training that is still running."""
    return path.with_suffix(".csv")


def _state_files(path: Path) -> list[Path]:
    """All states, oldest first."""
    return sorted(path.parent.glob(f"{path.stem}-{'[0-9]' * 8}{path.suffix}"))
