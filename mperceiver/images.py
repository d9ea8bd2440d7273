"""Pictures: reading, writing and converting them. No other module reads or writes picture files.

THE picture convention. In code a picture is a torch tensor of float32, RGB, (B, 3, H, W), in [0, 1]; a latent is
(B, 4, H/f, W/f). Read from a file, or inside the numpy degradations, it is a numpy array (H, W, 3): uint8 from files,
float32 in [0, 1] in degradations. Float is converted to 8 bit by rounding, never by truncation, which costs 0.2 dB at 42 dB.
Shape and range are checked where pictures enter the code, and an error prints both.

A file is converted to that convention as follows. EXIF orientation: the picture is rotated or mirrored accordingly, and the
tag is removed. Transparency: the alpha channel is dropped, colours stay as they are. 16 bit: rounded to 8. Grey: repeated in
three channels. RGB colour profile: not applied; a restored photograph is written with the same profile, so that programs show
its colours as before. CMYK: converted to sRGB by the picture's own profile. Several frames: the first is used.
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
    from PIL.ImageFile import ImageFile

MAX_PIXELS = 256_000_000
ORIENTATION = 0x0112  # tag of EXIF
SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp"}
# PIL's raw mode for 16 bit a channel -> the raw mode with the other byte order (16N: this machine's order).
OTHER_ORDER = {f"{mode};16{a}": f"{mode};16{b}" for mode in ("RGB", "RGBA") for a, b in ("BL", "LB")}
OTHER_ORDER |= {f"{mode};16N": f"{mode};16{'B' if sys.byteorder == 'little' else 'L'}" for mode in ("RGB", "RGBA")}


class PictureError(ValueError):
    """A picture cannot be read or used. The message names it."""


@dataclass
class Photograph:
    """A decoded picture file."""

    pixels: np.ndarray  # uint8 RGB (H, W, 3)
    notes: list[str]  # what was changed in decoding, in words
    metadata: dict[str, bytes]  # ``icc_profile`` and ``exif``, the arguments of encode(), for a restored copy
    plain_rgb: bool  # whether the file is PNG or JPEG of 8-bit RGB, with the pixels as they are


def decode(source: bytes | Path | str, name: str | None = None) -> np.ndarray:
    """Decode a picture to uint8 RGB (H, W, 3), as the module's docstring says.

    Args:
        source: the file's content, or its path.
        name: what errors call the picture; its path by default.

    Raises:
        PictureError: it is missing, truncated, not a picture, of 32 bits a value, or larger than MAX_PIXELS.
    """
    return read_photograph(source, name).pixels


def stored(data: bytes, name: str) -> tuple[np.ndarray, bytes]:
    """Decode a picture, and return it with the content of a file that has exactly these pixels.

    That is ``data`` itself if it is an upright PNG or JPEG of 8-bit RGB, else a new PNG. Raises PictureError as ``decode``.
    """
    photograph = read_photograph(data, name)
    return photograph.pixels, data if photograph.plain_rgb else encode(photograph.pixels)


def read_photograph(source: bytes | Path | str, name: str | None = None) -> Photograph:
    """Decode a picture together with its metadata. Arguments and errors are those of ``decode``."""
    name = name or (str(source) if not isinstance(source, bytes) else "picture")
    try:
        data = source if isinstance(source, bytes) else Path(source).read_bytes()
    except FileNotFoundError:
        raise PictureError(f"{name}: no such picture") from None
    except OSError as error:
        raise PictureError(f"{name}: cannot be read ({error.strerror})") from None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # PIL warns of broken metadata, and raises for a broken picture
            photograph, is_16_bit = _read(data, name)
            if is_16_bit:
                value = photograph.pixels.astype(np.uint32) * 256 + _read(data, name, lower=True)[0].pixels
                photograph.pixels = _to_8_bit(value)
                photograph.notes.append("16 bit rounded to 8")
                photograph.plain_rgb = False
            return photograph
    except PictureError:
        raise
    except Exception as error:  # PIL raises OSError, SyntaxError, ValueError, struct.error … for broken files
        raise PictureError(f"{name}: cannot be decoded ({error}); the file is damaged or not a picture") from None


def _to_8_bit(values: np.ndarray) -> np.ndarray:
    """uint32 values of 16 bit, rounded to uint8: 257 times a value of 8 bit gives that value."""
    return ((values + 128) // 257).astype(np.uint8)


def _read(data: bytes, name: str, lower: bool = False) -> tuple[Photograph, bool]:
    """The picture, and whether it is colour of 16 bit, of which PIL reads one byte: the upper one, or the ``lower`` one."""
    from PIL import Image, ImageOps

    Image.MAX_IMAGE_PIXELS = None  # PIL's own limits, replaced by MAX_PIXELS
    with Image.open(io.BytesIO(data)) as file:
        if file.width * file.height > MAX_PIXELS:
            raise PictureError(
                f"{name}: {file.width}x{file.height} is more than {MAX_PIXELS:,} pixels; refusing to decode"
            )
        is_16_bit = _swap_bytes(file, lower)
        notes: list[str] = []
        metadata: dict[str, bytes] = {}
        if (frames := getattr(file, "n_frames", 1)) > 1:
            notes.append(f"first of {frames} frames")
        file.load()
        plain = file.format in ("PNG", "JPEG") and file.mode == "RGB" and "transparency" not in file.info
        plain = plain and file.getexif().get(ORIENTATION, 1) == 1
        image: PilImage = ImageOps.exif_transpose(file)
        if image.mode in ("I", "F"):
            raise PictureError(
                f"{name}: has 32 bits a value, whose range the file does not give; save it with 8 or 16 bits"
            )
        metadata |= _exif(image, notes)
        profile = image.info.get("icc_profile")
        if image.mode == "CMYK":
            image = _from_cmyk(image, profile, notes)
        elif profile and profile[16:20] == b"RGB ":
            metadata["icc_profile"] = profile
        elif profile:
            notes.append("colour profile dropped, since it is not for RGB")
        if image.mode in ("1", "L", "LA", "La") or image.mode.startswith("I;16"):
            notes.append("grey repeated in three channels")
        if image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info:
            notes.append("transparency dropped")
        if image.mode in ("P", "PA"):
            notes.append("palette converted to RGB")
        if image.mode.startswith("I;16"):
            notes.append("16 bit rounded to 8")
            grey = _to_8_bit(np.asarray(image).astype(np.uint32))
            return Photograph(np.repeat(grey[..., None], 3, axis=2), notes, metadata, False), False
        if "transparency" in image.info:
            image = image.convert("RGBA")
        return Photograph(np.array(image.convert("RGB")), notes, metadata, plain), is_16_bit


def _exif(image: "PilImage", notes: list[str]) -> dict[str, bytes]:
    """{"exif": the EXIF data without the orientation}; empty if there is none or it is broken."""
    try:
        exif = image.getexif()
        exif.pop(ORIENTATION, None)
        return {"exif": exif.tobytes()} if len(exif) else {}
    except Exception:  # PIL raises many kinds of error for broken EXIF
        notes.append("EXIF dropped, since it is damaged")
        return {}


def _from_cmyk(image: "PilImage", profile: bytes | None, notes: list[str]) -> "PilImage":
    """Convert a CMYK picture to sRGB by its own profile; without a valid one by PIL's formula."""
    from PIL import ImageCms

    if profile:
        try:
            own, srgb = ImageCms.ImageCmsProfile(io.BytesIO(profile)), ImageCms.createProfile("sRGB")
            converted = ImageCms.profileToProfile(image, own, srgb, outputMode="RGB")
            assert converted is not None  # it is None only for a conversion in place
            notes.append("CMYK converted to sRGB by its profile")
            return converted
        except (ImageCms.PyCMSError, OSError):
            notes.append("colour profile dropped, since it is damaged")
    notes.append("CMYK converted without a profile")
    return image.convert("RGB")


