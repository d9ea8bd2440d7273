"""What is built once in a test run, whichever of its workers (pytest-xdist) needs it first."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock


def built_once(factory: pytest.TempPathFactory, name: str, build: Callable[[Path], None]) -> Path:
    """The folder ``name``, which ``build(folder)`` has created and filled; nobody may change it: copy it.

    A worker that comes while another one builds waits for it. What a failed build leaves is removed by the next.
    """
    base = factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        base = base.parent  # the folder of the run, in which each worker has one of its own
    folder, finished = base / name, base / f"{name}.built"
    with FileLock(base / f"{name}.lock"):
        if not finished.exists():
            shutil.rmtree(folder, ignore_errors=True)
            build(folder)
            finished.touch()
    return folder
