"""Which way of scoring gives a number that somebody reports: every convention in use, on the same pictures, nearest first."""

import math
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np

from mperceiver import config, images
from mperceiver.config.protocols import Protocol
from mperceiver.data.raw.folder import pictures_in
from mperceiver.metrics import METRICS, fidelity
from mperceiver.parallel import cores, in_order
from mperceiver.progress import progress

CHANNELS = {
    "RGB": {},
    "Y (BT.601)": {"channel": "y"},
    "Y rounded to 8 bit (MATLAB)": {"channel": "y", "luma_rounded": True},
}
REGIONS = {
    "whole picture": 0,
    **{f"{n} px cropped from each side": n for n in (1, 2, 4, 8, 10)},
    "centre, to a multiple of 16": -16,
}
EXPOSURES = ["as it is", "scaled to the ground truth's mean grey"]  # the second: "GT mean" of low-light papers
POOLS = ["mean of the pictures' PSNR", "PSNR of the mean error"]
SSIMS = {"Gaussian 11x11": "gaussian", "flat 7x7": "uniform", "MATLAB's 3-D": "matlab-3d"}
RANGES = {"": 1.0, "told a range of 2 for [0, 1]": 0.5}  # half the contrast is twice the range
GREY = np.array([0.299, 0.587, 0.114])
CLOSE = {"psnr": 0.02, "ssim": 0.001}  # a number printed with two, or three, decimals is met


class ExplainError(ValueError):
    """There is nothing to compare; the message says what was found."""


@dataclass(frozen=True)
class Way:
    """One way of scoring: its words, the value it gives, and the protocols of this project that say just that."""

    metric: str
    words: tuple[str, ...]
    value: float
    difference: float
    protocols: tuple[str, ...]


def explain(restored: Path, gt: Path, wanted: dict[str, float], workers: int | None = None) -> list[Way]:
    """All ways of scoring two folders of pictures of the same names, by their distance from a reported number.

    Args:
        wanted: {"psnr": dB} or {"ssim": …}, or both; each metric's ways are ordered by themselves.

    Raises:
        ExplainError: the folders do not have the same pictures. PictureError: a picture cannot be read, or is of another size.
    """
    jobs = _pairs(Path(restored), Path(gt))
    every: list[dict[tuple, float]] = []
    with (
        closing(in_order(_scored, [(*pair, tuple(wanted)) for pair in jobs], workers or cores())) as done,
        progress("explain", len(jobs)) as advance,
    ):
        for found in done:
            every.append(found)
            advance(1)
    ways = []
    for key in every[0]:
        values = [found[key] for found in every if key in found]
        if len(values) < len(every):  # one of the pictures is too small for it
            continue
        metric, *words = key
        pools = POOLS if metric == "psnr" and len(values) > 1 else [None]
        for pool in pools:
            value = _pooled(values) if pool == POOLS[1] else math.fsum(values) / len(values)
            said = (*words, pool) if pool else tuple(words)
            ways.append(Way(metric, said, value, value - wanted[metric], _named(metric, said)))
    return sorted(ways, key=lambda way: (list(wanted).index(way.metric), abs(way.difference), len("".join(way.words))))


def _pooled(decibels: list[float]) -> float:
    return -10 * math.log10(math.fsum(10 ** (-value / 10) for value in decibels) / len(decibels))


def _pairs(restored: Path, gt: Path) -> list[tuple[Path, Path]]:
    sides = []
    for folder in (restored, gt):
        if not folder.is_dir():
            raise ExplainError(f"{folder}: no such folder of pictures")
        sides.append({path.stem: path for path in pictures_in(folder)})
    ours, theirs = sides
    if not ours or set(ours) != set(theirs):
        odd = sorted(set(ours) ^ set(theirs))[:3]
        raise ExplainError(
            f"{restored} has {len(ours)} pictures and {gt} {len(theirs)}, which must have the same names"
            + (f": {', '.join(odd)} stands in one only" if odd else "")
            + "; plain folders of a prepared dataset come from: mperceiver export DATASET FOLDER"
        )
    return [(ours[name], theirs[name]) for name in sorted(ours)]


def _scored(job: tuple[Path, Path, tuple[str, ...]]) -> dict[tuple, float]:
    """(metric, words…) -> value of one picture, by every way that it is large enough for."""
    restored, gt = (images.decode(path).astype(np.float64) / 255 for path in job[:2])
    if restored.shape != gt.shape:
        raise images.PictureError(
            f"{job[0]}: is {restored.shape[1]}x{restored.shape[0]} px, its ground truth {gt.shape[1]}x{gt.shape[0]} px"
        )
    found: dict[tuple, float] = {}
    for exposure, (region, border) in product(EXPOSURES, REGIONS.items()):
        pair = _exposed(restored, gt) if exposure == EXPOSURES[1] else restored, gt
        cut = [_cut(picture, border) for picture in pair]
        if min(cut[0].shape[:2]) < fidelity.SSIM_SIDE:
            continue
        for metric, words, scale, protocol in _ways(job[2], border == 0 or border == 4, exposure == EXPOSURES[0]):
            first, second = (picture[None] * scale for picture in cut)
            found[metric, *words, region, exposure] = METRICS[metric].function(first, second, protocol)[0]
    return found


def _ways(wanted: tuple[str, ...], usual: bool, plain: bool) -> Iterator[tuple[str, tuple[str, ...], float, Protocol]]:
    """(metric, words, contrast, protocol); SSIM, which is slow, only for regions and exposures that are in use for it."""
    for channel, how in CHANNELS.items():
        if "psnr" in wanted:
            yield "psnr", (channel,), 1.0, Protocol(title="", quantised=False, **how)
        if "ssim" in wanted and usual and plain and not how.get("luma_rounded"):
            for (kind, ssim), (told, scale) in product(SSIMS.items(), RANGES.items()):
                words = (f"{kind}, {told}" if told else kind, channel)
                yield "ssim", words, scale, Protocol(title="", quantised=False, ssim=ssim, **how)


def _exposed(restored: np.ndarray, gt: np.ndarray) -> np.ndarray:
    return (restored * ((gt @ GREY).mean() / max((restored @ GREY).mean(), 1e-12))).clip(0, 1)


def _cut(picture: np.ndarray, border: int) -> np.ndarray:
    """``border`` pixels off each side, or with a negative one the centre whose sides are multiples of it."""
    if border >= 0:
        return picture[border : picture.shape[0] - border, border : picture.shape[1] - border]
    height, width = (side - side % -border for side in picture.shape[:2])
    top, left = (picture.shape[0] - height) // 2, (picture.shape[1] - width) // 2
    return picture[top : top + height, left : left + width]


def _named(metric: str, words: tuple[str, ...]) -> tuple[str, ...]:
    """The protocols in config/protocols/ that score 8-bit pictures just so."""
    found = []
    for name in config.names("protocols"):
        protocol = config.load("protocols", name)
        channel = next(c for c, how in CHANNELS.items() if how == _channel(protocol))
        kind = next(k for k, ssim in SSIMS.items() if ssim == protocol.ssim)
        region = next((r for r, border in REGIONS.items() if border == protocol.border_px), None)
        said = (*((kind, channel) if metric == "ssim" else (channel,)), region, EXPOSURES[0])
        plain = protocol.align == "none" and metric in protocol.metrics
        if plain and words[: len(said)] == said and words[len(said) :] in ((), (POOLS[0],)):
            found.append(name)
    return tuple(found)


def _channel(protocol: Protocol) -> dict:
    if protocol.channel == "rgb":
        return {}
    return {"channel": "y"} | ({"luma_rounded": True} if protocol.luma_rounded else {})
