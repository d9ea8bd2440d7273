"""EXIF data of every form: what is kept is what the camera wrote, byte by byte; the picture is upright whatever becomes of it."""

import io
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from mperceiver import images
from mperceiver.images.exif import for_upright, of_tiff

RIGHTS = "© 2024 Jürgen".encode() + b"\0"
NOTES = b"notes of the camera's own"
ORDERS = ("<", ">")
Entries = list[tuple[int, int, int, bytes]]  # tag, type, count, bytes of the value


def exif(order: str, *directories: Entries, header: int = 42) -> bytes:
    """EXIF data of directories, each of which leads to the next."""
    data = {"<": b"II", ">": b"MM"}[order] + struct.pack(order + "HI", header, 8)
    for number, entries in enumerate(directories, 1):
        place, beyond, lines = len(data) + 2 + 12 * len(entries) + 4, b"", b""
        for tag, kind, count, value in entries:
            field = value.ljust(4, b"\0")
            if len(value) > 4:
                field = struct.pack(order + "I", place + len(beyond))
                beyond += value + bytes(len(value) % 2)
            lines += struct.pack(order + "HHI", tag, kind, count) + field
        behind = place + len(beyond) if number < len(directories) else 0
        data += struct.pack(order + "H", len(entries)) + lines + struct.pack(order + "I", behind) + beyond
    return data


def turned_on_its_side(order: str) -> bytes:
    """Orientation 6, rights in UTF-8, a fraction that no number is, and a thumbnail's directory."""
    short = struct.pack(order + "H", 6)
    first = [(0x0112, 3, 1, short), (0x011A, 5, 1, struct.pack(order + "II", 1, 0)), (0x8298, 2, len(RIGHTS), RIGHTS)]
    return exif(order, first, [(0x0103, 3, 1, short)])


def saved(form: str, data: bytes) -> bytes:
    """A picture of 20 x 30 px (H, W) with the EXIF data, as it is."""
    buffer = io.BytesIO()
    picture = Image.fromarray(np.arange(1800, dtype=np.uint16).astype(np.uint8).reshape(20, 30, 3))
    picture.save(buffer, form, exif=b"Exif\0\0" + data)
    return buffer.getvalue()


def written(photograph: images.Photograph) -> bytes:
    """The EXIF data in the PNG of a photograph."""
    data = images.encode(photograph.pixels, None, **photograph.metadata)
    at = data.index(b"eXIf")
    return data[at + 4 : at + 4 + struct.unpack(">I", data[at - 4 : at])[0]]


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP"])
def test_no_byte_changes_but_the_orientation_and_the_thumbnail(form, order):
    given = turned_on_its_side(order)
    photograph = images.read_photograph(saved(form, given))
    assert photograph.pixels.shape == (30, 20, 3) and photograph.notes == []
    found = written(photograph)
    assert len(found) == len(given) and found[8 + 2 + 3 * 12 + 4 :] == given[8 + 2 + 3 * 12 + 4 :] and RIGHTS in found
    read = Image.Exif()
    read.load(found)
    assert set(read) == {0x011A, 0x8298} and read._info.next == 0


@pytest.mark.parametrize("order", ORDERS)
def test_upright_exif_stays_as_it_is(order):
    given = exif(order, [(0x010F, 2, 2, b"A\0"), (0x8298, 2, len(RIGHTS), RIGHTS)])
    assert written(images.read_photograph(saved("PNG", given))) == given
    assert for_upright(exif(order, [(0x0112, 3, 1, struct.pack(order + "H", 1))])) is None
    assert for_upright(b"Exif\0\0Exif\0\0" + given) == b"Exif\0\0" + given


def test_texts_of_avif_that_says_its_orientation_itself():
    """PIL writes the EXIF data of such a file anew."""
    data = exif("<", [(0x0112, 3, 1, struct.pack("<H", 6)), (0x8298, 2, len(RIGHTS), RIGHTS)])
    file = saved("AVIF", data)
    assert file.count(b"?? 2024 J??rgen\0") == 1, "PIL's writer keeps it; then write it so"
    photograph = images.read_photograph(file.replace(b"?? 2024 J??rgen\0", RIGHTS))
    assert photograph.pixels.shape == (30, 20, 3) and RIGHTS in written(photograph)


