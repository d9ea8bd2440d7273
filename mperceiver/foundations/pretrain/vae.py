"""Pre-training of the VAE: it learns to reconstruct clean crops."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mperceiver.config.foundations import Build
from mperceiver.config.runs import Phase
from mperceiver.foundations.pretrain.pictures import PicturePool
from mperceiver.foundations.pretrain.storage import save_half
from mperceiver.models import towers
from mperceiver.training.loop import fit
from mperceiver.training.resume import Training

if TYPE_CHECKING:
    from diffusers import AutoencoderKL

# The posterior's log-variance before training: with unit variance, noise would hide the untrained latent.
LOG_VARIANCE = -7.0


def new_vae(recipe: Build, trunk_norm: bool) -> "AutoencoderKL":
    """The untrained VAE; ``trunk_norm``: see ``towers.drop_trunk_norm``."""
    from diffusers import AutoencoderKL

    levels = len(recipe.vae_widths)
    vae = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
        block_out_channels=tuple(recipe.vae_widths),
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=8,
        mid_block_add_attention=False,
        sample_size=64,
        scaling_factor=1.0,
    )
    if not trunk_norm:
        towers.drop_trunk_norm(vae)
    for module in vae.modules():
        if type(module).__name__ == "ResnetBlock2D":  # before training, each block is its shortcut
            nn.init.zeros_(module.conv2.weight)
            nn.init.zeros_(module.conv2.bias)
    with torch.no_grad():
        vae.quant_conv.weight[4:].zero_()
        vae.quant_conv.bias[4:] = LOG_VARIANCE
    return vae


def pretrain_vae(name: str, recipe: Build, trunk_norm: bool, pool: PicturePool, out: Path, work: Path) -> None:
    """Train the VAE of foundation ``name`` into ``out``; resume states lie in ``work``."""
    torch.manual_seed(recipe.seed)
    vae = new_vae(recipe, trunk_norm).to(memory_format=torch.channels_last)

    def objective(module: nn.Module, rng: np.random.Generator, generator, phase: Phase, step: int) -> dict[str, Tensor]:
        target = pool.tensor(rng, phase.batch, phase.crop_px).to(generator.device) * 2 - 1
        posterior = vae.encode(target).latent_dist
        output = vae.decode(posterior.sample(generator)).sample
        mse, l1, kl = F.mse_loss(output, target), F.l1_loss(output, target), posterior.kl().mean() / target[0].numel()
        return {"loss": 2 * mse + l1 + 1e-5 * kl, "loss_mse": mse, "loss_l1": l1, "loss_kl": kl}

    fit(Training(f"{name} vae", recipe.vae, recipe.seed, work / "vae.resume"), vae, objective)
    # The statistics of a GroupNorm depend on the picture's size: a VAE that has seen small crops only loses 2 dB on large ones.
    larger = work / "vae_larger.resume"
    fit(Training(f"{name} vae, larger", recipe.vae_larger, recipe.seed + 9, larger), vae, objective)
    with torch.no_grad():  # as in SD, the scaling factor gives latents a standard deviation of 1
        latents = vae.encode(pool.tensor(np.random.default_rng(recipe.seed), 512, 64) * 2 - 1).latent_dist.mode()
    vae.register_to_config(scaling_factor=float(1 / latents.std()))
    save_half(vae, out)
