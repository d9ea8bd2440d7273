"""The benchmarks start: each says what it measures."""

import importlib
import runpy
import sys

import pytest
from support import PROJECT

from mperceiver import config
from mperceiver.degradations.mix import check_layers

PROGRAMS = sorted(
    {path.stem for path in (PROJECT / "benchmarks").glob("*.py")} - {"shared", "sd21", "growth", "estimates"}
)


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_benchmark_starts(name, monkeypatch, capsys):
    monkeypatch.syspath_prepend(str(PROJECT / "benchmarks"))
    monkeypatch.setattr(sys, "argv", [f"{name}.py", "--help"])
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # degradations.py sets it for its own process
    path = PROJECT / f"benchmarks/{name}.py"
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(path), run_name="__main__")
    assert ended.value.code == 0
    first_line = path.read_text(encoding="utf-8").split('"""')[1].splitlines()[0]
    assert first_line in " ".join(capsys.readouterr().out.split())


def test_what_grows_with_what_is_made_of_recorded_results(monkeypatch):
    """And the page that plan.py writes has the lines that hang on no plan."""
    monkeypatch.syspath_prepend(str(PROJECT / "benchmarks"))
    growth = importlib.import_module("growth")
    page = (PROJECT / "docs/costs.md").read_text(encoding="utf-8").splitlines()
    lines = [line for line in growth.section(jobs=600, restored=10_000.0) if "DVC" in line or "one Arrow file" in line]
    assert len(lines) == 1 and set(lines) <= set(page)


def test_the_shipped_recipe_is_changed_into_one_that_is_understood(monkeypatch, tmp_path):
    """Each task's layers are still in the order in which they must stand."""
    monkeypatch.syspath_prepend(str(PROJECT / "benchmarks"))
    importlib.import_module("small").lay_out(tmp_path, steps=4, crops=60, pictures=4)
    monkeypatch.chdir(tmp_path)
    dataset, run = config.load("datasets", "small-train"), config.load("runs", "small")
    assert (dataset.from_, dataset.crops) == (["dead-leaves"], 60)
    assert run.predictor.steps == run.branches.steps == run.drm.steps == 4
    for layers in dataset.degradations.values():
        check_layers(list(layers.items()))
