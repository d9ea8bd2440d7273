"""The record of a step whose loss or gradient was NaN or infinite: enough to compute the step again and to look for the cause.

For example::

    from mperceiver.training import nonfinite, prefetch

    record = nonfinite.read_record("results/resume/demo/nonfinite-1200")
    record.batches[0].ids                       # the pictures
    prefetch.generators(record.batches[0].key)  # draws the same batch again
    record.state["module"]                      # the weights before that step
"""

import json
import math
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from mperceiver import files
from mperceiver.training.prefetch import DrawnBatch
from mperceiver.training.resume import read_state, write_state
from mperceiver.wording import first_few

PICTURES_NAMED = 8  # in the message


class BatchRecord(NamedTuple):
    """One batch of the step."""

    key: list[int]  # see ``prefetch.generators``
    ids: list[str]  # names of the pictures; none where the losses draw the batch themselves
    losses: dict[str, float]

    @property
    def bad(self) -> str:
        """The first loss that is NaN or infinite, in words; empty if all are finite."""
        return next((f"{name} is {value}" for name, value in self.losses.items() if not math.isfinite(value)), "")


class StepRecord(NamedTuple):
    """A step that was not taken."""

    title: str  # of the training
    step: int
    norms: list[float]  # of the gradients
    batches: list[BatchRecord]
    state: dict[str, Any]  # of the training before the step; the running means of a norm may include the step's batch

    def message(self, folder: Path) -> str:
        """What happened, where the record lies, and what usually helps."""
        bad = [batch for batch in self.batches if batch.bad]
        what = bad[0].bad if bad else f"the gradient's norm is {max(self.norms, key=_badness)}"
        ids = [name for batch in bad or self.batches for name in batch.ids]
        return (
            f"{self.title}: {what} at step {self.step}{f' on {first_few(ids, PICTURES_NAMED)}' if ids else ''}; the step was not taken. What it was "
            f"computed from is in {folder}. A lower `lr` or `precision: no` in the run's file usually helps"
        )


# A batch's key, the names of its pictures, and its losses, still on the device.
PendingRecord = tuple[list[int], list[str], dict[str, Tensor]]


def pending_record(drawn: DrawnBatch, losses: dict[str, Tensor]) -> PendingRecord:
    """What a batch's record needs, without waiting for the device."""
    ids = list(drawn.batch.get("ids", [])) if isinstance(drawn.batch, dict) else []
    return drawn.key, ids, {name: loss.detach() for name, loss in losses.items()}


def batch_records(pending: list[PendingRecord]) -> list[BatchRecord]:
    """The records, with the losses read from the device."""
    return [BatchRecord(key, ids, {name: loss.item() for name, loss in losses.items()}) for key, ids, losses in pending]


def write_record(folder: Path, record: StepRecord) -> None:
    """Write a step's record into ``folder``, whole or not at all."""
    about = record._asdict() | {"batches": [batch._asdict() for batch in record.batches]}
    del about["state"]
    with files.atomic_folder(folder) as beside:
        (beside / "about.json").write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
        write_state(beside / "state.pt", record.state)


def read_record(folder: Path | str) -> StepRecord:
    """Read what ``write_record`` wrote."""
    folder = Path(folder)
    about = json.loads((folder / "about.json").read_text(encoding="utf-8"))
    about["batches"] = [BatchRecord(**batch) for batch in about["batches"]]
    return StepRecord(**about, state=read_state(folder / "state.pt"))


def _badness(value: float) -> float:
    return value if math.isfinite(value) else math.inf
