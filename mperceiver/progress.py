"""Progress of long work on standard error: a bar on a terminal, elsewhere a line every few seconds."""

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import TYPE_CHECKING

from mperceiver.printing import console, say

if TYPE_CHECKING:
    from rich.progress import Progress, ProgressColumn

LINE_SECONDS = 10  # between two lines where there is no terminal
JUDGED_SECONDS = 3  # of work, before which no time left is shown
MEGABYTE = 1_000_000


@contextlib.contextmanager
def progress(label: str, total: int | None, unit: str = "pictures", done: int = 0) -> Iterator[Callable[[float], None]]:
    """Yield a function ``advance(n)`` that reports ``n`` more units of work.

    The time left is computed from the mean pace since the start. A first call ``advance(0)`` says that the work starts only now: the time
    before it, such as that of loading a model, does not count.

    Args:
        label: what the work is.
        total: number of units; None if it is unknown.
        unit: name of a unit; "bytes" are shown in MB, "%" as whole percents of a total of 100.
        done: number of units that were done before, by an earlier call or process.
    """
    pace = _Pace(done, total)
    if sys.stderr.isatty():
        with _bar(unit) as bar:
            task = bar.add_task(label, total=total, completed=done, left=_clock(total, None))

            def move(n: float) -> None:
                pace.add(n)
                bar.update(task, completed=pace.done, left=_clock(total, _left(pace.done, total, pace.rate())))

            yield move
        return
    last_line = time.monotonic()

    def tell(n: float) -> None:
        nonlocal last_line
        pace.add(n)
        now = time.monotonic()
        if now - last_line >= LINE_SECONDS or pace.finished():
            last_line = now
            say(f"{label}: {_state(pace.done, total, unit, pace.rate())}", error=True)

    yield tell


class _Pace:
    """The units that are done, and their mean number a second since the work started."""

    def __init__(self, done: float, total: float | None):
        self.done, self.total = float(done), total
        self._before, self._start = self.done, time.monotonic()

    def add(self, n: float) -> None:
        if n == 0 and self.done == self._before:
            self._start = time.monotonic()
        self.done += n

    def finished(self) -> bool:
        return self.total is not None and abs(self.done - self.total) < 1e-6  # shares of the work add up by rounding

    def rate(self) -> float:
        """Units a second; 0 for the first JUDGED_SECONDS."""
        seconds = time.monotonic() - self._start
        if seconds < JUDGED_SECONDS and not self.finished():
            return 0.0
        return (self.done - self._before) / max(seconds, 1e-9)


def _left(done: float, total: float | None, rate: float) -> float | None:
    """Seconds to the end; None where they cannot be told."""
    return max(total - done, 0) / rate if total is not None and rate > 0 else None


def _clock(total: float | None, left: float | None) -> str:
    """Seconds as a bar shows them, e.g. ``0:00:23``; nothing where the total is unknown."""
    if total is None:
        return ""
    return "-:--:--" if left is None else str(timedelta(seconds=round(left)))


def _state(done: float, total: int | None, unit: str, rate: float) -> str:
    """The state in words, e.g. ``12/80 pictures, 3/s, 23 s left``, or where one takes longer ``1/2 pictures, 47 s each, 47 s left``.

    ``rate`` in units a second; 0 if it is not known.
    """
    seconds = _left(done, total, rate)
    left = "" if seconds is None else f", {seconds:.0f} s left"
    if unit == "bytes":
        of_total = "" if total is None else f"/{total / MEGABYTE:.1f}"
        return f"{done / MEGABYTE:.1f}{of_total} MB, {rate / MEGABYTE:.1f} MB/s{left}"
    if unit == "%":
        return f"{done:.0f} %{left}"
    pace = f", {rate:.0f}/s" if rate >= 1 else f", {1 / rate:.0f} s each" if rate > 0 else ""
    return f"{done:.0f}{'' if total is None else f'/{total}'} {unit}{pace}{left}"


def _bar(unit: str) -> "Progress":
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        MofNCompleteColumn,
        ProgressColumn,
        TaskProgressColumn,
        TextColumn,
        TransferSpeedColumn,
    )

    counts: tuple[ProgressColumn, ...] = (
        (DownloadColumn(), TransferSpeedColumn()) if unit == "bytes" else (MofNCompleteColumn(),)
    )
    if unit == "%":
        counts = (TaskProgressColumn(),)
    left = TextColumn("{task.fields[left]}", style="progress.remaining", markup=False)
    return bar_of(TextColumn("{task.description}", markup=False), BarColumn(), *counts, left)


def bar_of(*columns: "ProgressColumn") -> "Progress":
    """A progress bar on standard error. Text for standard output stays there; rich by itself would move it to standard error."""
    from rich.progress import Progress

    return Progress(*columns, console=console(error=True), redirect_stdout=False)
