"""Reading TIFF (Adobe, TIFF 6.0, 1992) by what its header says: depth, planes, colours and compression.

tifffile decodes losslessly compressed files; PIL (libtiff) decodes JPEG inside TIFF, 8 bits a value. What neither decodes for
certain is refused by name.
"""

import io
import logging
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from mperceiver.images.exif import of_tiff, turned
from mperceiver.images.jpeg import check_end, frame_of
from mperceiver.images.limits import PictureError, check_size
from mperceiver.images.pil import open_with_pil

if TYPE_CHECKING:
    from PIL.Image import Image as PilImage
    from tifffile import TiffPage

WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, PALETTE, CMYK, YCBCR, LAB = 0, 1, 2, 3, 5, 6, 8
CHANNELS = {WHITE_IS_ZERO: 1, BLACK_IS_ZERO: 1, RGB: 3, PALETTE: 1, CMYK: 4, YCBCR: 3, LAB: 3}
LOSSLESS = {1: "none", 5: "LZW", 8: "deflate", 32946: "deflate", 32773: "PackBits", 34925: "LZMA", 50000: "Zstandard"}
OLD_JPEG, NEW_JPEG = 6, 7
JPEG = {OLD_JPEG, NEW_JPEG}
SIGNED, FLOAT = 2, 3  # sample formats
ORIENTATION = 274
# Tags that describe the photograph: title, camera, program, time, people, rights. All others are the old file's layout.
DESCRIPTIVE = {269, 270, 271, 272, 305, 306, 315, 316, 33432}
LOST = {700: "XMP", 33723: "IPTC", 34377: "Photoshop data"}


def open_tiff(data: bytes, name: str) -> tuple["PilImage", bytes | None, list[str]]:
    """The first picture of a TIFF file, upright, as mode L, RGB, CMYK, YCbCr or LAB of PIL, its EXIF data, and what was changed.

    Raises PictureError for what is not read; ValueError or a decoder's error for a damaged file.
    """
    import tifffile

    logging.getLogger("tifffile").setLevel(logging.CRITICAL)  # what it warns of is checked below
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        page = file.pages.first
        notes: list[str] = []
        try:
            frames = len(file.pages)
        except Exception:  # a damaged directory behind the first
            notes.append("directories behind the first are damaged")
            frames = 1
        _check(page, data, name)
        if page.compression in JPEG:
            image = _by_pil(data)
        else:
            image = turned(_image(page, notes), _orientation(page))
        exif = _exif(data, notes)
        profile = page.tags.valueof(34675)  # InterColorProfile
        notes += [f"{what} dropped" for tag, what in LOST.items() if tag in page.tags]
        notes += [f"first of {frames} frames"] if frames > 1 else []
    image.info = {"icc_profile": bytes(profile)} if profile else {}
    return image, exif, notes


