"""PIL: opening a file as one form of picture only, without PIL's own limit of size; and converting from and to PIL pictures."""

import io
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from mperceiver.images.exif import orientation_of
from mperceiver.images.limits import PictureError

if TYPE_CHECKING:
    from PIL.Image import Image as PilImage
    from PIL.ImageFile import ImageFile
    from typing_extensions import TypeIs


def open_with_pil(file: bytes | BinaryIO, form: str) -> "ImageFile":
    """The picture, its pixels not decoded yet. Raises what PIL raises for a damaged file or one of another form."""
    from PIL import Image

    Image.MAX_IMAGE_PIXELS = None  # replaced by limits.check_size
    return Image.open(io.BytesIO(file) if isinstance(file, bytes) else file, formats=[form])


def is_pil(picture: object) -> "TypeIs[PilImage]":
    """Whether it is a picture of PIL's."""
    from PIL import Image

    return isinstance(picture, Image.Image)


def from_pil(picture: "PilImage") -> np.ndarray:
    """uint8 (H, W, 3) of a PIL picture.

    Raises PictureError for another mode than RGB, so that what is lost is the caller's choice, and for a picture that its EXIF data or
    XMP says lies on its side or is mirrored.
    """
    if picture.mode != "RGB":
        raise PictureError(f"expected a picture of mode RGB, got {picture.mode}; convert it: picture.convert('RGB')")
    pixels = np.array(picture)  # before the orientation is read: PIL turns a TIFF when it decodes it
    if (orientation := orientation_of(picture)) != 1:
        raise PictureError(
            f"expected an upright picture, got EXIF orientation {orientation}; turn it first: PIL.ImageOps.exif_transpose(picture)"
        )
    return pixels


def to_pil(picture: np.ndarray, profile: bytes | None = None) -> "PilImage":
    """uint8 (H, W, 3) as a PIL picture of mode RGB. ``profile``: its colour profile."""
    from PIL import Image

    image = Image.fromarray(picture)
    if profile:
        image.info["icc_profile"] = profile
    return image
