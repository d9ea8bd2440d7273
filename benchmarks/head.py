"""Snakemake's own work while jobs run: with its limit of jobs a second, and without, as the Snakefile here has it.

    uv run python benchmarks/head.py [--out benchmarks/results/NAME.json]

In one run, turn by turn: a workflow of many half-second jobs on two cores. What counts is the head's own processor time, less
that of planning (a dry run): all that it does besides is wait.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path

import snakemake

JOBS, INPUTS = 240, 8  # and files that each of them looks at
RULES = """
rule all:
    input: expand("done/{{i}}", i=range({jobs}))
rule one:
    input: expand("in/{{i}}", i=range({inputs}))
    output: "done/{{i}}"
    shell: "sleep 0.5; touch {{output}}"
"""
WITHOUT = (Path(__file__).resolve().parent.parent / "workflow/rules/head.smk").read_text()


def head_seconds(rules: str, *options: str) -> float:
    """Processor seconds of one run of a workflow in an empty folder, its jobs' own (some milliseconds each) included."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "Snakefile").write_text(rules)
        (Path(folder) / "in").mkdir()
        for i in range(INPUTS):
            (Path(folder) / f"in/{i}").touch()
        before = os.times()
        subprocess.run(
            [sys.executable, "-m", "snakemake", "--cores", "2", "--quiet", "all", *options],
            cwd=folder,
            check=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        after = os.times()
    return after.children_user + after.children_system - before.children_user - before.children_system


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    rules = RULES.format(jobs=JOBS, inputs=INPUTS)
    planning = min(head_seconds(rules, "--dry-run") for _ in range(2))
    runs = {"with the limit": [], "without": []}
    for _ in range(2):
        runs["with the limit"].append(round(head_seconds(rules) - planning, 2))
        runs["without"].append(round(head_seconds(rules + WITHOUT) - planning, 2))
    best = {name: min(seconds) for name, seconds in runs.items()}
    found = {
        "what": f"processor seconds of Snakemake's head while {JOBS} jobs of half a second run on two cores",
        "snakemake": snakemake.__version__,
        "planning_s": round(planning, 2),
        "head_s": runs,
        "ratio": round(best["with the limit"] / best["without"], 1),
        "device": platform.processor() or platform.machine(),
    }
    text = json.dumps(found, indent=2) + "\n"
    print(text, end="")
    if options.out:
        options.out.write_text(text)


if __name__ == "__main__":
    main()
