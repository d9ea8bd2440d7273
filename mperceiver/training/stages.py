"""The stages of a run: predictor, branches (the dual branch), DRM, and a baseline's one stage.

Each stage writes results/runs/<run>/<stage>.safetensors, its curve (.csv) and its card (.json); its resume state stands in
results/resume/<run>/ until it has ended well.
"""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mperceiver import config, lineage
from mperceiver.config import Phase, Run, Stage
from mperceiver.data import DataError
from mperceiver.data.loader import Mixture, Prepared
from mperceiver.models import baselines
from mperceiver.models import foundation as towers
from mperceiver.models.branches import Branches
from mperceiver.models.drm import DetailRefinement
from mperceiver.models.foundation import Foundation
from mperceiver.models.predictor import build_predictor
from mperceiver.models.weights import load_weights, save_weights, weights_path
from mperceiver.sampling import ddim, diffuse, velocity
from mperceiver.training import processes
from mperceiver.training.latents import Latents, sampled
from mperceiver.training.loop import discard, fit
from mperceiver.training.losses import PictureLosses, focal

LATENTS = "latents.safetensors"


def train(run_name: str, stage: str) -> Path:
    """Train one stage of config/runs/<run>.yaml; return the path of its card.

    Raises ConfigError if the run has no such stage, LineageError if weights or data it stands on are missing.
    """
    run = config.load("runs", run_name)
    spec = getattr(run, stage)
    if spec is None:
        there = [name for name in config.STAGES if getattr(run, name) is not None]
        raise config.ConfigError(f"{config.path_of('runs', run_name)}: no {stage} stage; it has {', '.join(there)}")
    lineage.commit()
    resume = Path("results/resume") / run_name
    inputs = {path: lineage.sha256(path) for path in config.stage_inputs(run_name, stage)}
    module, curve = STAGES[stage](run_name, run, spec, resume, inputs)
    target = weights_path(run_name, stage)
    card = target.with_suffix(".json")
    if processes.is_main():
        _write(run, stage, spec, inputs, module, curve, target, card)
        discard(resume / f"{stage}.pt")
        (resume / LATENTS).unlink(missing_ok=True)
    processes.together()
    return card


def _write(run: Run, stage: str, spec: Stage, inputs: dict, module: nn.Module, curve: str, target: Path, card: Path):
    """The weights, the curve and, last, the card."""
    save_weights(target, module, run)
    lineage.write_text(target.with_suffix(".csv"), curve)
    lineage.write_card(
        card,
        verb=f"train_{stage}",
        spec=run,
        inputs=inputs,
        outputs=[target],
        seed=run.seed,
        device=torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
        result={"parameters": sum(p.numel() for p in module.parameters() if p.requires_grad), "steps": spec.steps},
    )


def _mixture(run: Run) -> Mixture:
    """Every picture of the training datasets, whatever its task: a few-shot task is none of the predictor's classes."""
    datasets = [Prepared(name) for name in run.train]
    return Mixture(datasets, list(dict.fromkeys(task for dataset in datasets for task in dataset.tasks)))


def _cached(run: Run) -> list[Latents]:
    """The frozen towers' work on each training dataset. Their crops must be of one size, to be cut alike."""
    cached = [Latents(run.foundation, name) for name in run.train]
    if len({found.lq.shape[1:] for found in cached}) > 1:
        sizes = ", ".join(f"{name} {tuple(found.lq.shape[-2:])}" for name, found in zip(run.train, cached, strict=True))
        raise DataError(f"a run's training datasets must have one crop_px; their latents are {sizes}")
    return cached


def _start(module: nn.Module, run: Run, stage: str) -> nn.Module:
    if run.start_from:
        load_weights(weights_path(config.weights_of(run.start_from)[stage], stage), module)
    return module.train().to(processes.device())


