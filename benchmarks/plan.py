"""What the paper's tables cost: jobs, GPU-hours, CPU-hours, storage and the time that the longest chain takes.

    uv run python benchmarks/plan.py [--experiment config/paper.yaml] > docs/costs.md

The jobs and what they wait for are those of `snakemake -n --forceall`; how long that takes is measured. Of a job, the multiply-adds are
counted (benchmarks/results/full_width-counted.json) where it runs the method at the paper's width, and turned to seconds by an assumed
speed of the device; all else is estimated. Both kinds of estimates stand in ESTIMATES and PICTURES, and are printed. Nothing here was
measured on a cluster.
"""

import argparse
import heapq
import json
import os
import re
import subprocess
import sys
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

from mperceiver import config

ROOT = Path(__file__).resolve().parent.parent
COUNTED = ROOT / "benchmarks/results/full_width-counted.json"
ESTIMATES = {
    "GPU, sustained TFLOP/s at bf16 or fp16": 125.0,  # two fifths of an A100's 312
    "GPU, seconds a crop: reading, decoding, waiting": 0.02,
    "GPU, seconds a picture of another method": 0.5,
    "GPU, seconds a step of a network's training": 0.15,
    "GPU, seconds a step of the predictor's training": 0.05,
    "of a training, what its losses add (LPIPS, discriminator)": 1.3,
    "crops of 512 px in a test picture, overlaps counted": 4.0,
    "CPU, core seconds to prepare a picture": 1.5,
    "CPU, core seconds to score a picture, LPIPS and FID included": 4.0,
    "CPU, core seconds of a table, a figure or the report": 60.0,
    "CPU, seconds that a job takes to start": 40.0,
    "MB of a pair of pictures": 1.5,
    "MB of a restored picture": 0.8,
    "MB of a crop's latents and embedding": 0.07,
    "MB a second of a download": 20.0,
    "cores of the cluster": 256,
}
# Pictures of datasets whose own file does not tell.
PICTURES = {"realsnow": 1890, "lhp-rain": 300, "rainds-syn-train": 3000, "tip2018-test": 10000, "tip2018": 100000}
OTHERS = 1000  # pictures of any other that does not tell
GPUS = (1, 8, 64)
BLOCK = re.compile(r"^(?:local)?rule (\w+):\n((?:    .*\n)+)", re.MULTILINE)


@dataclass
class Job:
    """One job: seconds on a GPU if it has one to itself, core seconds, MB written, GPUs and cores that can share it."""

    rule: str
    wildcards: dict[str, str]
    inputs: list[str]
    outputs: list[str]
    gpu_s: float = 0.0
    cpu_s: float = 0.0
    mb: float = 0.0
    gpus: int = 0
    cores: int = 1
    after: list[int] = field(default_factory=list)  # numbers of jobs that wait for this one
    waits_for: int = 0

    def seconds(self, gpus: int) -> float:
        """With so many GPUs in all."""
        shared = self.gpu_s / min(self.gpus, gpus) if self.gpus else 0.0
        return ESTIMATES["CPU, seconds that a job takes to start"] + shared + self.cpu_s / self.cores


def planned(experiment: str) -> tuple[list[Job], float]:
    """All jobs of an experiment, and the seconds of processor time that Snakemake took to plan them."""
    words = ["snakemake", "--configfile", experiment, "--dry-run", "--forceall", "--nolock"]
    paths = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    before = os.times()
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, env=os.environ | {"PATH": paths})
    after = os.times()
    if done.returncode:
        sys.exit(done.stdout[-3000:] + done.stderr[-3000:])
    jobs = []
    for rule, body in BLOCK.findall(done.stdout + done.stderr):
        told = dict(re.findall(r"^    (\w+): (.*)$", body, re.MULTILINE))
        wildcards = dict(pair.split("=", 1) for pair in told.get("wildcards", "").split(", ") if "=" in pair)
        files = [[path.split(" (")[0] for path in told.get(key, "").split(", ") if path] for key in ("input", "output")]
        if rule != "all":
            jobs.append(Job(rule, wildcards, *files))
    makers = {path: number for number, job in enumerate(jobs) for path in job.outputs}
    for number, job in enumerate(jobs):
        for maker in {makers[path] for path in job.inputs if path in makers}:
            jobs[maker].after.append(number)
            job.waits_for += 1
    return jobs, after.children_user + after.children_system - before.children_user - before.children_system


