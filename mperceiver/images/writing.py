"""Writing pictures: PNG of 8 bits with metadata, or of 16, and WebP without loss for pages."""

import io
import struct
from pathlib import Path

import numpy as np

from mperceiver.images.limits import PictureError

WEBP_SIDE = 16_383  # px


def check_target(path: Path) -> None:
    """Raise PictureError if a PNG cannot be written to ``path``: it is a folder, or its name does not end in .png."""
    if path.is_dir():
        raise PictureError(f"{path}: is a folder; name a file in it, which ends in .png")
    if path.suffix.lower() != ".png":
        raise PictureError(f"{path}: pictures are written as PNG, without loss; choose a name that ends in .png")


def encode(picture: np.ndarray, text: dict[str, str] | None = None, **metadata: bytes) -> bytes:
    """Encode uint8 or uint16 RGB (H, W, 3) as PNG of 8 or 16 bits. Raises PictureError for another shape or dtype.

    Args:
        text: keyword -> text, Latin-1, written as chunks of text; for pictures of 8 bits only.
        metadata: ``icc_profile`` and ``exif``; for pictures of 8 bits only.
    """
    if picture.dtype == np.uint16 and picture.ndim == 3 and picture.shape[2] == 3 and not (text or metadata):
        import imagecodecs

        return bytes(imagecodecs.png_encode(np.ascontiguousarray(picture), level=1))
    from PIL import Image, PngImagePlugin

    _check(picture)
    chunks = PngImagePlugin.PngInfo()
    for keyword, value in (text or {}).items():
        chunks.add_text(keyword, value)
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, format="PNG", compress_level=1, pnginfo=chunks, **metadata)
    return buffer.getvalue()


def encode_small(picture: np.ndarray) -> bytes:
    """Encode uint8 RGB (H, W, 3) as WebP without loss, for a page: every pixel as it is, a quarter to a half smaller than PNG.

    A picture with a side beyond 16,383 px, which WebP does not have, is PNG; a browser looks at the bytes, not at the name. Raises
    PictureError for another shape or dtype.
    """
    from PIL import Image

    if max(picture.shape[:2]) > WEBP_SIDE:
        return encode(picture)
    _check(picture)
    buffer = io.BytesIO()
    # Beyond method 2 (of 6) and quality 40 (of 100), three times the seconds save 3 % of the bytes.
    Image.fromarray(picture).save(buffer, format="WEBP", lossless=True, method=2, quality=40)
    return buffer.getvalue()


def _check(picture: np.ndarray) -> None:
    if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3:
        raise PictureError(f"expected uint8 (H, W, 3), got {picture.dtype} {picture.shape}")


def text_of(data: bytes, keyword: str) -> str | None:
    """The text that ``encode`` wrote into a PNG under a keyword; None if there is none. ``data`` may be the file's start."""
    at, prefix = 8, keyword.encode("latin-1") + b"\0"
    while at + 8 <= len(data):
        length, kind = struct.unpack(">I4s", data[at : at + 8])
        body = data[at + 8 : at + 8 + length]
        if kind == b"tEXt" and len(body) == length and body.startswith(prefix):
            return body[len(prefix) :].decode("latin-1")
        if kind == b"IDAT":
            return None
        at += 12 + length
    return None
