"""The tiny world, built once by the workflow."""

import shutil
import subprocess
from pathlib import Path

import pytest
from support import PROJECT, warm
from support.once import built_once
from support.workflow import WARM, run


@pytest.fixture(scope="module")
def commands(warm_commands):
    """`snakemake` and `mperceiver` are forks of a process that has imported the libraries, where a test does not say `warm.cold()`."""
    WARM.update(warm.environment(warm_commands))


@pytest.fixture(scope="module")
def built(commands, tmp_path_factory) -> Path:
    """The tiny world, built by the workflow, its foundation by the command line. Do not change it: copy it."""

    def build(world: Path) -> None:
        shutil.copytree(PROJECT / "tests/tiny", world)
        for words in ("download leaves", "prepare leaves", "prepare tiny-train", "foundation tiny --build --threads 1"):
            subprocess.run(["mperceiver", *words.split()], cwd=world, env=WARM, check=True)
        shutil.rmtree(world / "data")
        run(world)

    return built_once(tmp_path_factory, "workflow", build)


@pytest.fixture
def world(built, tmp_path) -> Path:
    """A copy of the built world, times and Snakemake's records included."""
    return Path(shutil.copytree(built, tmp_path / "world"))
