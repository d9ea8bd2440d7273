"""Rows of ready-made pairs: archives unpacked, pairs found, every picture decoded, fixed and checked.

A picture's bytes are kept as they are where they decode to 8-bit RGB as they stand; everything else (16 bit, grey, palettes,
transparency, turned by EXIF, cropped) is written anew as PNG by the convention of mperceiver.images.
"""

import contextlib
import hashlib
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mperceiver import config, images, paths
from mperceiver.config.datasets import Dataset
from mperceiver.config.pairs import Pairs
from mperceiver.data import DataError
from mperceiver.data.archives.formats import is_archive
from mperceiver.data.archives.unpack import unpack
from mperceiver.data.prepare.matching import FEW, Fault, Pair, Place, few, find, tree

USEFUL = images.SUFFIXES | {".txt", ".list", ".mat"}  # what is unpacked
JOB_PAIRS = 4  # read in one go by a worker


class Job(NamedTuple):
    """Some pairs, and what is to be done with them."""

    name: str  # of the dataset
    spec: Pairs
    pairs: list[Pair]

    @property
    def rows(self) -> int:
        """How many pairs it reads."""
        return len(self.pairs)


@contextlib.contextmanager
def planned(name: str, dataset: Dataset, beside: Path) -> Iterator[tuple[list[Job], "Faults"]]:
    """The work on a dataset of pairs, and what is known to be wrong so far; archives lie unpacked until the block ends.

    Args:
        beside: a folder on the disk where there is room, for the unpacked archives.

    Raises:
        DataError: pairs cannot be found, or there are fewer or more of them than expected.
    """
    scratch = beside / f".{name}.unpacked"
    shutil.rmtree(scratch, ignore_errors=True)  # of a job that was killed
    try:
        folders = [
            folder for i, origin in enumerate(dataset.from_) for folder in _folders(dataset, origin, scratch / str(i))
        ]
        arrays = scratch / "arrays"
        arrays.mkdir(parents=True)
        pairs, faults = find(name, tree(folders), arrays)
        found = Faults(name, dataset, faults)
        found.expect(len(pairs), final=False)
        jobs = [Job(name, dataset.pairs, pairs[i : i + JOB_PAIRS]) for i in range(0, len(pairs), JOB_PAIRS)]
        yield jobs, found
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _folders(dataset: Dataset, origin: str, scratch: Path) -> list[Path]:
    """Folders that hold what a raw dataset brought: the loose files, and what its archives unpack to."""
    raw, spec = paths.raw_folder(origin), dataset.pairs
    parts = sorted(file for file in raw.rglob("*") if file.is_file() and is_archive(file.name))
    if not parts:
        return [raw]
    passwords = config.load("datasets", origin).passwords
    unpack(parts, scratch, spec.members or _useful, passwords, nested=spec.nested, apart=spec.apart)
    return [raw, scratch]


def _useful(path: str) -> bool:
    return Path(path).suffix.lower() in USEFUL


class Faults:
    """What is wrong with pairs, against what their dataset's file says is known."""

    def __init__(self, name: str, dataset: Dataset, found: list[Fault]):
        self.name, self.dataset, self.found = name, dataset, found

    def judged(self, rows: int) -> dict[str, Any]:
        """What the card says of a dataset of so many rows. Raises DataError unless all is as its file says."""
        self._judge()
        left_out = dict(Counter(fault.kind for fault in self.found))
        if self.dataset.pairs.tile_px is None:
            self.expect(rows)
        return {"left_out": left_out} if left_out else {}

    def _judge(self) -> None:
        """Raise DataError for what is not known, or known otherwise."""
        where = f"{config.path_of('datasets', self.name)}: pairs.known"
        told = []
        for kind, what in (("missing", "without a partner"), ("sizes", "of unequal size"), ("damaged", "damaged")):
            known = getattr(self.dataset.pairs.known, kind)
            found = {fault.id: fault.text for fault in self.found if fault.kind == kind}
            if known is None or known.ids:
                new = {id_: text for id_, text in found.items() if known is None or id_ not in known.ids}
                gone = [id_ for id_ in known.ids if id_ not in found] if known else []
                if new:
                    told.append("\n    ".join([f"  {len(new)} pairs are {what}:", *list(new.values())[:FEW]]))
                if gone:
                    told.append(f"  {where}.{kind} names {few(gone)}, with which nothing is wrong")
            elif known.count not in (None, len(found)):
                told.append(f"  {len(found)} pairs are {what}, {where}.{kind} says {known.count}: {few(list(found))}")
        if told:
            raise DataError(
                f"{self.name}: not as its file says:\n"
                + "\n".join(told)
                + "\n  If the download is whole (mperceiver download "
                f"{self.dataset.from_[0]} --force), it is another edition; what is known of it goes under {where}"
            )

    def expect(self, count: int, final: bool = True) -> None:
        """Raise DataError if ``count`` pairs are not what was expected; not ``final``: defects may still take some away."""
        wanted = self.dataset.expected
        if wanted is None or count == wanted or (not final and count > wanted and self._may_lose()):
            return
        self._judge()  # pictures without partners tell more than a number
        raise DataError(
            f"{self.name}: {count} pairs found, {wanted} expected (`expected` in {config.path_of('datasets', self.name)}): "
            "the download is not whole, or it is another edition of the set"
        )

    def _may_lose(self) -> bool:
        known = self.dataset.pairs.known
        return known.sizes is not None or known.damaged is not None


