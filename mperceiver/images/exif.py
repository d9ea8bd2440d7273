"""EXIF data (CIPA DC-008, whose form is that of TIFF 6.0) as bytes, so that what is kept stays as the camera wrote it.

PIL's own `Image.Exif` cannot do this, because it lays the data out anew: a camera's notes (MakerNote) move, so that the places that they name are wrong,
each character that is not ASCII becomes `?`, values of an unknown type are lost, and a number in the place of a text raises an error.
"""

import re
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.Image import Image as PilImage

ORIENTATION = 0x0112
EXIF_IFD, GPS_IFD, INTEROPERABILITY = 0x8769, 0x8825, 0xA005  # tags whose value is the place of another directory
START = re.compile(rb"^(Exif\0\0){0,2}")  # the mark that JPEG puts in front, and some programs put there twice
VALUE_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
OF_BIGTIFF = {16, 17, 18}  # types that EXIF does not have
ENTRY_BYTES = 12


def orientation_of(image: "PilImage") -> int:
    """How the picture must be turned, 1 (upright) to 8 (TIFF 6.0, tag 274), by its EXIF data or XMP; 1 if they do not say or are damaged."""
    try:
        orientation = image.getexif().get(ORIENTATION, 1)
    except Exception:  # PIL raises many kinds of error for broken EXIF
        return 1
    return orientation if orientation in range(1, 9) else 1


def turned(image: "PilImage", orientation: int) -> "PilImage":
    """The picture upright; for an orientation that is none of 2 to 8, as it is."""
    from PIL.Image import Transpose

    turns = {
        2: Transpose.FLIP_LEFT_RIGHT,
        3: Transpose.ROTATE_180,
        4: Transpose.FLIP_TOP_BOTTOM,
        5: Transpose.TRANSPOSE,
        6: Transpose.ROTATE_270,
        7: Transpose.TRANSVERSE,
        8: Transpose.ROTATE_90,
    }
    return image.transpose(turns[orientation]) if orientation in turns else image


def for_upright(exif: bytes) -> bytes | None:
    """EXIF data without the orientation, and without the thumbnail, which is that of the old picture; all else stays where it is.

    The entry of the orientation is taken out of the first directory, and the place of the second, the thumbnail's, is made zero, which
    means none. No other byte moves, because a camera's own notes may name their places.

    Returns None if nothing is left. Raises ValueError if the first directory is damaged.
    """
    data = START.sub(b"", exif, count=1)
    file = _Tiff(data)
    at, entries = file.directory(file.first)
    kept = [entry for entry in entries if file.number(entry[:2]) != ORIENTATION]
    if not kept:
        return None
    directory = file.packed("H", len(kept)) + b"".join(kept) + bytes(4)
    end = at + 2 + len(entries) * ENTRY_BYTES + 4
    return b"Exif\0\0" + data[:at] + directory.ljust(end - at, b"\0") + data[end:]


def of_tiff(data: bytes, descriptive: set[int]) -> tuple[bytes | None, int]:
    """The EXIF data of a TIFF file, None if it has none, and the number of its tags that are damaged.

    It has the tags ``descriptive`` of the file's first directory, and the directories of the camera (EXIF) and of the place (GPS). The
    values stay as they are, byte by byte. Raises ValueError if the first directory is damaged.
    """
    file = _Tiff(data)
    lost = 0

    def read(place: int, wanted: set[int] | None, others: set[int]) -> Directory:
        """The directory at ``place``: the tags ``wanted`` (None: all), and the directories that the tags ``others`` lead to."""
        nonlocal lost
        found: Directory = {}
        for entry in file.directory(place)[1]:
            tag = file.number(entry[:2])
            if tag in found or not (tag in others or wanted is None or tag in wanted):
                continue
            try:
                value = file.value(entry)
                if tag not in others and value.type in OF_BIGTIFF:
                    lost += 1
                elif tag not in others:
                    found[tag] = value
                elif below := read(file.number(value.content), None, {INTEROPERABILITY} if tag == EXIF_IFD else set()):
                    found[tag] = below
            except ValueError:
                lost += 1
        return found

    directory = read(file.first, descriptive, {EXIF_IFD, GPS_IFD})
    if not directory:
        return None, lost
    return b"Exif\0\0" + file.header + _laid_out(directory, file, len(file.header)), lost


@dataclass
class Value:
    """What an entry of a directory holds."""

    type: int
    count: int
    content: bytes  # in the file's byte order


Directory = dict[int, "Value | Directory"]


class _Tiff:
    """The bytes of a TIFF or BigTIFF file."""

    def __init__(self, data: bytes) -> None:
        """Raises ValueError if it does not begin as such a file."""
        self.data, self.order = data, {b"II": "<", b"MM": ">"}.get(data[:2], "")
        version = self.number(data[2:4]) if self.order and len(data) >= 8 else 0
        if version not in (42, 43):
            raise ValueError("it does not begin as TIFF does")
        self.big = version == 43
        self.first = self.number(data[8:16] if self.big else data[4:8])
        self.header = data[:2] + self.packed("HI", 42, 8)  # of a file that is no BigTIFF
        self._left = len(data)  # bytes of values that may be read: many entries must not repeat the whole file

    def number(self, content: bytes) -> int:
        """The number that all of ``content`` is."""
        return int.from_bytes(content, "little" if self.order == "<" else "big")

    def packed(self, form: str, *numbers: int) -> bytes:
        return struct.pack(self.order + form, *numbers)

    def directory(self, at: int) -> tuple[int, list[bytes]]:
        """The place of a directory, and its entries. Raises ValueError if it does not lie in the file."""
        count_bytes, entry_bytes = (8, 20) if self.big else (2, ENTRY_BYTES)
        start = at + count_bytes
        end = start + self.number(self.data[at:start]) * entry_bytes
        if at < 8 or start > len(self.data) or end > len(self.data):
            raise ValueError("a directory lies outside the file")
        return at, [self.data[place : place + entry_bytes] for place in range(start, end, entry_bytes)]

    def value(self, entry: bytes) -> Value:
        """What an entry holds. Raises ValueError for an unknown type, or a value that lies outside the file."""
        kind, split = self.number(entry[2:4]), 12 if self.big else 8
        count, field = self.number(entry[4:split]), entry[split:]
        length = count * VALUE_BYTES.get(kind, 0)
        place = self.number(field)
        content = field[:length] if length <= len(field) else self.data[place : place + length]
        self._left -= len(content)
        if not length or len(content) < length or self._left < 0:
            raise ValueError("a value is of an unknown type, or lies outside the file")
        return Value(kind, count, content)


def _laid_out(directory: Directory, file: _Tiff, at: int) -> bytes:
    """A directory, then its values and the directories below it, for the place ``at``."""
    entries, beyond = b"", b""
    behind = at + 2 + len(directory) * ENTRY_BYTES + 4
    for tag, value in sorted(directory.items()):
        place = behind + len(beyond)
        if isinstance(value, dict):
            entry, content = file.packed("HHII", tag, 4, 1, place), _laid_out(value, file, place)
        elif len(value.content) > 4:
            entry, content = file.packed("HHII", tag, value.type, value.count, place), value.content
        else:
            entry, content = file.packed("HHI", tag, value.type, value.count) + value.content.ljust(4, b"\0"), b""
        entries += entry
        beyond += content + bytes(len(content) % 2)  # values begin at even places
    return file.packed("H", len(directory)) + entries + bytes(4) + beyond
