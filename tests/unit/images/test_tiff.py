"""TIFF files of every header: the right pixels, or a refusal that names the reason. The files are written here, by numpy."""

import io
import itertools
import struct
import zlib

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from mperceiver import images
from mperceiver.images import PictureError

CHANNELS = {0: 1, 1: 1, 2: 3, 3: 1, 5: 4}


def packed(values: np.ndarray, bits: int, order: str) -> bytes:
    """Rows (H, W, C) as TIFF stores them: 8 and 16 bits as numbers, others bit by bit, each row filled up to a byte."""
    if bits in (8, 16):
        return values.astype(f"{order}u{bits // 8}").tobytes()
    single = (values.reshape(len(values), -1)[..., None] >> np.arange(bits - 1, -1, -1)) & 1
    return np.packbits(single.astype(np.uint8).reshape(len(values), -1), axis=1).tobytes()


def tiff(values: np.ndarray, bits: int, photometric: int, *, order: str = "<", planar: int = 1, rows: int = 0, compression: int = 1,
         extra: tuple[int, ...] = (), palette: np.ndarray | None = None, tags: dict[int, tuple[int, list[int]]] | None = None) -> bytes:  # fmt: skip
    """A TIFF file of (H, W, C) values. ``tags``: further ones, or other ones than the right ones: tag -> (kind, values)."""
    height, width, channels = values.shape
    rows = rows or height
    planes = [values] if planar == 1 else [values[..., [c]] for c in range(channels)]
    strips = [packed(plane[top : top + rows], bits, order) for plane in planes for top in range(0, height, rows)]
    strips = [zlib.compress(strip) if compression == 8 else strip for strip in strips]
    offsets = [8 + size for size in itertools.accumulate([0, *map(len, strips[:-1])])]
    entries: dict[int, tuple[int, list[int]]] = {
        256: (4, [width]), 257: (4, [height]), 258: (3, [bits] * channels), 259: (3, [compression]), 262: (3, [photometric]),
        273: (4, offsets), 277: (3, [channels]), 278: (4, [rows]), 279: (4, [len(strip) for strip in strips]), 284: (3, [planar]),
    }  # fmt: skip
    entries |= {338: (3, list(extra))} if extra else {}
    entries |= {320: (3, palette.T.ravel().tolist())} if palette is not None else {}
    entries |= tags or {}
    start = 8 + sum(map(len, strips))
    start += start % 2
    directory, beyond = [], b""
    for tag, (kind, numbers) in sorted(entries.items()):
        body = b"".join(struct.pack(order + {1: "B", 3: "H", 4: "I"}[kind], number) for number in numbers)
        if len(body) > 4:
            place = start + 2 + 12 * len(entries) + 4 + len(beyond)
            beyond += body + b"\0" * (len(body) % 2)
            body = struct.pack(order + "I", place)
        directory.append(struct.pack(order + "HHI", tag, kind, len(numbers)) + body.ljust(4, b"\0"))
    head = {"<": b"II", ">": b"MM"}[order] + struct.pack(order + "HI", 42, start)
    content = (head + b"".join(strips)).ljust(start, b"\0")
    return content + struct.pack(order + "H", len(entries)) + b"".join(directory) + b"\0" * 4 + beyond


def expected(
    values: np.ndarray, bits: int, photometric: int, extra: tuple[int, ...], palette: np.ndarray | None
) -> np.ndarray:
    """float64: what the pixels are before they are rounded, (H, W, 3)."""
    most = 2**bits - 1
    if photometric == 3:
        return palette[values[..., 0]] / 257
    colours = values[..., : CHANNELS[photometric]].astype(float)
    if photometric == 0:
        colours = most - colours
    colours = colours * 255 / most
    if photometric == 5:
        inks = np.floor(colours + 0.5).astype(np.uint8)
        return np.asarray(Image.frombytes("CMYK", inks.shape[1::-1], inks.tobytes()).convert("RGB")).astype(float)
    if extra[:1] == (1,):
        alpha = values[..., [CHANNELS[photometric]]].astype(float) / most
        colours = np.where(alpha > 0, np.minimum(colours / np.maximum(alpha, 1e-9), 255), 0)
    return np.repeat(colours, 3, axis=2) if colours.shape[2] == 1 else colours


def random(height: int, width: int, channels: int, bits: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 2**bits, (height, width, channels))


headers = st.fixed_dictionaries(
    {
        "bits": st.sampled_from([1, 2, 4, 6, 8, 10, 12, 14, 16]),
        "photometric": st.sampled_from([0, 1, 2, 3, 5]),
        "order": st.sampled_from("<>"),
        "planar": st.sampled_from([1, 2]),
        "rows": st.sampled_from([0, 1, 4]),
        "compression": st.sampled_from([1, 8]),
        "extra": st.sampled_from([(), (0,), (1,), (2,), (2, 0)]),
    }
)


