"""Tiles: where they stand, what is cut, and that what is blended has no seam."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mperceiver import images
from mperceiver.config import ConfigError
from mperceiver.models.layout import lay_out
from mperceiver.models.tiling import blending_weights


def model(multiple: int = 8, minimum: int = 16) -> SimpleNamespace:
    return SimpleNamespace(multiple=multiple, minimum=minimum, device="cpu")


def picture(height: int, width: int, batch: int = 1, channels: int = 3) -> torch.Tensor:
    return torch.rand(batch, channels, height, width, generator=torch.Generator().manual_seed(0))


# ---------------------------------------------------------------- where they stand


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 60), st.integers(1, 60), st.sampled_from([8, 64]), st.integers(2, 12), st.data())
def test_tiles_cover_a_picture(rows, columns, multiple, side, data):
    overlap = data.draw(st.integers(0, side - 1))
    size = (rows * multiple, columns * multiple)
    tiles = lay_out(model(multiple, 2 * multiple), size, side * multiple, overlap * multiple)
    for length, starts, tile in zip(size, (tiles.tops, tiles.lefts), tiles.tile, strict=True):
        assert tile <= min(length, side * multiple) and not tile % multiple
        assert starts[0] == 0 and starts[-1] + tile == length and not any(start % multiple for start in starts)
        assert all(0 < step <= tile - overlap * multiple for step in np.diff(starts))
        assert len(starts) == len(images.tiles(length, side * multiple, overlap * multiple))  # small, but not more


def test_tiles_are_no_larger_than_they_must_be():
    """1088 in tiles of at most 1024: two of 576 that overlap by 64, not two of 1024."""
    tiles = lay_out(model(64, 512), (1088, 512), 1024, 64)
    assert (tiles.tops, tiles.lefts, tiles.tile) == ([0, 512], [0], (576, 512))


def test_corners_may_be_finer_than_sides():
    """With corners in steps of 4 px, an overlap of 12 px stays 12, where the sides' multiple of 32 would make it 32."""
    tiles = lay_out(model(32, 64), (128, 448), 128, 12, step=4)
    assert (tiles.tops, tiles.lefts, tiles.tile) == ([0], [0, 108, 212, 320], (128, 128))
    assert lay_out(model(32, 64), (128, 448), 128, 12).lefts == [0, 64, 160, 256, 320]
    whole = picture(128, 448)
    assert torch.allclose(tiles.blend(tiles.cut(whole), 1, "cpu"), whole, atol=1e-6)


def test_one_tile_is_the_picture_itself():
    whole = picture(64, 96, batch=3)
    tiles = lay_out(model(), (64, 96), 96, 32, batch=8)
    assert tiles.count == 1 and torch.equal(next(tiles.cut(whole)), whole) and tiles.owners(3) == [[0, 1, 2]]
    assert tiles.blend(iter([whole]), 3, "cpu") is whole
    few = lay_out(model(), (64, 96), 96, 32, batch=2)
    assert [len(part) for part in few.cut(whole)] == [2, 1] and few.owners(3) == [[0, 1], [2]]
    assert torch.equal(few.blend(few.cut(whole), 3, "cpu"), whole)


# ---------------------------------------------------------------- cut and blended


@pytest.mark.parametrize("batch", [1, 4, 100])
@pytest.mark.parametrize("factor", [1, 8])
def test_what_is_cut_and_blended_is_the_whole(batch, factor):
    """Of several pictures, in pixels and in a latent, however many tiles go together."""
    tiles = lay_out(model(16, 32), (96, 208), 64, 16, batch)
    whole = picture(96 // factor, 208 // factor, batch=3, channels=4)
    parts = list(tiles.cut(whole))
    assert max(map(len, parts)) == min(batch, 3 * tiles.count) and tiles.count > 6
    assert [len(part) for part in parts] == [len(owners) for owners in tiles.owners(3)]
    assert (tiles.blend(parts, 3, "cpu") - whole).abs().max() < 1e-6


def test_owners_are_whose_tiles_they_are():
    tiles = lay_out(model(16, 32), (64, 160), 64, 16, batch=3)
    numbers = torch.arange(4.0).view(4, 1, 1, 1).expand(4, 3, 64, 160)
    for part, owners in zip(tiles.cut(numbers), tiles.owners(4), strict=True):
        assert part[:, 0, 0, 0].tolist() == owners


def test_tiles_of_picture_and_latent_are_of_the_same_place():
    """From a picture into its latent and back, each a function of its tiles alone."""
    tiles = lay_out(model(16, 32), (96, 208), 64, 32, batch=2)
    whole = picture(96, 208)
    pool = torch.nn.AvgPool2d(8)
    latent = tiles.blend(map(pool, tiles.cut(whole)), 1, "cpu")
    assert latent.shape == (1, 3, 12, 26) and (latent - pool(whole)).abs().max() < 1e-6
    grown = torch.nn.Upsample(scale_factor=8)
    assert (tiles.blend(map(grown, tiles.cut(latent)), 1, "cpu") - grown(latent)).abs().max() < 1e-6


@pytest.mark.parametrize("overlap", [8, 16, 32])
def test_tiles_leave_no_seam(overlap):
    """Tiles that disagree by up to a whole range of brightness fade into each other instead of meeting at an edge."""
    tiles = lay_out(model(), (160, 200), 64, overlap)
    values = torch.rand(tiles.count, generator=torch.Generator().manual_seed(1))
    parts = (torch.full((1, 3, *tiles.tile), value.item()) for value in values)
    blended = tiles.blend(parts, 1, "cpu")
    width = tiles.tile[1]
    edges = {left for left in tiles.lefts if left} | {left + width for left in tiles.lefts if left + width < 200}
    steps = (blended[0, 0, :, 1:] - blended[0, 0, :, :-1]).abs().max(0).values
    # at the ends of a tile the step is far below what it is in the middle of the fade, and below a level of 8 bit
    assert len(edges) > 3 and max(steps[edge - 1].item() for edge in edges) < 1 / 255
    assert blended.min() >= values.min() - 1e-5 and blended.max() <= values.max() + 1e-5


def test_blur_over_tiles_is_the_blur_of_the_whole():
    """A model with a small receptive field: inside the overlap it sees enough, so that tiling hardly shows."""
    blur = torch.nn.AvgPool2d(5, 1, 2, count_include_pad=False)
    coordinates = torch.linspace(0, 1, 200)
    whole = (coordinates[:, None] * coordinates[:160]).expand(1, 3, -1, -1)
    tiles = lay_out(model(), (200, 160), 64, 16)
    assert (tiles.blend(map(blur, tiles.cut(whole)), 1, "cpu") - blur(whole)).abs().max() < 1e-4


def test_weights_add_up_to_one():
    for length, side, overlap in [(104, 64, 8), (1000, 64, 32), (65, 64, 56), (600, 512, 64)]:
        starts = images.tiles(length, side, overlap)
        total = torch.zeros(length)
        for start, weight in zip(starts, blending_weights(length, starts, side), strict=True):
            assert (weight > 0).all()
            total[start : start + side] += weight
        assert total.numpy() == pytest.approx(1, abs=1e-6)


def test_tiles_that_cannot_be_laid_out_are_refused():
    with pytest.raises(ConfigError, match=r"tiles of 511 px.*needs 512 px or more"):
        lay_out(model(64, 512), (512, 512), 511, 64)
    with pytest.raises(ConfigError, match=r"overlap_px is 120, too much for tiles of 128 px in steps of 64 px"):
        lay_out(model(64, 64), (512, 64), 128, 120)
