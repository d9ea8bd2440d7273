"""PIL: its reader, asked for one form of pictures only and without limits of its own; and its pictures in memory."""

import io
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

if TYPE_CHECKING:
    from PIL.Image import Image as PilImage
    from PIL.ImageFile import ImageFile


def open_with_pil(file: bytes | BinaryIO, form: str) -> "ImageFile":
    """The picture, its pixels not decoded yet. Raises what PIL raises for a damaged file or one of another form."""
    from PIL import Image

    Image.MAX_IMAGE_PIXELS = None  # replaced by limits.check_size
    return Image.open(io.BytesIO(file) if isinstance(file, bytes) else file, formats=[form])


def to_pil(picture: np.ndarray) -> "PilImage":
    """uint8 (H, W, 3) as a PIL picture of mode RGB."""
    from PIL import Image

    return Image.fromarray(picture)
