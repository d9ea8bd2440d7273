"""What the benchmarks share: arguments, facts about the machine, and the file of results.

A benchmark prints its results. With --out it also writes them as JSON, with the machine they were measured on; recorded ones
lie in benchmarks/results/, one file for each benchmark and device. Timings of one file are of one run on one machine.
"""

import argparse
import importlib.metadata
import json
import platform
from pathlib import Path
from typing import Any

from mperceiver.parallel import cores

ROOT = Path(__file__).resolve().parents[1]


def arguments(docstring: str | None, repeats: int | None = None) -> argparse.ArgumentParser:
    """A parser with --out, and with --repeats if there is a default for it; the docstring's first line is the help."""
    parser = argparse.ArgumentParser(description=(docstring or "").splitlines()[0])
    parser.add_argument("--out", type=Path, metavar="FILE.json", help="write the results there, too")
    if repeats is not None:
        parser.add_argument(
            "--repeats",
            type=int,
            default=repeats,
            help="measurements of each number; it is their median (default: %(default)s)",
        )
    return parser


def machine(*packages: str, **more: Any) -> dict[str, Any]:
    """Facts that a timing depends on: the processor's architecture, usable cores, versions of ``packages``, and ``more``."""
    versions = {package: importlib.metadata.version(package) for package in packages}
    return {"machine": platform.machine(), "cores": cores()} | versions | more


def write(out: Path | None, **results: Any) -> None:
    """Write results as JSON to ``out``; without ``out`` do nothing."""
    if out is not None:
        out.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
