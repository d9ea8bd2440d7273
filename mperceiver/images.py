"""Pictures: the only module that touches picture files.

THE picture convention. In code a picture is a torch float32 tensor, RGB, (B, 3, H, W), in [0, 1]; a latent is
(B, 4, H/f, W/f). At the border to files, and inside the numpy degradations, it is a numpy array (H, W, 3): uint8 in files,
float32 in [0, 1] in degradations. Float becomes 8 bit by rounding, never by truncation (truncation costs 0.2 dB at 42 dB).
Sizes are checked where pictures enter; a message prints what was found.
"""

import io
import math
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch

MAX_PIXELS = 256_000_000
SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp"}


class PictureError(ValueError):
    """A picture cannot be read or used; the message names it."""


def decode(source: bytes | Path | str, name: str | None = None) -> np.ndarray:
    """Decode one picture fully to uint8 RGB (H, W, 3), turned upright by its EXIF orientation; 16 bit is rounded to 8.

    Raises PictureError, naming the picture, if it is missing, truncated, not a picture, or beyond MAX_PIXELS.
    """
    from PIL import Image, ImageOps

    name = name or (str(source) if not isinstance(source, bytes) else "picture")
    try:
        with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source) as image:
            if image.width * image.height > MAX_PIXELS:
                raise PictureError(
                    f"{name}: {image.width}x{image.height} is more than {MAX_PIXELS:,} pixels; refusing to decode"
                )
            image.load()
            image = ImageOps.exif_transpose(image)
            if image.mode.startswith("I") or image.mode == "F":
                values = np.asarray(image, dtype=np.float64)
                top = 65535.0 if values.max() > 255 else 255.0
                grey = np.round(values / top * 255).astype(np.uint8)
                return np.repeat(grey[..., None], 3, axis=2)
            return np.array(image.convert("RGB"))
    except PictureError:
        raise
    except FileNotFoundError:
        raise PictureError(f"{name}: no such picture") from None
    except Exception as error:  # PIL raises OSError, SyntaxError, ValueError, struct.error … for broken files
        raise PictureError(f"{name}: cannot be decoded ({error}); the file is damaged or not a picture") from None


def encode(picture: np.ndarray) -> bytes:
    """Encode uint8 RGB (H, W, 3) as PNG."""
    from PIL import Image

    if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3:
        raise PictureError(f"expected uint8 (H, W, 3), got {picture.dtype} {picture.shape}")
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, format="PNG", compress_level=1)
    return buffer.getvalue()


def to_tensor(picture: np.ndarray) -> "torch.Tensor":
    """uint8 (H, W, 3) -> float32 (1, 3, H, W) in [0, 1]."""
    import torch

    return torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None].float() / 255


def to_picture(tensor: "torch.Tensor") -> np.ndarray:
    """float (1, 3, H, W) or (3, H, W), clamped to [0, 1] -> uint8 (H, W, 3), rounded."""
    tensor = tensor[0] if tensor.ndim == 4 else tensor
    return (tensor.detach().float().clamp(0, 1) * 255).round().byte().permute(1, 2, 0).cpu().numpy()


def check(tensor: "torch.Tensor", name: str = "picture") -> None:
    """Raise PictureError unless ``tensor`` is float (B, 3, H, W) in [0, 1]."""
    low, high = (tensor.min().item(), tensor.max().item()) if tensor.numel() else (math.nan, math.nan)
    if tensor.ndim != 4 or tensor.shape[1] != 3 or not tensor.is_floating_point() or not (low >= 0 and high <= 1):
        raise PictureError(
            f"{name}: expected float RGB (B, 3, H, W) in [0, 1], got {tensor.dtype} {tuple(tensor.shape)} in [{low:.3g}, {high:.3g}]"
        )


def pad(tensor: "torch.Tensor", multiple: int, minimum: int = 1) -> "torch.Tensor":
    """Reflect-101 padding right and bottom, so that each side is a multiple and at least ``minimum`` (section 4.1 of the release).

    (B, C, H, W) -> (B, C, H', W'); works for sides smaller than the padding by reflecting again and again.
    """
    import torch

    for axis in (-2, -1):
        size = tensor.shape[axis]
        target = max(minimum, math.ceil(size / multiple) * multiple)
        if target > size:
            period = max(2 * (size - 1), 1)
            index = torch.arange(target, device=tensor.device) % period
            tensor = tensor.index_select(axis, torch.where(index < size, index, period - index))
    return tensor


def tiles(length: int, tile: int, overlap: int) -> list[int]:
    """Starts of overlapping tiles that cover ``length``; the last one ends at its end."""
    if overlap >= tile:
        raise PictureError(f"tiles of {tile} px cannot overlap by {overlap} px")
    if length <= tile:
        return [0]
    count = math.ceil((length - overlap) / (tile - overlap))
    return [round(i * (length - tile) / (count - 1)) for i in range(count)]
