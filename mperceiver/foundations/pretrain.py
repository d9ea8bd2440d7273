"""Pre-training of a small foundation from nothing: `mperceiver foundation NAME --build`.

Random weights restore nothing, so a toy needs a pre-trained foundation as the paper does. In order: the VAE learns to
reconstruct, the CLIP to match pictures with words, the U-Net to denoise latents under a caption. Each part is written when
it is done, so a killed build goes on with the next one. Unlike the real CLIP, the toy's has seen the degradations' names.
"""

import json
import math
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mperceiver import files
from mperceiver.config import TASKS
from mperceiver.config.foundations import Build
from mperceiver.config.foundations import Foundation as Spec
from mperceiver.config.runs import Phase
from mperceiver.foundations.captions import END, PAD, START, attributes, caption, tokenise
from mperceiver.models import towers
from mperceiver.training.loop import fit

SIGMA_LOG_VARIANCE = -7.0  # start of the posterior's log-variance: unit noise would drown a young latent
CAPTION_EVERY, CAPTION_WEIGHT = 4, 0.3
LATENT_POOL = 12_000


def build(name: str, spec: Spec, folder: Path, work: Path) -> dict:
    """Pre-train all parts of foundation ``name`` into ``folder`` (diffusers' layout); finished parts in ``work`` are kept.

    Returns the number of parameters of each part.
    """
    recipe = spec.build
    pool = Pool(recipe.pictures)
    parts = {
        "vae": lambda out: _vae(name, spec, pool, out, work),
        "image_encoder": lambda out: _clip(name, recipe, pool, out, work),
        "text_encoder": lambda out: _text_encoder(recipe, work / "image_encoder", out),
        "scheduler": lambda out: _scheduler(recipe, out),
        "unet": lambda out: _unet(name, spec, pool, out, work),
    }
    for part, make in parts.items():
        if not (work / part).is_dir():
            with files.atomic_folder(work / part) as out:
                make(out)
    for part in parts:
        for source in sorted((work / part).iterdir()):
            target = folder / part / source.name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(source.read_bytes())
    return {"parameters": {part: _parameters(folder / part) for part in parts}}


def _parameters(folder: Path) -> int:
    from safetensors import safe_open

    count = 0
    for path in folder.glob("*.safetensors"):
        with safe_open(path, framework="pt") as file:
            count += sum(math.prod(file.get_slice(key).get_shape()) for key in file.keys())
    return count


class Pool:
    """Clean pictures in memory as uint8; crops are drawn equally over the datasets, then over their pictures."""

    def __init__(self, datasets: list[str]) -> None:
        from mperceiver.data.read.loader import PreparedDataset

        readers = [PreparedDataset(name) for name in datasets]
        self.sets = [[reader.gt(i) for i in range(len(reader))] for reader in readers]

    def crops(self, rng: np.random.Generator, count: int, side: int) -> np.ndarray:
        """uint8 (count, side, side, 3), half of them mirrored."""
        out = np.empty((count, side, side, 3), np.uint8)
        for i in range(count):
            pictures = self.sets[rng.integers(len(self.sets))]
            picture = pictures[rng.integers(len(pictures))]
            top, left = rng.integers(picture.shape[0] - side + 1), rng.integers(picture.shape[1] - side + 1)
            crop = picture[top : top + side, left : left + side]
            out[i] = crop[:, ::-1] if rng.random() < 0.5 else crop
        return out

    def tensor(self, rng: np.random.Generator, count: int, side: int) -> Tensor:
        """float32 (count, 3, side, side) in [0, 1]."""
        return torch.from_numpy(self.crops(rng, count, side)).permute(0, 3, 1, 2).float() / 255


def _save(model: nn.Module, out: Path) -> None:
    """Half precision on disk: the foundation is committed and must stay small."""
    model.half().save_pretrained(out, safe_serialization=True)


# ---------------------------------------------------------------- VAE


def new_vae(recipe: Build, trunk_norm: bool) -> nn.Module:
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
        if type(module).__name__ == "ResnetBlock2D":  # each block starts as its shortcut
            nn.init.zeros_(module.conv2.weight)
            nn.init.zeros_(module.conv2.bias)
    with torch.no_grad():
        vae.quant_conv.weight[4:].zero_()
        vae.quant_conv.bias[4:] = SIGMA_LOG_VARIANCE
    return vae


