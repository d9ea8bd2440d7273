"""AVIF and HEIC files: their depth and colours are noted or refused, and no damage to their boxes gets through as a traceback."""

import io
import struct

import imagecodecs
import numpy as np
import pillow_heif
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mperceiver import images
from mperceiver.images import PictureError
from mperceiver.images.heif import check_holes, container_notes

VALUES = np.random.default_rng(0).integers(0, 256, (64, 48, 3), dtype=np.uint16)


def avif(bits: int, **options) -> bytes:
    values = VALUES << (bits - 8)
    return imagecodecs.avif_encode(values.astype(np.uint8) if bits == 8 else values, level=100, bitspersample=bits, **options)  # fmt: skip


def heic(bits: int, **options) -> bytes:
    buffer = io.BytesIO()
    if bits == 8:
        file = pillow_heif.from_bytes("RGB", (48, 64), VALUES.astype(np.uint8).tobytes())
    else:
        file = pillow_heif.from_bytes("RGB;16", (48, 64), (VALUES << 8).tobytes())
    file.save(buffer, quality=90, **options)
    return buffer.getvalue()


def box(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(content), kind) + content


def full(kind: bytes, content: bytes, version: int = 0, flags: int = 0) -> bytes:
    return box(kind, bytes([version, 0, 0, flags]) + content)


def container(
    properties: list[bytes], associations: dict[int, list[int]], parts: list[int], wide: bool = False
) -> bytes:
    """Boxes of a file with the primary item 1, put together from ``parts``; ``wide``: with numbers of more bytes."""
    item, number = (">I", ">H") if wide else (">H", ">B")
    listed = b"".join(
        struct.pack(item, key) + bytes([len(numbers)]) + b"".join(struct.pack(number, n) for n in numbers)
        for key, numbers in associations.items()
    )
    references = struct.pack(item, 1) + struct.pack(">H", len(parts)) + b"".join(struct.pack(item, p) for p in parts)
    meta = (
        full(b"pitm", struct.pack(item, 1), wide)
        + full(b"iref", box(b"dimg", references), wide)
        + box(b"iprp", box(b"ipco", b"".join(properties)) + full(b"ipma", struct.pack(">I", len(associations)) + listed, wide, wide))
    )  # fmt: skip
    return box(b"ftyp", b"heic\0\0\0\0") + full(b"meta", meta)


@pytest.mark.parametrize("bits", [8, 10, 12])
@pytest.mark.parametrize("encode", [avif, heic])
def test_more_than_8_bits_are_noted_and_not_taken_as_exact(encode, bits, monkeypatch):
    monkeypatch.setattr(pillow_heif.options, "SAVE_HDR_TO_12_BIT", bits == 12)
    data = encode(bits)
    assert images.read_photograph(data).notes == ([] if bits == 8 else [f"{bits} bit rounded to 8"])
    if bits == 8:
        assert images.decode_exact(data).dtype == np.uint8
    else:
        with pytest.raises(PictureError, match=r"deep.avif: its values have more than 8 bits"):
            images.decode_exact(data, "deep.avif")


def coloured(encode, primaries: int, transfer: int) -> bytes:
    names = ("primaries", "transfer") if encode is avif else ("color_primaries", "transfer_characteristics")
    return encode(8, **dict(zip(names, (primaries, transfer), strict=True)))


@pytest.mark.parametrize(("transfer", "word"), [(16, "PQ"), (18, "HLG")])
@pytest.mark.parametrize("encode", [avif, heic])
def test_hdr_is_refused(encode, transfer, word):
    with pytest.raises(
        PictureError, match=rf"sky.hif: has colours of HDR \({word}, .* as if they were sRGB; convert it"
    ):
        images.decode(coloured(encode, 9, transfer), "sky.hif")


@pytest.mark.parametrize(("primaries", "transfer"), [(1, 13), (2, 2), (1, 1), (12, 13), (9, 1), (1, 8)])
@pytest.mark.parametrize("encode", [avif, heic])
def test_colours_that_are_not_srgbs_are_noted(encode, primaries, transfer):
    notes = ["colour space (nclx) dropped"] if primaries > 2 or transfer == 8 else []
    assert images.read_photograph(coloured(encode, primaries, transfer)).notes == notes


def test_a_profile_goes_before_the_numbers():
    """It goes on to the restored copy, so nothing is lost."""
    nclx = box(b"colr", b"nclx" + struct.pack(">HHHB", 12, 13, 6, 128))
    data = container([nclx, box(b"colr", b"prof" + bytes(128))], {1: [1, 2]}, [])
    assert container_notes(data, "a.heic") == []