def pictures(name: str) -> float:
    """Pairs of a dataset, or pictures of one that has no pairs."""
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
    encode = config.load("datasets", name).encode
    return pictures(name) * (encode.crops if encode else 1)


def estimate(job: Job, gmac: dict) -> None:
    """Fill in what a job takes."""
    e = ESTIMATES
    names = job.wildcards

    def on_gpu(giga_multiply_adds: float) -> float:
        return 2 * giga_multiply_adds / 1000 / e["GPU, sustained TFLOP/s at bf16 or fp16"]

    reading = e["GPU, seconds a crop: reading, decoding, waiting"]
    if job.rule == "download":
        job.mb = pictures(names["dataset"]) * e["MB of a pair of pictures"]
        job.cpu_s = job.mb / e["MB a second of a download"]
    elif job.rule == "foundation":
        job.mb = 9000.0
        job.cpu_s = job.mb / e["MB a second of a download"]
    elif job.rule == "prepare":
        job.cores, job.mb = 8, pictures(names["dataset"]) * e["MB of a pair of pictures"]
        job.cpu_s = pictures(names["dataset"]) * e["CPU, core seconds to prepare a picture"]
    elif job.rule == "encode":
        count = crops(names["dataset"])
        job.gpus, job.mb = 1, count * e["MB of a crop's latents and embedding"]
        job.gpu_s = count * (on_gpu(2 * gmac["VAE encoder"] + gmac["CLIP and predictor"]) + reading)
    elif job.rule.startswith("train_"):
        _training(job, gmac, on_gpu)
    elif job.rule == "restore":
        method, count = config.load("methods", names["method"]), pictures(names["dataset"])
        job.mb = count * e["MB of a restored picture"]
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
            job.gpus, job.gpu_s = 1, count * e["GPU, seconds a picture of another method"]
    elif job.rule == "score":
        job.cores = 8
        job.cpu_s = pictures(names["dataset"]) * e["CPU, core seconds to score a picture, LPIPS and FID included"]
    else:
        job.cpu_s = e["CPU, core seconds of a table, a figure or the report"]


def _training(job: Job, gmac: dict, on_gpu) -> None:
    run, stage = config.load("runs", job.wildcards["run"]), job.rule.removeprefix("train_")
    spec = getattr(run, stage)
    job.mb, job.gpus = 3000.0, 1
    per_step = spec.accumulate * sum(phase.share * phase.batch for phase in spec.phases)
    if stage == "predictor":
        job.gpu_s = spec.steps * ESTIMATES["GPU, seconds a step of the predictor's training"]
        return
    if stage == "network":
        job.gpu_s = spec.steps * ESTIMATES["GPU, seconds a step of a network's training"]
        return
    job.gpus = max(number for number in range(1, 9) if spec.accumulate % number == 0)
    more = ESTIMATES["of a training, what its losses add (LPIPS, discriminator)"] if stage == "drm" else 1.0
    job.gpu_s = spec.steps * per_step * on_gpu(gmac[stage]) * more
    if stage == "drm":  # its latents are sampled once
        sampled = sum(crops(name) for name in run.train)
        job.gpu_s += sampled * on_gpu(gmac["step"] * run.latents.steps)
        job.mb += sampled * ESTIMATES["MB of a crop's latents and embedding"]


def counted() -> dict[str, float]:
    """Giga multiply-adds of the method's parts at 512 px, and of a picture's step in training."""
    told = json.loads(COUNTED.read_text())
    found = dict(next(one for one in told["restoration"] if one["precision"] == "bf16")["gmac"])
    for key, stage in {"branches": "stage 2", "drm": "stage 3"}.items():
        chosen = (o for o in told["training"] if o["stage"] == stage and o["batch"] == 1 and not o["checkpointing"])
        found[key] = next(one for one in chosen if one["precision"] == "bf16")["gmac"]
    return found


