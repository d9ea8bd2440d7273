"""What an AVIF or HEIC file says of its depth and colours, and whether its pixels are there, which decoders do not pass on.

The container is HEIF's (ISO/IEC 23008-12). A picture is an item. Its properties (depth, colours) stand in one list;
associations say by their numbers which are an item's.
"""

from collections.abc import Iterator

from mperceiver.images.colours import coding_notes

IN_PARTS = b"dimg"  # references of an item to those that it is put together from: a phone's photograph to its tiles
HEADER_BYTES = 8
MOST_BITS = 16  # a value; more are damage
FULL_BYTES = 4  # version and flags, at the start of most boxes
HOLE = bytes(16)


def container_notes(data: bytes, name: str) -> list[str]:
    """What decoding this AVIF or HEIC file to 8-bit RGB changes, in words, as far as its boxes tell; a damaged box tells nothing.

    Raises PictureError if its colours are those of HDR.
    """
    properties = _properties(memoryview(data))
    bits = max((_bits(kind, body) for kind, body in properties), default=8)
    notes = [f"{bits} bit rounded to 8"] if bits > 8 else []
    colours = [bytes(body) for kind, body in properties if kind == b"colr"]
    profiled = any(body[:4] in (b"prof", b"rICC") for body in colours)
    for body in colours:
        if body[:4] == b"nclx" and len(body) >= 8:
            primaries, transfer = _number(body, 4, 2), _number(body, 6, 2)
            lost = coding_notes(primaries, transfer, "nclx", name)
            notes += [] if profiled else lost  # an ICC profile takes precedence, and is kept
    return notes


def check_holes(data: bytes) -> None:
    """Raise ValueError if bytes of an HEIC file's pixels were never written, as where a download stopped that had its length from the start.

    HEVC (ITU-T H.265, 7.4.2) has no three zero bytes one after the other, so a run of them is a hole; its decoder makes some picture of it,
    and says nothing. Decoders of AV1 do.
    """
    view = memoryview(data)
    if any(kind == b"hvcC" for kind, _ in _properties(view)):
        meta = _meta(view)
        for start, length in _extents(_of(meta, b"iloc"), _shown_items(meta)):
            if data.find(HOLE, start, start + length if length else len(data)) >= 0:
                raise ValueError("bytes of its pixels are missing: zeros stand in their place")


def _meta(data: memoryview) -> list[tuple[bytes, memoryview]]:
    return list(_boxes(_of(_boxes(data), b"meta")[FULL_BYTES:]))


def _shown_items(meta: list[tuple[bytes, memoryview]]) -> set[int]:
    """The file's primary item and the items that it is put together from."""
    primary = _of(meta, b"pitm")
    parts = _parts(_of(meta, b"iref"))
    items: set[int] = set()
    new = {_number(primary, FULL_BYTES, _item_bytes(primary))}
    while new:
        items |= new
        new = {part for item in new for part in parts.get(item, [])} - items
    return items


def _properties(data: memoryview) -> list[tuple[bytes, memoryview]]:
    """The properties, (kind, content), of the items that the picture consists of."""
    meta = _meta(data)
    items = _shown_items(meta)
    described = list(_boxes(_of(meta, b"iprp")))
    every = list(_boxes(_of(described, b"ipco")))
    numbers: set[int] = set()
    for kind, body in described:
        if kind == b"ipma":
            numbers.update(number for item, number in _associations(body) if item in items)
    return [every[number - 1] for number in sorted(numbers) if 1 <= number <= len(every)]


def _boxes(data: memoryview) -> Iterator[tuple[bytes, memoryview]]:
    """(kind, content) of each box in ``data``, up to the first that is damaged."""
    at = 0
    while at + HEADER_BYTES <= len(data):
        length, kind, start = _number(data, at, 4), bytes(data[at + 4 : at + 8]), HEADER_BYTES
        if length == 1:
            length, start = _number(data, at + 8, 8), 16
        elif length == 0:  # the box goes up to the end of the file
            length = len(data) - at
        if length < start or at + length > len(data):
            return
        yield kind, data[at + start : at + length]
        at += length


def _of(boxes: Iterator[tuple[bytes, memoryview]] | list[tuple[bytes, memoryview]], kind: bytes) -> memoryview:
    """The content of the first box of a kind; empty if there is none."""
    return next((body for found, body in boxes if found == kind), memoryview(b""))


def _number(data: bytes | memoryview, at: int, length: int) -> int:
    """The big-endian number of so many bytes; 0 behind the end."""
    return int.from_bytes(data[at : at + length], "big")


def _item_bytes(body: memoryview) -> int:
    """Bytes of an item's number, by the box's version."""
    return 4 if _number(body, 0, 1) else 2


def _parts(body: memoryview) -> dict[int, list[int]]:
    """The items that each item is put together from."""
    width, parts = _item_bytes(body), {}
    for kind, references in _boxes(body[FULL_BYTES:]):
        if kind == IN_PARTS:
            first, end = width + 2, width + 2 + _number(references, width, 2) * width
            starts = range(first, min(end, len(references)), width)
            parts[_number(references, 0, width)] = [_number(references, at, width) for at in starts]
    return parts


def _extents(body: memoryview, items: set[int]) -> Iterator[tuple[int, int]]:
    """(place in the file, bytes; 0: up to its end) of each piece of these items, as a box ``iloc`` lists them."""
    version = _number(body, 0, 1)
    widths = [half for byte in body[FULL_BYTES : FULL_BYTES + 2] for half in divmod(byte, 16)]
    if len(widths) < 4 or not widths[0] + widths[1]:
        return
    offset_bytes, length_bytes, base_bytes, index_bytes = widths
    wide = 4 if version == 2 else 2
    at = FULL_BYTES + 2 + wide
    while at + wide < len(body):
        item, in_file = _number(body, at, wide), True
        at += wide
        if version:
            in_file = not _number(body, at, 2) & 15
            at += 2
        base = _number(body, at + 2, base_bytes)  # behind the number of another file
        at += 2 + base_bytes
        count = _number(body, at, 2)
        at += 2
        step = index_bytes * bool(version) + offset_bytes + length_bytes
        for end in range(at + step, min(at + count * step, len(body)) + 1, step):
            if in_file and item in items:
                start = base + _number(body, end - length_bytes - offset_bytes, offset_bytes)
                yield start, _number(body, end - length_bytes, length_bytes)
        at += count * step


def _associations(body: memoryview) -> Iterator[tuple[int, int]]:
    """(item, number of a property, from 1), as a box ``ipma`` lists them."""
    item_bytes = _item_bytes(body)
    number_bytes = 2 if _number(body, 3, 1) & 1 else 1
    at = FULL_BYTES + 4
    while at + item_bytes < len(body):
        item, count = _number(body, at, item_bytes), body[at + item_bytes]
        at += item_bytes + 1
        for _ in range(count):
            # the highest bit says whether the property is essential
            yield item, _number(body, at, number_bytes) & ((1 << 8 * number_bytes - 1) - 1)
            at += number_bytes


def _bits(kind: bytes, body: memoryview) -> int:
    """Bits a value that a property tells; 8 if it tells none."""
    if kind == b"pixi":  # version and flags, the number of channels, the bits of each
        bits = max(body[FULL_BYTES + 1 :], default=8)
        return bits if bits <= MOST_BITS else 8
    if kind == b"av1C" and len(body) > 2:
        high, twelve = body[2] & 0x40, body[2] & 0x20
        return (12 if twelve else 10) if high else 8
    if kind == b"hvcC" and len(body) > 17:
        return 8 + (body[17] & 7)
    return 8
