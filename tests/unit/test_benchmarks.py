"""The benchmarks start: each says what it measures."""

import importlib
import runpy
import sys

import pytest
from support import PROJECT

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