def _vae(name: str, spec: Spec, pool: Pool, out: Path, work: Path) -> None:
    recipe = spec.build
    torch.manual_seed(recipe.seed)
    vae = new_vae(recipe, spec.trunk_norm).to(memory_format=torch.channels_last)

    def losses(module: nn.Module, rng, generator, phase: Phase, step: int) -> dict[str, Tensor]:
        target = pool.tensor(rng, phase.batch, phase.crop_px).to(generator.device) * 2 - 1
        posterior = vae.encode(target).latent_dist
        output = vae.decode(posterior.sample(generator)).sample
        mse, l1, kl = F.mse_loss(output, target), F.l1_loss(output, target), posterior.kl().mean() / target[0].numel()
        return {"loss": 2 * mse + l1 + 1e-5 * kl, "loss_mse": mse, "loss_l1": l1, "loss_kl": kl}

    fit(f"{name} vae", vae, losses, recipe.vae, seed=recipe.seed, resume=work / "vae.resume")
    # Statistics of a GroupNorm depend on the picture's size: what learned on small crops loses 2 dB on large ones.
    fit(f"{name} vae, larger", vae, losses, recipe.vae_larger, seed=recipe.seed + 9, resume=work / "vae_larger.resume")
    with torch.no_grad():  # a latent of unit deviation, as SD's scaling factor makes it
        latents = vae.encode(pool.tensor(np.random.default_rng(recipe.seed), 512, 64) * 2 - 1).latent_dist.mode()
    vae.register_to_config(scaling_factor=float(1 / latents.std()))
    _save(vae, out)


# ---------------------------------------------------------------- CLIP


def clip_config(recipe: Build) -> dict:
    return {
        "embed_dim": recipe.text_width,
        "vision_cfg": {
            "image_size": recipe.clip_px,
            "layers": [1, 1, 1, 1],
            "width": recipe.clip_width,
            "head_width": 32,
        },
        "text_cfg": {
            "context_length": recipe.context_tokens,
            "vocab_size": END + 1,
            "width": recipe.text_width,
            "heads": recipe.text_heads,
            "layers": recipe.text_layers + 1,  # SD's text encoder is this tower without its last block
        },
    }


def _clip(name: str, recipe: Build, pool: Pool, out: Path, work: Path) -> None:
    from open_clip.model import CLIP
    from safetensors.torch import save_file

    from mperceiver.data.read.loader import PreparedDataset
    from mperceiver.data.read.mixture import Mixture

    torch.manual_seed(recipe.seed + 1)
    cfg = clip_config(recipe)
    clip = CLIP(**cfg)
    mixture = Mixture([PreparedDataset(recipe.degradations)], TASKS)
    prompts = torch.tensor(
        [tokenise(["a", "picture", "with", task], recipe.context_tokens) for task in [*TASKS, "clean"]]
    )
    mean, std = torch.tensor(towers.CLIP_MEAN).view(1, 3, 1, 1), torch.tensor(towers.CLIP_STD).view(1, 3, 1, 1)

    def look(pictures: Tensor) -> Tensor:
        small = F.interpolate(pictures, (recipe.clip_px, recipe.clip_px), mode="bicubic", antialias=True).clamp(0, 1)
        return clip.encode_image((small - mean) / std, normalize=True)

    def losses(module: nn.Module, rng, generator, phase: Phase, step: int) -> dict[str, Tensor]:
        lq, gt, task = mixture.batch(mixture.draw(rng, phase.batch), phase.crop_px, rng, flip=True)
        clean = torch.from_numpy(rng.random(phase.batch) < 1 / len(prompts))
        pictures = torch.where(clean[:, None, None, None], gt, lq)
        labels = torch.where(clean, len(TASKS), task)
        scale = clip.logit_scale.exp().clamp(max=100)
        text = clip.encode_text(prompts, normalize=True)
        found = F.cross_entropy(scale * look(pictures) @ text.T, labels)
        total = found
        if step % CAPTION_EVERY == 0:  # captions of clean crops, each against the others of the batch
            crops = pool.crops(rng, phase.batch, phase.crop_px)
            ids = torch.tensor([tokenise(caption(words), recipe.context_tokens) for words in attributes(crops)])
            image = look(torch.from_numpy(crops).permute(0, 3, 1, 2).float() / 255)
            logits = scale * image @ clip.encode_text(ids, normalize=True).T
            same = (ids[:, None] == ids[None]).all(-1).float()  # equal captions are equally right
            total = found + CAPTION_WEIGHT * F.cross_entropy(logits, same / same.sum(1, keepdim=True))
        return {"loss": total, "loss_degradation": found}

    clip.train()
    fit(f"{name} clip", clip, losses, recipe.clip, seed=recipe.seed + 1, resume=work / "clip.resume")
    save_file(
        {k: v.half().contiguous() if v.is_floating_point() else v for k, v in clip.state_dict().items()},
        out / "open_clip_model.safetensors",
    )
    (out / "open_clip_config.json").write_text(json.dumps({"model_cfg": cfg}, indent=1) + "\n")


def _text_encoder(recipe: Build, clip_folder: Path, out: Path) -> None:
    """SD's text encoder: CLIP's text tower without its last block, in transformers' names."""
    from safetensors.torch import load_file

    _save(text_encoder_from_clip(recipe, load_file(clip_folder / "open_clip_model.safetensors")), out)