def _check(page: "TiffPage", data: bytes, name: str) -> None:
    """Raise PictureError for what is not read, ValueError if the file does not hold all that its header promises."""
    tags = page.tags
    check_size(name, page.imagewidth, page.imagelength)
    if 50706 in tags or (tags.valueof(254) or 0) & 1:  # DNGVersion; NewSubfileType, whose first bit says "preview"
        raise PictureError(
            f"{name}: is a camera's raw file (DNG), or begins with a preview; save it as PNG or plain TIFF"
        )
    if 262 not in tags:  # PhotometricInterpretation
        raise PictureError(f"{name}: its header does not say what its values mean (PhotometricInterpretation)")
    photometric, bits = int(page.photometric), page.bitspersample
    if photometric not in CHANNELS:
        raise PictureError(f"{name}: its colours are {_words(page.photometric)}, which is not read; save it as RGB")
    formats = tags.valueof(339) or (1,)  # SampleFormat; 1: unsigned integers
    formats = set(formats) if isinstance(formats, tuple) else {formats}
    if formats != {1}:
        kind = {SIGNED: "signed", FLOAT: "floating-point"}.get(next(iter(formats - {1})), "unknown")
        raise PictureError(
            f"{name}: has {bits} bits a value ({kind}), whose range the file does not give; save it with 8 or 16 bits"
        )
    if not isinstance(bits, int):
        raise PictureError(f"{name}: its channels have {bits} bits, which is not read; save it with 8 or 16 bits each")
    if not 1 <= bits <= 16:
        raise PictureError(
            f"{name}: has {bits} bits a value, whose range the file does not give; save it with 8 or 16 bits"
        )
    if page.samplesperpixel < CHANNELS[photometric]:
        raise ValueError(f"{page.samplesperpixel} channels of {CHANNELS[photometric]}")
    if photometric == CMYK and (tags.valueof(332) or 1) != 1:  # InkSet
        raise PictureError(f"{name}: has other inks than CMYK; save it as RGB")
    if page.imagedepth != 1:
        raise PictureError(f"{name}: is a volume of {page.imagedepth} layers, no picture")
    compression, predictor = int(page.compression), int(page.predictor)
    if compression not in LOSSLESS and compression not in JPEG:
        raise PictureError(
            f"{name}: its compression is {_words(page.compression)}, which is not read; save it with LZW or deflate"
        )
    is_jpeg = compression in JPEG
    if (is_jpeg or photometric == LAB) and (
        bits != 8 or page.planarconfig != 1 or page.samplesperpixel != CHANNELS[photometric]
    ):
        raise PictureError(
            f"{name}: JPEG or Lab in TIFF is read with 8 bits and no further channels only; save it as RGB"
        )
    if photometric in ((WHITE_IS_ZERO, PALETTE, LAB) if is_jpeg else (YCBCR,)):
        raise PictureError(
            f"{name}: its colours are {_words(page.photometric)} with compression {_words(page.compression)}, which is not read; save it as RGB"
        )
    if predictor not in (1, 2) or (predictor == 2 and bits not in (8, 16)):
        raise PictureError(f"{name}: has predictor {predictor} with {bits} bits, which is not read; save it without")
    _check_segments(page, data)


def _check_segments(page: "TiffPage", data: bytes) -> None:
    """Raise ValueError unless every strip or tile that the size needs is in the file, and whole if it is a JPEG."""
    width, rows = (page.tilewidth, page.tilelength) if page.is_tiled else (page.imagewidth, page.rowsperstrip)
    across = math.ceil(page.imagewidth / width)
    needed = across * math.ceil(page.imagelength / rows)
    needed *= page.samplesperpixel if page.planarconfig == 2 else 1
    if len(page.dataoffsets) < needed or len(page.databytecounts) < needed:
        raise ValueError(f"{len(page.dataoffsets)} of its {needed} strips or tiles are in the file")
    for number, (offset, count) in enumerate(zip(page.dataoffsets[:needed], page.databytecounts[:needed], strict=True)):
        if offset < 8 or count < 1 or offset + count > len(data):
            raise ValueError("a strip or tile lies outside the file")
        if page.compression == NEW_JPEG:
            left = rows if page.is_tiled else page.imagelength - number * rows
            _check_jpeg(data[offset : offset + count], width, min(rows, left))


def _check_jpeg(segment: bytes, width: int, height: int) -> None:
    """Raise ValueError for a strip or tile that is not a whole JPEG file (TIFF Technical Note 2) of this size in px; the last rows may be
    too many. libtiff reads a smaller one, and leaves the rest as it is in memory.
    """
    frame = frame_of(segment)
    if frame is None or frame.width != width or frame.height < height:
        found = f"of {frame.width}x{frame.height} px" if frame else "without a header"
        raise ValueError(f"a strip or tile of {width}x{height} px is a JPEG {found}")
    check_end(segment)


def _image(page: "TiffPage", notes: list[str]) -> "PilImage":
    """The picture, decoded by tifffile and scaled to 8 bit."""
    from PIL import Image

    photometric, bits = int(page.photometric), page.bitspersample
    channels, values = CHANNELS[photometric], _values(page)
    colours, most = values[..., :channels], (1 << bits) - 1
    if photometric == PALETTE:
        notes.append("palette converted to RGB")
        return Image.fromarray(_looked_up(colours[..., 0], page.tags.valueof(320), bits))
    if photometric == WHITE_IS_ZERO:
        colours = most - colours
    if bits > 8:
        notes.append(f"{bits} bit rounded to 8")
    kinds = [int(kind) for kind in page.extrasamples]
    extra = values.shape[2] - channels
    if extra and kinds[:1] and kinds[0] in (1, 2):
        notes.append("transparency dropped")
    elif extra:
        notes.append("further channels dropped")
    if extra and kinds[:1] == [1] and photometric != CMYK:
        eight = _divided(colours, values[..., channels], bits)
    else:
        eight = _to_8_bit(colours, bits)
    if photometric in (CMYK, LAB):
        return Image.frombytes("CMYK" if photometric == CMYK else "LAB", eight.shape[1::-1], eight.tobytes())
    return Image.fromarray(eight[..., 0] if channels == 1 else eight)


