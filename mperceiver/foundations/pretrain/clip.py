"""Pre-training of the CLIP: it learns to match pictures with words. SD's text encoder is a part of its text tower."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mperceiver.config import TASKS
from mperceiver.config.foundations import Build
from mperceiver.config.runs import Phase
from mperceiver.data.read.loader import PreparedDataset
from mperceiver.data.read.mixture import Mixture
from mperceiver.foundations.captions import END, PAD, START, attributes, caption, tokenise
from mperceiver.foundations.pretrain.pictures import PicturePool
from mperceiver.foundations.pretrain.storage import save_half
from mperceiver.models import image_tower
from mperceiver.training.loop import fit
from mperceiver.training.resume import Training

if TYPE_CHECKING:
    from transformers import CLIPTextModel

CAPTION_EVERY, CAPTION_WEIGHT = 4, 0.3  # captions are matched at every fourth step; weight of their loss


def clip_config(recipe: Build) -> dict:
    """open_clip's configuration of the whole model."""
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


def pretrain_clip(name: str, recipe: Build, pool: PicturePool, out: Path, work: Path) -> None:
    """Train the CLIP of foundation ``name`` into ``out``; resume states lie in ``work``.

    At each step it tells the degradations of a batch apart by their names, clean pictures among them; at some steps it also
    matches clean crops with captions of their attributes.
    """
    from open_clip.model import CLIP
    from safetensors.torch import save_file

    torch.manual_seed(recipe.seed + 1)
    cfg = clip_config(recipe)
    clip = CLIP(**cfg)
    mixture = Mixture([PreparedDataset(recipe.degradations)], TASKS)
    prompts = torch.tensor(
        [tokenise(["a", "picture", "with", task], recipe.context_tokens) for task in [*TASKS, "clean"]]
    )
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (image_tower.CLIP_MEAN, image_tower.CLIP_STD))

    def embed(pictures: Tensor) -> Tensor:
        small = F.interpolate(pictures, (recipe.clip_px, recipe.clip_px), mode="bicubic", antialias=True).clamp(0, 1)
        return clip.encode_image((small - mean) / std, normalize=True)

    def objective(module: nn.Module, rng: np.random.Generator, generator, phase: Phase, step: int) -> dict[str, Tensor]:
        lq, gt, task = mixture.batch(mixture.draw(rng, phase.batch), phase.crop_px, rng, flip=True)
        clean = torch.from_numpy(rng.random(phase.batch) < 1 / len(prompts))
        pictures = torch.where(clean[:, None, None, None], gt, lq)
        labels = torch.where(clean, len(TASKS), task)
        scale = clip.logit_scale.exp().clamp(max=100)
        text = clip.encode_text(prompts, normalize=True)
        degradation = F.cross_entropy(scale * embed(pictures) @ text.T, labels)
        total = degradation
        if step % CAPTION_EVERY == 0:  # each caption against the others of the batch
            crops = pool.crops(rng, phase.batch, phase.crop_px)
            ids = torch.tensor([tokenise(caption(words), recipe.context_tokens) for words in attributes(crops)])
            image = embed(torch.from_numpy(crops).permute(0, 3, 1, 2).float() / 255)
            logits = scale * image @ clip.encode_text(ids, normalize=True).T
            same = (ids[:, None] == ids[None]).all(-1).float()  # equal captions share the target probability
            total = degradation + CAPTION_WEIGHT * F.cross_entropy(logits, same / same.sum(1, keepdim=True))
        return {"loss": total, "loss_degradation": degradation}

    clip.train()
    fit(Training(f"{name} clip", recipe.clip, recipe.seed + 1, work / "clip.resume"), clip, objective)
    save_file(
        {k: v.half().contiguous() if v.is_floating_point() else v for k, v in clip.state_dict().items()},
        out / "open_clip_model.safetensors",
    )
    (out / "open_clip_config.json").write_text(json.dumps({"model_cfg": cfg}, indent=1) + "\n", encoding="utf-8")


def write_text_encoder(recipe: Build, clip_folder: Path, out: Path) -> None:
    """Write SD's text encoder into ``out``: CLIP's text tower without its last block, under transformers' names."""
    from safetensors.torch import load_file

    save_half(text_encoder_from_clip(recipe, load_file(clip_folder / "open_clip_model.safetensors")), out)


def text_encoder_from_clip(recipe: Build, state: dict[str, Tensor]) -> "CLIPTextModel":
    """The state dict of an open_clip model -> transformers' CLIPTextModel, without the last block of the text tower."""
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
            for letter, weights in zip("qkv", qkv, strict=True):
                renamed[f"encoder.layers.{i}.self_attn.{letter}_proj.{kind}"] = weights
    model.load_state_dict({key: value.float() for key, value in renamed.items()}, strict=True)
    return model
