"""PNG files of every header and with damaged chunks: the right pixels, or a refusal. The files are written here, by numpy."""

import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from mperceiver import images
from mperceiver.images import PictureError

CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # of each colour type


def chunk(kind: bytes, data: bytes, wrong: int = 0) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data) ^ wrong)


def png(values: np.ndarray, bits: int, colour: int, before: bytes = b"", after: bytes = b"", wrong: int = 0) -> bytes:
    """A PNG of (H, W, C) values; ``before`` and ``after`` its pixels stand further chunks."""
    single = (values.reshape(len(values), -1)[..., None] >> np.arange(bits - 1, -1, -1)) & 1
    packed = np.packbits(single.astype(np.uint8).reshape(len(values), -1), axis=1)
    rows = b"".join(b"\0" + row.tobytes() for row in packed)
    header = struct.pack(">IIBBBBB", values.shape[1], values.shape[0], bits, colour, 0, 0, 0)
    parts = chunk(b"IHDR", header), before, chunk(b"IDAT", zlib.compress(rows), wrong), after, chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def random(height: int, width: int, channels: int, bits: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 2**bits, (height, width, channels))


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.sampled_from([1, 2, 4, 8, 16]), st.sampled_from(sorted(CHANNELS)), st.integers(1, 9), st.integers(1, 9), st.integers(0, 2**16))  # fmt: skip
def test_every_header_gives_its_pixels_or_is_refused(bits, colour, height, width, seed):
    values = random(height, width, CHANNELS[colour], bits, seed)
    palette = np.random.default_rng(seed).integers(0, 256, (2 ** min(bits, 8), 3), dtype=np.uint8)
    data = png(values, bits, colour, chunk(b"PLTE", palette.tobytes()) if colour == 3 else b"")
    allowed = {0: (1, 2, 4, 8, 16), 3: (1, 2, 4, 8)}.get(colour, (8, 16))
    if bits not in allowed:
        with pytest.raises(PictureError):
            images.decode(data)
        return
    photograph = images.read_photograph(data)
    if colour == 3:
        right = palette[values[..., 0]]
    else:
        right = np.floor(values[..., : 1 if colour in (0, 4) else 3] * 255 / (2**bits - 1) + 0.5)
    assert (photograph.pixels == np.broadcast_to(right, (height, width, 3))).all()
    assert ("16 bit rounded to 8" in photograph.notes) == (bits == 16)
    assert ("transparency dropped" in photograph.notes) == (colour in (4, 6))


SOUND = random(12, 10, 3, 8)


@pytest.mark.parametrize("kind", [b"tIME", b"cHRM", b"sPLT", b"eXIf", b"iCCP", b"iTXt"])
@pytest.mark.parametrize("place", ["before", "after"])
def test_a_wrong_checksum_outside_the_pixels_is_noted(kind, place):
    photograph = images.read_photograph(png(SOUND, 8, 2, **{place: chunk(kind, b"12345678", wrong=1)}))
    assert (photograph.pixels == SOUND).all() and not photograph.plain_rgb
    assert f"chunk {kind.decode()} skipped, since its checksum is wrong" in photograph.notes


def test_wrong_pixels_are_refused():
    with pytest.raises(PictureError, match="checksum of chunk IDAT is wrong"):
        images.decode(png(SOUND, 8, 2, wrong=1))
    with pytest.raises(PictureError, match="chunk CgBI is needed"):
        images.decode(png(SOUND, 8, 2, before=chunk(b"CgBI", b"1234")))
    with pytest.raises(PictureError, match="not in the palette"):
        images.decode(png(np.full((2, 2, 1), 9), 8, 3, before=chunk(b"PLTE", bytes(9))))
    with pytest.raises(PictureError, match="palette is missing"):
        images.decode(png(np.full((2, 2, 1), 0), 8, 3))
    short = png(SOUND, 8, 2)
    for end in range(9, short.index(b"IEND") - 6, 17):
        with pytest.raises(PictureError):
            images.decode(short[:end])