def text_encoder_from_clip(recipe: Build, state: dict[str, Tensor]) -> nn.Module:
    """open_clip's text tower (state dict) -> transformers' CLIPTextModel without the last block."""
    from transformers import CLIPTextConfig, CLIPTextModel

    model = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=END + 1,
            hidden_size=recipe.text_width,
            intermediate_size=4 * recipe.text_width,
            num_hidden_layers=recipe.text_layers,
            num_attention_heads=recipe.text_heads,
            max_position_embeddings=recipe.context_tokens,
            hidden_act="gelu",
            projection_dim=recipe.text_width,
            bos_token_id=START,
            eos_token_id=END,
            pad_token_id=PAD,
        )
    )
    renamed = {
        "embeddings.token_embedding.weight": state["token_embedding.weight"],
        "embeddings.position_embedding.weight": state["positional_embedding"],
        "final_layer_norm.weight": state["ln_final.weight"],
        "final_layer_norm.bias": state["ln_final.bias"],
    }
    names = {
        "ln_1": "layer_norm1",
        "ln_2": "layer_norm2",
        "attn.out_proj": "self_attn.out_proj",
        "mlp.c_fc": "mlp.fc1",
        "mlp.c_proj": "mlp.fc2",
    }
    for i in range(recipe.text_layers):
        block = f"transformer.resblocks.{i}."
        for kind in ("weight", "bias"):
            for ours, theirs in names.items():
                renamed[f"encoder.layers.{i}.{theirs}.{kind}"] = state[f"{block}{ours}.{kind}"]
            qkv = state[f"{block}attn.in_proj_{kind}"].chunk(3)
            for letter, part in zip("qkv", qkv, strict=True):
                renamed[f"encoder.layers.{i}.self_attn.{letter}_proj.{kind}"] = part
    model.load_state_dict({key: value.float() for key, value in renamed.items()}, strict=True)
    return model


# ---------------------------------------------------------------- U-Net


def _scheduler(recipe: Build, out: Path) -> None:
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


def new_unet(recipe: Build) -> nn.Module:
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


def _unet(name: str, spec: Spec, pool: Pool, out: Path, work: Path) -> None:
    from diffusers import AutoencoderKL, DDIMScheduler
    from transformers import CLIPTextModel

    recipe = spec.build
    torch.manual_seed(recipe.seed + 2)
    vae = AutoencoderKL.from_pretrained(work / "vae", torch_dtype=torch.float32)
    if not spec.trunk_norm:
        towers.drop_trunk_norm(vae)
    text = towers.freeze(CLIPTextModel.from_pretrained(work / "text_encoder", dtype=torch.float32))
    scheduler = DDIMScheduler.from_pretrained(work / "scheduler")
    unet = new_unet(recipe)
    latents, contexts = _latent_pool(recipe, pool, vae, text)
    factor = 2 ** (len(recipe.vae_widths) - 1)

    def losses(module: nn.Module, rng, generator, phase: Phase, step: int) -> dict[str, Tensor]:
        rows = torch.from_numpy(rng.integers(len(latents), size=phase.batch))
        side = phase.crop_px // factor
        top, left = rng.integers(latents.shape[-2] - side + 1), rng.integers(latents.shape[-1] - side + 1)
        z = latents[rows, :, top : top + side, left : left + side].float()
        t = torch.randint(scheduler.config.num_train_timesteps, (len(z),), generator=generator)
        noise = torch.randn(z.shape, generator=generator)
        target = noise if recipe.prediction == "epsilon" else scheduler.get_velocity(z, noise, t)
        output = unet(scheduler.add_noise(z, noise, t), t, contexts[rows].float()).sample
        return {"loss": F.mse_loss(output, target)}

    fit(f"{name} unet", unet, losses, recipe.unet, seed=recipe.seed + 2, resume=work / "unet.resume")
    _save(unet, out)


@torch.no_grad()
def _latent_pool(recipe: Build, pool: Pool, vae: nn.Module, text: nn.Module) -> tuple[Tensor, Tensor]:
    """Scaled latents (N, 4, h, w) of fixed crops with their captions' encodings (N, T, C), half precision: computed once."""
    side = max(phase.crop_px for phase in recipe.unet.phases)
    rng = np.random.default_rng([recipe.seed, 7])
    latents, contexts = [], []
    count = min(LATENT_POOL, recipe.unet.steps * recipe.unet.phases[0].batch)
    for start in range(0, count, 100):
        crops = pool.crops(rng, min(100, count - start), side)
        pictures = torch.from_numpy(crops).permute(0, 3, 1, 2).float() / 127.5 - 1
        latents.append((vae.encode(pictures).latent_dist.mode() * vae.config.scaling_factor).half())
        ids = torch.tensor([tokenise(caption(words), recipe.context_tokens) for words in attributes(crops)])
        contexts.append(text(ids).last_hidden_state.half())
    return torch.cat(latents), torch.cat(contexts)