@pytest.mark.parametrize("wide", [False, True])
def test_the_depth_is_that_of_the_picture_not_of_its_companions(wide):
    """A phone's photograph is put together from tiles, and has a thumbnail and a map of depth beside it."""
    eight, ten = (box(b"hvcC", bytes(17) + bytes([0xF8 + more]) + bytes(5)) for more in (0, 2))
    size = full(b"ispe", struct.pack(">II", 64, 48))
    tiles = {1: [1], 2: [1, 2], 3: [1, 2], 4: [3]}
    assert container_notes(container([size, eight, ten], tiles, [2, 3], wide), "a.heic") == []
    assert container_notes(container([size, ten, eight], tiles, [2, 3], wide), "a.heic") == ["10 bit rounded to 8"]
    assert container_notes(container([full(b"pixi", b"\3\x0c\x0c\x0c")], {1: [1]}, [], wide), "a.heic") == ["12 bit rounded to 8"]  # fmt: skip


@pytest.mark.parametrize("data", [avif(10), heic(10), container([box(b"hvcC", bytes(20))], {1: [1], 2: [1]}, [1, 2])])
def test_no_cut_of_a_container_is_a_traceback(data):
    end = data.find(b"mdat") if b"mdat" in data else len(data)
    for length in range(end):
        container_notes(data[:length], "cut.avif")
        check_holes(data[:length])


BOXES = heic(10)[:450], avif(10)[:280]


@settings(max_examples=400, deadline=None, derandomize=True)
@given(st.sampled_from(BOXES), st.lists(st.tuples(st.integers(8, 270), st.integers(0, 255)), max_size=6))
def test_no_damage_of_a_container_is_a_traceback(data, changes):
    damaged = bytearray(data)
    for at, value in changes:
        damaged[at] = value
    try:
        container_notes(bytes(damaged), "damaged.avif")
        check_holes(bytes(damaged))
    except PictureError as error:
        assert "HDR" in str(error)
    except ValueError as error:  # a place that now lies in the zeros of a box
        assert "zeros" in str(error)


def test_an_item_made_of_itself_comes_to_an_end():
    data = container([box(b"av1C", b"\x81\x20\x40\0")], {1: [1], 2: [1]}, [1, 2, 1])
    assert container_notes(data, "loop.avif") == ["10 bit rounded to 8"]


@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_an_unfinished_download_is_refused(share):
    """Its length is right, but nothing was written behind a place. The decoder makes something of it, and says nothing."""
    whole = heic(8)
    assert images.decode(whole).shape == (64, 48, 3)
    first = whole.index(b"mdat") + 4
    kept = first + int((len(whole) - first) * share)
    with pytest.raises(PictureError, match=r"half.heic: cannot be decoded \(bytes of its pixels are missing"):
        images.decode(whole[:kept].ljust(len(whole), b"\0"), "half.heic")


@pytest.mark.parametrize("version", [0, 1, 2])
def test_a_hole_is_looked_for_in_the_pixels_only(version):
    """Not in another item, nor in one whose bytes are not in the file's own data."""
    number = ">I" if version == 2 else ">H"

    def located(item: int, start: int, length: int, method: int = 0) -> bytes:
        return (
            struct.pack(number, item)
            + (struct.pack(">H", method) if version else b"")
            + struct.pack(">HIHII", 0, 0, 1, start, length)
        )

    def file(*items: bytes) -> bytes:
        listed = b"\x44\x40" + struct.pack(number, len(items)) + b"".join(items)
        whole = container([box(b"hvcC", bytes(20))], {1: [1]}, [])
        meta = whole.index(b"meta") - 4
        inside = whole[meta + 8 :] + full(b"iloc", listed, version)
        return whole[:meta] + box(b"meta", inside) + b"\1" * 40 + bytes(40) + b"\1" * 40

    length = len(file(located(1, 0, 1), located(2, 0, 1)))
    pixels, hole = length - 120, length - 80
    check_holes(file(located(1, pixels, 40), located(2, hole, 40)))
    check_holes(file(located(1, length - 40, 0), located(2, hole, 40)))
    if version:
        check_holes(file(located(1, hole, 40, method=1), located(2, hole, 40)))
    for start, count in ((hole, 40), (pixels, 0), (pixels, 60)):
        with pytest.raises(ValueError, match="zeros stand in their place"):
            check_holes(file(located(1, start, count), located(2, pixels, 40)))