# ---------------------------------------------------------------- work


def rows_of(job: Job) -> list[dict[str, Any] | Fault]:
    """The finished rows of a job's pairs, as the Arrow file has them, or what is wrong with a pair."""
    return [row for pair in job.pairs for row in _rows(job, pair)]


def _rows(job: Job, pair: Pair) -> list[dict[str, Any] | Fault]:
    try:
        label = f"{job.name}: {pair.name}"
        lq, lq_bytes, source = _read(pair.lq, label)
        gt = gt_bytes = None
        if pair.gt == pair.lq:
            gt, gt_bytes = lq, lq_bytes
        elif pair.gt:
            gt, gt_bytes, digest = _read(pair.gt, f"{label}: its ground truth {Path(pair.gt.path).name}")
            source = f"{source} {digest}"
    except images.PictureError as error:
        return [Fault("damaged", pair.id, str(error))]
    border = job.spec.crop_border_px
    if gt is not None and border and gt.shape[:2] == (lq.shape[0] + 2 * border, lq.shape[1] + 2 * border):
        gt = np.ascontiguousarray(gt[border:-border, border:-border])
        gt_bytes = images.encode(gt)
    if gt is not None and gt.shape != lq.shape:
        sizes = " and ".join(f"{p.shape[1]}x{p.shape[0]}" for p in (lq, gt))
        return [Fault("sizes", pair.id, f"{pair.name}: it and its ground truth are {sizes} px")]
    if job.spec.cut_border_part or job.spec.resize_px:
        (lq, lq_bytes), (gt, gt_bytes) = (_refit(job.spec, picture) for picture in (lq, gt))
    if pair.gt == pair.lq:
        lq_bytes = None  # it is the ground truth: kept once
    row = {"id": pair.id, "task": pair.task, "lq": lq_bytes, "gt": gt_bytes, "source": source, "recipe": ""}
    side = job.spec.tile_px
    if side is None or max(lq.shape[:2]) <= side:
        return [row]
    height, width = lq.shape[:2]
    return [row | _tile(pair, lq, gt, y, x) for y in _spans(height, side) for x in _spans(width, side)]


def _refit(spec: Pairs, picture: np.ndarray | None) -> tuple[np.ndarray | None, bytes | None]:
    """A picture without its border, and resized, as the set's users do; and its bytes."""
    if picture is None:
        return None, None
    if part := spec.cut_border_part:
        (top, bottom), (left, right) = ((n // part, n * (part - 1) // part) for n in picture.shape[:2])
        picture = np.ascontiguousarray(picture[top:bottom, left:right])
    if spec.resize_px:
        picture = images.resize(picture, spec.resize_px, spec.resize_px)
    return picture, images.encode(picture)


def _spans(length: int, side: int) -> list[tuple[int, int]]:
    """Equal parts (start, end) that cover a length, evenly spaced; a shorter length is one of them."""
    starts = np.linspace(0, max(0, length - side), -(-length // side)).round().astype(int).tolist()
    return [(start, min(start + side, length)) for start in starts]


def _tile(pair: Pair, lq: np.ndarray, gt: np.ndarray | None, y: tuple[int, int], x: tuple[int, int]) -> dict[str, Any]:
    """What a row of a part of the pictures has other than the whole's."""
    cut = [p if p is None else images.encode(np.ascontiguousarray(p[slice(*y), slice(*x)])) for p in (lq, gt)]
    return {"id": f"{pair.id}-{y[0]}-{x[0]}", "lq": None if pair.gt == pair.lq else cut[0], "gt": cut[1]}


def _read(place: Place, label: str) -> tuple[np.ndarray, bytes, str]:
    """A picture, uint8 (H, W, 3), the bytes it is kept as, and the SHA-256 of what it was read from."""
    if place.row is not None:
        picture = np.array(np.load(place.path, mmap_mode="r")[place.row])
        return picture, images.encode(picture), hashlib.sha256(picture.tobytes()).hexdigest()
    try:
        data = Path(place.path).read_bytes()
    except OSError as error:
        raise images.PictureError(f"{label}: cannot be read ({error.strerror})") from None
    picture, kept = images.stored(data, label)
    return picture, kept, hashlib.sha256(data).hexdigest()
