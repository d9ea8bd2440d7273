"""Which convention of scoring gives a reported number: all that are in use, on the same pictures; those that fit come first."""

import math
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from itertools import product
from pathlib import Path

import numpy as np

from mperceiver import config, images
from mperceiver.config.protocols import SSIM_SIDE
from mperceiver.data.raw.folder import left_out, pictures_in
from mperceiver.metrics import fidelity
from mperceiver.metrics.pictures import LUMA
from mperceiver.parallel import cores, in_processes
from mperceiver.printing import say
from mperceiver.progress import progress

CHANNELS = ["RGB", "Y (BT.601)", "Y rounded to 8 bit (MATLAB)"]
# Pixels cropped from each side; -16: the centre whose sides are multiples of 16.
REGIONS = {
    "whole picture": 0,
    **{f"{n} px cropped from each side": n for n in (1, 2, 4, 8, 10)},
    "centre, to a multiple of 16": -16,
}
EXPOSURES = ["as it is", "scaled to the ground truth's mean grey"]  # the second: "GT mean" of low-light papers
POOLS = ["mean of the pictures' PSNR", "PSNR of the mean error"]
DEPTHS = ["16 bits", "rounded to 8 bits"]  # where a picture has 16; no words where all have 8
SSIMS = {"Gaussian 11x11": "gaussian", "flat 7x7": "uniform", "MATLAB's 3-D": "matlab-3d"}
# SSIM of [0, 1] with a data range of 2 equals SSIM of half the contrast with a data range of 1.
RANGES = {"": 1.0, "data range of 2 for [0, 1]": 0.5}
SSIM_REGIONS = ["whole picture", "4 px cropped from each side"]  # SSIM, which is slower, only where papers use it
# The words of a convention that do not count as oddities.
PLAIN = {*CHANNELS[:2], "whole picture", EXPOSURES[0], POOLS[0], *SSIMS, *DEPTHS}
GREY = np.array(images.GREY)


class ExplainError(ValueError):
    """The two folders cannot be compared; the message says why."""


@dataclass(frozen=True)
class ReportedNumber:
    """A number as a paper prints it: 27.30 may stand for anything from 27.295 to 27.305."""

    value: float
    decimals: int | None = None  # None: the value is exact

    @classmethod
    def of(cls, text: str) -> "ReportedNumber":
        """Read ``text``; its zeros at the end count. Raises ExplainError if it is no finite number."""
        try:
            number = Decimal(text.strip())
        except InvalidOperation:
            number = Decimal("nan")
        if not number.is_finite():
            raise ExplainError(f"{text!r} is not a number; give it as it is printed, such as 29.98 or 0.912")
        exponent = number.as_tuple().exponent
        return cls(float(number), max(0, -int(exponent)))

    def is_fit_by(self, difference: float) -> bool:
        """Whether a value that differs by ``difference`` is printed like this number: half of its last digit away at most."""
        return abs(difference) <= (0 if self.decimals is None else 0.5 * 10.0**-self.decimals) + 1e-9


@dataclass(frozen=True)
class ScoringConvention:
    """One convention of scoring, the value it gives, and the protocols of this project that follow it."""

    metric: str
    words: tuple[str, ...]
    value: float
    difference: float  # value - reported number
    fits: bool  # the value is printed like the reported number
    protocols: tuple[str, ...]

    @property
    def order(self) -> tuple:
        """Key for sorting. Conventions that fit come first, the plainest of them first: those of a named protocol, then those of whole
        pictures, then those with few oddities. The others follow by their difference.
        """
        oddities = sum(word not in PLAIN for word in self.words)
        plainness = (not self.protocols, "whole picture" not in self.words, oddities) if self.fits else ()
        return (not self.fits, plainness, abs(self.difference), len("".join(self.words)))


