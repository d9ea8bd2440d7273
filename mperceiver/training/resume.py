"""Resume states: the last two states of a training, each written whole and checked when it is read."""

import hashlib
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch

from mperceiver import files
from mperceiver.config.runs import Stage
from mperceiver.training import processes
from mperceiver.training.discarding import state_files
from mperceiver.training.schedule import TrainingError

STATES_KEPT = 2


class StateError(RuntimeError):
    """A file is not a sound resume state; the message says why, and its reader names the file."""


class Training(NamedTuple):
    """One training: its settings, its data and its place."""

    title: str  # names it in messages and in the trackers' folder
    spec: Stage
    seed: int
    resume: Path  # its states stand beside this path, see ResumeStates
    inputs: dict[str, Any] | None = None  # whatever else identifies it, such as the digests of its data

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the settings and the data."""
        text = json.dumps([self.spec.model_dump(mode="json"), self.seed, self.inputs], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()


class ResumeStates:
    """The states of one training: with ``resume`` results/resume/demo/drm.pt, drm-00000200.pt and drm-00000400.pt beside it.

    The number is that of the steps taken. A state carries the fingerprint of its training. A state with another fingerprint is
    not used, and is removed when the first new state is written.
    """

    def __init__(self, training: Training) -> None:
        self.path, self.title, self.fingerprint = training.resume, training.title, training.fingerprint
        self.sound: list[Path] = []  # states of this training that were read or written without damage, oldest first

    def newest(self, take_up: Callable[[dict], None]) -> int:
        """Take up the newest sound state with this training's fingerprint; return its step, or 0 without a state.

        Args:
            take_up: continues from a state. Whatever it raises counts as damage of that state, and it is called again with the
                state before. So it must set everything anew at each call.

        Raises TrainingError if there are states but none of them can be used: days of training must not be lost unnoticed.
        """
        damaged, foreign = [], []
        for path in reversed(state_files(self.path)):
            try:
                state = read_state(path)
                if "fingerprint" not in state:
                    raise StateError("it holds no fingerprint")
                if state["fingerprint"] != self.fingerprint:
                    foreign.append(path)
                    continue
                _take_up(take_up, state)
            except StateError as error:
                damaged.append(path)
                processes.say(f"{self.title}: {path} is damaged ({error}); trying the state before it")
                continue
            self.sound = [path]
            return state["step"]
        if foreign:
            processes.say(
                f"{self.title}: {foreign[0]} was made under other settings or data; starting from the beginning"
            )
        elif damaged:
            names = ", ".join(map(str, damaged))
            raise TrainingError(
                f"{self.title}: none of its resume states can be read ({names}). Remove these files to start from the beginning"
            )
        return 0

    def save(self, state: dict) -> None:
        """Write ``state``, which has its number of steps under "step". The state before it is kept, all others are removed."""
        path = self.path.with_name(f"{self.path.stem}-{state['step']:08d}{self.path.suffix}")
        with files.atomic_file(path) as beside:
            write_state(beside, state | {"fingerprint": self.fingerprint})
        self.sound = [*(sound for sound in self.sound if sound != path), path][-STATES_KEPT:]
        for other in state_files(self.path):
            if other not in self.sound:
                other.unlink(missing_ok=True)


def write_state(path: Path, state: dict) -> None:
    """Write a state with torch. Raises OSError where the disk is full."""
    # Given a path, torch's own writer does not report a full disk, and leaves its file open.
    with path.open("wb") as file:
        torch.save(state, file)


def read_state(path: Path) -> dict:
    """Read a state onto the CPU. Raises StateError if a byte of it has changed, PermissionError if it may not be read.

    The check is needed because torch writes checksums into the file but does not compare them when it reads.
    """
    try:
        with zipfile.ZipFile(path) as file:
            bad = file.testzip()
        if bad is not None:
            raise StateError(f"checksum of {bad} differs")
        state = torch.load(path, weights_only=True, map_location="cpu")
    except (PermissionError, StateError):
        raise
    except Exception as error:  # zipfile, zlib, pickle and torch raise a dozen classes, which have nothing in common
        raise StateError(_words(error)) from None
    if not isinstance(state, dict) or not isinstance(state.get("step"), int):
        raise StateError("it holds no step")
    return state


def _take_up(take_up: Callable[[dict], None], state: dict) -> None:
    """Continue from a state. Raises StateError if something is missing in it, or does not fit."""
    try:
        take_up(state)
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # what torch's and our own load_state_dict raise has no common class either
        raise StateError(_words(error)) from None


def _words(error: Exception) -> str:
    """An error's message; its class too unless the message is one of ours."""
    return str(error) if isinstance(error, TrainingError) else f"{type(error).__name__}: {error}"
