"""What the stages share: where a batch's frozen work comes from, and the modules they start from."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from mperceiver import config, paths
from mperceiver.config.runs import Phase, Run, Stage
from mperceiver.data import DataError
from mperceiver.data.read.loader import PreparedDataset
from mperceiver.data.read.mixture import Mixture
from mperceiver.models import towers
from mperceiver.models.predictor import build_predictor
from mperceiver.models.towers import Foundation
from mperceiver.models.weights import load_weights
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
    """``module``, ready to train, from the weights of the run it starts from if there is one.

    Raises ConfigError if the stage is to train modules ``only`` that there are not.
    """
    if run.start_from:
        load_weights(paths.weights_file(config.weights_of(run.start_from)[stage], stage), module)
    if only := getattr(run, stage).only:
        names = [name for name, _ in module.named_parameters()]
        wrong = [part for part in only if not any(f"{name}.".startswith(f"{part}.") for name in names)]
        if wrong:
            there = ", ".join(dict.fromkeys(name.split(".")[0] for name in names))
            raise config.ConfigError(
                f"{stage}.only: there is no {wrong[0]}; its modules are {there}, and those inside of them"
            )
        for name, parameter in module.named_parameters():
            parameter.requires_grad_(any(f"{name}.".startswith(f"{part}.") for part in only))
    return module.train().to(processes.device())


def predictor_of(foundation: Foundation, run_name: str, run: Run) -> nn.Module:
    """The run's trained predictor, frozen."""
    predictor = build_predictor(foundation, run)
    load_weights(paths.weights_file(config.weights_of(run_name)["predictor"], "predictor"), predictor)
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
        self.latents, self.factor = all_latents(run), foundation.factor
        self.mixture = mixed([found.crops for found in self.latents], tasks)

    def embedding_of(self, drawn: Drawn) -> Tensor:
        """e_img of the degraded pictures: (B, C_clip)."""
        return torch.stack([self.latents[d].embedding(row) for d, row in drawn])

    def looks(self, drawn: Drawn, phase: Phase, rng: np.random.Generator) -> dict[str, Any]:
        """What ``embedding`` needs of these pictures."""
        return {"ids": self.mixture.ids(drawn), "embedding": self.embedding_of(drawn)}

    def embedding(self, batch: dict[str, Any]) -> Tensor:
        """e_img (B, C_clip) of what ``looks`` read."""
        return batch["embedding"]

    def draw(self, rng: np.random.Generator, phase: Phase) -> dict[str, Any]:
        """What ``latents_of`` needs of a batch: latents cut at one place for all of it; e_img is that of whole crops."""
        drawn = self.mixture.draw(rng, phase.batch)
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
            return torch.stack(rows)

        return self.looks(drawn, phase, rng) | {"z_lq": take(Latents.lq), "z_gt": take(Latents.gt)}

    def latents_of(self, batch: dict[str, Any], generator: torch.Generator) -> Batch:
        """The latents and embeddings of what ``draw`` read."""
        return Batch(batch["z_lq"], batch["z_gt"], batch["embedding"])

    def statistics(self, seed: int) -> tuple[Tensor, Tensor]:
        """Mean and deviation of all embeddings, (C_clip,) each, on the CPU."""
        known = torch.stack([found.embedding(i) for found in self.latents for i in range(len(found))])
        return known.mean(0), known.std(0).clamp(min=1e-6)


class Fresh:
    """Frozen work done at each step, on random crops of the pictures themselves; the methods are those of ``Cached``."""

    LOOKED_AT = 1024  # pictures, for the embeddings' mean and deviation

    def __init__(self, run: Run, foundation: Foundation, spec: Stage, tasks: list[str] | None = None) -> None:
        self.foundation, self.spec = foundation, spec
        self.mixture = mixed([PreparedDataset(name) for name in run.train], tasks)

    def looks(self, drawn: Drawn, phase: Phase, rng: np.random.Generator) -> dict[str, Any]:
        lq, _, _ = self.mixture.batch(drawn, phase.crop_px, rng, self.spec.flip)
        return {"ids": self.mixture.ids(drawn), "lq": lq}

    @torch.no_grad()
    def embedding(self, batch: dict[str, Any]) -> Tensor:
        return self.foundation.embed(batch["lq"].to(self.foundation.device))

    def draw(self, rng: np.random.Generator, phase: Phase) -> dict[str, Any]:
        drawn = self.mixture.draw(rng, phase.batch)
        lq, gt, _ = self.mixture.batch(drawn, phase.crop_px, rng, self.spec.flip)
        return {"ids": self.mixture.ids(drawn), "lq": lq, "gt": gt}

    @torch.no_grad()
    def latents_of(self, batch: dict[str, Any], generator: torch.Generator) -> Batch:
        """Posterior samples, as `encode` takes them, and e_img of the same crops."""
        z_lq, z_gt = (self.foundation.encode(batch[name], generator).float() for name in ("lq", "gt"))
        return Batch(z_lq, z_gt, self.embedding(batch))

    def statistics(self, seed: int) -> tuple[Tensor, Tensor]:
        """Mean and deviation of some crops' embeddings, (C_clip,) each, on the CPU; always the same for one seed."""
        rng, phase = np.random.default_rng([seed, self.LOOKED_AT]), self.spec.phases[0]
        rounds = max(self.LOOKED_AT // phase.batch, 1)
        known = torch.cat([self.embedding(self.draw(rng, phase)).cpu() for _ in range(rounds)])
        return known.mean(0), known.std(0).clamp(min=1e-6)


def frozen_work(run: Run, foundation: Foundation, spec: Stage, tasks: list[str] | None = None) -> Cached | Fresh:
    """Where the batches of the first two stages come from, as the run says under `cached`."""
    return Cached(run, foundation, tasks) if run.cached else Fresh(run, foundation, spec, tasks)
