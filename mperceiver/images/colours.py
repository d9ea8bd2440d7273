"""Colour spaces: converting them to RGB, and what their numbers in a file (ITU-T H.273) say."""

import io
from typing import TYPE_CHECKING

from mperceiver.images.limits import PictureError

if TYPE_CHECKING:
    from PIL.Image import Image as PilImage

HDR = {16: "PQ, SMPTE ST 2084", 18: "HLG, ARIB STD-B67"}  # transfer functions
SRGB_PRIMARIES = {1, 2}  # those of BT.709, and unspecified
SRGB_TRANSFERS = {1, 2, 6, 13, 14, 15}  # sRGB's own, those of video, which are shown alike, and unspecified


def coding_notes(primaries: int, transfer: int, where: str, name: str) -> list[str]:
    """What is lost of the colours that these numbers describe, in words; ``where`` is what the file calls the numbers.

    Raises PictureError if they are HDR's: restored as if they were sRGB's, they would be wrong all over.
    """
    if transfer in HDR:
        raise PictureError(
            f"{name}: has colours of HDR ({HDR[transfer]}), which would be restored as if they were sRGB; convert it to sRGB"
        )
    dropped = primaries not in SRGB_PRIMARIES or transfer not in SRGB_TRANSFERS
    return [f"colour space ({where}) dropped"] if dropped else []


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