def longest(jobs: list[Job], gpus: int) -> list[float]:
    """Of each job, the seconds from its start to the end of the longest chain that stands on it."""
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


def makespan(jobs: list[Job], gpus: int) -> float:
    """Seconds until all is done with so many GPUs, if whoever heads the longest chain is always served first."""
    chain = longest(jobs, gpus)
    waiting = [job.waits_for for job in jobs]
    ready = [(-chain[number], number) for number, count in enumerate(waiting) if not count]
    heapq.heapify(ready)
    running: list[tuple[float, int]] = []
    free, cores, now = gpus, ESTIMATES["cores of the cluster"], 0.0
    while ready or running:
        held = []
        while ready:
            item = heapq.heappop(ready)
            job = jobs[item[1]]
            needed = min(job.gpus, gpus)
            if needed <= free and job.cores <= cores:
                free, cores = free - needed, cores - job.cores
                heapq.heappush(running, (now + job.seconds(gpus), item[1]))
            else:
                held.append(item)
        ready = held
        heapq.heapify(ready)
        now, done = heapq.heappop(running)
        free, cores = free + min(jobs[done].gpus, gpus), cores + jobs[done].cores
        for other in jobs[done].after:
            waiting[other] -= 1
            if not waiting[other]:
                heapq.heappush(ready, (-chain[other], other))
    return now


def page(jobs: list[Job], experiment: str, planning_s: float) -> str:
    """The page as Markdown."""
    families: dict[str, list[Job]] = defaultdict(list)
    for job in jobs:
        families[job.rule].append(job)
    lines = [
        f"# What `{experiment}` costs",
        "",
        "Made by `benchmarks/plan.py`; nothing here was measured on a cluster. Multiply-adds of the method at its full width are counted, the",
        "device's speed and all else is estimated, in the table below. Halve the speed, and the GPU-hours double.",
        "",
        f"Planning all {len(jobs)} jobs (`snakemake -n --forceall`) took {planning_s:.0f} s of one core.",
        "",
        "| rule | jobs | GPU-hours | core-hours | GB written |",
        "|---|---:|---:|---:|---:|",
    ]

    def row(name: str, some: list[Job]) -> str:
        gpu, cpu, gb = (sum(getattr(job, key) for job in some) for key in ("gpu_s", "cpu_s", "mb"))
        return f"| {name} | {len(some)} | {gpu / 3600:,.1f} | {cpu / 3600:,.1f} | {gb / 1000:,.1f} |"

    lines += [
        row(rule, some) for rule, some in sorted(families.items(), key=lambda pair: -sum(j.gpu_s for j in pair[1]))
    ]
    cores = ESTIMATES["cores of the cluster"]
    lines += [
        row("**all**", jobs),
        "",
        f"| GPUs | until all is done, {cores} cores | the longest chain alone |",
        "|---:|---:|---:|",
    ]
    for gpus in GPUS:
        days, chain = makespan(jobs, gpus) / 86400, max(longest(jobs, gpus)) / 86400
        lines.append(f"| {gpus} | {days:,.1f} days | {chain:,.1f} days |")
    lines += [
        "",
        "A training shares at most eight GPUs here, as in `slurm/config.yaml`. Waiting in a queue is not counted.",
        "",
        "| estimated | |",
        "|---|---:|",
        *(f"| {what} | {value:g} |" for what, value in ESTIMATES.items()),
        *(f"| pictures of {name} | {count} |" for name, count in PICTURES.items()),
        f"| pictures of any other dataset whose file does not tell | {OTHERS} |",
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--experiment", default="config/paper.yaml", help="which tables and figures")
    experiment = parser.parse_args().experiment
    os.chdir(ROOT)
    jobs, planning_s = planned(experiment)
    gmac = counted()
    for job in jobs:
        estimate(job, gmac)
    print(page(jobs, experiment, planning_s), end="")


if __name__ == "__main__":
    main()
