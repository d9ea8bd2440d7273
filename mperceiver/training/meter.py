"""The progress of a training: the rows of its curve, a progress bar on a terminal, lines elsewhere, and optional trackers."""

import csv
import io
import math
import sys
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from accelerate import Accelerator
from torch import Tensor

from mperceiver import files, paths
from mperceiver.config.runs import Stage
from mperceiver.progress import bar_of
from mperceiver.training import processes
from mperceiver.training.budget import Budget
from mperceiver.training.schedule import TrainingError
from mperceiver.training.usage import JOULES_A_WATT_HOUR, Usage

if TYPE_CHECKING:
    from rich.progress import Progress

ROW_EVERY = 50  # steps between two rows of the curve, and between two printed lines
WRITE_EVERY_S = 10.0  # least time between two writings of the unfinished curve
RATE_ROWS = 10  # the time that is left follows the speed over so many rows


class Meter:
    """Means of the losses over ROW_EVERY steps and all processes.

    Losses are summed on the device and read only when a row is due. ``state()`` is part of the resume state, so that a row's
    means are the same whether or not the training was stopped.
    """

    def __init__(self, title: str, spec: Stage, accelerator: Accelerator, curve: Path) -> None:
        self.title, self.spec, self.accelerator, self.curve = title, spec, accelerator, curve
        self.rows: list[dict] = []
        self.sums: dict[str, Tensor] = {}
        self.counts: dict[str, int] = {}
        self.pictures, self.total, self.written = 0, 0, 0.0
        self.bar: Progress | None = None
        self.usage = Usage(accelerator.device)

    def load(self, state: dict) -> None:
        """Continue from a ``state()``."""
        self.rows, self.counts, self.total = state["rows"], state["counts"], state["pictures"]
        self.sums = {k: torch.tensor(v, dtype=torch.float64) for k, v in state["sums"].items()}
        self.sums = {k: v.to(self.accelerator.device) for k, v in self.sums.items()}
        if "joules" in state:  # of all processes together: one of them takes it over
            self.usage.load(state["seconds"], state["joules"] if self.accelerator.is_main_process else 0.0)

    def begin(self, step: int, budget: Budget) -> None:
        """Start the clock after ``step`` steps."""
        self.row_start = time.monotonic()
        # (seconds, part of the training's time) at the start and at each of the last rows
        self.clock = deque([(self.row_start, budget.share_of_time(step))], RATE_ROWS + 1)
        self.usage.begin()
        if self.accelerator.is_main_process and sys.stderr.isatty():
            from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn

            self.bar = bar_of(
                TextColumn("{task.description}", markup=False),
                BarColumn(),
                MofNCompleteColumn(),
                TimeRemainingColumn(),
                TextColumn("{task.fields[note]}", markup=False),
            )
            self.bar.start()
            self.task = self.bar.add_task(
                self.title, total=self.spec.steps, completed=round(budget.share(step) * self.spec.steps), note=""
            )

    def state(self) -> dict:
        """The rows, and the sums of the row in progress over all processes."""
        sums = {k: self.accelerator.reduce(v, "mean").item() for k, v in self.sums.items()}
        used = {"seconds": self.usage.seconds, "joules": self._over_processes(self.usage.joules, "sum")}
        return {"rows": self.rows, "sums": sums, "counts": self.counts, "pictures": self.total, **used}

    def _over_processes(self, number: float, how: str) -> float:
        """The "sum" or the "mean" of a number of each process; every process takes part."""
        return self.accelerator.reduce(torch.tensor(number, device=self.accelerator.device), how).item()

    def add(self, losses: dict[str, Tensor]) -> None:
        """Add the losses of one batch."""
        for key, value in losses.items():
            self.sums[key] = self.sums.get(key, 0) + value.detach().double()
            self.counts[key] = self.counts.get(key, 0) + 1

    def step(self, step: int, pictures: int, lr: float, budget: Budget, last: bool) -> None:
        """Count a step of ``pictures`` pictures as the ``step``-th that is done, and add a row if one is due."""
        self.pictures += pictures
        self.total += pictures
        if self.bar:
            self.bar.update(self.task, completed=round((1.0 if last else budget.share(step)) * self.spec.steps))
        if step % ROW_EVERY and not last:
            return
        means = {k: self.accelerator.reduce(v, "mean").item() / self.counts[k] for k, v in self.sums.items()}
        seconds = max(time.monotonic() - self.row_start, 1e-9)
        row = {"step": step, "lr": lr, **means}
        row |= {
            "pictures_per_s": round(self.pictures / seconds, 2),
            "gib": round(self.usage.peak_gib(), 3),
            "seconds": round(self.usage.seconds, 2),
        }
        told = {
            "gpu_percent": self._over_processes(self.usage.busy_percent(), "mean"),
            "watt_hours": self._over_processes(self.usage.joules, "sum") / JOULES_A_WATT_HOUR,
        }
        row |= {key: round(value, 3) for key, value in told.items() if not math.isnan(value)}
        if self.spec.cpu_seconds is not None:
            row |= {"pictures": self.total, "cpu_seconds": round(budget.cpu_seconds(), 2)}
        self.rows.append(row)
        self.accelerator.log({key: value for key, value in row.items() if key != "step"}, step=step)
        remaining = self._remaining_s(1.0 if last else budget.share_of_time(step))
        note = (
            f"loss {means['loss']:.4f} lr {row['lr']:.1e} {row['pictures_per_s']:.0f} pictures/s {row['gib']:.1f} GiB"
        )
        if self.bar:
            self.bar.update(self.task, note=note)
        else:
            length = self.spec.steps if self.spec.cpu_seconds is None else f"{self.spec.cpu_seconds:g} CPU seconds"
            processes.say(f"{self.title}: step {step}/{length} {note} ETA {remaining:.0f} s")
        self.sums, self.counts, self.pictures, self.row_start = {}, {}, 0, time.monotonic()
        if self.row_start - self.written > WRITE_EVERY_S:
            self.write()

    def _remaining_s(self, share: float) -> float:
        """The seconds that are left after ``share`` of the training's time, at the speed of the last rows."""
        now = time.monotonic()
        then, share_then = self.clock[0]
        self.clock.append((now, share))
        return (now - then) * (1 - share) / max(share - share_then, 1e-9)

    def write(self) -> None:
        """Write the unfinished curve, so that a user can look at it."""
        if self.accelerator.is_main_process and self.rows:
            files.write_text(self.curve, self.text())
            self.written = time.monotonic()

    def text(self) -> str:
        """The curve as CSV."""
        fields = list(dict.fromkeys(key for row in self.rows for key in row))
        text = io.StringIO()
        writer = csv.DictWriter(text, fields, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows({k: f"{v:.6g}" if isinstance(v, float) else v for k, v in row.items()} for row in self.rows)
        return text.getvalue()

    def close(self) -> None:
        """Remove the progress bar and close the trackers."""
        if self.bar:
            self.bar.stop()
        for tracker in self.accelerator.trackers:  # Accelerator.end_training would also disconnect the processes
            tracker.finish()


def check_trackers(spec: Stage) -> None:
    """Raise TrainingError if a tracker of ``spec`` is not installed."""
    from accelerate.utils import is_dvclive_available, is_tensorboard_available

    installed: dict[str, Callable[[], bool]] = {
        "tensorboard": is_tensorboard_available,
        "dvclive": is_dvclive_available,
    }
    missing = [name for name in spec.trackers if not installed[name]()]
    if missing:
        raise TrainingError(
            f"trackers: {missing[0]} is not installed: uv pip install {missing[0]}, or take it out of the run's file"
        )


def start_trackers(title: str, accelerator: Accelerator) -> None:
    """Open ``results/trackers/<run>-<stage>/``, where ``title`` is "<run> <stage>"; a training that continues appends to what is there."""
    folder = title.replace(", ", "-").replace(" ", "-")
    # dvcyaml: dvclive would otherwise overwrite the project's dvc.yaml.
    dvclive = {"dir": str(paths.TRACKERS / folder / "dvclive"), "dvcyaml": None, "save_dvc_exp": False, "resume": True}
    accelerator.init_trackers(folder, init_kwargs={"dvclive": dvclive})
