"""Mosaic: one colour a pixel, and the others guessed."""

import numpy as np
from scipy import ndimage

from mperceiver.degradations.common import check_picture, clip


def demosaic(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Sample a Bayer mosaic (RGGB) and fill it in by bilinear interpolation. Draws nothing, takes no numbers.

    Pattern and evaluation of RNAN (Zhang et al., ICLR 2019, arXiv:1903.10082); bilinear is the baseline of Malvar et al. 2004.

    Args:
        image: float32 (H, W, 3) in [0, 1].
        rng: not used.
    """
    check_picture("demosaic", image)
    kept = np.zeros_like(image)
    kept[0::2, 0::2, 0] = image[0::2, 0::2, 0]
    kept[0::2, 1::2, 1] = image[0::2, 1::2, 1]
    kept[1::2, 0::2, 1] = image[1::2, 0::2, 1]
    kept[1::2, 1::2, 2] = image[1::2, 1::2, 2]
    corner = np.array([0.5, 1, 0.5], np.float32)
    cross = np.array([[0, 0.25, 0], [0.25, 1, 0.25], [0, 0.25, 0]], np.float32)
    out = np.empty_like(image)
    # "mirror" leaves out the border pixel itself, so the mosaic's parity goes on outside.
    for channel in (0, 2):
        rows = ndimage.convolve1d(kept[..., channel], corner, axis=0, mode="mirror")
        out[..., channel] = ndimage.convolve1d(rows, corner, axis=1, mode="mirror")
    out[..., 1] = ndimage.convolve(kept[..., 1], cross, mode="mirror")
    return clip(out)