def _values(page: "TiffPage") -> np.ndarray:
    """The file's values as they are, (H, W, all channels), uint8 or uint16. Raises ValueError if some are missing."""
    height, width, planes = page.imagelength, page.imagewidth, page.planarconfig == 2
    values = np.empty((height, width, page.samplesperpixel), np.uint8 if page.bitspersample <= 8 else np.uint16)
    for segment, (plane, _, top, left, _), shape in page.segments(maxworkers=1, _fullsize=False):
        if segment is None or segment.shape != shape:
            raise ValueError("a strip or tile is shorter than the header says")
        part = segment[0, : height - top, : width - left]
        target = values[top : top + part.shape[0], left : left + part.shape[1]]
        if planes:
            target[..., plane] = part[..., 0]
        else:
            target[...] = part
    return values


def _to_8_bit(values: np.ndarray, bits: int) -> np.ndarray:
    """v of n bit -> v * 255 / (2^n - 1), rounded."""
    if bits == 8:
        return np.ascontiguousarray(values)
    most = (1 << bits) - 1
    table = ((np.arange(most + 1, dtype=np.uint32) * 510 + most) // (2 * most)).astype(np.uint8)
    return table[values]


def _divided(colours: np.ndarray, alpha: np.ndarray, bits: int) -> np.ndarray:
    """Colours that were multiplied by alpha, divided by it, in 8 bit; black where alpha is zero.

    8 bits are rounded down, as PIL does; more bits are rounded to the nearest value.
    """
    most = (1 << bits) - 1
    scaled, alpha = colours.astype(np.uint32) * 255, alpha.astype(np.uint32)[..., None]
    rounding = 0 if bits == 8 else alpha // 2
    divided = np.minimum((scaled + rounding) // np.maximum(alpha, 1), 255)
    opaque = _to_8_bit(colours, bits)
    return np.where(alpha == 0, 0, np.where(alpha == most, opaque, divided)).astype(np.uint8)


def _looked_up(indices: np.ndarray, colour_map: Any, bits: int) -> np.ndarray:
    """Colours of a palette: its values of 16 bit are rounded to 8, or cut where all low bytes are zero (v * 256)."""
    table = np.asarray(colour_map if colour_map is not None else (), np.uint32)
    if bits > 8 or table.size != 3 << bits:
        raise ValueError(f"its palette has {table.size} values")
    table = table.reshape(3, -1).T
    eight = (table >> 8) if not (table & 255).any() else (table + 128) // 257
    return eight.astype(np.uint8)[indices]


def _by_pil(data: bytes) -> "PilImage":
    """A picture that libtiff decodes, upright."""
    with open_with_pil(data, "TIFF") as file:
        file.load()
        return file.copy()


def _orientation(page: "TiffPage") -> int:
    """How the picture must be turned; 1 if the header does not say. No other tag of the header matters for it."""
    orientation = page.tags.valueof(ORIENTATION)
    return int(orientation) if isinstance(orientation, int) else 1


def _exif(data: bytes, notes: list[str]) -> bytes | None:
    """The descriptive tags as EXIF data; None if there are none, or all are damaged."""
    try:
        exif, lost = of_tiff(data, DESCRIPTIVE)
    except ValueError:
        exif, lost = None, 1
    notes += (
        ["EXIF dropped in part, since it is damaged" if exif else "EXIF dropped, since it is damaged"] if lost else []
    )
    return exif


def _words(value: Any) -> str:
    """'JPEG2000 (34712)' of tifffile's enumerations, or the number alone."""
    return f"{value.name} ({int(value)})" if hasattr(value, "name") else str(value)
