"""Resume states: the last two of a training, each written whole, and one that was damaged is not used."""

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

KEPT = 2
DAMAGE = (RuntimeError, EOFError, OSError, ValueError, KeyError, pickle.UnpicklingError, zipfile.BadZipFile)


class States:
    """The states of one training: for results/resume/demo/drm.pt they are drm-00000200.pt, drm-00000400.pt beside it.

    A number is that of the steps taken. A state made under other settings or data is not taken up, and goes when the first
    new one is written.
    """

    def __init__(self, path: Path, title: str, spec: Stage, seed: int, inputs: dict | None) -> None:
        self.path, self.title = path, title
        text = json.dumps([spec.model_dump(mode="json"), seed, inputs], sort_keys=True)
        self.fingerprint = hashlib.sha256(text.encode()).hexdigest()
        self.good: list[Path] = []

    def newest(self) -> dict | None:
        """The newest state that can be read and was made under these settings.

        Raises TrainingError if there are states but none that can be read: days of work are not begun anew unasked.
        """
        damaged, foreign = [], []
        for path in reversed(_files(self.path)):
            try:
                state = read(path)
            except DAMAGE as error:
                damaged.append(path)
                processes.say(f"{self.title}: {path} is damaged ({error}); trying the one before")
                continue
            if state["fingerprint"] == self.fingerprint:
                self.good = [path]
                return state
            foreign.append(path)
        if foreign:
            processes.say(
                f"{self.title}: {foreign[0]} was made under other settings or data; starting from the beginning"
            )
        elif damaged:
            names = ", ".join(map(str, damaged))
            raise TrainingError(
                f"{self.title}: no resume state can be read ({names}); remove what is there to start anew"
            )
        return None

    def save(self, state: dict) -> None:
        """Write ``state`` (with its "step"); it and the one before are kept, all others go."""
        path = self.path.with_name(f"{self.path.stem}-{state['step']:08d}{self.path.suffix}")
        # A file of Python's, not a path: where the disk is full, torch's own writer says nothing of it and keeps its file open.
        with files.atomic_file(path) as beside, beside.open("wb") as file:
            torch.save(state | {"fingerprint": self.fingerprint}, file)
        self.good = [*(good for good in self.good if good != path), path][-KEPT:]
        for other in _files(self.path):
            if other not in self.good:
                other.unlink(missing_ok=True)


def read(path: Path) -> dict:
    """A state as it was written, on the CPU. Raises one of DAMAGE if a byte of it is not.

    torch reads a file without looking at the checksums that it wrote into it.
    """
    with zipfile.ZipFile(path) as file:
        bad = file.testzip()
    if bad is not None:
        raise zipfile.BadZipFile(f"checksum of {bad} differs")
    return torch.load(path, weights_only=True, map_location="cpu")


def discard(path: Path) -> None:
    """Remove a training's resume states and its unfinished curve: the weights are written."""
    for file in [*_files(path), curve_path(path)]:
        file.unlink(missing_ok=True)


def curve_path(path: Path) -> Path:
    """Where the curve of a training that has not ended can be looked at."""
    return path.with_suffix(".csv")


def _files(path: Path) -> list[Path]:
    """All states, oldest first."""
    return sorted(path.parent.glob(f"{path.stem}-{'[0-9]' * 8}{path.suffix}"))