@pytest.mark.parametrize("interlace", [0, 1])
@pytest.mark.parametrize(("bits", "colour"), [(8, 0), (8, 2), (8, 3), (8, 4), (8, 6), (16, 2)])
def test_rows_that_are_missing_are_not_black(bits, colour, interlace):
    """The compressed data are whole, with their checksum, but end before the last row."""
    values = np.ones((12, 10, CHANNELS[colour]), int)
    palette = chunk(b"PLTE", bytes(range(48))) if colour == 3 else b""
    whole = png(values, bits, colour, palette)
    at = whole.index(b"IDAT")
    packed = whole[at + 4 : at + 4 + int.from_bytes(whole[at - 4 : at], "big")]
    header = bytearray(whole[16:29])
    header[12] = interlace
    rows = zlib.decompress(packed)
    for share in (1, 6, 11):  # of 12 rows; for an interlaced picture some of its seven passes
        body = chunk(b"IHDR", bytes(header)) + palette + chunk(b"IDAT", zlib.compress(rows[: len(rows) * share // 12]))
        with pytest.raises(PictureError, match=r"Not enough image data|truncated"):
            images.decode(whole[:8] + body + chunk(b"IEND", b""))
    assert not images.decode(png(values * 0, bits, 0 if colour == 3 else colour)).any()  # rows that are black are there


@pytest.mark.parametrize("kind", [b"zTXt", b"iTXt"])
def test_a_long_text_is_no_damage(kind):
    packed = zlib.compress(b"x" * 20_000_000)
    body = b"prompt\0\0" + packed if kind == b"zTXt" else b"prompt\0\1\0\0\0" + packed
    for place in ("before", "after"):
        photograph = images.read_photograph(png(SOUND, 8, 2, **{place: chunk(kind, body)}))
        assert (photograph.pixels == SOUND).all() and photograph.notes == ["text dropped"]


def test_a_long_profile_goes_on_and_comes_back():
    profile = bytearray(np.random.default_rng(0).bytes(3_000_000))
    profile[16:20] = b"RGB "
    first = images.read_photograph(png(SOUND, 8, 2, chunk(b"iCCP", b"p\0\0" + zlib.compress(bytes(profile)))))
    assert first.metadata["icc_profile"] == bytes(profile)
    again = images.read_photograph(images.encode(first.pixels, **first.metadata))
    assert again.metadata == first.metadata and (again.pixels == SOUND).all()


def test_damaged_profiles_and_exif_are_noted():
    cut = chunk(b"iCCP", b"p\0\0" + zlib.compress(bytes(9999))[:-9])
    photograph = images.read_photograph(png(SOUND, 8, 2, cut + chunk(b"eXIf", b"MM\0*\0\0\0\x08\xff\xff damaged")))
    assert (photograph.pixels == SOUND).all() and "icc_profile" not in photograph.metadata
    assert any("profile dropped" in note for note in photograph.notes)


SRGB = (31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000)
ADOBE = (31270, 32900, 64000, 33000, 21000, 71000, 15000, 6000)
PROFILE = chunk(b"iCCP", b"p\0\0" + zlib.compress(bytes(16) + b"RGB " + bytes(108)))


@pytest.mark.parametrize(
    ("before", "notes"),
    [
        (chunk(b"cHRM", struct.pack(">8I", *ADOBE)), ["primaries (cHRM) dropped"]),
        (chunk(b"cHRM", b"short"), ["primaries (cHRM) dropped"]),
        (chunk(b"cHRM", struct.pack(">8I", *SRGB)), []),
        (chunk(b"cHRM", struct.pack(">8I", *(value - 1 for value in SRGB))), []),
        (chunk(b"cHRM", struct.pack(">8I", *ADOBE)) + chunk(b"sRGB", b"\0"), []),
        (chunk(b"cHRM", struct.pack(">8I", *ADOBE)) + PROFILE, []),
        (chunk(b"cICP", bytes([9, 13, 0, 1])), ["colour space (cICP) dropped"]),
        (chunk(b"cICP", bytes([1, 8, 0, 1])), ["colour space (cICP) dropped"]),
        (chunk(b"cICP", bytes([1, 13, 0, 1])), []),
    ],
    ids=["Adobe", "damaged", "sRGB", "nearly", "chunk", "profile", "BT2020", "linear", "numbers"],
)
def test_colours_that_are_not_srgbs_are_noted(before, notes):
    photograph = images.read_photograph(png(SOUND, 8, 2, before))
    assert photograph.notes == notes and (photograph.pixels == SOUND).all()


@pytest.mark.parametrize(("transfer", "word"), [(16, "PQ"), (18, "HLG")])
@pytest.mark.parametrize("bits", [8, 16])
def test_hdr_is_refused(transfer, word, bits):
    data = png(random(4, 4, 3, bits), bits, 2, chunk(b"cICP", bytes([9, transfer, 0, 1])))
    with pytest.raises(
        PictureError, match=rf"sky.png: has colours of HDR \({word}, .* as if they were sRGB; convert it to sRGB"
    ):
        images.decode(data, "sky.png")


def test_xmp_turns_upright_and_its_loss_is_noted():
    xmp = b'XML:com.adobe.xmp\0\0\0\0\0<x tiff:Orientation="3"/>'
    photograph = images.read_photograph(png(SOUND, 8, 2, chunk(b"iTXt", xmp)))
    assert (photograph.pixels == SOUND[::-1, ::-1]).all() and "XMP dropped" in photograph.notes


@pytest.mark.parametrize("form", ["GIF", "ICO", "DDS", "PCX", "SGI", "EPS", "TGA", "PPM", "JPEG2000"])
def test_forms_nobody_asked_for_are_refused_without_an_address(form):
    buffer = io.BytesIO()
    Image.fromarray(SOUND.astype(np.uint8)).save(buffer, form)
    with pytest.raises(PictureError, match="holiday.png: cannot be decoded") as caught:
        images.decode(buffer.getvalue(), "holiday.png")
    assert "0x" not in str(caught.value)


@pytest.mark.parametrize(
    ("start", "word"),
    [(b"qoif", "QOI"), (b"P6\n", "PPM"), (b"PF\n", "PFM"), (b"II\xbc\1", "JPEG XR"), (b"\0\0\0\x18ftypcrx ", "CR3")],
)
def test_a_form_that_is_not_read_is_told_by_its_first_bytes(start, word):
    with pytest.raises(
        PictureError, match=rf"a.png: cannot be decoded: .*{word}.* is not read, only .*; save it as PNG"
    ):
        images.decode(start + bytes(40), "a.png")


def test_a_kind_of_bmp_that_is_not_read_is_to_be_saved_anew():
    """16 bits of four channels: no damage."""
    masks = struct.pack("<IIII", 0xF00, 0xF0, 0xF, 0xF000)
    header = struct.pack("<IiiHHIIiiII", 108, 4, 4, 1, 16, 3, 32, 0, 0, 0, 0) + masks
    data = b"BM" + struct.pack("<IHHI", 154, 0, 0, 122) + header.ljust(108, b"\0") + bytes(32)
    with pytest.raises(
        PictureError, match=r"Unsupported BMP .*; the file is damaged or of a kind that is not read; save it"
    ):
        images.decode(data)


@pytest.mark.parametrize(("form", "loss"), [("AVIF", 12), ("HEIF", 12), ("WEBP", 12)])
def test_forms_of_phones(form, loss):
    if form == "HEIF":
        import pillow_heif

        pillow_heif.register_heif_opener()
    smooth = np.add.outer(np.arange(64), np.arange(48))[..., None] * np.ones(3) + 20
    buffer = io.BytesIO()
    Image.fromarray(smooth.astype(np.uint8)).save(buffer, form, quality=95)
    assert abs(images.decode(buffer.getvalue()).astype(float) - smooth).max() < loss


def test_memory_is_asked_before_pixels_are_decoded(monkeypatch):
    monkeypatch.setattr(images.limits, "free_memory_bytes", lambda: 2**30)
    monkeypatch.setattr(Image, "open", lambda *arguments, **options: pytest.fail("decoded"))
    webp = b"RIFF\0\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0" + (9999).to_bytes(3, "little") * 2
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 10_000, 10_000, 8, 2, 0, 0, 0))
    for data in (webp, b"\x89PNG\r\n\x1a\n" + header):
        with pytest.raises(PictureError, match=r"10000x10000 takes about 1.9 GiB of memory, and 1.0 GiB are free; end"):
            images.decode(data)


@pytest.mark.parametrize("shape", [(1, 1, 3), (40, 57, 3), (2, 16_383, 3), (2, 16_384, 3)])
def test_a_pages_picture_loses_nothing(shape):
    """As WebP; where WebP ends, as PNG. Pillow reads back what was given."""
    pixels = np.random.default_rng(3).integers(0, 256, shape, dtype=np.uint8)
    data = images.encode_small(pixels)
    with Image.open(io.BytesIO(data)) as read:
        assert read.format == ("PNG" if shape[1] > 16_383 else "WEBP") and np.array_equal(np.asarray(read), pixels)
    with pytest.raises(PictureError, match="expected uint8"):
        images.encode_small(pixels.astype(np.float32))
