"""Reading picture files of every form into uint8 RGB (H, W, 3), as the package's docstring says."""

import os
import re
import struct
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, cast

import numpy as np

from mperceiver.images import forms
from mperceiver.images.colours import from_cmyk
from mperceiver.images.exif import for_upright, orientation_of, turned
from mperceiver.images.heif import check_holes, container_notes
from mperceiver.images.jpeg import check_end, unread_kind
from mperceiver.images.limits import PictureError, check_size
from mperceiver.images.pil import open_with_pil
from mperceiver.images.png import RAW_EXIF, XMP, open_png
from mperceiver.images.writing import encode

if TYPE_CHECKING:
    from PIL.AvifImagePlugin import AvifImageFile
    from PIL.Image import Image as PilImage

ADDRESS = re.compile(r"<[\w.]+ object at 0x[0-9a-f]+>")  # in messages of libraries


@dataclass
class Photograph:
    """A decoded picture file."""

    pixels: np.ndarray  # uint8 RGB (H, W, 3)
    notes: list[str]  # what was changed in decoding, in words
    metadata: dict[str, bytes]  # ``icc_profile`` and ``exif``, the arguments of encode(), for a restored copy
    plain_rgb: bool  # whether the file is PNG or JPEG of 8-bit RGB, with the pixels as they are


def decode(source: bytes | Path | str, name: str | None = None) -> np.ndarray:
    """Decode a picture to uint8 RGB (H, W, 3), as the package's docstring says.

    Args:
        source: the file's content, or its path.
        name: what errors call the picture; its path by default.

    Raises:
        PictureError: it is missing, truncated, not a picture, of 32 bits a value, or larger than limits.MAX_PIXELS or the
            free memory.
    """
    return read_photograph(source, name).pixels


def stored(data: bytes, name: str) -> tuple[np.ndarray, bytes]:
    """Decode a picture to 8 bits, and return it with the content of a file that has exactly these pixels.

    That is ``data`` itself if it is an upright PNG or JPEG of 8-bit RGB, else a new PNG. Raises PictureError as ``decode``.
    """
    photograph = read_photograph(data, name)
    return photograph.pixels, data if photograph.plain_rgb else encode(photograph.pixels)


def content(source: Path | str, name: str | None = None) -> bytes:
    """A picture file's bytes. Raises PictureError if it cannot be read, or is a pipe, socket or device, which may never end."""
    path, name = Path(source), name or str(source)
    # Unlike path.exists(), these are False for a link into a folder without permission.
    if os.path.exists(path) and not os.path.isfile(path) and not os.path.isdir(path):
        raise PictureError(f"{name}: is no plain file but a pipe, socket or device; save its content as a file")
    try:
        return path.read_bytes()
    except FileNotFoundError:
        if path.is_symlink():
            raise PictureError(f"{name}: is a link to {path.readlink()}, which leads to no file") from None
        raise PictureError(f"{name}: no such picture") from None
    except OSError as error:
        raise PictureError(f"{name}: cannot be read ({error.strerror})") from None


def read_photograph(source: bytes | Path | str, name: str | None = None) -> Photograph:
    """Decode a picture together with its metadata. Arguments and errors are those of ``decode``."""
    name = name or (str(source) if not isinstance(source, bytes) else "picture")
    data = source if isinstance(source, bytes) else content(source, name)
    if not data:
        raise PictureError(f"{name}: cannot be decoded: the file is empty (0 bytes); copy or download it again")
    form = forms.form_of(data)
    if form is None and (other := forms.other_form_of(data)):
        raise PictureError(f"{name}: cannot be decoded: {other} is not read, only {forms.READ}; save it as PNG")
    try:
        if form is None:
            raise ValueError(f"its first bytes are those of no {forms.READ.replace(' and ', ' or ')}")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # PIL warns of broken metadata, and raises for a broken picture
            return _read(data, form, name)
    except PictureError:
        raise
    except MemoryError:
        raise PictureError(f"{name}: too large for the free memory; end other programs or save it smaller") from None
    except Exception as error:  # libraries raise OSError, SyntaxError, ValueError, struct.error … for broken files
        reason = ADDRESS.sub("the file", str(error)) or type(error).__name__
        what = "not a picture"
        if "unsupported" in reason.lower():  # as PIL says of kinds of BMP
            what = "of a kind that is not read; save it as PNG"
        raise PictureError(f"{name}: cannot be decoded ({reason}); the file is damaged or {what}") from None


