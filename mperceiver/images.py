"""Pictures: the only module that touches picture files.

THE picture convention. In code a picture is a torch float32 tensor, RGB, (B, 3, H, W), in [0, 1]; a latent is
(B, 4, H/f, W/f). At the border to files, and inside the numpy degradations, it is a numpy array (H, W, 3): uint8 in files,
float32 in [0, 1] in degradations. Float becomes 8 bit by rounding, never by truncation (truncation costs 0.2 dB at 42 dB).
Sizes are checked where pictures enter; a message prints what was found.

What a file has beyond that: it is turned upright by its EXIF orientation, and the tag goes; transparency is left out, the
colours are those below it; 16 bit is rounded to 8; grey becomes three equal channels. An RGB colour profile is not applied:
values stay as they are, and a restored photograph is written with the same profile, so that its colours are shown as
before. CMYK is converted to sRGB by its own profile. Of several frames the first is taken.
"""

import io
import math
import struct
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image as PilImage

MAX_PIXELS = 256_000_000
ORIENTATION = 0x0112  # EXIF's tag
SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp"}
# PIL's names for 16 bit a channel, and what reads the same bytes in the other order (16N: this machine's).
OTHER_ORDER = {f"{mode};16{a}": f"{mode};16{b}" for mode in ("RGB", "RGBA") for a, b in ("BL", "LB")}
OTHER_ORDER |= {f"{mode};16N": f"{mode};16{'B' if sys.byteorder == 'little' else 'L'}" for mode in ("RGB", "RGBA")}


class PictureError(ValueError):
    """A picture cannot be read or used; the message names it."""


@dataclass
class Photograph:
    """A decoded file: uint8 RGB (H, W, 3); what had to be changed for that, in words; what goes on to a copy of it."""

    pixels: np.ndarray
    notes: list[str]
    metadata: dict[str, bytes]  # ``icc_profile``, ``exif``, as encode() takes them
    plain_rgb: bool  # whether any reader of 8-bit RGB sees just these pixels in the file


def decode(source: bytes | Path | str, name: str | None = None) -> np.ndarray:
    """Decode one picture fully to uint8 RGB (H, W, 3), turned upright by its EXIF orientation; 16 bit is rounded to 8.

    Raises PictureError, naming the picture, if it is missing, truncated, not a picture, of 32 bits a value, or beyond
    MAX_PIXELS.
    """
    return read_photograph(source, name).pixels


def stored(data: bytes, name: str) -> tuple[np.ndarray, bytes]:
    """A picture as ``decode`` gives it, and bytes that hold just it: ``data`` itself if that is 8-bit RGB PNG or JPEG, upright.

    What is no such file is written anew as PNG. Raises PictureError as ``decode`` does.
    """
    found = read_photograph(data, name)
    return found.pixels, data if found.plain_rgb else encode(found.pixels)