def explain_numbers(
    restored: Path, gt: Path, reported: dict[str, ReportedNumber], workers: int | None = None
) -> list[ScoringConvention]:
    """Score two folders of pictures of the same names by every convention; what reading changed in them is said on standard error.

    Args:
        reported: {"psnr": in dB} or {"ssim": 0 to 1}, or both.
        workers: processes; None: one a core, if they are worth it.

    Returns:
        The conventions of each metric, in the order of ``reported``: those that fit the number, the plainest first, then the
        others, the nearest first.

    Raises:
        ExplainError: the folders do not have the same pictures. PictureError: a picture cannot be read, has more than 8 bits
        in a form of which they are not kept (`images.decode_exact`), or the two of a pair differ in size.
    """
    pairs = _pairs(Path(restored), Path(gt))
    deep = any(_is_deep(path) for pair in pairs for path in pair)
    by_picture: list[dict[tuple, float]] = []
    changed: Counter[tuple[Path, str]] = Counter()
    with (
        closing(
            in_processes(_score_pair, [(*pair, tuple(reported), deep) for pair in pairs], workers or cores())
        ) as scored,
        progress("explain", len(pairs)) as advance,
    ):
        for values_of_picture, notes in scored:
            by_picture.append(values_of_picture)
            changed.update((folder, note) for folder, some in zip((restored, gt), notes, strict=True) for note in some)
            advance(1)
    for (folder, note), count in sorted(changed.items()):
        say(f"{folder}: {count} of {len(pairs)} pictures: {note}", error=True)
    protocols = _conventions_of_protocols(deep)
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
            difference = value - reported[metric].value
            named = tuple(protocols.get((metric, *words), ())) if pool != POOLS[1] else ()
            fits = reported[metric].is_fit_by(difference)
            conventions.append(ScoringConvention(metric, all_words, value, difference, fits, named))
    order = list(reported)
    return sorted(conventions, key=lambda c: (order.index(c.metric), c.order))


def _psnr_of_mean_error(decibels: list[float]) -> float:
    return -10 * math.log10(math.fsum(10 ** (-value / 10) for value in decibels) / len(decibels))


def _pairs(restored: Path, gt: Path) -> list[tuple[Path, Path]]:
    ours, theirs = (_by_name(folder) for folder in (restored, gt))
    if not ours or set(ours) != set(theirs):
        unpaired = sorted(set(ours) ^ set(theirs))[:3]
        raise ExplainError(
            f"{restored} has {len(ours)} pictures and {gt} {len(theirs)}; both must have pictures of the same names"
            + (f" ({', '.join(unpaired)} is in one folder only)" if unpaired else "")
            + ". Plain folders of a prepared dataset come from: mperceiver export DATASET FOLDER"
        )
    return [(ours[name], theirs[name]) for name in sorted(ours)]


def _by_name(folder: Path) -> dict[str, Path]:
    """Stem -> picture of a folder; pictures that are not compared are named on standard error."""
    if not folder.is_dir():
        raise ExplainError(f"{folder}: no such folder of pictures")
    by_name: dict[str, Path] = {}
    for path in pictures_in(folder):
        other = by_name.setdefault(path.stem, path)
        if other is not path:
            raise ExplainError(f"{folder}: {other.name} and {path.name} have one name; move one of them elsewhere")
    below = sorted({path.relative_to(folder).parts[0] for path in pictures_in(folder, "*/**/*")})
    others = [path.name for path in left_out(folder)]
    if below or others:
        named = ", ".join([*others, *(f"{name}/" for name in below)])
        say(
            f"{folder}: not compared: {named} (pictures of a form that is not read, and those in subfolders)",
            error=True,
        )
    return by_name


# ---------------------------------------------------------------- one pair


def _is_deep(path: Path) -> bool:
    with path.open("rb") as file:
        return images.is_deep(file.read(32))


Notes = tuple[list[str], list[str]]  # how reading changed a restored picture and its ground truth, in words


def _score_pair(job: tuple[Path, Path, tuple[str, ...], bool]) -> tuple[dict[tuple, float], Notes]:
    """(metric, words…) -> value of one picture, by every convention that it is large enough for; and what reading it changed.

    ``job``: restored, ground truth, metrics, and whether a picture of the folders has 16 bits.
    """
    restored, gt, metrics, deep = job
    notes: Notes = ([], [])
    first, second = (
        images.decode_exact(path, notes=changed) for path, changed in zip((restored, gt), notes, strict=True)
    )
    if first.shape != second.shape:
        raise images.PictureError(
            f"{restored}: is {first.shape[1]}x{first.shape[0]} px, its ground truth {second.shape[1]}x{second.shape[0]} px"
        )
    eight = _values(_levels(first, True), _levels(second, True), metrics)
    if not deep:
        return eight, notes
    sixteen = eight  # of a pair of 8 bits, in folders where others have 16
    if np.uint16 in (first.dtype, second.dtype):
        sixteen = _values(_levels(first, False), _levels(second, False), metrics)
    by_depth = dict(zip(DEPTHS, (sixteen, eight), strict=True))
    return {(*words, depth): value for depth, values in by_depth.items() for words, value in values.items()}, notes


