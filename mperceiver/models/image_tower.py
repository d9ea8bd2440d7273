"""The image tower of a foundation: that of an open_clip model, or a StatisticsTower."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mperceiver.lineage import LineageError
from mperceiver.machine import importing
from mperceiver.models.statistics_tower import StatisticsTower

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


def clip_view(pictures: Tensor, px: int, device: torch.device) -> Tensor:
    """Pictures (B, 3, H, W) in [0, 1] as a CLIP wants them, resized and standardised, (B, 3, px, px) on ``device``."""
    small = F.interpolate(pictures, (px, px), mode="bicubic", antialias=True).clamp(0, 1)
    small = small.to(device)  # only the small picture is copied to the device
    mean = small.new_tensor(CLIP_MEAN).view(1, 3, 1, 1)
    std = small.new_tensor(CLIP_STD).view(1, 3, 1, 1)
    return (small - mean) / std


@dataclass
class ImageTower:
    """The frozen image tower of a foundation's CLIP, without the other networks."""

    tower: nn.Module
    px: int  # side of its square input

    @property
    def width(self) -> int:
        """Width of its embeddings."""
        return cast(int, self.tower.output_dim)

    def view(self, pictures: Tensor) -> Tensor:
        """Pictures (B, 3, H, W) in [0, 1] -> what the tower takes, (B, 3, px, px) on the pictures' device."""
        return clip_view(pictures, self.px, pictures.device)

    def to(self, device: torch.device) -> "ImageTower":
        """Move the tower to ``device``."""
        self.tower.to(device)
        return self


def load_clip(folder: Path, dtype: torch.dtype = torch.float32) -> tuple[nn.Module, int]:
    """The image tower of an open_clip model, and the side of its square input in px. The text tower is neither built nor read.

    Raises LineageError if a file is missing or damaged, or if the weights do not fit the tower.
    """
    try:
        cfg = json.loads((folder / "open_clip_config.json").read_text(encoding="utf-8"))["model_cfg"]
        with torch.device("meta"):  # draws no random weights, which would be replaced at once
            tower = build_clip_tower(cfg)
        state = _visual_tensors(folder / "open_clip_model.safetensors")
    except Exception as error:  # what json, open_clip and safetensors raise for a damaged file has no common class
        raise LineageError(f"{folder}: cannot be loaded as an image tower ({type(error).__name__}: {error})") from None
    state = {name: value.to(dtype) if value.is_floating_point() else value for name, value in state.items()}
    try:
        tower.load_state_dict(state, strict=True, assign=True)
    except RuntimeError as error:
        raise LineageError(f"{folder}: weights do not fill the image tower: {error}") from None
    size = cast("int | tuple[int, int]", tower.image_size)
    return tower, size[0] if isinstance(size, tuple) else size


def _visual_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of the image tower in a CLIP's weights file, on the CPU."""
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        names = [name for name in file.keys() if name.startswith("visual.")]
        return {name.removeprefix("visual."): file.get_tensor(name) for name in names}


def build_clip_tower(cfg: dict) -> nn.Module:
    """The image tower of an open_clip model configuration, or of one with `statistics_tower` in it, without weights."""
    if "statistics_tower" in cfg:
        return StatisticsTower(**cfg["statistics_tower"])
    with importing(unused=["transformers"]):
        from open_clip.model import CLIPVisionCfg, _build_vision_tower

    vision = CLIPVisionCfg(**cfg["vision_cfg"])
    tower = _build_vision_tower(cfg["embed_dim"], vision, quick_gelu=cfg.get("quick_gelu", False))
    tower.output_dim = cfg["embed_dim"]
    return tower
