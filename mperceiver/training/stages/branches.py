"""Stage 2: the textual and the visual branch around the frozen U-Net (section 3.2)."""

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mperceiver.config.runs import Phase, Run, Stage
from mperceiver.models.branches import Branches
from mperceiver.models.sampling import diffuse, velocity
from mperceiver.training import processes
from mperceiver.training.loop import fit
from mperceiver.training.resume import Training
from mperceiver.training.stages.batches import batches_of
from mperceiver.training.stages.common import check_crop_px, load_foundation, ready_to_train, trained_predictor


def train_branches(run_name: str, run: Run, spec: Stage, resume: Path, inputs: dict) -> tuple[nn.Module, str]:
    """Minimise Eq. 1 on latents. The foundation is frozen, and the target (epsilon or v) is the one it was trained with.

    Raises ConfigError if a phase's crop_px does not suit the U-Net.
    """
    torch.manual_seed(run.seed + 1)
    foundation = load_foundation(run, processes.device())
    check_crop_px(run_name, "branches", spec, foundation, foundation.multiple)
    predictor = trained_predictor(foundation, run_name, run)
    batches = batches_of(run, foundation, spec)
    branches = ready_to_train(Branches(foundation, len(run.tasks), run.model), run, "branches")
    branches.set_up(spec.precision, spec.channels_last, gradient_checkpointing=spec.gradient_checkpointing)
    alphas = foundation.alphas()

    def objective(
        module: nn.Module, batch: dict[str, Any], generator: torch.Generator, phase: Phase, step: int
    ) -> dict[str, Tensor]:
        z_lq, z_gt, embedding = batches.latent_batch(batch, generator)
        t = torch.randint(len(alphas), (len(z_gt),), generator=generator, device=generator.device)
        noise = torch.randn(z_gt.shape, generator=generator, device=generator.device)
        alpha = alphas[t].view(-1, 1, 1, 1)
        target = noise if foundation.prediction == "epsilon" else velocity(z_gt, noise, alpha)
        output = module(diffuse(z_gt, noise, alpha), t, embedding, z_lq, predictor.probabilities(embedding))
        return {"loss": F.mse_loss(output.float(), target)}

    curve = fit(
        Training(f"{run_name} branches", spec, run.seed + 1, resume / "branches.pt", inputs),
        branches,
        objective,
        draw=batches.draw,
    )
    return branches, curve
