"""The kind of a JPEG (ITU-T T.81), and whether it comes to its end: libjpeg only warns of one that does not, and no library passes that on.

Damage inside its pixels is not found: bytes that are lost or changed, or an end marker too early. The code of the pixels has no
checksums; libjpeg fills what it misses, and warns at most. libjxl notices most of it, but takes ten times as long as decoding.
"""

import re
import struct
from collections.abc import Iterator
from typing import NamedTuple

MARKER = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")  # all but those that stand inside pixels: a byte of 255, and restarts
ALONE = {0x01, 0xD8}  # markers without content
START_OF_SCAN, END = 0xDA, 0xD9
HIERARCHICAL = {0xC5, 0xC6, 0xC7, 0xCD, 0xCE, 0xCF}
JPEG_LS = 0xF7  # ITU-T T.87
FRAMES = {*range(0xC0, 0xD0), JPEG_LS} - {0xC4, 0xC8, 0xCC}  # markers of a frame's header, each for a kind of coding
MOST_BITS = 16  # a value; more are damage


class Frame(NamedTuple):
    """What the header of the first picture of a JPEG file says of it."""

    marker: int
    bits: int  # a value
    height: int
    width: int


def frame_of(data: bytes) -> Frame | None:
    """The header of the first picture; None if there is none."""
    at = next((at for marker, at in _segments(data) if marker in FRAMES), None)
    if at is None or len(data) < at + 7:
        return None
    return Frame(data[at - 1], *struct.unpack(">BHH", data[at + 2 : at + 7]))


def unread_kind(data: bytes) -> str | None:
    """What kind of JPEG a file is, if it is one that is not read, in words; else None."""
    frame = frame_of(data)
    if frame is None:
        return None
    if frame.marker == JPEG_LS:
        return "a JPEG-LS file"
    if frame.marker in HIERARCHICAL:
        return "a hierarchical JPEG"
    return f"a JPEG of {frame.bits} bits a value" if frame.bits != 8 and 2 <= frame.bits <= MOST_BITS else None


def check_end(data: bytes) -> None:
    """Raise ValueError unless the first picture of a JPEG file ends with its end marker behind its pixels.

    What follows it, such as further pictures, is not looked at; thumbnails within segments are passed over with them.
    """
    pixels = False
    for marker, _ in _segments(data):
        if marker == END and pixels:
            return
        pixels = pixels or marker == START_OF_SCAN
    raise ValueError("it stops before its end marker")


def _segments(data: bytes) -> Iterator[tuple[int, int]]:
    """(marker, place of what follows it) of a JPEG file, in order; the content of a segment is passed over."""
    at = 2
    while (found := MARKER.search(data, at)) is not None:
        marker, at = data[found.end() - 1], found.end()
        yield marker, at
        if marker not in ALONE and marker != END:
            at += int.from_bytes(data[at : at + 2], "big")