def size(file: BinaryIO, name: str) -> tuple[int, int]:
    """(height, width) of a PNG or JPEG without EXIF orientation, from its header alone. Raises PictureError."""
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


def _swap_bytes(image: "ImageFile", swap: bool) -> bool:
    """Whether a picture that is not loaded yet has colour of 16 bit a channel; with ``swap``, PIL will load the lower bytes."""
    tiles = []
    for tile in image.tile:
        raw, *rest = tile.args if isinstance(tile.args, tuple) else (tile.args,)
        if raw not in OTHER_ORDER:
            return False
        tiles.append(tile._replace(args=(OTHER_ORDER[raw], *rest) if rest else OTHER_ORDER[raw]))
    if swap:
        image.tile = tiles
    return bool(tiles)


def encode(picture: np.ndarray, **metadata: bytes) -> bytes:
    """Encode uint8 RGB (H, W, 3) as PNG; ``metadata``: ``icc_profile`` and ``exif``. Raises PictureError."""
    from PIL import Image

    if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3:
        raise PictureError(f"expected uint8 (H, W, 3), got {picture.dtype} {picture.shape}")
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, format="PNG", compress_level=1, **metadata)
    return buffer.getvalue()


def resize(picture: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resize uint8 (H, W, 3) to uint8 (height, width, 3) by PIL's bilinear filter, with antialiasing."""
    from PIL import Image

    return np.array(Image.fromarray(picture).resize((width, height), Image.Resampling.BILINEAR))


def to_tensor(picture: np.ndarray) -> "torch.Tensor":
    """uint8 (H, W, 3) -> float32 (1, 3, H, W) in [0, 1]."""
    import torch

    return torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None].float() / 255


def to_picture(tensor: "torch.Tensor") -> np.ndarray:
    """float (1, 3, H, W) or (3, H, W) -> uint8 (H, W, 3): clamped to [0, 1], then rounded."""
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
    """Pad (B, C, H, W) to (B, C, H', W') by reflection without repeating the edge, at the right and the bottom.

    Both new sides are multiples of ``multiple`` and at least ``minimum``. Sides smaller than their padding are reflected
    repeatedly, which torch's own padding refuses.
    """
    import torch

    for axis in (-2, -1):
        side = tensor.shape[axis]
        target = math.ceil(max(side, minimum) / multiple) * multiple
        if target > side:
            period = max(2 * (side - 1), 1)
            index = torch.arange(target, device=tensor.device) % period
            tensor = tensor.index_select(axis, torch.where(index < side, index, period - index))
    return tensor


def tiles(length: int, tile: int, overlap: int) -> list[int]:
    """Start positions of tiles that cover ``length`` and overlap by ``overlap`` or more; the last tile ends where it does.

    All in px. Raises PictureError if tiles cannot overlap by that much.
    """
    if overlap >= tile:
        raise PictureError(f"tiles of {tile} px cannot overlap by {overlap} px")
    if length <= tile:
        return [0]
    count = math.ceil((length - overlap) / (tile - overlap))
    return [round(i * (length - tile) / (count - 1)) for i in range(count)]
