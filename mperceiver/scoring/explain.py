"""Which convention of scoring gives a reported number: every one in use, on the same pictures, the nearest first."""

import math
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from mperceiver import config, images
from mperceiver.config.protocols import Protocol
from mperceiver.data.raw.folder import pictures_in
from mperceiver.metrics import fidelity
from mperceiver.parallel import cores, in_processes
from mperceiver.progress import progress

CHANNELS: dict[str, dict[str, Any]] = {
    "RGB": {},
    "Y (BT.601)": {"channel": "y"},
    "Y rounded to 8 bit (MATLAB)": {"channel": "y", "luma_rounded": True},
}
# Pixels cropped from each side; -16: the centre whose sides are multiples of 16.
REGIONS = {
    "whole picture": 0,
    **{f"{n} px cropped from each side": n for n in (1, 2, 4, 8, 10)},
    "centre, to a multiple of 16": -16,
}
EXPOSURES = ["as it is", "scaled to the ground truth's mean grey"]  # the second: "GT mean" of low-light papers
POOLS = ["mean of the pictures' PSNR", "PSNR of the mean error"]
SSIMS = {"Gaussian 11x11": "gaussian", "flat 7x7": "uniform", "MATLAB's 3-D": "matlab-3d"}
# SSIM of [0, 1] with a data range of 2 equals SSIM of half the contrast with a data range of 1.
RANGES = {"": 1.0, "data range of 2 for [0, 1]": 0.5}
SCORES: dict[str, Callable[[np.ndarray, np.ndarray, Protocol], list[float]]] = {
    "psnr": fidelity.psnr,
    "ssim": fidelity.ssim,
}
GREY = np.array([0.299, 0.587, 0.114])
CLOSE = {
    "psnr": 0.02,
    "ssim": 0.001,
}  # differences up to which a number printed with two, or three, decimals is reached


class ExplainError(ValueError):
    """The two folders cannot be compared; the message says why."""


@dataclass(frozen=True)
class ScoringConvention:
    """One convention of scoring, the value it gives, and the protocols of this project that follow it."""

    metric: str
    words: tuple[str, ...]
    value: float
    difference: float  # value - reported number
    protocols: tuple[str, ...]


def explain_numbers(
    restored: Path, gt: Path, reported: dict[str, float], workers: int | None = None
) -> list[ScoringConvention]:
    """Score two folders of pictures of the same names by every convention.

    Args:
        reported: {"psnr": dB} or {"ssim": 0 to 1}, or both.
        workers: processes; None: one a core.

    Returns:
        The conventions of each metric, in the order of ``reported``, the nearest to its reported number first.

    Raises:
        ExplainError: the folders do not have the same pictures. PictureError: a picture cannot be read, or the two of a
        pair differ in size.
    """
    pairs = _pairs(Path(restored), Path(gt))
    by_picture: list[dict[tuple, float]] = []
    with (
        closing(in_processes(_score_pair, [(*pair, tuple(reported)) for pair in pairs], workers or cores())) as scored,
        progress("explain", len(pairs)) as advance,
    ):
        for values_of_picture in scored:
            by_picture.append(values_of_picture)
            advance(1)
    conventions = []
    for key in by_picture[0]:
        values = [values_of_picture[key] for values_of_picture in by_picture if key in values_of_picture]
        if len(values) < len(by_picture):  # one of the pictures is too small for this convention
            continue
        metric, *words = key
        pools = POOLS if metric == "psnr" and len(values) > 1 else [None]
        for pool in pools:
            value = _psnr_of_mean_error(values) if pool == POOLS[1] else math.fsum(values) / len(values)
            all_words = (*words, pool) if pool else tuple(words)
            difference = value - reported[metric]
            conventions.append(
                ScoringConvention(metric, all_words, value, difference, _protocols_like(metric, all_words))
            )
    order = list(reported)
    return sorted(conventions, key=lambda c: (order.index(c.metric), abs(c.difference), len("".join(c.words))))


def _psnr_of_mean_error(decibels: list[float]) -> float:
    return -10 * math.log10(math.fsum(10 ** (-value / 10) for value in decibels) / len(decibels))


