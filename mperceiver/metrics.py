"""Metrics: what a table must know of each, and how it is computed under a protocol (config/protocols/).

Every function takes a batch of pictures of one size, (B, H, W, 3) RGB, uint8 or float in [0, 1], and the protocol, and
returns B numbers, or None where the metric cannot be had. Values equal those of BasicSR and skimage (PSNR, SSIM), the
package lpips (LPIPS) and pyiqa (NIQE); tests/test_metrics.py holds the published ones. Nothing is ever downloaded.
"""

import math
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from mperceiver.config import Protocol
from mperceiver.images import PictureError

if TYPE_CHECKING:
    from mperceiver.perceptual import Lpips

# MATLAB and BasicSR call the PSNR of equal pictures infinite, with which no mean can be taken. Two 8-bit pictures of
# 128 px that differ by one level in one value are at 95 dB.
EQUAL_DB = 100.0
LUMA = np.array([65.481, 128.553, 24.966]) / 255  # BT.601, 16 to 235 (MATLAB's rgb2ycbcr), not YIQ's full range
SSIM_SIDE = 11
NIQE_SIDE = 192  # its statistics are over blocks of 96 px; with fewer than two a side there are none

NIQE_WEIGHTS = "metrics/niqe_pris_params.npz"  # inside basicsr

Pictures = np.ndarray
Values = list[float | None]


def psnr(restored: Pictures, gt: Pictures, protocol: Protocol) -> Values:
    """Peak signal-to-noise ratio in dB of the mean squared error over all pixels and channels; EQUAL_DB at most."""
    first, second = _channels(restored, gt, protocol)
    error = np.square(first - second).mean((1, 2, 3))
    return [min(EQUAL_DB, float(10 * np.log10(255**2 / e))) if e > 0 else EQUAL_DB for e in error]


def ssim(restored: Pictures, gt: Pictures, protocol: Protocol) -> Values:
    """Structural similarity (Wang et al., 2004): 11x11 Gaussian of sigma 1.5, K = (0.01, 0.03), windows wholly inside
    the picture, mean over the channels. BasicSR's and SwinIR's rule, which is skimage's with these settings.
    """
    from skimage.metrics import structural_similarity

    first, second = _channels(restored, gt, protocol)
    if min(first.shape[1:3]) < SSIM_SIDE:
        raise PictureError(f"a picture of {_size(first)} px is too small for SSIM, whose window is {SSIM_SIDE} px wide")
    settings = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 255}
    return [float(structural_similarity(a, b, channel_axis=-1, **settings)) for a, b in zip(first, second, strict=True)]


def lpips(restored: Pictures, gt: Pictures, protocol: Protocol) -> Values:
    """Learned perceptual distance, with the protocol's trunk; None for pictures smaller than the trunk's pyramid."""
    import torch

    network = _frozen_lpips(protocol.lpips)
    first, second = (_levels(pictures, protocol) / 255 for pictures in (restored, gt))
    _same_size(first, second)
    if min(first.shape[1:3]) < network.side:
        return [None] * len(first)
    with torch.inference_mode():
        return network(*(torch.from_numpy(p).permute(0, 3, 1, 2).float() for p in (first, second))).tolist()


def niqe(restored: Pictures, gt: Pictures | None, protocol: Protocol) -> Values:
    """Naturalness (Mittal et al., 2013) of the full-range luma as pyiqa computes it, with the authors' parameters,
    which BasicSR ships; None below NIQE_SIDE px a side, or where blocks are too flat for its statistics.
    """
    import torch
    from pyiqa.archs.niqe_arch import calculate_niqe

    pictures = _levels(restored, protocol) / 255
    if min(pictures.shape[1:3]) < NIQE_SIDE:
        return [None] * len(pictures)
    mean, covariance = _pristine()
    found = []
    for picture in pictures:
        tensor = torch.from_numpy(picture).permute(2, 0, 1)[None].float()
        try:
            with torch.inference_mode():
                value = calculate_niqe(tensor, mu_pris_param=mean, cov_pris_param=covariance, color_space="yiq").item()
        except torch.linalg.LinAlgError:  # no block had a texture to fit
            value = math.nan
        found.append(value if math.isfinite(value) else None)
    return found


