"""Pictures at the border: what files hold, what the code holds, padding and tiles."""

import io
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from mperceiver import images
from mperceiver.images import PictureError

# Sizes of section 2.4 of the method: what comes in, and what a padding to multiples of 64, 512 at least, makes of it.
PADDED = {
    (720, 1280): (768, 1280),
    (1120, 1680): (1152, 1728),
    (1080, 1920): (1088, 1920),
    (1200, 1600): (1216, 1600),
    (256, 256): (512, 512),
    (512, 512): (512, 512),
}


def noise(height: int, width: int, seed: int = 0, top: int = 256, dtype=np.uint8) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, top, (height, width, 3), dtype=dtype)


def saved(picture: Image.Image, kind: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def png16(values: np.ndarray) -> bytes:
    """A PNG of 16 bit a channel, which PIL does not write in colour: (H, W, 1 to 4) uint16."""
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    return png(*values.shape, rows)


def png(height: int, width: int, channels: int, rows: bytes, bits: int = 16) -> bytes:
    head = struct.pack(">IIBBBBB", width, height, bits, {1: 0, 2: 4, 3: 2, 4: 6}[channels], 0, 0, 0)

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    parts = chunk(b"IHDR", head), chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


# ---------------------------------------------------------------- decode


def test_what_is_encoded_is_decoded(tmp_path):
    picture = noise(7, 5)
    data = images.encode(picture)
    assert (images.decode(data) == picture).all()
    (tmp_path / "a.png").write_bytes(data)
    for path in (tmp_path / "a.png", str(tmp_path / "a.png")):
        found = images.decode(path)
        assert found.dtype == np.uint8 and found.flags.writeable and (found == picture).all()


@pytest.mark.parametrize("kind", ["BMP", "TIFF", "WEBP"])
def test_lossless_formats_are_exact(kind):
    picture = noise(7, 5)
    data = saved(Image.fromarray(picture), kind, **({"lossless": True} if kind == "WEBP" else {}))
    assert (images.decode(data) == picture).all()


def test_jpeg_is_that_of_pil():
    data = saved(Image.fromarray(noise(16, 16)), "JPEG")
    with Image.open(io.BytesIO(data)) as picture:
        assert (images.decode(data) == np.asarray(picture)).all()


@pytest.mark.parametrize("mode", ["L", "1"])
def test_grey_becomes_three_equal_channels(mode):
    grey = Image.fromarray(noise(6, 4)[..., 0]).convert(mode)
    found = images.decode(saved(grey))
    assert found.shape == (6, 4, 3) and (found == np.asarray(grey.convert("L"))[..., None]).all()


def test_transparency_is_left_out():
    """The colours below it are kept as they are: nothing is painted over a background."""
    picture, alpha = noise(6, 4), noise(6, 4, seed=1)[..., :1]
    assert (images.decode(saved(Image.fromarray(np.concatenate([picture, alpha], 2)))) == picture).all()
    grey = saved(Image.fromarray(np.concatenate([picture[..., :1], alpha], 2)))
    assert (images.decode(grey) == picture[..., :1]).all()


@pytest.mark.parametrize("options", [{}, {"transparency": 3}, {"transparency": bytes(range(0, 160, 20))}])
def test_palettes_are_looked_up(options):
    picture = Image.fromarray(noise(6, 4)).quantize(8)
    assert (images.decode(saved(picture, **options)) == np.asarray(picture.convert("RGB"))).all()


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_16_bit_is_rounded_to_8(channels):
    """Not cut to the upper byte: round(v / 257), so that 8 bit written as 16 comes back as it was."""
    values = np.random.default_rng(0).integers(0, 65536, (9, 7, channels), dtype=np.uint16)
    values[0] = 257 * np.random.default_rng(1).integers(0, 256, (7, channels), dtype=np.uint16)
    values[1, 0], values[1, 1] = 0, 65535
    expected = np.round(values / 257).astype(np.uint8)[..., :3]
    assert (images.decode(png16(values)) == expected).all()
    upper = (values >> 8).astype(np.uint8)[..., :3]
    assert (upper != expected).mean() > 0.1  # what this is about


def test_a_dark_picture_of_16_bit_stays_dark():
    assert images.decode(png16(np.full((4, 4, 1), 255, np.uint16))).max() == 1


@pytest.mark.parametrize("tiff", [{}, {"byteorder": ">"}, {"compression": "zlib"}, {"tile": (16, 16)}])
def test_16_bit_tiff_is_rounded_too(tiff):
    import tifffile

    values = noise(20, 30, top=65536, dtype=np.uint16)
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, values, photometric="rgb", **tiff)
    assert (images.decode(buffer.getvalue()) == np.round(values / 257)).all()