@settings(max_examples=250, deadline=None, derandomize=True)
@given(headers, st.integers(1, 9), st.integers(1, 9), st.integers(0, 2**16))
def test_every_header_gives_its_pixels_or_is_refused(header, height, width, seed):
    bits, photometric, extra = header["bits"], header["photometric"], header["extra"]
    values = random(height, width, CHANNELS[photometric] + len(extra), bits, seed)
    palette = None
    if photometric == 3:
        palette = np.random.default_rng(seed).integers(0, 65536, (2**bits, 3))
        palette[0] |= 1  # not of the kind v * 256
    data = tiff(values, palette=palette, **header)
    try:
        photograph = images.read_photograph(data, "a.tif")
    except PictureError as error:
        assert photometric == 3 and bits > 8 and "palette" in str(error)  # the only ones that are refused here
        return
    right = expected(values, bits, photometric, extra, palette)
    slack = 1.0 if extra[:1] == (1,) and bits == 8 else 0.5  # PIL rounds the division down
    assert photograph.pixels.shape == (height, width, 3)
    assert (abs(photograph.pixels - right) <= slack + 1e-6).all()
    notes = " ".join(photograph.notes)
    assert (f"{bits} bit rounded to 8" in notes) == (bits > 8 and photometric != 3)
    assert photometric == 3 or ("dropped" in notes) == bool(extra)


@pytest.mark.parametrize("compression", [None, "lzw", "zlib", "packbits", "zstd", "lzma"])
@pytest.mark.parametrize(
    "layout", [{}, {"tile": (16, 16)}, {"rowsperstrip": 7}, {"bigtiff": True}, {"planarconfig": "separate"}]
)
@pytest.mark.parametrize("predictor", [False, True])
def test_compressions_and_layouts(compression, layout, predictor):
    values = random(23, 37, 3, 16).astype(np.uint16)
    stored = np.moveaxis(values, 2, 0) if "planarconfig" in layout else values
    predictor = predictor and compression in ("lzw", "zlib")
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, stored, photometric="rgb", compression=compression, predictor=predictor, **layout)
    assert (images.decode(buffer.getvalue()) == np.round(values / 257)).all()


@pytest.mark.parametrize("kind", ["raw", "tiff_lzw", "tiff_adobe_deflate", "packbits"])
@pytest.mark.parametrize("mode", ["1", "L", "LA", "RGB", "RGBA", "P", "CMYK"])
def test_ordinary_files_of_pil_are_read_as_by_pil(mode, kind):
    picture = Image.fromarray(random(19, 23, 3, 8).astype(np.uint8))
    picture = picture.quantize(17) if mode == "P" else picture.convert(mode)
    buffer = io.BytesIO()
    picture.save(buffer, "TIFF", compression=kind)
    with Image.open(buffer) as found:
        assert (images.decode(buffer.getvalue()) == np.asarray(found.convert("RGB"))).all()


@pytest.mark.parametrize("orientation", [1, 3, 6, 7])
@pytest.mark.parametrize("compression", ["raw", "jpeg"])
def test_turned_upright_once(orientation, compression):
    picture = Image.fromarray(random(24, 40, 3, 8).astype(np.uint8))
    buffer = io.BytesIO()
    picture.save(buffer, "TIFF", compression=compression, tiffinfo={274: orientation, 271: "A maker"})
    photograph = images.read_photograph(buffer.getvalue())
    with Image.open(buffer) as found:
        assert (photograph.pixels == np.asarray(found.convert("RGB"))).all()
    exif = Image.Exif()
    exif.load(photograph.metadata["exif"])
    assert dict(exif) == {271: "A maker"}


