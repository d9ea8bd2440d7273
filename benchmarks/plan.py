"""What the paper's tables cost: jobs, GPU-hours, CPU-hours, storage, and the days until all is done.

    uv run python benchmarks/plan.py [--experiment config/paper.yaml] > docs/costs.md

The jobs and their order come from `snakemake -n --forceall`, whose own CPU time is measured. For jobs that run the method at the
paper's width, the multiply-adds are counted (benchmarks/results/full_width-counted.json) and divided by an assumed speed of the
GPU. All else is estimated. The assumptions are ESTIMATES and PICTURES, and the page lists them. Nothing here was measured on a
cluster.
"""

import argparse
import heapq
import json
import os
import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import growth
import shared

from mperceiver import config

COUNTED = shared.ROOT / "benchmarks/results/full_width-counted.json"
ESTIMATES = {
    "GPU, sustained TFLOP/s at bf16 or fp16": 125.0,  # two fifths of an A100's 312
    "GPU, seconds per crop: reading, decoding, waiting": 0.02,
    "GPU, seconds per picture of another method": 0.5,
    "GPU, seconds per step of a network's training": 0.15,
    "GPU, seconds per step of the predictor's training": 0.05,
    "GPU, factor for the losses of stage 3 (LPIPS, discriminator)": 1.3,
    "crops of 512 px in a test picture, overlaps counted": 4.0,
    "CPU, core seconds to prepare a picture": 1.5,
    "CPU, core seconds to score a picture, LPIPS and FID included": 4.0,
    "CPU, core seconds of a table, a figure or the report": 60.0,
    "CPU, seconds that a job takes to start": 40.0,
    "MB per pair of pictures": 1.5,
    "MB per restored picture": 0.8,
    "MB per crop, latents and embedding": 0.07,
    "MB per second of a download": 20.0,
    "cores of the cluster": 256,
}
# Number of pictures of datasets whose own file does not say it.
PICTURES = {"realsnow": 1890, "lhp-rain": 300, "rainds-syn-train": 3000, "tip2018-test": 10000, "tip2018": 100000}
OTHERS = 1000  # of any other such dataset
GPUS = (1, 8, 64)
BLOCK = re.compile(r"^(?:local)?rule (\w+):\n((?:    .*\n)+)", re.MULTILINE)


@dataclass
class PlannedJob:
    """A job of the plan, and what it is estimated to take."""

    rule: str
    wildcards: dict[str, str]
    inputs: list[str]
    outputs: list[str]
    gpu_s: float = 0.0  # seconds on one GPU
    cpu_s: float = 0.0  # seconds on one core
    mb: float = 0.0  # written
    gpus: int = 0  # that can share the job
    cores: int = 1
    after: list[int] = field(default_factory=list)  # indices of the jobs that wait for this one
    waits_for: int = 0  # number of jobs that this one waits for

    def seconds(self, gpus: int) -> float:
        """Seconds that the job takes on a cluster of ``gpus`` GPUs."""
        shared = self.gpu_s / min(self.gpus, gpus) if self.gpus else 0.0
        return ESTIMATES["CPU, seconds that a job takes to start"] + shared + self.cpu_s / self.cores


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


def pictures(name: str) -> float:
    """Number of pairs of a dataset, or of pictures if it has no pairs."""
    spec = config.load("datasets", name)
    if spec.expected is not None:
        return spec.expected
    if name in PICTURES:
        return PICTURES[name]
    if spec.crops is not None and not spec.every:
        return spec.crops
    if not spec.from_:
        return OTHERS
    kinds = len(spec.degradations or {}) or 1
    return sum(pictures(source) for source in spec.from_) * (kinds if spec.every else 1) * (spec.crops or 1)


def crops(name: str) -> float:
    """Number of crops that are encoded of a dataset."""
    encode = config.load("datasets", name).encode
    return pictures(name) * (encode.crops if encode else 1)