@pytest.mark.parametrize("mode", ["I", "F"])
def test_32_bits_a_value_are_refused(mode):
    with pytest.raises(PictureError, match=r"a.tif: has 32 bits a value"):
        images.decode(saved(Image.new(mode, (4, 4)), "TIFF"), "a.tif")


@pytest.mark.parametrize("orientation", range(1, 9))
def test_pictures_are_turned_upright(orientation):
    picture = noise(6, 4)
    exif = Image.Exif()
    exif[0x0112] = orientation
    upright = {
        1: picture,
        2: picture[:, ::-1],
        3: picture[::-1, ::-1],
        4: picture[::-1],
        5: picture.transpose(1, 0, 2),
        6: np.rot90(picture, -1),
        7: picture[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(picture),
    }[orientation]
    assert (images.decode(saved(Image.fromarray(picture), exif=exif)) == upright).all()


def test_a_truncated_file_is_named(tmp_path):
    for kind, suffix in (("PNG", "png"), ("JPEG", "jpg"), ("BMP", "bmp"), ("TIFF", "tif"), ("WEBP", "webp")):
        path = tmp_path / f"half.{suffix}"
        data = saved(Image.fromarray(noise(64, 64)), kind)
        path.write_bytes(data[: len(data) // 2])
        with pytest.raises(PictureError, match=rf"half.{suffix}: cannot be decoded .*damaged or not a picture"):
            images.decode(path)


@pytest.mark.parametrize("data", [b"", b"no picture", b"\x89PNG\r\n\x1a\n", b"%!PS-Adobe-3.0 EPSF-3.0\n"])
def test_a_file_that_is_no_picture_is_named(data):
    with pytest.raises(PictureError, match=r"rain/7.png: cannot be decoded"):
        images.decode(data, "rain/7.png")
    with pytest.raises(PictureError, match=r"^picture: "):
        images.decode(data)


def test_an_empty_file_is_called_empty(tmp_path):
    (tmp_path / "a.png").touch()
    with pytest.raises(
        PictureError, match=r"a\.png: cannot be decoded: the file is empty \(0 bytes\); copy or download it again"
    ):
        images.decode(tmp_path / "a.png")


def test_what_cannot_be_read_is_named(tmp_path):
    with pytest.raises(PictureError, match=r"gone.png: no such picture"):
        images.decode(tmp_path / "gone.png")
    with pytest.raises(PictureError, match=r"cannot be read \(Is a directory\)"):
        images.decode(tmp_path)


def test_what_is_no_plain_file_is_refused_unopened(tmp_path, monkeypatch):
    """Whoever opens a pipe waits for somebody to write into it."""
    os.mkfifo(tmp_path / "pipe.png")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link.png").symlink_to("pipe.png")
    with monkeypatch.context() as patched:
        for opens in ("open", "read_bytes"):
            patched.setattr(Path, opens, lambda *arguments, **options: pytest.fail("opened"))
        for path in (tmp_path / "pipe.png", tmp_path / "link.png", Path(os.devnull)):
            with pytest.raises(PictureError, match=rf"{path}: is no plain file but a pipe, socket or device; save"):
                images.read_photograph(path)
        assert not images.looks_like_a_picture(tmp_path / "pipe")


def test_a_decompression_bomb_is_refused_before_it_is_decoded(monkeypatch):
    bomb = png(40_000, 40_000, 1, bytes(40_001), bits=8)
    monkeypatch.setattr(Image.Image, "load", lambda self: pytest.fail("decoded"))
    with pytest.raises(PictureError, match=r"bomb.png: 40000x40000 is more than 256,000,000 pixels; refusing"):
        images.decode(bomb, "bomb.png")


def test_large_pictures_below_the_limit_are_taken(monkeypatch):
    """PIL alone would warn of these, and a warning is an error here."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    assert images.decode(images.encode(noise(16, 16))).shape == (16, 16, 3)
    monkeypatch.setattr(images.limits, "MAX_PIXELS", 255)
    with pytest.raises(PictureError, match="more than 255 pixels"):
        images.decode(images.encode(noise(16, 16)))


def test_a_large_jpegs_size_is_read_before_anything_is_decoded(monkeypatch):
    """As decode does, whatever was read before: PIL's own limit is half of that of this project."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    buffer = io.BytesIO()
    Image.new("RGB", (32, 24)).save(buffer, "JPEG")
    assert images.size(io.BytesIO(buffer.getvalue()), "a.jpg") == (24, 32)


# ---------------------------------------------------------------- encode, tensors


@pytest.mark.parametrize(
    "wrong",
    [np.zeros((4, 4, 3), np.float32), np.zeros((4, 4), np.uint8), np.zeros((4, 4, 4), np.uint8), np.zeros((3, 4, 4), np.uint8)],
)  # fmt: skip
def test_encode_takes_rgb_of_8_bit_only(wrong):
    with pytest.raises(PictureError, match=r"expected uint8 \(H, W, 3\), got " + str(wrong.dtype)):
        images.encode(wrong)


def test_encode_gives_the_same_bytes_each_time():
    assert images.encode(noise(8, 8)) == images.encode(np.asfortranarray(noise(8, 8)))


def test_every_level_comes_back_from_a_tensor():
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16, 1).repeat(3, 2)
    tensor = images.to_tensor(levels)
    assert tensor.dtype == torch.float32 and tensor.shape == (1, 3, 16, 16)
    assert (tensor.min(), tensor.max()) == (0, 1)
    assert (images.to_picture(tensor) == levels).all() and (images.to_picture(tensor[0]) == levels).all()
    picture = noise(5, 9)
    assert (images.to_tensor(picture)[0].permute(1, 2, 0).numpy() == picture.astype(np.float32) / 255).all()


def test_values_are_rounded_not_cut():
    values = torch.tensor([0.4, 0.6, 99.4, 99.6, 254.6, -3.0, 300.0]) / 255
    found = images.to_picture(values.expand(1, 3, 1, -1))
    assert found[0, :, 0].tolist() == [0, 1, 99, 100, 255, 0, 255]
    assert found.dtype == np.uint8


def test_tensors_may_be_of_half_precision_and_carry_gradients():
    assert images.to_picture(torch.full((1, 3, 2, 2), 0.5, dtype=torch.float16)).tolist()[0][0] == [128] * 3
    assert images.to_picture(torch.ones(3, 2, 2, requires_grad=True)).min() == 255


def test_to_tensor_copies():
    picture = noise(4, 4)
    tensor = images.to_tensor(picture)
    before = tensor.clone()
    picture[:] = 0
    assert torch.equal(tensor, before)
    assert images.to_tensor(np.broadcast_to(np.uint8(3), (4, 4, 3))).shape == (1, 3, 4, 4)  # read-only


# ---------------------------------------------------------------- check


def test_check_lets_pictures_pass():
    images.check(torch.rand(2, 3, 4, 5))
    images.check(torch.zeros(1, 3, 1, 1, dtype=torch.float16))
    images.check(torch.ones(1, 3, 1, 1, dtype=torch.float64))


@pytest.mark.parametrize(
    ("tensor", "found"),
    [
        (torch.rand(3, 4, 5), r"torch.float32 \(3, 4, 5\)"),
        (torch.rand(1, 4, 4, 5), r"\(1, 4, 4, 5\)"),
        (torch.rand(1, 4, 5, 3), r"\(1, 4, 5, 3\)"),
        (torch.zeros(1, 3, 4, 5, dtype=torch.uint8), r"torch.uint8 \(1, 3, 4, 5\) in \[0, 0\]"),
        (torch.full((1, 3, 2, 2), 255.0), r"in \[255, 255\]"),
        (torch.full((1, 3, 2, 2), -0.5), r"in \[-0.5, -0.5\]"),
        (torch.full((1, 3, 2, 2), float("nan")), r"in \[nan, nan\]"),
        (torch.zeros(1, 3, 0, 4), r"\(1, 3, 0, 4\) in \[nan, nan\]"),
    ],
)
def test_check_tells_what_it_found(tensor, found):
    with pytest.raises(PictureError, match=r"lq: expected float RGB \(B, 3, H, W\) in \[0, 1\], got .*" + found):
        images.check(tensor, "lq")


# ---------------------------------------------------------------- pad


def padded(tensor: torch.Tensor, height: int, width: int) -> np.ndarray:
    """numpy's own reflection, right and bottom."""
    h, w = tensor.shape[-2:]
    return np.pad(tensor.numpy(), ((0, 0), (0, 0), (0, height - h), (0, width - w)), mode="reflect")


@pytest.mark.parametrize(("size", "target"), PADDED.items())
def test_padding_of_usual_sizes(size, target):
    tensor = torch.rand(1, 1, *size)
    found = images.pad(tensor, 64, 512)
    assert found.shape[-2:] == target
    assert (found.numpy() == padded(tensor, *target)).all()


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.sampled_from([1, 2, 8, 12, 64]), st.sampled_from([1, 16, 50, 128]))
def test_padding_is_that_of_numpy(height, width, multiple, minimum):
    """For pictures smaller than their padding too, which torch's own reflection refuses."""
    tensor = torch.arange(2 * height * width).float().view(1, 2, height, width)
    found = images.pad(tensor, multiple, minimum)
    for before, after in zip((height, width), found.shape[-2:], strict=True):
        assert after % multiple == 0 and after >= max(minimum, before) and after - max(minimum, before) < multiple
    assert (found.numpy() == padded(tensor, *found.shape[-2:])).all()


def test_what_fits_is_not_padded():
    tensor = torch.rand(2, 3, 64, 128)
    assert images.pad(tensor, 64) is tensor


# ---------------------------------------------------------------- tiles


@settings(max_examples=300, deadline=None)
@given(st.integers(1, 5000), st.integers(1, 600), st.data())
def test_tiles_cover_a_length_and_end_with_it(length, tile, data):
    overlap = data.draw(st.integers(0, tile - 1))
    starts = images.tiles(length, tile, overlap)
    assert starts[0] == 0 and starts == sorted(set(starts))
    if length <= tile:
        assert starts == [0]
        return
    assert starts[-1] + tile == length
    steps = np.diff(starts)
    assert steps.max() <= tile - overlap  # no two neighbours overlap by less
    assert len(starts) == 1 or (len(starts) - 2) * (tile - overlap) + tile < length  # and not one more than it takes


def test_tiles_that_cannot_be_cut_are_refused():
    with pytest.raises(PictureError, match="tiles of 64 px cannot overlap by 64 px"):
        images.tiles(100, 64, 64)


# ---------------------------------------------------------------- the pictures that come with the packages


def test_a_real_photograph():
    import skimage

    path = Path(skimage.__file__).parent / "data/chelsea.png"
    found = images.decode(path)
    assert found.shape == (300, 451, 3)
    assert found.mean((0, 1)).round(1).tolist() == [147.7, 111.4, 86.8]
