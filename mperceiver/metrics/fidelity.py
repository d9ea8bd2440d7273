"""PSNR and SSIM: how close a restored picture is to its ground truth."""

import numpy as np

from mperceiver.config.protocols import SSIM_SIDE, Protocol
from mperceiver.images import PictureError
from mperceiver.metrics.metric import Metric
from mperceiver.metrics.pictures import Pictures, channels, size

# PSNR of two equal pictures. MATLAB and BasicSR return infinity, of which no mean can be taken. Two 8-bit pictures of 128 px
# that differ by one level in one value have 95 dB.
EQUAL_DB = 100.0
GAUSSIAN = np.exp(-(np.arange(-5, 6) ** 2) / (2 * 1.5**2))
GAUSSIAN /= GAUSSIAN.sum()
Moments = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def psnr(restored: Pictures, gt: Pictures, protocol: Protocol, unclipped: bool = False) -> list[float]:
    """Peak signal-to-noise ratio in dB of the mean squared error over all pixels and channels; EQUAL_DB at most.

    (B, H, W, 3) twice -> B values. ``unclipped``: the first ones are degraded pictures whose noise leaves [0, 1].
    """
    first, second, covered = channels(restored, gt, protocol, unclipped)
    error = np.square(first - second) * covered
    error = error.sum((1, 2, 3)) / np.broadcast_to(covered, first.shape).sum((1, 2, 3))
    return [EQUAL_DB if e == 0 else min(float(10 * np.log10(255**2 / e)), EQUAL_DB) for e in error]


def ssim(restored: Pictures, gt: Pictures, protocol: Protocol, unclipped: bool = False) -> list[float]:
    """Structural similarity (Wang et al., doi:10.1109/TIP.2003.819861), K = (0.01, 0.03), of the protocol's kind.

    (B, H, W, 3) twice -> B values. The kinds: gaussian is BasicSR's and SwinIR's (an 11x11 window of sigma 1.5, only windows
    wholly inside the picture, mean over the channels); uniform is skimage's default (a flat 7x7 window); matlab-3d is MATLAB's
    `ssim` of the whole array (the Gaussian runs over rows, columns and channels, the borders are repeated).

    Raises PictureError for a picture smaller than the window.
    """
    first, second, covered = channels(restored, gt, protocol, unclipped)
    side = 7 if protocol.ssim == "uniform" else SSIM_SIDE
    if min(first.shape[1:3]) < side and protocol.ssim != "matlab-3d":
        raise PictureError(f"a picture of {size(first)} px is too small for SSIM, whose window is {side} px wide")
    maps = [similarity(window_moments(a, b, protocol.ssim)) for a, b in zip(first, second, strict=True)]
    outside = 0 if protocol.ssim == "matlab-3d" else side // 2  # px at each border without a whole window
    inside = (slice(outside, -outside or None),) * 2
    if covered.size == 1:  # every pixel counts
        return [float(one[inside].mean()) for one in maps]
    covered = np.broadcast_to(covered, first.shape)
    weighted = zip(maps, covered, strict=True)
    return [float(np.average(one[inside], axis=(0, 1), weights=weight[inside]).mean()) for one, weight in weighted]


METRICS = {
    "psnr": Metric("PSNR", 2, higher_is_better=True, needs_target=True, unit="dB", score=psnr),
    "ssim": Metric("SSIM", 3, higher_is_better=True, needs_target=True, score=ssim),
}


def similarity(moments: Moments, contrast: float = 1.0) -> np.ndarray:
    """SSIM of each pixel's window, of the shape of the moments' arrays.

    ``contrast``: a factor on the contrast of both pictures; 0.5 has the effect of a data range of 2 for pictures in [0, 1].
    """
    means, squared_means, covariance, variances = moments
    c1, c2 = (0.01 * 255 / contrast) ** 2, (0.03 * 255 / contrast) ** 2
    ssim_map = (2 * means + c1) * (2 * covariance + c2)
    ssim_map /= (squared_means + c1) * (variances + c2)
    return ssim_map


def window_moments(first: np.ndarray, second: np.ndarray, kind: str) -> Moments:
    """What SSIM takes of each window: the product of the means, the sum of their squares, the covariance, both variances' sum.

    Of pictures (H, W, C) of values from 0 to 255; each result has this shape. Of the kinds gaussian and uniform only the values
    of windows inside the picture are right: 5, or 3, px from its border.
    """
    import cv2

    taps, norm = GAUSSIAN, 1.0
    if kind == "uniform":  # skimage's default: the flat window, and the covariance of a sample
        taps, norm = np.full(7, 1 / 7), 49 / 48
    mix = _across_channels(first.shape[2]) if kind == "matlab-3d" else None

    def blur(x: np.ndarray) -> np.ndarray:
        blurred = cv2.sepFilter2D(x, cv2.CV_64F, taps, taps, borderType=cv2.BORDER_REPLICATE).reshape(x.shape)
        return blurred if mix is None else blurred @ mix

    # The window is separable, and SSIM needs only the sum of the two variances: four filtered pictures instead of five.
    # A fresh array of a picture's size costs as much as the arithmetic, so arrays are used again.
    first, second = np.ascontiguousarray(first), np.ascontiguousarray(second)
    product = first * second
    covariance = blur(product)
    squares = first * first
    squares += np.multiply(second, second, out=product)
    variances, mean, other = blur(squares), blur(first), blur(second)
    means = np.multiply(mean, other, out=product)
    mean *= mean
    other *= other
    mean += other
    covariance -= means
    variances -= mean
    if norm != 1:
        covariance *= norm
        variances *= norm
    return means, mean, covariance, variances


def _across_channels(count: int) -> np.ndarray:
    """(C, C): the Gaussian along the channels, the first and the last repeated beyond the ends."""
    mix = np.zeros((count, count))
    for to in range(count):
        for offset, weight in zip(range(-(SSIM_SIDE // 2), SSIM_SIDE // 2 + 1), GAUSSIAN, strict=True):
            mix[min(max(to + offset, 0), count - 1), to] += weight
    return mix
