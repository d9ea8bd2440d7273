"""Stage 3: the detail refinement module, on latents that the frozen stage 2 sampled beforehand (section 3.3)."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mperceiver import config, paths
from mperceiver.config.runs import Phase, Run, Stage
from mperceiver.models import towers
from mperceiver.models.branches import Branches
from mperceiver.models.drm import DetailRefinement
from mperceiver.models.sampling import ddim
from mperceiver.models.towers import Foundation
from mperceiver.models.weights import load_weights
from mperceiver.training import processes
from mperceiver.training.latents import Latents, Sampled, sampled
from mperceiver.training.loop import fit
from mperceiver.training.losses import PictureLosses
from mperceiver.training.stages.common import all_latents, latents_folder, mixed, predictor_of, start


def train_drm(run_name: str, run: Run, spec: Stage, resume: Path, inputs: dict) -> tuple[nn.Module, str]:
    """L1, perceptual, colour and adversarial losses on the decoded pictures."""
    torch.manual_seed(run.seed + 2)
    foundation = towers.load(run.foundation, processes.device())
    predictor = predictor_of(foundation, run_name, run)
    cached = all_latents(run)
    latents = _latents(run_name, run, spec, foundation, predictor, cached, inputs)
    mixture = mixed([found.crops for found in cached])
    whole_px = mixture.datasets[0].size(0)[0]
    drm = DetailRefinement(foundation.vae, len(run.tasks), run.model)
    drm.attach(foundation.vae)
    drm = start(drm, run, "drm")
    drm.set_up(foundation.vae, spec.channels_last, spec.gradient_checkpointing)
    picture_losses = PictureLosses(spec.losses, foundation.device)

    def draw(rng: np.random.Generator, phase: Phase) -> dict[str, Any]:
        drawn = mixture.draw(rng, phase.batch)
        lq, gt, _ = mixture.batch(drawn, whole_px, rng, flip=False)  # a sampled latent fits its crop as it is
        side, factor = phase.crop_px // foundation.factor, foundation.factor
        top, left = (int(rng.integers(whole_px // factor - side + 1)) for _ in range(2))
        rows = [latents[d][row][:, top : top + side, left : left + side].float() for d, row in drawn]
        window = (..., *(slice(v * factor, v * factor + phase.crop_px) for v in (top, left)))
        embedding = torch.stack([cached[d].embedding(row) for d, row in drawn])
        found = {"z": torch.stack(rows), "lq": lq[window], "gt": gt[window], "embedding": embedding}
        return found | {"ids": mixture.ids(drawn)}

    def losses(module: nn.Module, batch: dict[str, Any], generator, phase: Phase, step: int) -> dict[str, Tensor]:
        _, degraded = drm.degraded_features(foundation.encode, batch["lq"])
        p = predictor.probabilities(batch["embedding"])
        return picture_losses(module(foundation.decode, batch["z"], degraded, p), batch["gt"], step)

    curve = fit(
        f"{run_name} drm",
        drm,
        losses,
        spec,
        seed=run.seed + 2,
        resume=resume / "drm.pt",
        inputs=inputs,
        adversary=picture_losses.discriminator,
        draw=draw,
    )
    return drm, curve


def _latents(
    run_name: str,
    run: Run,
    spec: Stage,
    foundation: Foundation,
    predictor: nn.Module,
    cached: list[Latents],
    inputs: dict,
) -> list[Sampled]:
    """What the run's stage 2 makes of each crop; then it and the U-Net leave the GPU to stage 3."""
    branches = Branches(foundation, len(run.tasks), run.model)
    load_weights(paths.weights_file(config.weights_of(run_name)["branches"], "branches"), branches)
    towers.freeze(branches).to(foundation.device)
    branches.set_up(spec.precision, spec.channels_last)
    alphas = foundation.alphas()

    def restore(z_lq: Tensor, embedding: Tensor, noise: Tensor, fresh: Callable[[], Tensor]) -> Tensor:
        z_lq, embedding, noise = (x.to(foundation.device) for x in (z_lq, embedding, noise))
        static = branches.prepare(embedding, predictor.probabilities(embedding))
        return ddim(
            lambda z, t: branches.predict(z, t, static, z_lq),
            noise,
            alphas,
            foundation.prediction,
            run.latents,
            z_lq,
            fresh,
        )

    made_of = {path: digest for path, digest in inputs.items() if not path.startswith("config/")}
    key = json.dumps([run.latents.model_dump(mode="json"), spec.precision, made_of], sort_keys=True)
    found = sampled(latents_folder(run_name), restore, cached, run.latents.seed, key, run_name)
    for tower in (branches, foundation.unet, foundation.text_encoder, foundation.clip):
        tower.cpu()
    return found
