"""JPEG files that do not come to their end, as downloads that broke off leave them, and files that do and go on."""

import io

import numpy as np
import pytest
from PIL import Image

from mperceiver import images
from mperceiver.images import PictureError

SMOOTH = Image.fromarray((np.add.outer(np.arange(96), np.arange(128))[..., None] * np.ones(3)).astype(np.uint8))
NOISE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (96, 128, 3), dtype=np.uint8))
WAYS = {
    "plain": {},
    "optimised": {"optimize": True},
    "progressive": {"progressive": True},
    "restarts": {"restart_marker_rows": 1},
}


def jpeg(picture: Image.Image, **options) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", **options)
    return buffer.getvalue()


@pytest.mark.parametrize("share", [0.5, 0.7, 0.9, 0.99])
@pytest.mark.parametrize("filler", [b"\0", b"\xaa"])
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("picture", [SMOOTH, NOISE], ids=["smooth", "noise"])
def test_an_unfinished_download_is_refused(picture, way, filler, share):
    """Its length is right, but nothing was written behind a place."""
    whole = jpeg(picture, quality=90, **WAYS[way])
    data = whole[: int(len(whole) * share)].ljust(len(whole), filler)
    with pytest.raises(
        PictureError, match=r"half.jpg: cannot be decoded \(it stops before its end marker\); the file is damaged"
    ):
        images.decode(data, "half.jpg")


def test_the_end_of_a_thumbnail_is_not_the_pictures():
    exif = Image.Exif()
    exif[0x927C] = jpeg(SMOOTH.resize((16, 16)))
    whole = jpeg(NOISE, exif=exif)
    assert whole.count(b"\xff\xd9") == 2 and images.decode(whole).shape == (96, 128, 3)
    with pytest.raises(PictureError, match="stops before its end marker"):
        images.decode(whole[: len(whole) // 2].ljust(len(whole), b"\0"))


@pytest.mark.parametrize("behind", [b"\0" * 5000, b"trailing", b"\xff\xda\0\x08 half a picture", b"\xff\xd8\xff\xe0"])
@pytest.mark.parametrize("way", WAYS)
def test_what_follows_the_end_is_left_alone(way, behind):
    data = jpeg(NOISE, **WAYS[way])
    assert (images.decode(data + behind) == images.decode(data)).all()


def test_several_pictures_in_a_file():
    buffer = io.BytesIO()
    NOISE.save(buffer, "MPO", save_all=True, append_images=[SMOOTH])
    assert (images.decode(buffer.getvalue()) == images.decode(jpeg(NOISE))).all()


@pytest.mark.parametrize("mode", ["L", "CMYK", "RGB"])
def test_whole_files_are_read(mode):
    data = jpeg(NOISE.convert(mode), quality=100, comment=b"\xff\xd9 \xff\xda")
    assert images.decode(data).shape == (96, 128, 3)
    assert images.decode(data[:-2] + b"\0\0\xff\xff\xd9").shape == (96, 128, 3)  # with bytes to fill before the marker


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("12 bits", "is a JPEG of 12 bits a value, which is not read; save it as PNG"),
        ("LS", "is a JPEG-LS file, which is not read; save it as PNG"),
        ("hierarchical", "is a hierarchical JPEG, which is not read; save it as PNG"),
    ],
)
def test_kinds_that_are_not_read_are_told_as_such(kind, words):
    import imagecodecs

    values = np.asarray(NOISE)
    if kind == "12 bits":
        data = imagecodecs.ljpeg_encode(values[..., 0].astype(np.uint16) * 16, bitspersample=12)
    elif kind == "LS":
        data = imagecodecs.jpegls_encode(np.asarray(SMOOTH))
    else:
        data = jpeg(NOISE).replace(b"\xff\xc0", b"\xff\xc5")
    with pytest.raises(PictureError, match=f"a.jpg: {words}"):
        images.decode(bytes(data), "a.jpg")


def test_a_damaged_header_is_no_other_kind():
    data = bytearray(jpeg(NOISE))
    data[data.index(b"\xff\xc0") + 4] = 99
    with pytest.raises(PictureError, match="the file is damaged"):
        images.decode(bytes(data))