@pytest.mark.parametrize("layout", [{"rowsperstrip": 64}, {"tile": (64, 64)}])
def test_a_jpeg_in_a_tiff_that_does_not_come_to_its_end_is_refused(layout):
    """As of an unfinished download that is filled with zeros: libtiff makes the rest grey, and says nothing."""
    picture = random(128, 64, 3, 8).astype(np.uint8)
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, picture, photometric="rgb", compression="jpeg", compressionargs={"level": 95}, **layout)
    with tifffile.TiffFile(io.BytesIO(buffer.getvalue())) as file:
        start, count = file.pages.first.dataoffsets[1], file.pages.first.databytecounts[1]
    data = bytearray(buffer.getvalue())
    assert images.decode(bytes(data)).shape == picture.shape
    data[start + count * 3 // 4 : start + count] = bytes(count - count * 3 // 4)
    with pytest.raises(PictureError, match=r"a.tif: cannot be decoded \(it stops before its end marker\)"):
        images.decode(bytes(data), "a.tif")


@pytest.mark.parametrize("tag", [256, 257])
def test_a_jpeg_in_a_tiff_of_another_size_is_refused(tag):
    """libtiff reads it into a larger picture, and leaves the rest as it is in memory."""
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, random(48, 64, 3, 8).astype(np.uint8), photometric="rgb", compression="jpeg")
    data = bytearray(buffer.getvalue())
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        page = file.pages.first
        for one in (tag, 278) if tag == 257 else (tag,):  # RowsPerStrip goes with the height
            place, kind = page.tags[one].valueoffset, {3: "<H", 4: "<I"}[int(page.tags[one].dtype)]
            data[place : place + struct.calcsize(kind)] = struct.pack(kind, 80)
    with pytest.raises(PictureError, match=r"a strip or tile of \d+x\d+ px is a JPEG of 64x48 px"):
        images.decode(bytes(data))


@pytest.mark.parametrize("compression", [None, "lzw", "zlib"])
def test_lab_is_read_as_by_pil(compression):
    values = random(33, 21, 3, 8).astype(np.uint8)
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, values, photometric="cielab", compression=compression, rowsperstrip=8)
    photograph = images.read_photograph(buffer.getvalue())
    with Image.open(buffer) as found:
        assert (photograph.pixels == np.asarray(found.convert("RGB"))).all()
    assert photograph.notes == ["Lab converted to sRGB"]


def test_camera_fields_go_on_and_what_is_lost_is_noted():
    picture = random(4, 5, 3, 8).astype(np.uint8)
    exif = Image.Exif()
    exif[315], exif[33432] = "An artist", "Some rights"
    exif.get_ifd(0x8769)[33434] = (1, 250)
    exif[0x8769] = exif.get_ifd(0x8769)
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "TIFF", exif=exif)
    photograph = images.read_photograph(buffer.getvalue())
    found = Image.Exif()
    found.load(photograph.metadata["exif"])
    assert dict(found)[315] == "An artist" and 33434 in found.get_ifd(0x8769)
    assert not {256, 257, 258, 259, 262, 273, 277, 278, 279, 284} & set(found)
    data = tiff(picture, 8, 2, tags={700: (1, [1] * 9), 33723: (1, [2] * 9)})
    assert {"XMP dropped", "IPTC dropped"} <= set(images.read_photograph(data).notes)


def refusals() -> dict[str, tuple[bytes, str]]:
    values, grey = random(24, 20, 3, 8), random(8, 8, 1, 16)
    whole = tiff(values, 8, 2, rows=8)
    return {
        "fewer rows than the header says": (tiff(values, 8, 2, tags={257: (4, [2400]), 278: (4, [2400])}), "shorter than|cannot be reshaped"),
        "fewer strips than the header says": (tiff(values, 8, 2, rows=8, tags={257: (4, [240])}), "3 of its 30 strips"),
        "a strip without bytes": (tiff(values, 8, 2, rows=8, tags={279: (4, [480, 0, 480])}), "outside the file"),
        "a compressed strip that is short": (tiff(values[:20], 8, 2, compression=8, tags={257: (4, [24]), 278: (4, [24])}), "damaged"),
        "cut": (whole[: len(whole) // 2], "damaged"),
        "signed": (tiff(grey, 16, 1, tags={339: (3, [2])}), r"has 16 bits a value \(signed\)"),
        "half floats": (tiff(grey, 16, 1, tags={339: (3, [3])}), r"has 16 bits a value \(floating-point\)"),
        "a preview": (tiff(values, 8, 2, tags={254: (4, [1])}), "begins with a preview"),
        "a raw file": (tiff(values, 8, 2, tags={50706: (1, [1, 4, 0, 0])}), "DNG"),
        "a colour filter": (tiff(grey, 16, 32803), "CFA"),
        "uneven channels": (tiff(values, 8, 2, tags={258: (3, [5, 6, 5])}), "which is not read|damaged"),
        "unknown compression": (tiff(values, 8, 2, tags={259: (3, [34712])}), "JPEG.?2000"),
        "too few channels": (tiff(grey, 16, 2), "1 channels of 3"),
        "too large": (tiff(values, 8, 2, tags={256: (4, [60_000]), 257: (4, [60_000])}), "60000x60000 is more than"),
    }  # fmt: skip


@pytest.mark.parametrize("what", refusals())
def test_what_is_refused_says_why(what):
    data, says = refusals()[what]
    with pytest.raises(PictureError, match=rf"a.tif: .*({says})"):
        images.decode(data, "a.tif")
