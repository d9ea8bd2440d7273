"""What the benchmarks share: arguments, facts about the machine, and the file of results.

A benchmark prints its results. With --out it also writes them as JSON, with the machine they were measured on; recorded ones
lie in benchmarks/results/, one file for each benchmark and device. Timings of one file are of one run on one machine.
"""

import argparse
import importlib.metadata
import json
import platform
import resource
import statistics
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mperceiver.parallel import cores

ROOT = Path(__file__).resolve().parents[1]
# What startup.py and scoring.py compare with: CPU seconds of a command to stay below, and pictures in a CPU second to reach.
STARTUP_LIMITS_S = {
    "mperceiver --help": 0.5,
    "mperceiver explain": 1.0,
    "load": 4.5,
    "mperceiver restore": 8.0,
    "mperceiver restore, 1 MP": 10.0,
    "mperceiver score": 2.5,
    "snakemake -n": 3.0,
}
SCORING_RATES = {"first method": 5, "next method": 8}


def arguments(docstring: str | None, repeats: int | None = None) -> argparse.ArgumentParser:
    """A parser with --out, and with --repeats if there is a default for it; the docstring's first line is the help."""
    parser = argparse.ArgumentParser(description=(docstring or "").splitlines()[0])
    parser.add_argument("--out", type=Path, metavar="FILE.json", help="write the results there, too")
    if repeats is not None:
        parser.add_argument(
            "--repeats",
            type=int,
            default=repeats,
            help="measurements of each number, which is their median (default: %(default)s)",
        )
    return parser


def machine(*packages: str, **more: Any) -> dict[str, Any]:
    """Facts that a timing depends on: the processor's architecture, usable cores, versions of ``packages``, and ``more``."""
    versions = {package: importlib.metadata.version(package) for package in packages}
    return {"machine": platform.machine(), "cores": cores()} | versions | more


def in_turn(measurements: dict[str, Callable[[], float]], repeats: int) -> dict[str, float]:
    """Medians of ``repeats`` values of each measurement, taken in turn after a round that does not count.

    So other work of the machine slows all of them alike.
    """
    rounds = [{name: measure() for name, measure in measurements.items()} for _ in range(repeats + 1)]
    return {name: statistics.median(of_round[name] for of_round in rounds[1:]) for name in measurements}


def cpu_seconds(folder: Path, *words: str) -> float:
    """CPU seconds of a command in a folder, user and system, with all that it starts."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(words, cwd=folder, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def recorded(name: str) -> dict[str, Any]:
    """The results in benchmarks/results/<name>.json."""
    return json.loads((ROOT / f"benchmarks/results/{name}.json").read_text(encoding="utf-8"))


def write(out: Path | None, **results: Any) -> None:
    """Write results as JSON to ``out``; without ``out`` do nothing."""
    if out is not None:
        out.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
