"""Where the batches of the first two stages come from: cached latents, or the towers, run on random crops at each step."""

from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from mperceiver.config.runs import Phase, Run, Stage
from mperceiver.data import DataError
from mperceiver.data.read.loader import PreparedDataset
from mperceiver.data.read.mixture import Mixture
from mperceiver.models.towers import Towers
from mperceiver.training.latents import CachedLatents
from mperceiver.training.stages.common import all_latents, mixed

Rows = list[tuple[int, int]]  # (index of a dataset, row in it), as ``Mixture.draw`` returns them


class LatentBatch(NamedTuple):
    """A batch of stage 2."""

    z_lq: Tensor  # scaled latents of the degraded pictures (B, 4, h, w)
    z_gt: Tensor  # scaled latents of their ground truths (B, 4, h, w)
    embedding: Tensor  # e_img of the degraded pictures (B, C_clip)


class Batches(Protocol):
    """The batches of a stage. A class fulfils it by having these; it need not inherit it."""

    mixture: Mixture  # what is drawn from

    def read(self, rows: Rows, phase: Phase, rng: np.random.Generator) -> dict[str, Any]:
        """What ``embedding`` needs of these rows, and their ``ids``."""

    def embedding(self, batch: dict[str, Any]) -> Tensor:
        """e_img (B, C_clip) of what ``read`` or ``draw`` returned."""

    def draw(self, rng: np.random.Generator, phase: Phase) -> dict[str, Any]:
        """Draw what ``latent_batch`` and ``embedding`` need of a batch, and its ``ids``.

        Raises DataError if the phase's crops cannot be cut.
        """

    def latent_batch(self, batch: dict[str, Any], generator: torch.Generator) -> LatentBatch:
        """The latents and embeddings of what ``draw`` returned."""

    def statistics(self, seed: int) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of the embeddings, (C_clip,) each, on the CPU."""


def mean_and_deviation(embeddings: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of embeddings (n, C), (C,) each, to divide by: of a constant, the deviation is 1e-6, not 0."""
    return embeddings.mean(0), embeddings.std(0).clamp(min=1e-6)


class CachedBatches:
    """Batches of the latents and embeddings that `mperceiver encode` wrote. No picture is read, and no tower runs.

    All latents of a batch are cut at one place, and a phase's crops are no larger than the cached ones; e_img is that of the whole cached crops.
    """

    def __init__(self, run: Run, foundation: Towers, spec: Stage, tasks: list[str] | None = None) -> None:
        self.latents, self.factor = all_latents(run), foundation.factor
        self.mixture = mixed([latents.crops for latents in self.latents], spec, tasks)

    def read(self, rows: Rows, phase: Phase, rng: np.random.Generator) -> dict[str, Any]:
        return {
            "ids": self.mixture.ids(rows),
            "embedding": torch.stack([self.latents[d].embedding(row) for d, row in rows]),
        }

    def embedding(self, batch: dict[str, Any]) -> Tensor:
        return batch["embedding"]

    def draw(self, rng: np.random.Generator, phase: Phase) -> dict[str, Any]:
        rows = self.mixture.draw(rng, phase.batch)
        side = phase.crop_px // self.factor
        height, width = self.latents[0].shape[-2:]
        if side > min(height, width):
            raise DataError(
                f"crop_px {phase.crop_px}: the cached crops have {width * self.factor}x{height * self.factor} px; set a smaller "
                "crop_px in the run's phase, or a larger one under `encode` in the datasets"
            )
        top, left = rng.integers(height - side + 1), rng.integers(width - side + 1)

        def cut(latent) -> Tensor:
            cuts = [latent(self.latents[d], row)[:, top : top + side, left : left + side].float() for d, row in rows]
            return torch.stack(cuts)

        return self.read(rows, phase, rng) | {"z_lq": cut(CachedLatents.lq), "z_gt": cut(CachedLatents.gt)}

    def latent_batch(self, batch: dict[str, Any], generator: torch.Generator) -> LatentBatch:
        return LatentBatch(batch["z_lq"], batch["z_gt"], batch["embedding"])

    def statistics(self, seed: int) -> tuple[Tensor, Tensor]:
        return mean_and_deviation(
            torch.stack([latents.embedding(i) for latents in self.latents for i in range(len(latents))])
        )


class LiveBatches:
    """Batches of random crops, the same of both pictures of a pair, on which the towers run at each step.

    The latents are posterior samples, as `mperceiver encode` takes them; e_img is that of the same crops.
    """

    STATISTICS_PICTURES = 1024  # crops, from which the embeddings' mean and deviation are computed

    def __init__(self, run: Run, foundation: Towers, spec: Stage, tasks: list[str] | None = None) -> None:
        self.foundation, self.spec = foundation, spec
        self.mixture = mixed([PreparedDataset(name) for name in run.train], spec, tasks)

    def read(self, rows: Rows, phase: Phase, rng: np.random.Generator) -> dict[str, Any]:
        lq, _, _ = self.mixture.batch(rows, phase.crop_px, rng, self.spec.flip)
        return {"ids": self.mixture.ids(rows), "lq": lq}

    @torch.no_grad()
    def embedding(self, batch: dict[str, Any]) -> Tensor:
        return self.foundation.embed(batch["lq"].to(self.foundation.device))

    def draw(self, rng: np.random.Generator, phase: Phase) -> dict[str, Any]:
        rows = self.mixture.draw(rng, phase.batch)
        lq, gt, _ = self.mixture.batch(rows, phase.crop_px, rng, self.spec.flip)
        return {"ids": self.mixture.ids(rows), "lq": lq, "gt": gt}

    @torch.no_grad()
    def latent_batch(self, batch: dict[str, Any], generator: torch.Generator) -> LatentBatch:
        z_lq, z_gt = (self.foundation.encode(batch[name], generator).float() for name in ("lq", "gt"))
        return LatentBatch(z_lq, z_gt, self.embedding(batch))

    def statistics(self, seed: int) -> tuple[Tensor, Tensor]:
        rng, phase = np.random.default_rng([seed, self.STATISTICS_PICTURES]), self.spec.phases[0]
        batches = max(self.STATISTICS_PICTURES // phase.batch, 1)
        return mean_and_deviation(torch.cat([self.embedding(self.draw(rng, phase)).cpu() for _ in range(batches)]))


def labelled(batches: Batches, run: Run, rng: np.random.Generator, phase: Phase) -> tuple[Rows, dict[str, Any]]:
    """A batch for a predictor, with equally many pictures of each degradation: its rows, and what ``embedding`` needs, with ``labels``, int64 (B,)."""
    rows = batches.mixture.balanced(rng, max(phase.batch // len(run.tasks), 1))
    labels = batches.mixture.classes(rows, run.model.predictor_clean)
    return rows, batches.read(rows, phase, rng) | {"labels": torch.from_numpy(labels)}


def batches_of(run: Run, foundation: Towers, spec: Stage, tasks: list[str] | None = None) -> Batches:
    """The batches that the run's ``cached`` asks for."""
    return (CachedBatches if run.cached else LiveBatches)(run, foundation, spec, tasks)
