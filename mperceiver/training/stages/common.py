"""What the stages share: where a batch's frozen work comes from, and the modules they start from."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from mperceiver import config
from mperceiver.config import Phase, Run, Stage
from mperceiver.data import DataError
from mperceiver.data.loader import Prepared
from mperceiver.data.mixture import Mixture
from mperceiver.models import foundation as towers
from mperceiver.models.foundation import Foundation
from mperceiver.models.predictor import build_predictor
from mperceiver.models.weights import load_weights, weights_path
from mperceiver.training import processes
from mperceiver.training.latents import Latents

Drawn = list[tuple[int, int]]  # (dataset, row), as a Mixture draws them


def latents_folder(run_name: str) -> Path:
    """Where the latents that stage 2 sampled for stage 3 stand while it trains."""
    return Path("results/resume") / run_name / "latents"


def mixed(datasets: list, tasks: list[str] | None = None) -> Mixture:
    """The rows of these tasks; by default of every task there is: a few-shot task is none of the predictor's classes."""
    return Mixture(datasets, tasks or list(dict.fromkeys(task for dataset in datasets for task in dataset.tasks)))


def start(module: nn.Module, run: Run, stage: str) -> nn.Module:
    """``module``, ready to train, from the weights of the run it starts from if there is one."""
    if run.start_from:
        load_weights(weights_path(config.weights_of(run.start_from)[stage], stage), module)
    return module.train().to(processes.device())


def predictor_of(foundation: Foundation, run_name: str, run: Run) -> nn.Module:
    """The run's trained predictor, frozen."""
    predictor = build_predictor(foundation, run)
    load_weights(weights_path(config.weights_of(run_name)["predictor"], "predictor"), predictor)
    return towers.freeze(predictor).to(foundation.device)


# ---------------------------------------------------------------- frozen work


class Batch(NamedTuple):
    """Scaled latents of degraded pictures and of their ground truths (B, 4, h, w), and e_img (B, C_clip)."""

    z_lq: Tensor
    z_gt: Tensor
    embedding: Tensor


def all_latents(run: Run) -> list[Latents]:
    """The cached frozen work on each training dataset. Raises DataError unless their crops are of one size, to be cut alike."""
    cached = [Latents(run.foundation, name) for name in run.train]
    if len({found.shape for found in cached}) > 1:
        sizes = ", ".join(f"{name} {found.shape[1:]}" for name, found in zip(run.train, cached, strict=True))
        raise DataError(f"a run's training datasets must have one crop_px; their latents are {sizes}")
    return cached


class Cached:
    """Frozen work as `encode` left it: no picture is read and no tower runs."""

    def __init__(self, run: Run, foundation: Foundation, tasks: list[str] | None = None) -> None:
        self.latents, self.factor, self.device = all_latents(run), foundation.factor, processes.device()
        self.mixture = mixed([found.crops for found in self.latents], tasks)

    def embeddings(self, drawn: Drawn, phase: Phase, rng: np.random.Generator) -> Tensor:
        """e_img of the degraded pictures: (B, C_clip)."""
        return torch.stack([self.latents[d].embedding(row) for d, row in drawn]).to(self.device)

    def batch(self, drawn: Drawn, phase: Phase, rng: np.random.Generator, generator: torch.Generator) -> Batch:
        """Latents cut at one place for the whole batch; e_img is that of whole crops."""
        side = phase.crop_px // self.factor
        high, wide = self.latents[0].shape[-2:]
        if side > min(high, wide):
            raise DataError(
                f"crop_px {phase.crop_px}: the cached crops are of {wide * self.factor}x{high * self.factor} px; a smaller "
                "crop_px in the run's phase, or a larger one under `encode` in the datasets"
            )
        top, left = rng.integers(high - side + 1), rng.integers(wide - side + 1)

        def take(read) -> Tensor:
            rows = [read(self.latents[d], row)[:, top : top + side, left : left + side].float() for d, row in drawn]
            return torch.stack(rows).to(self.device)

        return Batch(take(Latents.lq), take(Latents.gt), self.embeddings(drawn, phase, rng))

    def statistics(self, seed: int) -> tuple[Tensor, Tensor]:
        """Mean and deviation of all embeddings, (C_clip,) each, on the CPU."""
        known = torch.stack([found.embedding(i) for found in self.latents for i in range(len(found))])
        return known.mean(0), known.std(0).clamp(min=1e-6)


class Fresh:
    """Frozen work done at each step, on random crops of the pictures themselves."""

    LOOKED_AT = 1024  # pictures, for the embeddings' mean and deviation

    def __init__(self, run: Run, foundation: Foundation, spec: Stage, tasks: list[str] | None = None) -> None:
        self.foundation, self.spec = foundation, spec
        self.mixture = mixed([Prepared(name) for name in run.train], tasks)

    @torch.no_grad()
    def embeddings(self, drawn: Drawn, phase: Phase, rng: np.random.Generator) -> Tensor:
        """e_img of the degraded crops: (B, C_clip)."""
        return self.foundation.embed(self._pictures(drawn, phase, rng)[0])

    @torch.no_grad()
    def batch(self, drawn: Drawn, phase: Phase, rng: np.random.Generator, generator: torch.Generator) -> Batch:
        """Posterior samples, as `encode` takes them, and e_img of the same crops."""
        lq, gt = self._pictures(drawn, phase, rng)
        return Batch(
            self.foundation.encode(lq, generator), self.foundation.encode(gt, generator), self.foundation.embed(lq)
        )

    def _pictures(self, drawn: Drawn, phase: Phase, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        lq, gt, _ = self.mixture.batch(drawn, phase.crop_px, rng, self.spec.flip)
        return lq.to(self.foundation.device), gt.to(self.foundation.device)

    def statistics(self, seed: int) -> tuple[Tensor, Tensor]:
        """Mean and deviation of some crops' embeddings, (C_clip,) each, on the CPU; always the same for one seed."""
        rng, phase = np.random.default_rng([seed, self.LOOKED_AT]), self.spec.phases[0]
        rounds = max(self.LOOKED_AT // phase.batch, 1)
        known = torch.cat(
            [self.embeddings(self.mixture.draw(rng, phase.batch), phase, rng).cpu() for _ in range(rounds)]
        )
        return known.mean(0), known.std(0).clamp(min=1e-6)


def frozen_work(run: Run, foundation: Foundation, spec: Stage, tasks: list[str] | None = None) -> Cached | Fresh:
    """Where the batches of the first two stages come from, as the run says under `cached`."""
    return Cached(run, foundation, tasks) if run.cached else Fresh(run, foundation, spec, tasks)
