"""Whether a JPEG (ITU-T T.81) comes to its end: libjpeg only warns of one that does not, and no library passes the warning on.

Damage inside its pixels is not found: bytes that are lost or changed, or an end marker too early. The code of the pixels has no
checksums; libjpeg fills what it misses, and warns at most. libjxl notices most of it, but takes ten times as long as decoding.
"""

import re

MARKER = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")  # all but those that stand inside pixels: a byte of 255, and restarts
ALONE = {0x01, 0xD8}  # markers without content
START_OF_SCAN, END = 0xDA, 0xD9


def check_end(data: bytes) -> None:
    """Raise ValueError unless the first picture of a JPEG file ends with its end marker behind its pixels.

    What follows it, such as further pictures, is not looked at; thumbnails within segments are passed over with them.
    """
    at, pixels = 2, False
    while (found := MARKER.search(data, at)) is not None:
        marker, at = data[found.end() - 1], found.end()
        if marker == END and pixels:
            return
        pixels = pixels or marker == START_OF_SCAN
        if marker not in ALONE and marker != END:
            at += int.from_bytes(data[at : at + 2], "big")
    raise ValueError("it stops before its end marker")
