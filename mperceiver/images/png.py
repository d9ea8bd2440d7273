"""Reading PNG (W3C, Portable Network Graphics, third edition): the chunks are checked here, the pixels decoded by libraries.

Decoders refuse a whole file for a long text or for a wrong checksum of its resolution. So each chunk is checked before decoding: one that
makes the pixels must be sound; another one that is damaged is skipped with a note.
"""

import struct
import zlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from mperceiver.images.colours import coding_notes
from mperceiver.images.limits import check_size
from mperceiver.images.pil import open_with_pil

if TYPE_CHECKING:
    from PIL.Image import Image as PilImage

SIGNATURE = b"\x89PNG\r\n\x1a\n"
PIXEL_CHUNKS = {b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"}
MAX_PROFILE_BYTES = 64 * 2**20
MAX_TEXT_BYTES = 16 * 2**20
XMP = "XML:com.adobe.xmp"
RAW_EXIF = "Raw profile type exif"  # ImageMagick's way to keep EXIF in PNG
SRGB_GAMMA = 45455  # 1/2.2, in the units of a gAMA chunk (1/100,000)
# x and y of white, red, green and blue, as a cHRM chunk has them
SRGB_PRIMARIES = (31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000)
PRIMARIES_TOLERANCE = 100  # libpng's
PRIMARIES_LOST = "primaries (cHRM)"


@dataclass
class Chunks:
    """A PNG's chunks."""

    pixels: bytes = b""  # a PNG of the chunks that make the pixels, and no others
    info: dict[str, bytes | str] = field(default_factory=dict)  # icc_profile, exif, and XMP, as PIL names them
    notes: list[str] = field(default_factory=list)
    bits: int = 8
    colour_type: int = 2
    colours: int = 0  # of the palette
    skipped: bool = False  # whether a chunk was skipped because it is damaged


def open_png(data: bytes, name: str) -> tuple["PilImage", list[str], bool]:
    """The decoded picture with its metadata, what was changed, and whether ``data`` itself is sound and of 8 bit.

    Raises ValueError or a decoder's error if the pixels are damaged, PictureError if there are too many or their colours are
    those of HDR.
    """
    chunks = _chunks(data, name)
    image: PilImage
    if chunks.bits == 16:
        image = _of_16_bit(chunks)
    else:
        image = open_with_pil(chunks.pixels, "PNG")
        image.load()
        _check_rows(chunks, image)
        if chunks.colour_type == 3 and np.asarray(image).max() >= chunks.colours:
            raise ValueError("a pixel's colour is not in the palette")
    image.info.update(chunks.info)
    return image, chunks.notes, chunks.bits <= 8 and not chunks.skipped


def _check_rows(chunks: Chunks, image: "PilImage") -> None:
    """Raise ValueError if the compressed data end before the last row: PIL leaves the rows that are missing at zero, and says nothing.

    Only where one of the last two rows (of an interlaced picture one of them comes last) is zero, is it decoded again, by libpng.
    """
    import imagecodecs

    width, height = image.size
    last = (image.crop((0, row, width, row + 1)) for row in range(max(0, height - 2), height))
    if any(row.getbbox(alpha_only=False) is None for row in last):
        imagecodecs.png_decode(chunks.pixels)


def bits_of(data: bytes) -> int | None:
    """Bits a value of a PNG, from its first 25 bytes; None for another file."""
    return data[24] if data[:8] == SIGNATURE and data[12:16] == b"IHDR" and len(data) > 24 else None


def rounded(values: np.ndarray) -> np.ndarray:
    """uint16 -> uint8: v / 257, rounded, as every picture of 16 bits is that is read in 8."""
    return ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)


def values_of(data: bytes, name: str) -> np.ndarray:
    """The values of a PNG of 16 bits without its alpha channel, uint16 (H, W, 3 or 1). Raises ValueError if they are damaged."""
    return _values(_chunks(data, name))


def _of_16_bit(chunks: Chunks) -> "PilImage":
    from PIL import Image

    chunks.notes.append("16 bit rounded to 8")
    eight = rounded(_values(chunks))
    return Image.fromarray(eight[..., 0] if eight.shape[2] == 1 else eight)


def _values(chunks: Chunks) -> np.ndarray:
    """uint16 (H, W, 3 or 1), of a PNG of 16 bits; a note says if there was an alpha channel."""
    import imagecodecs

    values = np.atleast_3d(imagecodecs.png_decode(chunks.pixels))
    channels = 1 if chunks.colour_type in (0, 4) else 3
    if values.dtype != np.uint16 or values.shape[2] < channels:
        raise ValueError(f"decoded as {values.dtype} {values.shape}")
    if values.shape[2] > channels:
        chunks.notes.append("transparency dropped")
    return np.ascontiguousarray(values[..., :channels])


