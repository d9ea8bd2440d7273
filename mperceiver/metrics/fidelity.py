"""PSNR and SSIM: how close a restored picture is to its ground truth."""

import numpy as np

from mperceiver.config.protocols import Protocol
from mperceiver.images import PictureError
from mperceiver.metrics.metric import Metric
from mperceiver.metrics.pictures import Pictures, channels, size

# PSNR of two equal pictures. MATLAB and BasicSR return infinity, of which no mean can be taken. Two 8-bit pictures of 128 px
# that differ by one level in one value have 95 dB.
EQUAL_DB = 100.0
SSIM_SIDE = 11  # px, of SSIM's window


def psnr(restored: Pictures, gt: Pictures, protocol: Protocol) -> list[float]:
    """Peak signal-to-noise ratio in dB of the mean squared error over all pixels and channels; EQUAL_DB at most.

    (B, H, W, 3) twice -> B values.
    """
    first, second, covered = channels(restored, gt, protocol)
    error = np.square(first - second) * covered
    error = error.sum((1, 2, 3)) / np.broadcast_to(covered, first.shape).sum((1, 2, 3))
    return [EQUAL_DB if e == 0 else min(float(10 * np.log10(255**2 / e)), EQUAL_DB) for e in error]


def ssim(restored: Pictures, gt: Pictures, protocol: Protocol) -> list[float]:
    """Structural similarity (Wang et al., doi:10.1109/TIP.2003.819861), K = (0.01, 0.03), of the protocol's kind.

    (B, H, W, 3) twice -> B values. The kinds: gaussian is BasicSR's and SwinIR's (an 11x11 window of sigma 1.5, only windows
    wholly inside the picture, mean over the channels); uniform is skimage's default (a flat 7x7 window); matlab-3d is MATLAB's
    `ssim` of the whole array (the Gaussian runs over rows, columns and channels, the borders are repeated).

    Raises PictureError for a picture smaller than the window.
    """
    first, second, covered = channels(restored, gt, protocol)
    side = 7 if protocol.ssim == "uniform" else SSIM_SIDE
    if min(first.shape[1:3]) < side and protocol.ssim != "matlab-3d":
        raise PictureError(f"a picture of {size(first)} px is too small for SSIM, whose window is {side} px wide")
    if protocol.ssim == "matlab-3d":
        return [_ssim_3d(a, b) for a, b in zip(first, second, strict=True)]
    values, inside = [], (slice(side // 2, -(side // 2)),) * 2
    covered = np.broadcast_to(covered, first.shape)
    for a, b, weight in zip(first, second, covered, strict=True):
        planes = [
            np.average(_similarity(a[..., c], b[..., c], protocol.ssim)[inside], weights=weight[..., c][inside])
            for c in range(a.shape[-1])
        ]
        values.append(float(np.mean(planes)))
    return values


METRICS = {
    "psnr": Metric("PSNR", 2, higher_is_better=True, needs_target=True, unit="dB", score=psnr),
    "ssim": Metric("SSIM", 3, higher_is_better=True, needs_target=True, score=ssim),
}


def _similarity(first: np.ndarray, second: np.ndarray, kind: str) -> np.ndarray:
    """SSIM of each pixel's window, for two planes (H, W) of values from 0 to 255; only windows inside the picture are right.

    The window is separable, and SSIM needs only the sum of the two variances: four filtered planes instead of five.
    """
    import cv2

    if kind == "gaussian":
        taps = np.exp(-(np.arange(-5, 6) ** 2) / (2 * 1.5**2))
        norm = 1.0
    else:  # skimage's default: the flat window, and the covariance of a sample
        taps, norm = np.ones(7), 49 / 48
    taps /= taps.sum()
    first, second = np.ascontiguousarray(first), np.ascontiguousarray(second)
    moments = first, second, first * first + second * second, first * second
    mean, other, squares, product = (cv2.sepFilter2D(plane, cv2.CV_64F, taps, taps) for plane in moments)
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    means = mean * other
    squared_means = mean * mean + other * other
    similarity = (2 * means + c1) * (2 * norm * (product - means) + c2)
    similarity /= (squared_means + c1) * (norm * (squares - squared_means) + c2)
    return similarity


def _ssim_3d(first: np.ndarray, second: np.ndarray) -> float:
    """MATLAB's `ssim` of two arrays (H, W, C), 0 to 255: imgaussfilt3 with sigma 1.5, 11 taps an axis, edges repeated."""
    from scipy.ndimage import gaussian_filter

    def blur(x: np.ndarray) -> np.ndarray:
        return gaussian_filter(x, 1.5, mode="nearest", radius=SSIM_SIDE // 2)

    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    mean, other = blur(first), blur(second)
    variances = blur(first**2) - mean**2 + blur(second**2) - other**2
    covariance = blur(first * second) - mean * other
    similar = (2 * mean * other + c1) * (2 * covariance + c2) / ((mean**2 + other**2 + c1) * (variances + c2))
    return float(similar.mean())