@pytest.mark.parametrize("cut", ["header", "count", "entries"])
def test_damaged_exif_is_dropped_with_a_note(cut):
    whole = turned_on_its_side("<")
    data = {"header": b"XX" + whole[2:], "count": whole[:8] + b"\xff\xff" + whole[10:], "entries": whole[:30]}[cut]
    photograph = images.read_photograph(saved("JPEG", data))
    assert "exif" not in photograph.metadata and photograph.notes == ["EXIF dropped, since it is damaged"]


# ---------------------------------------------------------------- TIFF


def tiff(order: str, further: Entries) -> bytes:
    """A grey TIFF file of 2 x 3 px (H, W) with further tags."""
    entries = {256: (4, 3), 257: (4, 2), 258: (3, 8), 259: (3, 1), 262: (3, 1), 273: (4, 0), 277: (3, 1), 278: (4, 2), 279: (4, 6)}  # fmt: skip
    packed = [(tag, kind, 1, struct.pack(order + {3: "H", 4: "I"}[kind], n)) for tag, (kind, n) in entries.items()]
    size = len(exif(order, sorted(packed + further)))
    packed = [one if one[0] != 273 else (273, 4, 1, struct.pack(order + "I", size)) for one in packed]
    return exif(order, sorted(packed + further)) + bytes(range(6))


@pytest.mark.parametrize("order", ORDERS)
def test_a_tiff_keeps_its_values_and_is_turned_whatever_they_are(order):
    endless = struct.pack(order + "II", 1, 0)  # the fraction 1/0, of a tag that is a text elsewhere
    side = (274, 3, 1, struct.pack(order + "H", 6))
    photograph = images.read_photograph(tiff(order, [side, (33432, 5, 1, endless), (315, 2, len(RIGHTS), RIGHTS)]))
    assert photograph.pixels[..., 0].tolist() == [[3, 0], [4, 1], [5, 2]]
    assert photograph.notes == ["grey repeated in three channels"]
    assert RIGHTS in written(photograph) and endless in written(photograph)
    outside = (315, 2, 99, struct.pack(order + "I", 2**31))
    photograph = images.read_photograph(tiff(order, [side, outside, (271, 2, 4, b"abc\0")]))
    assert photograph.pixels.shape == (3, 2, 3) and b"abc\0" in written(photograph)
    assert "EXIF dropped in part, since it is damaged" in photograph.notes


@pytest.mark.parametrize("order", ORDERS)
def test_a_tiffs_camera_and_place_are_laid_out_anew(order):
    def to(place: int) -> bytes:
        return struct.pack(order + "I", place)

    notes = len(data := exif(order, [(0x8769, 4, 1, to(8 + 18 + len(NOTES) + 1))]))
    data += NOTES + b"\0"
    camera = [(0x927C, 7, len(NOTES), to(notes)), (0xA005, 4, 1, to(len(data) + 2 + 2 * 12 + 4))]
    lines = b"".join(struct.pack(order + "HHI", *entry[:3]) + entry[3] for entry in camera)
    data += struct.pack(order + "H", 2) + lines + bytes(4) + exif(order, [(1, 2, 4, b"R98\0")])[8:]
    found, lost = of_tiff(data, {270})
    read = Image.Exif()
    read.load(found)
    assert lost == 0 and read.get_ifd(0x8769)[0x927C] == NOTES and read.get_ifd(0xA005) == {1: "R98"}
    of_tiff(exif(order, [(0x8769, 4, 1, to(8))]), {270})  # a directory that leads to itself comes to an end


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.integers(0, 79), st.integers(0, 255))
def test_no_damage_is_another_error_than_of_a_value(place, value):
    for order in ORDERS:
        data = bytearray(turned_on_its_side(order))
        data[place % len(data)] = value
        for read in (for_upright, lambda of: of_tiff(of, {0x011A, 0x8298})):
            try:
                read(bytes(data))
            except ValueError:
                pass
