"""What the jobs of an experiment are estimated to take, for plan.py.

For jobs that run the method at the paper's width, the multiply-adds are counted (benchmarks/results/full_width-counted.json) and
divided by an assumed speed of the GPU. All else is estimated. The assumptions are ESTIMATES and PICTURES.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field

import shared

from mperceiver import config

COUNTED = "full_width-counted"  # the name of its results
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
    counted = shared.recorded(COUNTED)
    gmac = dict(next(row for row in counted["restoration"] if row["precision"] == "bf16")["gmac"])
    for key, stage in {"branches": "stage 2", "drm": "stage 3"}.items():
        rows = (r for r in counted["training"] if r["stage"] == stage and r["batch"] == 1 and not r["checkpointing"])
        gmac[key] = next(row for row in rows if row["precision"] == "bf16")["gmac"]
    return gmac
