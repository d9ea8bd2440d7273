"""What the paper's tables cost: jobs, GPU-hours, CPU-hours, storage, and the days until all is done.

    uv run python benchmarks/plan.py [--experiment config/paper.yaml] > docs/costs.md

The jobs and their order come from `snakemake -n --forceall`, whose own CPU time is measured. For jobs that run the method at the
paper's width, the multiply-adds are counted (benchmarks/results/full_width-counted.json) and divided by an assumed speed of the
GPU. All else is estimated. The assumptions stand in estimates.py, and the page lists them. Nothing here was measured on a cluster.
"""

import argparse
import heapq
import os
import re
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import growth
import shared
from estimates import ESTIMATES, OTHERS, PICTURES, PlannedJob, counted, estimate, pictures

GPUS = (1, 8, 64)
BLOCK = re.compile(r"^(?:local)?rule (\w+):\n((?:    .*\n)+)", re.MULTILINE)


def planned(experiment: str, folder: Path = shared.ROOT) -> tuple[list[PlannedJob], float]:
    """All jobs of an experiment in a checkout, and the CPU seconds that Snakemake took to plan them."""
    command = ["snakemake", "--configfile", experiment, "--dry-run", "--forceall", "--nolock"]
    search_path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    before = os.times()
    done = subprocess.run(
        command, cwd=folder, capture_output=True, encoding="utf-8", env=os.environ | {"PATH": search_path}
    )
    after = os.times()
    if done.returncode:
        sys.exit(done.stdout[-3000:] + done.stderr[-3000:])
    jobs = []
    for rule, body in BLOCK.findall(done.stdout + done.stderr):
        entries = dict(re.findall(r"^    (\w+): (.*)$", body, re.MULTILINE))
        wildcards = dict(pair.split("=", 1) for pair in entries.get("wildcards", "").split(", ") if "=" in pair)
        files = [
            [path.split(" (")[0] for path in entries.get(key, "").split(", ") if path] for key in ("input", "output")
        ]
        if rule != "all":
            jobs.append(PlannedJob(rule, wildcards, *files))
    makers = {path: number for number, job in enumerate(jobs) for path in job.outputs}
    for number, job in enumerate(jobs):
        for maker in {makers[path] for path in job.inputs if path in makers}:
            jobs[maker].after.append(number)
            job.waits_for += 1
    return jobs, after.children_user + after.children_system - before.children_user - before.children_system


def chain_seconds(jobs: list[PlannedJob], gpus: int) -> list[float]:
    """For each job, the seconds from its start to the end of the longest chain of jobs that begins with it."""
    left: dict[int, float] = {}
    for start in range(len(jobs)):
        stack = [start]
        while stack:
            number = stack[-1]
            missing = [other for other in jobs[number].after if other not in left]
            if missing:
                stack += missing
                continue
            left[stack.pop()] = jobs[number].seconds(gpus) + max(
                (left[other] for other in jobs[number].after), default=0.0
            )
    return [left[number] for number in range(len(jobs))]


def makespan(jobs: list[PlannedJob], gpus: int) -> float:
    """Seconds until all is done on ``gpus`` GPUs, if the ready job with the longest chain always starts first."""
    chain = chain_seconds(jobs, gpus)
    unfinished = [job.waits_for for job in jobs]
    ready = [(-chain[number], number) for number, count in enumerate(unfinished) if not count]
    heapq.heapify(ready)
    running: list[tuple[float, int]] = []
    free, cores, now = gpus, ESTIMATES["cores of the cluster"], 0.0
    while ready or running:
        too_large = []  # for the GPUs and cores that are free now
        while ready:
            item = heapq.heappop(ready)
            job = jobs[item[1]]
            needed = min(job.gpus, gpus)
            if needed <= free and job.cores <= cores:
                free, cores = free - needed, cores - job.cores
                heapq.heappush(running, (now + job.seconds(gpus), item[1]))
            else:
                too_large.append(item)
        ready = too_large
        heapq.heapify(ready)
        now, done = heapq.heappop(running)
        free, cores = free + min(jobs[done].gpus, gpus), cores + jobs[done].cores
        for other in jobs[done].after:
            unfinished[other] -= 1
            if not unfinished[other]:
                heapq.heappush(ready, (-chain[other], other))
    return now


def page(jobs: list[PlannedJob], experiment: str, planning_s: float) -> str:
    """The page as Markdown."""
    families: dict[str, list[PlannedJob]] = defaultdict(list)
    for job in jobs:
        families[job.rule].append(job)
    lines = [
        f"# What `{experiment}` costs",
        "",
        "Written by `benchmarks/plan.py`. Nothing here was measured on a cluster. The multiply-adds of the method at its full width are",
        "counted; the GPU's speed and all else are estimated, see the estimates at the end. At half that speed the GPU-hours double.",
        "",
        f"Planning all {len(jobs)} jobs (`snakemake -n --forceall`) took {planning_s:.0f} s of one core.",
        "",
        "| rule | jobs | GPU-hours | core-hours | GB written |",
        "|---|---:|---:|---:|---:|",
    ]

    def row(name: str, group: list[PlannedJob]) -> str:
        gpu, cpu, gb = (sum(getattr(job, key) for job in group) for key in ("gpu_s", "cpu_s", "mb"))
        return f"| {name} | {len(group)} | {gpu / 3600:,.1f} | {cpu / 3600:,.1f} | {gb / 1000:,.1f} |"

    by_cost = sorted(
        families.items(), key=lambda pair: [-sum(getattr(j, key) for j in pair[1]) for key in ("gpu_s", "cpu_s")]
    )
    lines += [row(rule, group) for rule, group in by_cost]
    cores = ESTIMATES["cores of the cluster"]
    lines += [
        row("**all**", jobs),
        "",
        *_of_turbo(jobs),
        f"| GPUs | until all is done, {cores} cores | the longest chain alone |",
        "|---:|---:|---:|",
    ]
    for gpus in GPUS:
        days, chain = makespan(jobs, gpus) / 86400, max(chain_seconds(jobs, gpus)) / 86400
        lines.append(f"| {gpus} | {days:,.1f} days | {chain:,.1f} days |")
    lines += [
        "",
        "A training uses at most eight GPUs, as in `slurm/config.yaml`. Time in the queue is not counted.",
        "",
        *growth.section(len(jobs), sum(pictures(job.wildcards["dataset"]) for job in families["restore"])),
        "## Estimates",
        "",
        "| estimate | |",
        "|---|---:|",
        *(f"| {what} | {value:g} |" for what, value in ESTIMATES.items()),
        *(f"| pictures of {name} | {count} |" for name, count in PICTURES.items()),
        f"| pictures of any other dataset whose file does not say it | {OTHERS} |",
    ]
    return "\n".join(lines) + "\n"


def _of_turbo(jobs: list[PlannedJob]) -> list[str]:
    """What the variants that are trained for few steps of the sampler cost of it all."""
    turbo = [job for job in jobs if "turbo" in job.wildcards.get("run", "") + job.wildcards.get("method", "")]
    hours = sum(job.gpu_s for job in turbo) / 3600
    return [f"MPerceiver-turbo is {len(turbo)} of the jobs and {hours:,.1f} of the GPU-hours.", ""] if turbo else []


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--experiment", default="config/paper.yaml", help="the experiment's file (default: %(default)s)"
    )
    experiment = parser.parse_args().experiment
    os.chdir(shared.ROOT)
    jobs, planning_s = planned(experiment)
    gmac = counted()
    for job in jobs:
        estimate(job, gmac)
    print(page(jobs, experiment, planning_s), end="")


if __name__ == "__main__":
    main()
