"""Mosaic: a Bayer sensor measures one colour per pixel; the other two are interpolated."""

from typing import Literal, get_args

import numpy as np
import scipy

from mperceiver.degradations.common import clip
from mperceiver.degradations.ranges import checked

# Colours of the pixels at (row, column) = (0, 0), (0, 1), (1, 0), (1, 1); as numbers: 0 red, 1 green, 2 blue.
Pattern = Literal["RGGB", "GRBG", "GBRG", "BGGR"]
PATTERNS = {pattern: tuple(map("RGB".index, pattern)) for pattern in get_args(Pattern)}
# Malvar's filters, in eighths: green at a red or blue pixel; red or blue at a green pixel of its own row (transposed: of the
# other rows); red at a blue pixel and blue at a red one.
GREEN = np.array([[0, 0, -1, 0, 0], [0, 0, 2, 0, 0], [-1, 2, 4, 2, -1], [0, 0, 2, 0, 0], [0, 0, -1, 0, 0]])
SAME_ROW = np.array([[0, 0, 0.5, 0, 0], [0, -1, 0, -1, 0], [-1, 4, 5, 4, -1], [0, -1, 0, -1, 0], [0, 0, 0.5, 0, 0]])
OPPOSITE = np.array([[0, 0, -1.5, 0, 0], [0, 2, 0, 2, 0], [-1.5, 0, 6, 0, -1.5], [0, 2, 0, 2, 0], [0, 0, -1.5, 0, 0]])


@checked("demosaic")
def demosaic(
    image: np.ndarray,
    rng: np.random.Generator,
    *,
    pattern: Pattern = "RGGB",
    fill: Literal["bilinear", "malvar", "zeros"] = "bilinear",
) -> np.ndarray:
    """Sample a Bayer mosaic and interpolate the missing colours. Draws nothing.

    DPIR (arXiv:2008.13751) and the paper's comparison use RGGB. The files that RNAN ships (Zhang et al., ICLR 2019,
    arXiv:1903.10082) are GRBG with zeros where nothing was measured. Malvar, He & Cutler, ICASSP 2004,
    doi:10.1109/ICASSP.2004.1326587, compare their linear 5x5 filters with bilinear interpolation.

    Args:
        image: float32 (H, W, 3) in [0, 1].
        rng: not used.
        pattern: the colours of the first two pixels of the first two rows.
        fill: interpolation of the missing colours; zeros is none.
    """
    measured = sample(image, pattern)
    if fill == "zeros":
        return measured
    return clip(bilinear(measured) if fill == "bilinear" else malvar(measured, pattern))


def sample(image: np.ndarray, pattern: str = "RGGB") -> np.ndarray:
    """What a sensor measures of a picture: (H, W, 3) -> (H, W, 3) with one colour per pixel, the others zero."""
    measured = np.zeros_like(image)
    for place, colour in enumerate(PATTERNS[pattern]):
        at = np.s_[place // 2 :: 2, place % 2 :: 2, colour]
        measured[at] = image[at]
    return measured


def bilinear(measured: np.ndarray) -> np.ndarray:
    """Bilinear interpolation of the missing colours: (H, W, 3) of ``sample`` -> (H, W, 3)."""
    corner = np.array([0.5, 1, 0.5], np.float32)
    cross = np.array([[0, 0.25, 0], [0.25, 1, 0.25], [0, 0.25, 0]], np.float32)
    out = np.empty_like(measured)
    # "mirror" does not repeat the border pixel, so the pattern of colours continues outside the picture.
    for channel in (0, 2):
        rows = scipy.ndimage.convolve1d(measured[..., channel], corner, axis=0, mode="mirror")
        out[..., channel] = scipy.ndimage.convolve1d(rows, corner, axis=1, mode="mirror")
    out[..., 1] = scipy.ndimage.convolve(measured[..., 1], cross, mode="mirror")
    return out


def malvar(measured: np.ndarray, pattern: str) -> np.ndarray:
    """Malvar's gradient-corrected interpolation: (H, W, 3) of ``sample`` -> (H, W, 3), not clipped."""
    raw = measured.sum(-1)
    filters = {"green": GREEN, "same row": SAME_ROW, "other row": SAME_ROW.T, "opposite": OPPOSITE}
    filtered = {
        name: scipy.ndimage.convolve(raw, (f / 8).astype(np.float32), mode="mirror") for name, f in filters.items()
    }
    out = measured.copy()
    colours = PATTERNS[pattern]
    for place, colour in enumerate(colours):
        at = np.s_[place // 2 :: 2, place % 2 :: 2]
        if colour != 1:
            out[at][..., 1] = filtered["green"][at]
            out[at][..., 2 - colour] = filtered["opposite"][at]
            continue
        in_row = colours[place ^ 1]  # red or blue, whichever is in the row of this green pixel
        out[at][..., in_row] = filtered["same row"][at]
        out[at][..., 2 - in_row] = filtered["other row"][at]
    return out