def _levels(picture: np.ndarray, rounded: bool) -> np.ndarray:
    """A picture of 8 or 16 bits as float64, 0 to 255; ``rounded`` to whole levels."""
    if picture.dtype == np.uint16:
        return images.rounded(picture).astype(np.float64) if rounded else picture / 257
    return picture.astype(np.float64)


def _values(restored: np.ndarray, gt: np.ndarray, metrics: tuple[str, ...]) -> dict[tuple, float]:
    """As ``_score_pair``, of float64 (H, W, 3), 0 to 255."""
    regions = {
        name: _cut(gt.shape, border)
        for name, border in REGIONS.items()
        if min(gt[_cut(gt.shape, border)].shape[:2]) >= SSIM_SIDE
    }
    values: dict[tuple, float] = {}
    if "psnr" in metrics:
        values |= {("psnr", *words): value for words, value in _psnrs(restored, gt, regions)}
    if "ssim" in metrics:
        values |= {("ssim", *words): value for words, value in _ssims(restored, gt, regions)}
    return values


def _psnrs(restored: np.ndarray, gt: np.ndarray, regions: dict) -> Iterator[tuple[tuple[str, ...], float]]:
    """(words, PSNR); the error of each pixel is computed once for all regions."""
    for exposure in EXPOSURES:
        picture = _exposed(restored, gt) if exposure == EXPOSURES[1] else restored
        luma = [x @ LUMA + 16 for x in (picture, gt)]
        pairs = ((picture, gt), luma, [x.round() for x in luma])
        for channel, (first, second) in zip(CHANNELS, pairs, strict=True):
            errors = np.square(first - second)
            for region, cut in regions.items():
                error = float(errors[cut].mean())
                decibels = 10 * math.log10(255**2 / error) if error > 0 else fidelity.EQUAL_DB
                yield (channel, region, exposure), min(decibels, fidelity.EQUAL_DB)


def _ssims(restored: np.ndarray, gt: np.ndarray, regions: dict) -> Iterator[tuple[tuple[str, ...], float]]:
    """(words, SSIM); what the windows hold is computed once for both data ranges."""
    luma = [(x @ LUMA + 16)[..., None] for x in (restored, gt)]
    usual = [region for region in SSIM_REGIONS if region in regions]
    for channel, (first, second) in zip(CHANNELS[:2], ((restored, gt), luma), strict=True):
        for (words, kind), region in product(SSIMS.items(), usual):
            cut = regions[region]
            moments = fidelity.window_moments(first[cut], second[cut], kind)
            side = {"gaussian": SSIM_SIDE // 2, "uniform": 3, "matlab-3d": 0}[kind]
            for data_range, contrast in RANGES.items():
                inside = (slice(side, -side or None),) * 2
                value = float(fidelity.similarity(moments, contrast)[inside].mean())
                yield (f"{words}, {data_range}" if data_range else words, channel, region, EXPOSURES[0]), value


def _exposed(restored: np.ndarray, gt: np.ndarray) -> np.ndarray:
    return (restored * ((gt @ GREY).mean() / max((restored @ GREY).mean(), 1e-9))).clip(0, 255)


def _cut(shape: tuple[int, ...], border: int) -> tuple[slice, slice]:
    """``border`` pixels off each side; where it is negative, the centre whose sides are multiples of -``border``."""
    if border >= 0:
        return slice(border, max(shape[0] - border, border)), slice(border, max(shape[1] - border, border))
    height, width = (side - side % -border for side in shape[:2])
    top, left = (shape[0] - height) // 2, (shape[1] - width) // 2
    return slice(top, top + height), slice(left, left + width)


def _conventions_of_protocols(deep: bool) -> dict[tuple[str, ...], list[str]]:
    """(metric, words…) -> the protocols in config/protocols/ that score pictures of 8 bits, or of 16, by this convention."""
    followed: dict[tuple[str, ...], list[str]] = {}
    for name in config.names("protocols"):
        protocol = config.load("protocols", name)
        channel = CHANNELS[0 if protocol.channel == "rgb" else 1 + protocol.luma_rounded]
        kind = next(k for k, ssim in SSIMS.items() if ssim == protocol.ssim)
        region = next((r for r, border in REGIONS.items() if border == protocol.border_px), None)
        if protocol.align != "none" or region is None:
            continue
        depth = (DEPTHS[protocol.quantised],) if deep else ()
        for metric, words in (("psnr", (channel,)), ("ssim", (kind, channel))):
            if metric in protocol.metrics:
                followed.setdefault((metric, *words, region, EXPOSURES[0], *depth), []).append(name)
    return followed
