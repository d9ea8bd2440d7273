"""Mosaic: one colour a pixel, and the others guessed."""

import numpy as np
from scipy import ndimage

from mperceiver.degradations.common import check_picture, check_word, clip

# Colour (0 red, 1 green, 2 blue) at (row, column) = (0, 0), (0, 1), (1, 0), (1, 1).
PATTERNS = {"RGGB": (0, 1, 1, 2), "GRBG": (1, 0, 2, 1), "GBRG": (1, 2, 0, 1), "BGGR": (2, 1, 1, 0)}
FILLS = ("bilinear", "malvar", "zeros")
# Malvar's filters, in eighths: green where it is not; a colour in green's rows; it in the other colour's place.
GREEN = np.array([[0, 0, -1, 0, 0], [0, 0, 2, 0, 0], [-1, 2, 4, 2, -1], [0, 0, 2, 0, 0], [0, 0, -1, 0, 0]])
BESIDE = np.array([[0, 0, 0.5, 0, 0], [0, -1, 0, -1, 0], [-1, 4, 5, 4, -1], [0, -1, 0, -1, 0], [0, 0, 0.5, 0, 0]])
ACROSS = np.array([[0, 0, -1.5, 0, 0], [0, 2, 0, 2, 0], [-1.5, 0, 6, 0, -1.5], [0, 2, 0, 2, 0], [0, 0, -1.5, 0, 0]])


def demosaic(
    image: np.ndarray, rng: np.random.Generator, *, pattern: str = "RGGB", fill: str = "bilinear"
) -> np.ndarray:
    """Sample a Bayer mosaic and fill it in. Draws nothing.

    DPIR (arXiv:2008.13751) and the RGGB of the paper's comparison start from RGGB, the files that RNAN ships (Zhang et al.,
    ICLR 2019, arXiv:1903.10082) are GRBG with zeros where nothing was measured. Bilinear interpolation is what Malvar, He &
    Cutler, ICASSP 2004, doi:10.1109/ICASSP.2004.1326587, compare their linear 5x5 filters with.

    Args:
        image: float32 (H, W, 3) in [0, 1].
        rng: not used.
        pattern: RGGB, GRBG, GBRG or BGGR: the colours of the first two rows' first two pixels.
        fill: bilinear, malvar, or zeros.
    """
    check_picture("demosaic", image)
    check_word("demosaic", "pattern", pattern, tuple(PATTERNS))
    check_word("demosaic", "fill", fill, FILLS)
    kept = sample(image, pattern)
    if fill == "zeros":
        return kept
    return clip(bilinear(kept) if fill == "bilinear" else malvar(kept, pattern))


def sample(image: np.ndarray, pattern: str = "RGGB") -> np.ndarray:
    """What a sensor measures of (H, W, 3): one colour a pixel, the others zero."""
    kept = np.zeros_like(image)
    for place, colour in enumerate(PATTERNS[pattern]):
        at = np.s_[place // 2 :: 2, place % 2 :: 2, colour]
        kept[at] = image[at]
    return kept


def bilinear(kept: np.ndarray) -> np.ndarray:
    """Means of the nearest measured neighbours: (H, W, 3) of ``sample`` -> (H, W, 3)."""
    corner = np.array([0.5, 1, 0.5], np.float32)
    cross = np.array([[0, 0.25, 0], [0.25, 1, 0.25], [0, 0.25, 0]], np.float32)
    out = np.empty_like(kept)
    # "mirror" leaves out the border pixel itself, so the mosaic's parity goes on outside.
    for channel in (0, 2):
        rows = ndimage.convolve1d(kept[..., channel], corner, axis=0, mode="mirror")
        out[..., channel] = ndimage.convolve1d(rows, corner, axis=1, mode="mirror")
    out[..., 1] = ndimage.convolve(kept[..., 1], cross, mode="mirror")
    return out


def malvar(kept: np.ndarray, pattern: str) -> np.ndarray:
    """Malvar's gradient-corrected interpolation: (H, W, 3) of ``sample`` -> (H, W, 3), not clipped."""
    raw = kept.sum(-1)
    filters = {"green": GREEN, "beside": BESIDE, "above": BESIDE.T, "across": ACROSS}
    found = {name: ndimage.convolve(raw, (f / 8).astype(np.float32), mode="mirror") for name, f in filters.items()}
    out = kept.copy()
    colours = PATTERNS[pattern]
    for place, colour in enumerate(colours):
        at = np.s_[place // 2 :: 2, place % 2 :: 2]
        if colour != 1:
            out[at][..., 1] = found["green"][at]
            out[at][..., 2 - colour] = found["across"][at]
            continue
        beside = colours[place ^ 1]  # red or blue, whichever shares this green's row
        out[at][..., beside] = found["beside"][at]
        out[at][..., 2 - beside] = found["above"][at]
    return out
