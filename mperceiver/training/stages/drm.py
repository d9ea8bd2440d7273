"""Stage 3: the detail refinement module, trained on latents that the frozen stage 2 sampled beforehand (section 3.3)."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mperceiver import config, paths
from mperceiver.config.runs import Phase, Run, Stage
from mperceiver.data.read.mixture import Mixture
from mperceiver.models import towers
from mperceiver.models.branches import Branches
from mperceiver.models.drm import DetailRefinement
from mperceiver.models.sampling import ddim
from mperceiver.models.towers import Towers
from mperceiver.models.weights import load_weights
from mperceiver.training import processes
from mperceiver.training.discarding import latents_folder
from mperceiver.training.latents import CachedLatents, SampledLatents, sample_latents
from mperceiver.training.loop import fit, turns
from mperceiver.training.losses import PictureLosses
from mperceiver.training.prefetch import generators
from mperceiver.training.resume import Training
from mperceiver.training.stages.common import all_latents, check_crop_px, load_foundation, mixed, ready_to_train
from mperceiver.training.stages.judgements import judgements


def train_drm(run_name: str, run: Run, spec: Stage, resume: Path, inputs: dict) -> tuple[nn.Module, str]:
    """Train with L1, perceptual, colour and adversarial losses on the decoded pictures."""
    torch.manual_seed(run.seed + 2)
    foundation = load_foundation(run, processes.device())
    check_crop_px(run_name, "drm", spec, foundation, foundation.factor)
    cached = all_latents(run)
    mixture = mixed([latents.crops for latents in cached], spec)
    wanted = drawn_rows(mixture, spec, run.seed + 2)
    judged = judgements(run_name, run, spec, foundation, cached, inputs)
    sampled = _sampled_latents(run_name, run, spec, foundation, cached, judged, inputs, wanted)
    whole = mixture.datasets[0].size(0)  # (height, width) of every crop, since their latents have one shape
    drm = DetailRefinement(foundation.vae, len(run.tasks), run.model)
    drm.attach(foundation.vae)
    drm = ready_to_train(drm, run, "drm")
    drm.set_up(foundation.vae, spec.channels_last, spec.gradient_checkpointing)
    picture_losses = PictureLosses(spec.losses, foundation.device)

    def draw(rng: np.random.Generator, phase: Phase) -> dict[str, Any]:
        rows = mixture.draw(rng, phase.batch)
        lq, gt, _ = mixture.batch(rows, whole, rng, flip=False)  # a sampled latent does not fit a mirrored crop
        side, factor = phase.crop_px // foundation.factor, foundation.factor
        top, left = (int(rng.integers(length // factor - side + 1)) for length in whole)
        latents = [sampled[d][row][:, top : top + side, left : left + side].float() for d, row in rows]
        rows_px, columns_px = (slice(start * factor, start * factor + phase.crop_px) for start in (top, left))
        return {
            "z": torch.stack(latents),
            "lq": lq[..., rows_px, columns_px],
            "gt": gt[..., rows_px, columns_px],
            "probabilities": torch.stack([judged[d][row] for d, row in rows]),
            "ids": mixture.ids(rows),
        }

    def objective(
        module: nn.Module, batch: dict[str, Any], generator: torch.Generator, phase: Phase, step: int
    ) -> dict[str, Tensor]:
        _, features = drm.degraded_features(foundation.encode, batch["lq"])
        restored = module(foundation.decode, batch["z"], features, batch["probabilities"])
        return picture_losses(restored, batch["gt"], step)

    curve = fit(
        Training(f"{run_name} drm", spec, run.seed + 2, resume / "drm.pt", inputs),
        drm,
        objective,
        adversary=picture_losses.discriminator,
        draw=draw,
    )
    return drm, curve


def drawn_rows(mixture: Mixture, spec: Stage, seed: int) -> list[list[int]] | None:
    """The rows of each dataset that the batches of a training draw, in ascending order.

    None if more than half of all rows are drawn, since sampling all rows then costs little more, or if the number of steps is not known
    beforehand. So only a short training samples a part of the rows.
    """
    if spec.cpu_seconds is not None:
        return None
    drawn: list[set[int]] = [set() for _ in mixture.datasets]
    for turn in turns(spec, seed, 0, range(spec.accumulate)):
        rng, _ = generators(turn.key)
        for d, row in mixture.draw(rng, turn.phase.batch):  # the same first call as that of `draw` in train_drm
            drawn[d].add(row)
        if 2 * sum(map(len, drawn)) > sum(map(len, mixture.datasets)):
            return None
    return [sorted(rows) for rows in drawn]


def _sampled_latents(
    run_name: str,
    run: Run,
    spec: Stage,
    foundation: Towers,
    cached: list[CachedLatents],
    judged: list[Tensor],
    inputs: dict,
    wanted: list[list[int]] | None,
) -> list[SampledLatents]:
    """The latents that the run's stage 2 samples for the training crops, or for those of them that are ``wanted``.

    ``judged``: P of each crop of each dataset, (crops, N).

    Afterwards the branches, the U-Net, the text encoder and CLIP are moved to the CPU, to leave the GPU's memory to stage 3.
    """
    sampler = run.latents
    assert sampler is not None, "a run with a `drm` stage has `latents`"
    branches = Branches(foundation, len(run.tasks), run.model)
    load_weights(paths.weights_file(config.weights_of(run_name)["branches"], "branches"), branches)
    towers.freeze(branches).to(foundation.device)
    branches.set_up(spec.precision, spec.channels_last)
    alphas = foundation.alphas()

    def sample(
        z_lq: Tensor, embedding: Tensor, probabilities: Tensor, noise: Tensor, fresh: Callable[[], Tensor]
    ) -> Tensor:
        z_lq, embedding, probabilities, noise = (
            x.to(foundation.device) for x in (z_lq, embedding, probabilities, noise)
        )
        static = branches.prepare(embedding, probabilities)
        return ddim(
            lambda z, t: branches.predict(z, t, static, z_lq),
            noise,
            alphas,
            foundation.prediction,
            sampler,
            z_lq,
            fresh,
        )

    digests = {path: digest for path, digest in inputs.items() if not path.startswith("config/")}
    of_crops = [run.model.model_dump(mode="json", exclude={"drm"}), run.tasks, spec.judged_crops, spec.judged_folds]
    parts = [sampler.model_dump(mode="json"), spec.precision, of_crops, run.seed, digests]
    key = json.dumps(parts, sort_keys=True)
    sampled = sample_latents(latents_folder(run_name), sample, cached, judged, sampler.seed, key, run_name, wanted)
    for module in (branches, foundation.unet, foundation.text_encoder, foundation.clip):
        module.cpu()
    return sampled
