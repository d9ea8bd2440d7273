"""The benchmarks start: each says what it measures."""

import importlib
import runpy
import sys

import pytest
import torch
from support import PROJECT

from mperceiver import config
from mperceiver.degradations.mix import check_layers
from mperceiver.models.branches import Branches
from mperceiver.models.towers import freeze

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


def test_the_forms_of_a_sampling_step_are_the_same_mathematics(monkeypatch, foundation, tiny_run):
    monkeypatch.syspath_prepend(str(PROJECT / "benchmarks"))
    static_caching = importlib.import_module("static_caching")
    monkeypatch.setattr(static_caching, "STEPS", 1)
    torch.manual_seed(0)
    branches = freeze(Branches(foundation, 9, tiny_run.model))
    z, lq_latent = torch.randn(2, 1, 4, 16, 16)
    embedding = torch.randn(1, foundation.embedding_width)
    forms = static_caching.sampling_forms(branches, z, embedding, lq_latent, torch.full((1, 9), 1 / 9))
    anew, *others = (form() for form in forms.values())
    for output in others:
        torch.testing.assert_close(output, anew, rtol=1e-4, atol=1e-5)


def test_what_grows_with_what_is_made_of_recorded_results(monkeypatch):
    """And the page that plan.py writes has the lines that depend on no plan."""
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