def _read(data: bytes, form: str, name: str) -> Photograph:
    metadata: dict[str, bytes] = {}
    orientation = 1
    if form == "PNG":
        image, notes, plain = open_png(data, name)
    elif form == "TIFF":
        from mperceiver.images.tiff import open_tiff

        (image, exif, notes), plain = open_tiff(data, name), False
    else:
        (image, notes), plain = _open(data, form, name), form == "JPEG"
    frames = getattr(image, "n_frames", 1)
    plain = plain and frames == 1 and image.mode == "RGB" and "transparency" not in image.info
    notes += [f"first of {frames} frames"] if frames > 1 else []
    info = image.info
    if form != "TIFF":
        orientation, exif = orientation_of(image), _exif(image, form, notes)
    if exif:
        metadata["exif"] = exif
    image = turned(image, orientation)
    notes += ["XMP dropped"] if info.get("xmp") or XMP in info else []
    notes += ["IPTC dropped"] if info.get("photoshop") else []
    if image.mode in ("I", "F"):
        raise PictureError(
            f"{name}: has 32 bits a value, whose range the file does not give; save it with 8 or 16 bits"
        )
    profile = info.get("icc_profile")
    if image.mode == "CMYK":
        image = from_cmyk(image, profile, notes)
    elif profile and profile[16:20] == b"RGB " and image.mode != "LAB":
        metadata["icc_profile"] = profile
    elif profile:
        notes.append("colour profile dropped, since it is not for RGB")
    notes += _changes(image.mode, "transparency" in info)
    if "transparency" in info:
        image = image.convert("RGBA")
    return Photograph(np.array(image.convert("RGB")), notes, metadata, plain and orientation == 1)


def _open(data: bytes, form: str, name: str) -> tuple["PilImage", list[str]]:
    """A picture of JPEG, BMP, WebP, AVIF or HEIF, decoded by PIL."""
    if form == "HEIF":
        try:
            import pillow_heif
        except ImportError:
            raise PictureError(
                f"{name}: HEIC is read with pillow-heif, which is not installed; run: uv sync --extra heic"
            ) from None
        pillow_heif.register_heif_opener()
    if form == "WEBP":
        check_size(name, *_webp_size(data))  # its decoder takes memory for the pixels when it is opened
    if form == "JPEG" and (kind := unread_kind(data)):
        raise PictureError(f"{name}: is {kind}, which is not read; save it as PNG, or as JPEG of 8 bits")
    image = open_with_pil(data, form)
    check_size(name, image.width, image.height)
    notes = container_notes(data, name) if form in ("AVIF", "HEIF") else []
    if form == "JPEG":
        check_end(data)
    if form == "HEIF":
        check_holes(data)
    image.load()
    return image, notes


def _webp_size(data: bytes) -> tuple[int, int]:
    """(width, height) out of the first chunk of a WebP file (RFC 9649)."""
    kind, body = data[12:16], data[20:30].ljust(10, b"\0")
    if kind == b"VP8X":
        return int.from_bytes(body[4:7], "little") + 1, int.from_bytes(body[7:10], "little") + 1
    if kind == b"VP8L":
        bits = int.from_bytes(body[1:5], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    width, height = struct.unpack("<HH", body[6:10])
    return width & 0x3FFF, height & 0x3FFF


def _exif(image: "PilImage", form: str, notes: list[str]) -> bytes | None:
    """The EXIF data of a picture of any form but TIFF for its upright copy; None if there is none or it is damaged."""
    try:
        exif = image.info.get("exif")
        if exif and form == "AVIF":
            # The file's own bytes: `info` has what PIL wrote anew, if the container says another orientation.
            exif = cast("AvifImageFile", image)._decoder.get_info()[4]
        elif not exif and RAW_EXIF in image.info:  # a heading of three lines, then hexadecimal digits
            exif = bytes.fromhex("".join(image.info[RAW_EXIF].split("\n")[3:]))
        return for_upright(exif) if exif else None
    except ValueError:
        notes.append("EXIF dropped, since it is damaged")
        return None


def _changes(mode: str, transparency: bool) -> list[str]:
    """What converting a picture of this mode of PIL to RGB changes, in words."""
    notes = []
    if mode in ("1", "L", "LA", "La"):
        notes.append("grey repeated in three channels")
    if mode in ("LA", "La", "PA", "RGBA", "RGBa") or transparency:
        notes.append("transparency dropped")
    if mode in ("P", "PA"):
        notes.append("palette converted to RGB")
    if mode == "LAB":
        notes.append("Lab converted to sRGB")
    if mode == "YCbCr":
        notes.append("YCbCr converted to RGB")
    return notes


def size(file: BinaryIO, name: str) -> tuple[int, int]:
    """(height, width) of a PNG or JPEG without EXIF orientation, from its header alone. Raises PictureError."""
    header = file.read(24)
    if header[:4] == b"\x89PNG" and len(header) == 24:
        width, height = struct.unpack(">II", header[16:24])
        return height, width
    file.seek(0)
    try:
        with open_with_pil(file, "JPEG") as image:
            return image.height, image.width
    except Exception as error:  # as in decode
        reason = ADDRESS.sub("the file", str(error))
        raise PictureError(f"{name}: is neither PNG nor JPEG ({reason})") from None
