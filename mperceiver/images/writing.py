"""Writing pictures: PNG, with metadata."""

import io
import struct

import numpy as np

from mperceiver.images.limits import PictureError


def encode(picture: np.ndarray, text: dict[str, str] | None = None, **metadata: bytes) -> bytes:
    """Encode uint8 RGB (H, W, 3) as PNG. Raises PictureError for another shape or dtype.

    Args:
        text: keyword -> text, Latin-1, written as chunks of text.
        metadata: ``icc_profile`` and ``exif``.
    """
    from PIL import Image, PngImagePlugin

    if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3:
        raise PictureError(f"expected uint8 (H, W, 3), got {picture.dtype} {picture.shape}")
    chunks = PngImagePlugin.PngInfo()
    for keyword, value in (text or {}).items():
        chunks.add_text(keyword, value)
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, format="PNG", compress_level=1, pnginfo=chunks, **metadata)
    return buffer.getvalue()


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
