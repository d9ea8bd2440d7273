"""Converting colour spaces to RGB."""

import io
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.Image import Image as PilImage


def from_cmyk(image: "PilImage", profile: bytes | None, notes: list[str]) -> "PilImage":
    """Convert a CMYK picture to sRGB by its own profile; without a valid one by PIL's formula."""
    from PIL import ImageCms

    if profile and profile[36:40] == b"acsp" and profile[16:20] != b"CMYK":
        notes.append("colour profile dropped, since it is not for CMYK")
    elif profile:
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
