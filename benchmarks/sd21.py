"""The architectures of Stable Diffusion 2.1-base and CLIP ViT-H-14, and small ones of the same kind, without their weights."""

import json
from dataclasses import dataclass
from importlib.resources import files

import torch

from mperceiver.config.foundations import Tokens
from mperceiver.models import image_tower, towers
from mperceiver.models.text_tower import TextTower

# As in the scheduler_config.json of Stable Diffusion 2.1-base.
SCHEDULE = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "num_train_timesteps": 1000,
    "prediction_type": "epsilon",
    "clip_sample": False,
    "set_alpha_to_one": False,
    "steps_offset": 1,
}


@dataclass(frozen=True)
class Widths:
    """Widths and depths of a foundation of this kind; the defaults are those of SD 2.1-base and ViT-H-14."""

    vae: tuple[int, ...] = (128, 256, 512, 512)
    vae_layers: int = 2
    unet: tuple[int, ...] = (320, 640, 1280, 1280)
    heads: tuple[int, ...] = (5, 10, 20, 20)
    text: int = 1024
    text_layers: int = 23
    text_heads: int = 16
    clip: str = "ViT-H-14"


# A quarter of the widths and the smallest CLIP: runs in seconds on any machine.
QUARTER = Widths((32, 64, 128, 128), 1, (96, 160, 320, 320), (2, 3, 5, 5), 256, 6, 4, "ViT-S-32")


def foundation(device: torch.device | str, widths: Widths = Widths()) -> towers.Towers:
    """A foundation with random weights on ``device``; on the meta device or under FakeTensorMode it has none."""
    from diffusers import AutoencoderKL, UNet2DConditionModel

    clip = json.loads((files("open_clip") / "model_configs" / f"{widths.clip}.json").read_text(encoding="utf-8"))
    with torch.device(device):
        vae = AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * len(widths.vae),
            up_block_types=("UpDecoderBlock2D",) * len(widths.vae),
            block_out_channels=widths.vae,
            layers_per_block=widths.vae_layers,
            latent_channels=4,
            scaling_factor=0.18215,
        )
        unet = UNet2DConditionModel(
            block_out_channels=widths.unet,
            attention_head_dim=widths.heads,
            cross_attention_dim=widths.text,
            use_linear_projection=True,
        )
        text = TextTower(
            vocabulary=49408,
            context=77,
            width=widths.text,
            layers=widths.text_layers,
            heads=widths.text_heads,
            inner=4 * widths.text,
        )
        tower = image_tower.build_clip_tower(clip)
    parts = [towers.freeze(part) for part in (vae, unet, text, tower)]
    return towers.Towers("sd21", *parts, SCHEDULE, Tokens(), clip["vision_cfg"]["image_size"])