def read_photograph(source: bytes | Path | str, name: str | None = None) -> Photograph:
    """``decode``, and what a photograph has beside its pixels."""
    name = name or (str(source) if not isinstance(source, bytes) else "picture")
    try:
        data = source if isinstance(source, bytes) else Path(source).read_bytes()
    except FileNotFoundError:
        raise PictureError(f"{name}: no such picture") from None
    except OSError as error:
        raise PictureError(f"{name}: cannot be read ({error.strerror})") from None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # PIL's, of broken metadata; what is broken in the picture itself raises
            found, wide = _read(data, name)
            if wide:
                value = found.pixels.astype(np.uint32) * 256 + _read(data, name, lower=True)[0].pixels
                found.pixels = ((value + 128) // 257).astype(np.uint8)
                found.notes.append("16 bit rounded to 8")
                found.plain_rgb = False
            return found
    except PictureError:
        raise
    except Exception as error:  # PIL raises OSError, SyntaxError, ValueError, struct.error … for broken files
        raise PictureError(f"{name}: cannot be decoded ({error}); the file is damaged or not a picture") from None


def _read(data: bytes, name: str, lower: bool = False) -> tuple[Photograph, bool]:
    """The picture, and whether it is but the upper (or ``lower``) byte of 16 bits: PIL cuts colour to one byte."""
    from PIL import Image, ImageOps

    Image.MAX_IMAGE_PIXELS = None  # the limit below is ours: PIL's would warn and refuse at others
    with Image.open(io.BytesIO(data)) as image:
        if image.width * image.height > MAX_PIXELS:
            raise PictureError(
                f"{name}: {image.width}x{image.height} is more than {MAX_PIXELS:,} pixels; refusing to decode"
            )
        wide, notes, kept = _swap_bytes(image, lower), [], {}
        if getattr(image, "n_frames", 1) > 1:
            notes.append(f"the first of {image.n_frames} frames")
        image.load()
        plain = image.format in ("PNG", "JPEG") and image.mode == "RGB" and "transparency" not in image.info
        plain = plain and image.getexif().get(ORIENTATION, 1) == 1
        image = ImageOps.exif_transpose(image)
        if image.mode in ("I", "F"):
            raise PictureError(f"{name}: has 32 bits a value, whose range no file tells; save it with 8 or 16 bits")
        kept |= _exif(image, notes)
        profile = image.info.get("icc_profile")
        if image.mode == "CMYK":
            image = _from_cmyk(image, profile, notes)
        elif profile and profile[16:20] == b"RGB ":
            kept["icc_profile"] = profile
        elif profile:
            notes.append("its colour profile left out, which is not one for RGB")
        if image.mode in ("1", "L", "LA", "La") or image.mode.startswith("I;16"):
            notes.append("grey taken as three equal channels")
        if image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info:
            notes.append("transparency left out")
        if image.mode in ("P", "PA"):
            notes.append("palette looked up")
        if image.mode.startswith("I;16"):
            notes.append("16 bit rounded to 8")
            grey = ((np.asarray(image).astype(np.uint32) + 128) // 257).astype(np.uint8)
            return Photograph(np.repeat(grey[..., None], 3, axis=2), notes, kept, False), False
        if "transparency" in image.info:
            image = image.convert("RGBA")
        return Photograph(np.array(image.convert("RGB")), notes, kept, plain), wide


def _exif(image: "PilImage", notes: list[str]) -> dict[str, bytes]:
    """The EXIF of a picture that was turned upright, without its orientation; a broken one is left out."""
    try:
        exif = image.getexif()
        exif.pop(ORIENTATION, None)
        return {"exif": exif.tobytes()} if len(exif) else {}
    except Exception:  # PIL raises whatever a broken directory leads to
        notes.append("its EXIF left out, which is damaged")
        return {}


def _from_cmyk(image: "PilImage", profile: bytes | None, notes: list[str]) -> "PilImage":
    """In sRGB, by the picture's own profile; without one by the plain formula."""
    from PIL import ImageCms

    if profile:
        try:
            own, srgb = ImageCms.ImageCmsProfile(io.BytesIO(profile)), ImageCms.createProfile("sRGB")
            converted = ImageCms.profileToProfile(image, own, srgb, outputMode="RGB")
            notes.append("CMYK converted to sRGB by its profile")
            return converted
        except (ImageCms.PyCMSError, OSError):
            notes.append("its colour profile left out, which is damaged")
    notes.append("CMYK converted without a profile")
    return image.convert("RGB")


def size(file: BinaryIO, name: str) -> tuple[int, int]:
    """(height, width) of a picture as ``stored`` keeps it, from its header alone. Raises PictureError."""
    from PIL import Image

    header = file.read(24)
    if header[:4] == b"\x89PNG" and len(header) == 24:
        width, height = struct.unpack(">II", header[16:24])
        return height, width
    file.seek(0)
    try:
        with Image.open(file, formats=["JPEG"]) as image:
            return image.height, image.width
    except Exception as error:  # as in decode
        raise PictureError(f"{name}: is neither PNG nor JPEG ({error})") from None


def _swap_bytes(image: "PilImage", swap: bool) -> bool:
    """Whether a picture that is not loaded yet has 16 bits a channel; with ``swap`` its lower bytes are what is loaded."""
    tiles = []
    for tile in image.tile:
        raw, *rest = tile.args if isinstance(tile.args, tuple) else (tile.args,)
        if raw not in OTHER_ORDER:
            return False
        tiles.append(tile._replace(args=(OTHER_ORDER[raw], *rest) if rest else OTHER_ORDER[raw]))
    if swap:
        image.tile = tiles
    return bool(tiles)


def encode(picture: np.ndarray, **kept: bytes) -> bytes:
    """Encode uint8 RGB (H, W, 3) as PNG, with ``icc_profile`` and ``exif`` if they are given."""
    from PIL import Image

    if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3:
        raise PictureError(f"expected uint8 (H, W, 3), got {picture.dtype} {picture.shape}")
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, format="PNG", compress_level=1, **kept)
    return buffer.getvalue()


def resize(picture: np.ndarray, height: int, width: int) -> np.ndarray:
    """uint8 (H, W, 3) -> uint8 (height, width, 3), bilinear with antialiasing, as PIL does it."""
    from PIL import Image

    return np.array(Image.fromarray(picture).resize((width, height), Image.Resampling.BILINEAR))


def to_tensor(picture: np.ndarray) -> "torch.Tensor":
    """uint8 (H, W, 3) -> float32 (1, 3, H, W) in [0, 1]."""
    import torch

    return torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None].float() / 255


def to_picture(tensor: "torch.Tensor") -> np.ndarray:
    """float (1, 3, H, W) or (3, H, W), clamped to [0, 1] -> uint8 (H, W, 3), rounded."""
    tensor = tensor[0] if tensor.ndim == 4 else tensor
    return tensor.detach().float().clamp(0, 1).mul_(255).round_().byte().permute(1, 2, 0).cpu().numpy()


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
        target = math.ceil(max(size, minimum) / multiple) * multiple
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
