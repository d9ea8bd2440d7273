"""PIL's reader, asked for one form of pictures only and without limits of its own."""

import io
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.ImageFile import ImageFile


def open_with_pil(data: bytes, form: str) -> "ImageFile":
    """The picture, its pixels not decoded yet. Raises what PIL raises for a damaged file or one of another form."""
    from PIL import Image

    Image.MAX_IMAGE_PIXELS = None  # replaced by limits.check_size
    return Image.open(io.BytesIO(data), formats=[form])
