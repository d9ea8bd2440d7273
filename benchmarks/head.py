"""CPU seconds of Snakemake's head while jobs run, with its limit of jobs per second and without it, as in this project's Snakefile.

    uv run python benchmarks/head.py [--out benchmarks/results/NAME.json]

The workflow has many jobs of half a second, on two cores. Both variants run in turn. The CPU time of planning, which a dry run
takes, is subtracted: apart from it the head only waits for jobs.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import shared

JOBS, INPUTS = 240, 8  # INPUTS: input files of each job
RULES = """
rule all:
    input: expand("done/{{i}}", i=range({jobs}))
rule one:
    input: expand("in/{{i}}", i=range({inputs}))
    output: "done/{{i}}"
    shell: "sleep 0.5; touch {{output}}"
"""
WITHOUT_LIMIT = (shared.ROOT / "workflow/rules/head.smk").read_text(encoding="utf-8")


def head_seconds(rules: str, *options: str) -> float:
    """CPU seconds of one run of a workflow in an empty folder, its jobs' own (some milliseconds each) included."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "Snakefile").write_text(rules, encoding="utf-8")
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
    options = shared.arguments(__doc__).parse_args()
    rules = RULES.format(jobs=JOBS, inputs=INPUTS)
    planning = min(head_seconds(rules, "--dry-run") for _ in range(2))
    runs: dict[str, list[float]] = {"with the limit": [], "without": []}
    for _ in range(2):
        runs["with the limit"].append(round(head_seconds(rules) - planning, 2))
        runs["without"].append(round(head_seconds(rules + WITHOUT_LIMIT) - planning, 2))
    best = {name: min(seconds) for name, seconds in runs.items()}
    results = {
        "what": f"CPU seconds of Snakemake's head while {JOBS} jobs of half a second run on two cores",
        "planning_s": round(planning, 2),
        "head_s": runs,
        "ratio": round(best["with the limit"] / best["without"], 1),
        "device": shared.machine("snakemake"),
    }
    print(json.dumps(results, indent=1))
    shared.write(options.out, **results)


if __name__ == "__main__":
    main()
