"""Pictures in memory: to tensors and back, resized, padded, and cut into tiles."""

import math
from typing import TYPE_CHECKING

import numpy as np

from mperceiver.images.limits import PictureError

if TYPE_CHECKING:
    import torch


def resize(picture: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resize uint8 (H, W, 3) to uint8 (height, width, 3) by PIL's bilinear filter, with antialiasing."""
    from PIL import Image

    return np.array(Image.fromarray(picture).resize((width, height), Image.Resampling.BILINEAR))


def to_tensor(picture: np.ndarray) -> "torch.Tensor":
    """uint8 (H, W, 3) -> float32 (1, 3, H, W) in [0, 1]; float32 pictures keep their values."""
    import torch

    if picture.dtype == np.float32:
        return torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None]
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None].float() / 255


def to_picture(tensor: "torch.Tensor", bits: int = 8) -> np.ndarray:
    """float (1, 3, H, W) or (3, H, W) -> uint8 (H, W, 3), uint16 with 16 ``bits``: clamped to [0, 1], then rounded."""
    tensor = tensor[0] if tensor.ndim == 4 else tensor
    tensor = tensor.detach().float().clamp(0, 1)
    if bits == 16:
        return to_levels(tensor.permute(1, 2, 0).cpu().numpy(), bits)
    return tensor.mul_(255).round_().byte().permute(1, 2, 0).cpu().numpy()


def to_levels(picture: np.ndarray, bits: int) -> np.ndarray:
    """float (H, W, 3) -> uint8, or uint16 with 16 ``bits``: clipped to [0, 1], then rounded."""
    most, kind = (65_535, np.uint16) if bits == 16 else (255, np.uint8)
    return np.round(np.clip(picture, 0, 1) * most).astype(kind)


GREY = (0.299, 0.587, 0.114)  # what red, green and blue weigh in a pixel's brightness (ITU-R BT.601)
UNCLIPPED = 6.0  # how far unclipped noise may leave [0, 1]: six times its largest standard deviation, 1


def check(tensor: "torch.Tensor", name: str = "picture", unclipped: bool = False) -> None:
    """Raise PictureError unless ``tensor`` is float (B, 3, H, W) in [0, 1]; ``unclipped``: with noise that leaves this range."""
    beyond = UNCLIPPED if unclipped else 0.0
    low, high = (tensor.min().item(), tensor.max().item()) if tensor.numel() else (math.nan, math.nan)
    if (
        tensor.ndim != 4
        or tensor.shape[1] != 3
        or not tensor.is_floating_point()
        or not (low >= -beyond and high <= 1 + beyond)
    ):
        raise PictureError(
            f"{name}: expected float RGB (B, 3, H, W) in [0, 1], got {tensor.dtype} {tuple(tensor.shape)} in [{low:.3g}, {high:.3g}]"
        )


def pad(tensor: "torch.Tensor", multiple: int, minimum: int = 1) -> "torch.Tensor":
    """Pad (B, C, H, W), on the CPU, to (B, C, H', W') by reflection without repeating the edge, at the right and the bottom.

    Both new sides are multiples of ``multiple`` and at least ``minimum``. Sides smaller than their padding are reflected
    repeatedly, which torch's own padding refuses.
    """
    import torch

    missing = [math.ceil(max(side, minimum) / multiple) * multiple - side for side in tensor.shape[-2:]]
    if not any(missing):
        return tensor
    return torch.from_numpy(np.pad(tensor.numpy(), [(0, 0), (0, 0), *((0, more) for more in missing)], mode="reflect"))


def tiles(length: int, tile: int, overlap: int) -> list[int]:
    """Start positions of tiles that cover ``length`` and overlap by ``overlap`` or more; the last tile ends at ``length``.

    All in px. Raises PictureError if tiles cannot overlap by that much.
    """
    if overlap >= tile:
        raise PictureError(f"tiles of {tile} px cannot overlap by {overlap} px")
    if length <= tile:
        return [0]
    count = math.ceil((length - overlap) / (tile - overlap))
    return [round(i * (length - tile) / (count - 1)) for i in range(count)]
