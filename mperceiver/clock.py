"""Inputs whose time is ahead of the clock: Snakemake would let a job finish, and then throw its outputs away.

Snakemake removes outputs that are older than an input of their job. A colleague's machine whose clock is ahead, or an archive that was
unpacked with its times, can give such an input. It is therefore refused when a job is planned, before the job starts.
"""

import contextlib
import os
import tempfile
import time
from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path

MOST_AHEAD_S = 1.0  # less than the shortest job takes
FOLDER_TIME = ".snakemake_timestamp"  # in a folder that is an output: its time stands for the folder's


class ClockError(RuntimeError):
    """The time of an input is ahead of the clock; the message names the file and the next command."""


def check_times(files: Iterable[str]) -> None:
    """Raise ClockError if one of the files, or the data that a card among them describes, has a time ahead of the clock.

    The clock is that of the disk that a file is on: a file server's may differ from this machine's, and gives the times of a
    job's outputs too.
    """
    for name in files:
        card = Path(name)
        beside = [card.with_suffix(""), card.with_suffix(".arrow")] if card.suffix == ".json" else []
        for path in (card, *beside):
            _check(path)


def _check(path: Path) -> None:
    stamp = path / FOLDER_TIME if path.is_dir() else path
    try:
        then = max(stamp.stat().st_mtime, stamp.lstat().st_mtime)
    except OSError:  # not made yet
        return
    if then > time.time() + MOST_AHEAD_S and (ahead := then - _now(path.parent)) > MOST_AHEAD_S:
        raise ClockError(
            f"{path}: its time is {timedelta(seconds=round(ahead))} (hours:minutes:seconds) ahead of the clock, so Snakemake would "
            f"remove the outputs of every job that reads it, after the work. Set its time to now: touch {stamp}"
        )


def _now(folder: Path) -> float:
    """The time that a file written into ``folder`` would get; this machine's where nothing can be written there."""
    with contextlib.suppress(OSError), tempfile.TemporaryFile(dir=folder) as file:
        file.write(b"now")
        file.flush()
        return os.fstat(file.fileno()).st_mtime
    return time.time()
