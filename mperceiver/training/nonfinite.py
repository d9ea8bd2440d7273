"""What is kept of a step whose loss or gradient was no finite number, to compute it again and look why.

from mperceiver.training import nonfinite
found = nonfinite.read("results/resume/demo/nonfinite-1200")
found.parts[0].key, found.parts[0].ids      # what was drawn: ahead.generators(key) gives the same numbers again
found.state["module"]                        # the weights before that step
"""

import json
import math
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from mperceiver import files
from mperceiver.training import resume

TOLD = 8  # pictures named in the message


class Part(NamedTuple):
    """One batch of the step: its key, its pictures' ids (none where the losses draw for themselves) and its losses."""

    key: list[int]
    ids: list[str]
    losses: dict[str, float]

    @property
    def bad(self) -> str:
        """The first loss that is no finite number, in words; empty if there is none."""
        return next((f"{name} is {value}" for name, value in self.losses.items() if not math.isfinite(value)), "")


class NonFinite(NamedTuple):
    """A step that was not taken. ``norms``: of the gradients; ``state``: of the training before that step (a running mean of a
    norm may have seen the step's batch)."""

    title: str
    step: int
    norms: list[float]
    parts: list[Part]
    state: dict[str, Any]

    def message(self, folder: Path) -> str:
        """What happened, where, and what to do."""
        bad = [part for part in self.parts if part.bad]
        what = bad[0].bad if bad else f"the gradient's norm is {max(self.norms, key=_badness)}"
        ids = [name for part in bad or self.parts for name in part.ids]
        told = ", ".join(ids[:TOLD]) + (f" and {len(ids) - TOLD} more" if len(ids) > TOLD else "")
        return (
            f"{self.title}: {what} at step {self.step}{f' on {told}' if ids else ''}; the step was not taken, and what it was "
            f"computed from is kept in {folder}. A lower `lr` or `precision: no` in the run's file usually helps"
        )


def part(key: list[int], batch: Any, found: dict[str, Tensor]) -> tuple:
    """Remember a batch, its losses still on the device."""
    ids = list(batch.get("ids", [])) if isinstance(batch, dict) else []
    return key, ids, {name: value.detach() for name, value in found.items()}


def on_host(parts: list[tuple]) -> list[Part]:
    """Parts with their losses as numbers."""
    return [Part(key, ids, {name: value.item() for name, value in found.items()}) for key, ids, found in parts]


def write(folder: Path, found: NonFinite) -> None:
    """Keep ``found`` in ``folder``, whole or not at all."""
    about = {
        "title": found.title,
        "step": found.step,
        "norms": found.norms,
        "parts": [p._asdict() for p in found.parts],
    }
    with files.atomic_folder(folder) as beside:
        (beside / "about.json").write_text(json.dumps(about, indent=1) + "\n")
        with (beside / "state.pt").open("wb") as file:
            torch.save(found.state, file)


def read(folder: Path | str) -> NonFinite:
    """What ``write`` kept."""
    folder = Path(folder)
    about = json.loads((folder / "about.json").read_text())
    about["parts"] = [Part(**one) for one in about["parts"]]
    return NonFinite(**about, state=resume.read(folder / "state.pt"))


def _badness(value: float) -> float:
    return value if math.isfinite(value) else math.inf
