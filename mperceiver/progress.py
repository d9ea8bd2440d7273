"""Progress of long work on standard error: a bar on a terminal, elsewhere a line every few seconds."""

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from mperceiver.printing import console, say

if TYPE_CHECKING:
    from rich.progress import Progress

LINE_SECONDS = 10  # between two lines where there is no terminal
MEGABYTE = 1_000_000


@contextlib.contextmanager
def progress(label: str, total: int | None, unit: str = "pictures", done: int = 0) -> Iterator[Callable[[float], None]]:
    """Yield a function ``advance(n)`` that reports ``n`` more units of work.

    Args:
        label: what the work is.
        total: number of units; None if it is unknown.
        unit: name of a unit; "bytes" are shown in MB, "%" as whole percents of a total of 100.
        done: units that were done before.
    """
    if sys.stderr.isatty():
        with _bar(unit) as bar:
            task = bar.add_task(label, total=total, completed=done)
            yield lambda n: bar.advance(task, n)
        return
    before, start = float(done), time.monotonic()
    last_line, state = start, before

    def advance(n: float) -> None:
        nonlocal state, last_line
        state += n
        now = time.monotonic()
        if now - last_line >= LINE_SECONDS or (total is not None and abs(state - total) < 1e-6):
            rate, last_line = (state - before) / max(now - start, 1e-9), now
            say(f"{label}: {_state(state, total, unit, rate)}", error=True)

    yield advance


def _state(done: float, total: int | None, unit: str, rate: float) -> str:
    """The state in words, e.g. ``12/80 pictures, 3/s, 23 s left``, or where one takes longer ``1/2 pictures, 47 s each, 47 s left``.

    ``rate`` in units a second.
    """
    left = f", {max(total - done, 0) / rate:.0f} s left" if total is not None and rate > 0 else ""
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
        Progress,
        ProgressColumn,
        TaskProgressColumn,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    counts: tuple[ProgressColumn, ...] = (
        (DownloadColumn(), TransferSpeedColumn()) if unit == "bytes" else (MofNCompleteColumn(),)
    )
    if unit == "%":
        counts = (TaskProgressColumn(),)
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), *counts, TimeRemainingColumn())
    # rich would otherwise move what is printed to standard output above the bar, onto standard error.
    return Progress(*columns, console=console(error=True), redirect_stdout=False)