def _predictor_of(foundation: Foundation, run_name: str, run: Run) -> nn.Module:
    predictor = build_predictor(foundation, run)
    load_weights(weights_path(config.weights_of(run_name)["predictor"], "predictor"), predictor)
    return towers.freeze(predictor).to(foundation.device)


# ---------------------------------------------------------------- stage 1


def _predictor(run_name: str, run: Run, spec: Stage, resume: Path, inputs: dict) -> tuple[nn.Module, str]:
    """Focal loss on cached CLIP embeddings, balanced over the degradations (section 3.1)."""
    torch.manual_seed(run.seed)
    foundation = towers.load(run.foundation)
    mixture = Mixture([Prepared(name) for name in run.train], run.tasks)
    embeddings = [Latents(run.foundation, name).embedding for name in run.train]
    known = torch.cat(embeddings)
    mean, deviation = known.mean(0), known.std(0).clamp(min=1e-6)
    tasks = [
        np.array([run.tasks.index(task) if task in run.tasks else -1 for task in Prepared(name).tasks])
        for name in run.train
    ]
    predictor = _start(build_predictor(foundation, run), run, "predictor")
    if run.start_from:  # its weights are of embeddings as they are; training sees them standardised
        predictor.fold_standardisation(*(x.to(processes.device()) for x in (-mean / deviation, 1 / deviation)))

    def losses(module: nn.Module, rng, generator, phase: Phase, step: int) -> dict[str, Tensor]:
        drawn = mixture.balanced(rng, max(phase.batch // len(run.tasks), 1))
        x = torch.stack([embeddings[d][row] for d, row in drawn]).to(generator.device)
        labels = torch.tensor([int(tasks[d][row]) for d, row in drawn], device=generator.device)
        logits = module((x - mean.to(x)) / deviation.to(x))
        accuracy = (logits.argmax(1) == labels).float().mean()
        return {"loss": focal(logits, labels, spec.gamma), "accuracy": accuracy}

    curve = fit(
        f"{run_name} predictor", predictor, losses, spec, seed=run.seed, resume=resume / "predictor.pt", inputs=inputs
    )
    predictor.cpu().fold_standardisation(mean, deviation)
    return predictor, curve


# ---------------------------------------------------------------- stage 2


def _branches(run_name: str, run: Run, spec: Stage, resume: Path, inputs: dict) -> tuple[nn.Module, str]:
    """Eq. 1 on cached latents: the foundation is frozen, the target (epsilon or v) is the foundation's own."""
    torch.manual_seed(run.seed + 1)
    foundation = towers.load(run.foundation, processes.device())
    predictor = _predictor_of(foundation, run_name, run)
    mixture = _mixture(run)
    cached = _cached(run)
    branches = _start(Branches(foundation, len(run.tasks), run.model), run, "branches")
    alphas, factor = foundation.alphas(), foundation.factor

    def losses(module: nn.Module, rng, generator, phase: Phase, step: int) -> dict[str, Tensor]:
        drawn = mixture.draw(rng, phase.batch)
        side = phase.crop_px // factor
        high, wide = cached[0].lq.shape[-2:]
        top, left = rng.integers(high - side + 1), rng.integers(wide - side + 1)

        def take(name: str) -> Tensor:
            rows = [getattr(cached[d], name)[row, :, top : top + side, left : left + side].float() for d, row in drawn]
            return torch.stack(rows).to(generator.device)

        z_lq, z_gt = take("lq"), take("gt")
        embedding = torch.stack([cached[d].embedding[row] for d, row in drawn]).to(generator.device)
        t = torch.randint(len(alphas), (len(drawn),), generator=generator, device=generator.device)
        noise = torch.randn(z_gt.shape, generator=generator, device=generator.device)
        alpha = alphas[t].view(-1, 1, 1, 1)
        target = noise if foundation.prediction == "epsilon" else velocity(z_gt, noise, alpha)
        output = module(diffuse(z_gt, noise, alpha), t, embedding, z_lq, predictor.probabilities(embedding))
        return {"loss": F.mse_loss(output.float(), target)}

    curve = fit(
        f"{run_name} branches", branches, losses, spec, seed=run.seed + 1, resume=resume / "branches.pt", inputs=inputs
    )
    return branches, curve


# ---------------------------------------------------------------- stage 3


def _drm(run_name: str, run: Run, spec: Stage, resume: Path, inputs: dict) -> tuple[nn.Module, str]:
    """The DRM learns on latents that the frozen stage 2 sampled beforehand (section 3.3)."""
    torch.manual_seed(run.seed + 2)
    foundation = towers.load(run.foundation, processes.device())
    predictor = _predictor_of(foundation, run_name, run)
    branches = Branches(foundation, len(run.tasks), run.model)
    load_weights(weights_path(config.weights_of(run_name)["branches"], "branches"), branches)
    towers.freeze(branches).to(foundation.device)
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
    key = json.dumps([run.latents.model_dump(mode="json"), made_of], sort_keys=True)
    with processes.main_first():  # the others find them sampled
        latents = sampled(resume / LATENTS, restore, run.train, run.foundation, run.latents.seed, key, run_name)
    embeddings = [found.embedding for found in _cached(run)]
    mixture = _mixture(run)
    whole_px = mixture.datasets[0].size(0)[0]
    drm = DetailRefinement(foundation.vae, len(run.tasks), run.model)
    drm.attach(foundation.vae)
    drm = _start(drm, run, "drm")
    picture_losses = PictureLosses(spec.losses, foundation.device)

    def losses(module: nn.Module, rng, generator, phase: Phase, step: int) -> dict[str, Tensor]:
        drawn = mixture.draw(rng, phase.batch)
        lq, gt, _ = mixture.batch(drawn, whole_px, rng, flip=False)  # a sampled latent fits its picture unmirrored
        side = phase.crop_px // foundation.factor
        top, left = (int(rng.integers(whole_px // foundation.factor - side + 1)) for _ in range(2))
        rows = [latents[d][row, :, top : top + side, left : left + side].float() for d, row in drawn]
        window = (..., *(slice(v * foundation.factor, v * foundation.factor + phase.crop_px) for v in (top, left)))
        z, lq, gt = (x.to(generator.device) for x in (torch.stack(rows), lq[window], gt[window]))
        p = predictor.probabilities(torch.stack([embeddings[d][row] for d, row in drawn]).to(generator.device))
        _, degraded = drm.degraded_features(foundation.encode, lq)
        return picture_losses(module(foundation.decode, z, degraded, p), gt, step)

    curve = fit(
        f"{run_name} drm",
        drm,
        losses,
        spec,
        seed=run.seed + 2,
        resume=resume / "drm.pt",
        inputs=inputs,
        adversary=picture_losses.discriminator,
    )
    return drm, curve


# ---------------------------------------------------------------- baselines


def _network(run_name: str, run: Run, spec: config.NetworkStage, resume: Path, inputs: dict) -> tuple[nn.Module, str]:
    """A restoration network on random crops of the same pairs."""
    torch.manual_seed(run.seed)
    mixture = _mixture(run)
    network = _start(baselines.build(spec), run, "network")
    picture_losses = PictureLosses(spec.losses, processes.device())

    def losses(module: nn.Module, rng, generator, phase: Phase, step: int) -> dict[str, Tensor]:
        lq, gt, _ = mixture.batch(mixture.draw(rng, phase.batch), phase.crop_px, rng, spec.flip)
        return picture_losses(module(lq.to(generator.device)), gt.to(generator.device), step)

    curve = fit(
        f"{run_name} network",
        network,
        losses,
        spec,
        seed=run.seed,
        resume=resume / "network.pt",
        inputs=inputs,
        adversary=picture_losses.discriminator,
    )
    return network, curve


STAGES = {"predictor": _predictor, "branches": _branches, "drm": _drm, "network": _network}
