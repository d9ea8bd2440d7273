"""Pictures as a protocol scores them: rounded, cropped, aligned, as luma."""

from typing import TYPE_CHECKING

import numpy as np

from mperceiver.config.protocols import Protocol
from mperceiver.images import UNCLIPPED, PictureError

if TYPE_CHECKING:
    import torch

LUMA = np.array([65.481, 128.553, 24.966]) / 255  # BT.601, 16 to 235 (MATLAB's rgb2ycbcr), not YIQ's full range

Pictures = np.ndarray  # a batch (B, H, W, 3) RGB, uint8 or float in [0, 1]


def channels(
    restored: Pictures, gt: Pictures, protocol: Protocol, unclipped: bool = False
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Restored pictures and ground truths as float64 (B, h, w, 3 or 1), 0 to 255, in the protocol's channels, and a mask.

    The mask is 1 where a pixel counts; it broadcasts to the pictures' shape. Raises PictureError if the two differ in size.
    """
    first, second = levels(restored, protocol, unclipped), levels(gt, protocol)
    same_size(first, second)
    covered = np.ones((1, 1, 1, 1))
    if protocol.align == "realblur":
        from mperceiver.metrics.alignment import onto

        aligned = [onto(a / 255, b / 255) for a, b in zip(first, second, strict=True)]
        covered = np.stack([mask for _, mask in aligned])
        first, second = np.stack([picture for picture, _ in aligned]) * 255 * covered, second * covered
    if protocol.channel == "y":
        first, second, covered = (first @ LUMA + 16)[..., None], (second @ LUMA + 16)[..., None], covered[..., :1]
        if protocol.luma_rounded:
            first, second = first.round(), second.round()
    return first, second, covered


def levels(pictures: Pictures, protocol: Protocol, unclipped: bool = False) -> np.ndarray:
    """Float64 (B, h, w, 3), 0 to 255, rounded if the protocol is quantised, its border cropped; ``unclipped``: values beyond are allowed.

    Raises PictureError for another shape, type or range, and for a border that leaves nothing.
    """
    if pictures.ndim != 4 or pictures.shape[3] != 3:
        raise PictureError(f"expected pictures (B, H, W, 3), got {pictures.shape}")
    if pictures.dtype == np.uint8:
        levels = pictures.astype(np.float64)
    else:
        low, high = (pictures.min(), pictures.max()) if pictures.size else (np.nan, np.nan)
        beyond = UNCLIPPED if unclipped else 0.0
        if not np.issubdtype(pictures.dtype, np.floating) or not (low >= -beyond and high <= 1 + beyond):
            raise PictureError(f"expected uint8 or float in [0, 1], got {pictures.dtype} in [{low:.4g}, {high:.4g}]")
        levels = pictures.astype(np.float64) * 255
        levels = np.round(levels) if protocol.quantised else levels
    border = protocol.border_px
    if min(levels.shape[1:3]) <= 2 * border:
        raise PictureError(f"a border of {border} px leaves nothing of a picture of {size(levels)} px")
    return levels[:, border : levels.shape[1] - border, border : levels.shape[2] - border]


def as_tensor(levels: np.ndarray) -> "torch.Tensor":
    """Levels (B, h, w, 3), 0 to 255 -> float32 (B, 3, h, w) in [0, 1]."""
    import torch

    scaled = np.divide(levels, 255, out=np.empty(levels.shape, np.float32), casting="same_kind")
    return torch.from_numpy(scaled).permute(0, 3, 1, 2)


def same_size(first: np.ndarray, second: np.ndarray) -> None:
    """Raise PictureError unless restored pictures and ground truths have one size."""
    if first.shape != second.shape:
        raise PictureError(f"the restored picture is {size(first)} px and its ground truth {size(second)} px")


def size(pictures: np.ndarray) -> str:
    """Width and height for a message."""
    return f"{pictures.shape[2]}x{pictures.shape[1]}"