def _pairs(restored: Path, gt: Path) -> list[tuple[Path, Path]]:
    sides = []
    for folder in (restored, gt):
        if not folder.is_dir():
            raise ExplainError(f"{folder}: no such folder of pictures")
        sides.append({path.stem: path for path in pictures_in(folder)})
    ours, theirs = sides
    if not ours or set(ours) != set(theirs):
        unpaired = sorted(set(ours) ^ set(theirs))[:3]
        raise ExplainError(
            f"{restored} has {len(ours)} pictures and {gt} {len(theirs)}; both must have pictures of the same names"
            + (f" ({', '.join(unpaired)} is in one folder only)" if unpaired else "")
            + ". Plain folders of a prepared dataset come from: mperceiver export DATASET FOLDER"
        )
    return [(ours[name], theirs[name]) for name in sorted(ours)]


def _score_pair(job: tuple[Path, Path, tuple[str, ...]]) -> dict[tuple, float]:
    """(metric, words…) -> value of one picture, by every convention that it is large enough for."""
    restored, gt = (images.decode(path).astype(np.float64) / 255 for path in job[:2])
    if restored.shape != gt.shape:
        raise images.PictureError(
            f"{job[0]}: is {restored.shape[1]}x{restored.shape[0]} px, its ground truth {gt.shape[1]}x{gt.shape[0]} px"
        )
    values: dict[tuple, float] = {}
    for exposure, (region, border) in product(EXPOSURES, REGIONS.items()):
        pair = _exposed(restored, gt) if exposure == EXPOSURES[1] else restored, gt
        cut = [_cut(picture, border) for picture in pair]
        if min(cut[0].shape[:2]) < fidelity.SSIM_SIDE:
            continue
        for metric, words, scale, protocol in _variants(job[2], border in (0, 4), exposure == EXPOSURES[0]):
            first, second = (picture[None] * scale for picture in cut)
            values[metric, *words, region, exposure] = SCORES[metric](first, second, protocol)[0]
    return values


def _variants(
    metrics: tuple[str, ...], usual_region: bool, plain_exposure: bool
) -> Iterator[tuple[str, tuple[str, ...], float, Protocol]]:
    """(metric, words, factor of the contrast, protocol); SSIM, which is slow, only where papers use it."""
    for channel, how in CHANNELS.items():
        if "psnr" in metrics:
            yield "psnr", (channel,), 1.0, Protocol(title="", quantised=False, **how)
        if "ssim" in metrics and usual_region and plain_exposure and not how.get("luma_rounded"):
            for (kind, ssim), (data_range, scale) in product(SSIMS.items(), RANGES.items()):
                words = (f"{kind}, {data_range}" if data_range else kind, channel)
                yield "ssim", words, scale, Protocol(title="", quantised=False, ssim=ssim, **how)


def _exposed(restored: np.ndarray, gt: np.ndarray) -> np.ndarray:
    return (restored * ((gt @ GREY).mean() / max((restored @ GREY).mean(), 1e-12))).clip(0, 1)


def _cut(picture: np.ndarray, border: int) -> np.ndarray:
    """``border`` pixels off each side; where it is negative, the centre whose sides are multiples of -``border``."""
    if border >= 0:
        return picture[border : picture.shape[0] - border, border : picture.shape[1] - border]
    height, width = (side - side % -border for side in picture.shape[:2])
    top, left = (picture.shape[0] - height) // 2, (picture.shape[1] - width) // 2
    return picture[top : top + height, left : left + width]


def _protocols_like(metric: str, words: tuple[str, ...]) -> tuple[str, ...]:
    """The protocols in config/protocols/ that score 8-bit pictures by the convention with these words."""
    names = []
    for name in config.names("protocols"):
        protocol = config.load("protocols", name)
        channel = next(c for c, how in CHANNELS.items() if how == _channel(protocol))
        kind = next(k for k, ssim in SSIMS.items() if ssim == protocol.ssim)
        region = next((r for r, border in REGIONS.items() if border == protocol.border_px), None)
        expected = (*((kind, channel) if metric == "ssim" else (channel,)), region, EXPOSURES[0])
        comparable = protocol.align == "none" and metric in protocol.metrics
        if comparable and words[: len(expected)] == expected and words[len(expected) :] in ((), (POOLS[0],)):
            names.append(name)
    return tuple(names)


def _channel(protocol: Protocol) -> dict:
    if protocol.channel == "rgb":
        return {}
    return {"channel": "y"} | ({"luma_rounded": True} if protocol.luma_rounded else {})