def _chunks(data: bytes, name: str) -> Chunks:
    """Split a PNG into its chunks. Raises ValueError if one that makes the pixels is damaged."""
    chunks, kept, at = Chunks(), [SIGNATURE], len(SIGNATURE)
    seen: set[bytes] = set()
    lost: set[str] = set()
    while b"IEND" not in seen:
        length, kind = struct.unpack(">I4s", data[at : at + 8]) if at + 8 <= len(data) else (0, b"")
        end = at + 12 + length
        if end > len(data) or not kind.isalpha():
            if b"IDAT" not in seen or kind == b"IDAT" or (kind and not kind.isalpha()):
                raise ValueError(f"its chunks end, or are damaged, at byte {at}")
            chunks.notes.append("the file ends without its last chunk")  # the decoder refuses missing pixels
            chunks.skipped = True
            kept.append(struct.pack(">I", 0) + b"IEND" + struct.pack(">I", zlib.crc32(b"IEND")))
            break
        word, body = kind.decode(), memoryview(data)[at + 8 : end - 4]
        if zlib.crc32(body, zlib.crc32(kind)) != struct.unpack(">I", data[end - 4 : end])[0]:
            if kind[:1].isupper():
                raise ValueError(f"the checksum of chunk {word} is wrong")
            chunks.notes.append(f"chunk {word} skipped, since its checksum is wrong")
            chunks.skipped = True
        elif kind in PIXEL_CHUNKS:
            if kind == b"IHDR":
                _header(chunks, bytes(body), name, first=not seen)
            elif not seen:
                raise ValueError("the first chunk is not the header")
            chunks.colours = length // 3 if kind == b"PLTE" else chunks.colours
            kept.append(data[at:end])
        elif kind[:1].isupper():
            raise ValueError(f"chunk {word} is needed for the pixels and unknown")
        else:
            _ancillary(chunks, word, bytes(body), lost, name)
        seen.add(kind)
        at = end
    if chunks.colour_type == 3 and not chunks.colours:
        raise ValueError("its palette is missing")
    if b"sRGB" in seen or "icc_profile" in chunks.info:  # these take precedence over cHRM
        lost.discard(PRIMARIES_LOST)
    chunks.notes += [f"{what} dropped" for what in sorted(lost)]
    chunks.pixels = b"".join(kept)
    return chunks


def _header(chunks: Chunks, body: bytes, name: str, first: bool) -> None:
    if not first or len(body) != 13:
        raise ValueError("its header is damaged")
    width, height, chunks.bits, chunks.colour_type = struct.unpack(">IIBB", body[:10])
    check_size(name, width, height)


def _ancillary(chunks: Chunks, kind: str, body: bytes, lost: set[str], name: str) -> None:
    """Take what goes on to a restored copy out of a chunk that makes no pixels; note what is lost.

    Raises PictureError if it says that the colours are those of HDR.
    """
    if kind == "iCCP" and "icc_profile" not in chunks.info:
        try:
            chunks.info["icc_profile"] = _unpacked(body.split(b"\0", 1)[1][1:], MAX_PROFILE_BYTES)
        except (zlib.error, IndexError, ValueError):
            chunks.notes.append("colour profile dropped, since it is damaged or larger than 64 MiB")
            chunks.skipped = True
    elif kind == "eXIf":
        chunks.info.setdefault("exif", b"Exif\0\0" + body)
    elif kind == "acTL" and len(body) == 8 and (frames := struct.unpack(">I", body[:4])[0]) > 1:
        chunks.notes.append(f"first of {frames} frames")
        chunks.skipped = True
    elif kind == "gAMA" and body != struct.pack(">I", SRGB_GAMMA):
        lost.add("gamma (gAMA)")
    elif kind == "cHRM" and not _are_srgb(body):
        lost.add(PRIMARIES_LOST)
    elif kind == "cICP" and len(body) == 4:
        chunks.notes += coding_notes(body[0], body[1], "cICP", name)
    elif kind in ("tEXt", "zTXt", "iTXt"):
        _text(chunks, kind, body, lost)


def _are_srgb(primaries: bytes) -> bool:
    """Whether the content of a cHRM chunk is sRGB's primaries."""
    if len(primaries) != 32:
        return False
    pairs = zip(struct.unpack(">8I", primaries), SRGB_PRIMARIES, strict=True)
    return all(abs(one - other) <= PRIMARIES_TOLERANCE for one, other in pairs)


def _text(chunks: Chunks, kind: str, body: bytes, lost: set[str]) -> None:
    key, _, rest = body.partition(b"\0")
    keyword = key.decode("latin-1")
    if keyword not in (XMP, RAW_EXIF):
        lost.add("text")
        return
    try:
        if kind == "iTXt":
            packed, rest = rest[:1] == b"\1", rest[2:].split(b"\0", 2)[2]
        else:
            packed, rest = kind == "zTXt", rest[1:] if kind == "zTXt" else rest
        text = _unpacked(rest, MAX_TEXT_BYTES) if packed else rest
        chunks.info.setdefault(keyword, text.decode("utf-8" if kind == "iTXt" else "latin-1"))
    except (zlib.error, IndexError, ValueError):
        chunks.notes.append(f"text {keyword!r} skipped, since it is damaged or larger than 16 MiB")
        chunks.skipped = True


def _unpacked(data: bytes, most: int) -> bytes:
    """Decompress at most ``most`` bytes. Raises zlib.error, or ValueError if there are more or the data is cut."""
    stream = zlib.decompressobj()
    unpacked = stream.decompress(data, most)
    if not stream.eof:
        raise ValueError("cut, or too large")
    return unpacked
