"""Pre-training of the U-Net: it learns to denoise the latents of clean crops, given a caption."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mperceiver.config.foundations import Build
from mperceiver.config.runs import Phase
from mperceiver.foundations.captions import attributes, caption, tokenise
from mperceiver.foundations.pretrain.pictures import PicturePool
from mperceiver.foundations.pretrain.storage import save_half
from mperceiver.models import towers
from mperceiver.training.loop import fit
from mperceiver.training.resume import Training

if TYPE_CHECKING:
    from diffusers import AutoencoderKL, UNet2DConditionModel

LATENTS = 12_000  # at most so many crops are encoded beforehand
ENCODED_AT_ONCE = 100


def write_scheduler(recipe: Build, out: Path) -> None:
    """Write the configuration of SD's noise schedule into ``out``."""
    from diffusers import DDIMScheduler

    DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
        prediction_type=recipe.prediction,
    ).save_pretrained(out)


def new_unet(recipe: Build) -> "UNet2DConditionModel":
    """The untrained U-Net, of four scales."""
    from diffusers import UNet2DConditionModel

    return UNet2DConditionModel(
        sample_size=16,
        block_out_channels=tuple(recipe.unet_widths),
        down_block_types=("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
        up_block_types=("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
        layers_per_block=1,
        attention_head_dim=tuple(recipe.unet_heads),  # diffusers' name for the number of heads
        cross_attention_dim=recipe.text_width,
        norm_num_groups=8,
        use_linear_projection=True,
    )


def pretrain_unet(name: str, recipe: Build, trunk_norm: bool, pool: PicturePool, out: Path, work: Path) -> None:
    """Train the U-Net of foundation ``name`` into ``out``, with the VAE, text encoder and scheduler that ``work`` has."""
    from diffusers import AutoencoderKL, DDIMScheduler
    from transformers import CLIPTextModel

    torch.manual_seed(recipe.seed + 2)
    vae = AutoencoderKL.from_pretrained(work / "vae", torch_dtype=torch.float32)
    if not trunk_norm:
        towers.drop_trunk_norm(vae)
    text_encoder = towers.freeze(CLIPTextModel.from_pretrained(work / "text_encoder", dtype=torch.float32))
    scheduler = DDIMScheduler.from_pretrained(work / "scheduler")
    unet = new_unet(recipe)
    latents, contexts = _encoded_crops(recipe, pool, vae, text_encoder)
    factor = 2 ** (len(recipe.vae_widths) - 1)

    def objective(module: nn.Module, rng: np.random.Generator, generator, phase: Phase, step: int) -> dict[str, Tensor]:
        rows = torch.from_numpy(rng.integers(len(latents), size=phase.batch))
        side = phase.crop_px // factor
        top, left = rng.integers(latents.shape[-2] - side + 1), rng.integers(latents.shape[-1] - side + 1)
        z = latents[rows, :, top : top + side, left : left + side].float()
        t = torch.randint(scheduler.config.num_train_timesteps, (len(z),), generator=generator)
        noise = torch.randn(z.shape, generator=generator)
        target = noise if recipe.prediction == "epsilon" else scheduler.get_velocity(z, noise, t)
        output = unet(scheduler.add_noise(z, noise, t), t, contexts[rows].float()).sample
        return {"loss": F.mse_loss(output, target)}

    fit(Training(f"{name} unet", recipe.unet, recipe.seed + 2, work / "unet.resume"), unet, objective)
    save_half(unet, out)


@torch.no_grad()
def _encoded_crops(
    recipe: Build, pool: PicturePool, vae: "AutoencoderKL", text_encoder: nn.Module
) -> tuple[Tensor, Tensor]:
    """Scaled latents of fixed crops (N, 4, h, w) and the encodings of their captions (N, T, C), in half precision."""
    side = max(phase.crop_px for phase in recipe.unet.phases)
    rng = np.random.default_rng([recipe.seed, 7])
    latents, contexts = [], []
    count = min(LATENTS, recipe.unet.steps * recipe.unet.phases[0].batch)
    for start in range(0, count, ENCODED_AT_ONCE):
        crops = pool.crops(rng, min(ENCODED_AT_ONCE, count - start), side)
        pictures = torch.from_numpy(crops).permute(0, 3, 1, 2).float() / 127.5 - 1
        latents.append((vae.encode(pictures).latent_dist.mode() * vae.config.scaling_factor).half())
        ids = torch.tensor([tokenise(caption(words), recipe.context_tokens) for words in attributes(crops)])
        contexts.append(text_encoder(ids).last_hidden_state.half())
    return torch.cat(latents), torch.cat(contexts)