def estimate(job: PlannedJob, gmac: dict) -> None:
    """Fill in what a job takes; ``gmac``: multiply-adds of the method's parts, see ``counted``."""
    e = ESTIMATES
    names = job.wildcards

    def on_gpu(giga_multiply_adds: float) -> float:
        return 2 * giga_multiply_adds / 1000 / e["GPU, sustained TFLOP/s at bf16 or fp16"]

    reading = e["GPU, seconds per crop: reading, decoding, waiting"]
    if job.rule == "download":
        job.mb = pictures(names["dataset"]) * e["MB per pair of pictures"]
        job.cpu_s = job.mb / e["MB per second of a download"]
    elif job.rule == "foundation":
        job.mb = 9000.0
        job.cpu_s = job.mb / e["MB per second of a download"]
    elif job.rule == "prepare":
        job.cores, job.mb = 8, pictures(names["dataset"]) * e["MB per pair of pictures"]
        job.cpu_s = pictures(names["dataset"]) * e["CPU, core seconds to prepare a picture"]
    elif job.rule == "encode":
        count = crops(names["dataset"])
        job.gpus, job.mb = 1, count * e["MB per crop, latents and embedding"]
        job.gpu_s = count * (on_gpu(2 * gmac["VAE encoder"] + gmac["CLIP and predictor"]) + reading)
    elif job.rule.startswith("train_"):
        _training(job, gmac, on_gpu)
    elif job.rule == "restore":
        method, count = config.load("methods", names["method"]), pictures(names["dataset"])
        job.mb = count * e["MB per restored picture"]
        if method.kind in ("mperceiver", "vae"):
            job.gpus = 1
            steps = method.sampler.steps if method.kind == "mperceiver" else 0
            parts = sum(gmac[key] for key in ("CLIP and predictor", "prompts and what else is static", "VAE encoder"))
            tile = on_gpu(parts + gmac["VAE decoder and DRM"] + steps * gmac["step"])
            passes = 1 if method.self_ensemble == "none" else int(re.sub(r"\D", "", method.self_ensemble) or 8)
            job.gpu_s = count * e["crops of 512 px in a test picture, overlaps counted"] * tile * passes
        elif method.kind == "identity":
            job.cpu_s = count * 0.1
        else:
            job.gpus, job.gpu_s = 1, count * e["GPU, seconds per picture of another method"]
    elif job.rule == "score":
        job.cores = 8
        job.cpu_s = pictures(names["dataset"]) * e["CPU, core seconds to score a picture, LPIPS and FID included"]
    else:
        job.cpu_s = e["CPU, core seconds of a table, a figure or the report"]


def _training(job: PlannedJob, gmac: dict, on_gpu: Callable[[float], float]) -> None:
    run, stage = config.load("runs", job.wildcards["run"]), job.rule.removeprefix("train_")
    spec = getattr(run, stage)
    job.mb, job.gpus = 3000.0, 1
    per_step = spec.accumulate * sum(phase.share * phase.batch for phase in spec.phases)
    if stage == "predictor":
        job.gpu_s = spec.steps * ESTIMATES["GPU, seconds per step of the predictor's training"]
        return
    if stage == "network":
        job.gpu_s = spec.steps * ESTIMATES["GPU, seconds per step of a network's training"]
        return
    job.gpus = max(number for number in range(1, 9) if spec.accumulate % number == 0)
    more = ESTIMATES["GPU, factor for the losses of stage 3 (LPIPS, discriminator)"] if stage == "drm" else 1.0
    job.gpu_s = spec.steps * per_step * on_gpu(gmac[stage]) * more
    if stage == "drm":  # first it samples the latents of all crops
        sampled = sum(crops(name) for name in run.train)
        job.gpu_s += sampled * on_gpu(gmac["step"] * run.latents.steps)
        job.mb += sampled * ESTIMATES["MB per crop, latents and embedding"]


def counted() -> dict[str, float]:
    """Multiply-adds (GMAC) of the method's parts at 512 px, and of a training step for one picture."""
    recorded = json.loads(COUNTED.read_text(encoding="utf-8"))
    gmac = dict(next(row for row in recorded["restoration"] if row["precision"] == "bf16")["gmac"])
    for key, stage in {"branches": "stage 2", "drm": "stage 3"}.items():
        rows = (r for r in recorded["training"] if r["stage"] == stage and r["batch"] == 1 and not r["checkpointing"])
        gmac[key] = next(row for row in rows if row["precision"] == "bf16")["gmac"]
    return gmac


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