class Metric(NamedTuple):
    """A metric, and what a table must know of it."""

    function: Callable[[Pictures, Pictures | None, Protocol], Values]
    higher_is_better: bool
    decimals: int
    needs_target: bool
    label: str


METRICS: dict[str, Metric] = {
    "psnr": Metric(psnr, True, 2, True, "PSNR"),
    "ssim": Metric(ssim, True, 3, True, "SSIM"),
    "lpips": Metric(lpips, False, 3, True, "LPIPS"),
    "niqe": Metric(niqe, False, 2, False, "NIQE"),
}


def score_pair(restored: np.ndarray, gt: np.ndarray | None, protocol: Protocol) -> dict[str, float | None]:
    """The protocol's metrics of one picture: uint8 (H, W, 3), with its ground truth or None."""
    return score_batch(restored[None], None if gt is None else gt[None], protocol)[0]


def score_batch(restored: Pictures, gt: Pictures | None, protocol: Protocol) -> list[dict[str, float | None]]:
    """The protocol's metrics of B pictures of one size; None for what needs a ground truth where there is none."""
    columns = {}
    for name in protocol.metrics:
        metric = METRICS[name]
        blind = gt is None and metric.needs_target
        columns[name] = [None] * len(restored) if blind else metric.function(restored, gt, protocol)
    return [{name: column[i] for name, column in columns.items()} for i in range(len(restored))]


def lpips_network(net: str) -> "Lpips":
    """LPIPS ("alex" or "vgg") as a frozen module, new at each call: (B, 3, H, W) in [0, 1], twice -> (B,).

    Gradients flow to the pictures, so it is the perceptual loss of training too (section 3.3).
    """
    from mperceiver import perceptual

    return perceptual.load(net)


_frozen_lpips = cache(lpips_network)


@cache
def _pristine() -> tuple:
    import torch

    from mperceiver.perceptual import package_file

    with np.load(package_file("basicsr", NIQE_WEIGHTS), allow_pickle=False) as file:
        return torch.from_numpy(file["mu_pris_param"]), torch.from_numpy(file["cov_pris_param"])


# ---------------------------------------------------------------- what a protocol does to pictures


def _channels(restored: Pictures, gt: Pictures, protocol: Protocol) -> tuple[np.ndarray, np.ndarray]:
    """Both sides as float64 (B, h, w, 3 or 1), 0 to 255, in the protocol's channels."""
    pair = [_levels(pictures, protocol) for pictures in (restored, gt)]
    _same_size(*pair)
    if protocol.channel == "y":
        pair = [(pictures @ LUMA + 16)[..., None] for pictures in pair]
    return pair[0], pair[1]


def _levels(pictures: Pictures, protocol: Protocol) -> np.ndarray:
    """Float64 (B, h, w, 3), 0 to 255, rounded if the protocol says so, the border cropped."""
    if pictures.ndim != 4 or pictures.shape[3] != 3:
        raise PictureError(f"expected pictures (B, H, W, 3), got {pictures.shape}")
    if pictures.dtype == np.uint8:
        levels = pictures.astype(np.float64)
    else:
        low, high = (pictures.min(), pictures.max()) if pictures.size else (np.nan, np.nan)
        if not np.issubdtype(pictures.dtype, np.floating) or not (low >= 0 and high <= 1):
            raise PictureError(f"expected uint8 or float in [0, 1], got {pictures.dtype} in [{low:.4g}, {high:.4g}]")
        levels = pictures.astype(np.float64) * 255
        levels = np.round(levels) if protocol.quantised else levels
    border = protocol.border_px
    if min(levels.shape[1:3]) <= 2 * border:
        raise PictureError(f"a border of {border} px leaves nothing of a picture of {_size(levels)} px")
    return levels[:, border : levels.shape[1] - border, border : levels.shape[2] - border]


def _same_size(first: np.ndarray, second: np.ndarray) -> None:
    if first.shape != second.shape:
        raise PictureError(f"the restored picture is {_size(first)} px and its ground truth {_size(second)} px")


def _size(pictures: np.ndarray) -> str:
    return f"{pictures.shape[2]}x{pictures.shape[1]}"
