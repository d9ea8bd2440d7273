"""A word now and then about long work: a bar on a terminal, a line every few seconds elsewhere (standard error)."""

import contextlib
import sys
import time
from collections.abc import Callable, Iterator

QUIET_SECONDS = 10  # between two lines where there is no terminal
MEGABYTE = 1_000_000


@contextlib.contextmanager
def progress(label: str, total: int | None, unit: str = "pictures", done: int = 0) -> Iterator[Callable[[int], None]]:
    """Yield ``advance(n)``.

    Args:
        label: what is under way.
        total: how much there is to do; None where nobody knows.
        unit: of what; "bytes" are told in MB.
        done: how much of it was done before.
    """
    if sys.stderr.isatty():
        with _bar(unit) as bar:
            task = bar.add_task(label, total=total, completed=done)
            yield lambda n: bar.advance(task, n)
        return
    before, start = done, time.monotonic()
    last = start

    def advance(n: int) -> None:
        nonlocal done, last
        done += n
        now = time.monotonic()
        if now - last >= QUIET_SECONDS or done == total:
            rate, last = (done - before) / max(now - start, 1e-9), now
            print(f"{label}: {_told(done, total, unit, rate)}", file=sys.stderr, flush=True)

    yield advance


def _told(done: int, total: int | None, unit: str, rate: float) -> str:
    left = f", {(total - done) / rate:.0f} s left" if total is not None and rate > 0 else ""
    if unit == "bytes":
        of = "" if total is None else f"/{total / MEGABYTE:.1f}"
        return f"{done / MEGABYTE:.1f}{of} MB, {rate / MEGABYTE:.1f} MB/s{left}"
    return f"{done}{'' if total is None else f'/{total}'} {unit}, {rate:.0f}/s{left}"


def _bar(unit: str):
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    counts = (DownloadColumn(), TransferSpeedColumn()) if unit == "bytes" else (MofNCompleteColumn(),)
    columns = (TextColumn("{task.description}"), BarColumn(), *counts, TimeRemainingColumn())
    # What is written to standard output goes there, not above the bar.
    return Progress(*columns, console=Console(stderr=True), redirect_stdout=False)
