"""Rows of ready-made pairs: archives are unpacked, pairs matched, and every picture decoded, adjusted and checked.

A picture's bytes are kept if they decode to 8-bit RGB without any change. All other pictures (16 bit, grey, palette, alpha
channel, rotated by EXIF, cropped) are written anew as PNG by the conventions of mperceiver.images: of 8 bits, or of 16 where
the dataset's file says `bits: 16`.
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
from mperceiver.data.archives.base import is_archive
from mperceiver.data.archives.unpack import unpack_archives
from mperceiver.data.prepare.matching import (
    FEW,
    MatchedPair,
    PairFault,
    StoredPicture,
    file_tree,
    match_pairs,
)
from mperceiver.data.prepare.rows import Row
from mperceiver.data.raw.folder import files_in
from mperceiver.wording import first_few

UNPACKED = images.SUFFIXES | {".txt", ".list", ".mat"}  # suffixes of the members that are unpacked
PAIRS_A_JOB = 4
# What a pair with each kind of fault is, by the keys of `known`.
KINDS_OF_FAULT = {"missing": "without a ground truth", "sizes": "of unequal size", "damaged": "damaged"}


class PairsToRead(NamedTuple):
    """A job: some pairs, and the spec of their dataset."""

    name: str  # of the dataset
    spec: Pairs
    pairs: list[MatchedPair]

    @property
    def rows(self) -> int:
        """How many pairs the job reads."""
        return len(self.pairs)


@contextlib.contextmanager
def plan_pairs(name: str, dataset: Dataset, beside: Path) -> Iterator[tuple[list[PairsToRead], "PairFaults"]]:
    """The jobs of a dataset of pairs, and the faults known so far. Archives lie unpacked until the block ends.

    Args:
        beside: a folder on a disk with room for the unpacked archives. No other process may plan the same dataset there
            meanwhile: both would unpack into one folder.

    Raises:
        DataError: pairs cannot be matched, or there are fewer or more of them than expected.
    """
    spec = dataset.pairs
    assert spec is not None, f"{name} is not a dataset of pairs"
    scratch = beside / f".{name}.unpacked"  # ours alone: the caller holds the lock of the dataset
    shutil.rmtree(scratch, ignore_errors=True)  # a killed job may have left it
    try:
        folders = [
            folder
            for i, origin in enumerate(dataset.from_)
            for folder in _unpacked_folders(spec, origin, scratch / str(i))
        ]
        arrays = scratch / "arrays"
        arrays.mkdir(parents=True)
        pairs, missing = match_pairs(name, file_tree(folders), arrays)
        faults = PairFaults(name, dataset, missing)
        faults.check_count(len(pairs), final=False)
        jobs = [PairsToRead(name, spec, pairs[i : i + PAIRS_A_JOB]) for i in range(0, len(pairs), PAIRS_A_JOB)]
        yield jobs, faults
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _unpacked_folders(spec: Pairs, origin: str, scratch: Path) -> list[Path]:
    """Folders with the files of a downloaded dataset: its own, and the one that its archives are unpacked to."""
    raw = paths.raw_folder(origin)
    archives = [file for file in files_in(raw) if is_archive(file.name)]
    if not archives:
        return [raw]
    described = config.load("datasets", origin)
    unpack_archives(
        archives,
        scratch,
        spec.members or _is_useful,
        described.passwords,
        nested=spec.nested,
        apart=spec.apart,
        names=described.names,
    )
    return [raw, scratch]


def _counted(kinds: dict[str, int]) -> str:
    """How many pairs have a fault of each kind, in words."""
    return ", ".join(f"{count} {KINDS_OF_FAULT[kind]}" for kind, count in kinds.items())


def _is_useful(path: str) -> bool:
    return Path(path).suffix.lower() in UNPACKED


class PairFaults:
    """The faults of a dataset's pairs, and whether its file knows of them (`known`)."""

    def __init__(self, name: str, dataset: Dataset, faults: list[PairFault]) -> None:
        assert dataset.pairs is not None, f"{name} is not a dataset of pairs"
        self.name, self.dataset, self.spec, self.faults = name, dataset, dataset.pairs, faults

    def add(self, fault: PairFault) -> None:
        """Add a fault that was found when a picture was read."""
        self.faults.append(fault)

    def check(self, rows: int) -> dict[str, Any]:
        """What the card says of a dataset of so many rows. Raises DataError unless all is as its file says, or if there are no rows."""
        self._check_known()
        left_out = dict(Counter(fault.kind for fault in self.faults))
        if not rows:
            example = "".join(f", such as {fault.text}" for fault in self.faults[:1])
            raise DataError(
                f"{self.name}: no pair is left; {len(self.faults)} are left out ({_counted(left_out)}){example}. "
                f"{config.path_of('datasets', self.name)} allows that under pairs.known: is `gt` in its `pairs` right, and is the "
                f"download complete (mperceiver download {self.dataset.from_[0]} --force)?"
            )
        if self.spec.tile_px is None:
            self.check_count(rows)
        return {"left_out": left_out} if left_out else {}

    def check_count(self, count: int, final: bool = True) -> None:
        """Raise DataError if ``count`` pairs are not `expected`. Not ``final``: defects may still take pairs away."""
        expected = self.dataset.expected
        may_lose_pairs = self.spec.known.sizes is not None or self.spec.known.damaged is not None
        if expected is None or count == expected or (not final and count > expected and may_lose_pairs):
            return
        self._check_known()  # faults with names say more than a number
        raise DataError(
            f"{self.name}: {count} pairs, expected {expected} (`expected` in {config.path_of('datasets', self.name)}): "
            "its `pairs` find other files, the download is not complete, or it is another edition of the set"
        )

    def _check_known(self) -> None:
        """Raise DataError for faults that the dataset's file does not know, or knows in another number."""
        where = f"{config.path_of('datasets', self.name)}: pairs.known"
        problems = []
        for kind, what in KINDS_OF_FAULT.items():
            known = getattr(self.spec.known, kind)
            texts = {fault.id: fault.text for fault in self.faults if fault.kind == kind}
            if known is None or known.ids:
                new = {pair_id: text for pair_id, text in texts.items() if known is None or pair_id not in known.ids}
                gone = [pair_id for pair_id in known.ids if pair_id not in texts] if known else []
                if new:
                    problems.append("\n    ".join([f"  {_pairs_are(len(new))} {what}:", *list(new.values())[:FEW]]))
                if gone:
                    problems.append(f"  {where}.{kind} names {first_few(gone)}, which have no such defect")
            elif known.count not in (None, len(texts)):
                examples = first_few(list(texts))
                problems.append(f"  {_pairs_are(len(texts))} {what}, {where}.{kind} says {known.count}: {examples}")
        if problems:
            raise DataError(
                "\n".join([f"{self.name}: the pairs are not as its file says:", *problems])
                + "\n  Likely causes: `gt` in its `pairs` leads to other files; the download is not complete (mperceiver download "
                f"{self.dataset.from_[0]} --force); or it is another edition of the set, whose defects can be named under {where}"
            )


def _pairs_are(count: int) -> str:
    return "1 pair is" if count == 1 else f"{count} pairs are"


# ---------------------------------------------------------------- reading


def read_rows(job: PairsToRead) -> list[Row | PairFault]:
    """The rows of a job's pairs; for a faulty pair, what is wrong with it."""
    return [row for pair in job.pairs for row in _rows_of_pair(job, pair)]


def _rows_of_pair(job: PairsToRead, pair: MatchedPair) -> list[Row] | list[PairFault]:
    gt: np.ndarray | None = None
    gt_bytes: bytes | None = None
    try:
        label = f"{job.name}: {pair.name}"
        lq, lq_bytes, source = _read_picture(pair.lq, label, job.spec.bits)
        if pair.gt == pair.lq:
            gt, gt_bytes = lq, lq_bytes
        elif pair.gt:
            gt, gt_bytes, digest = _read_picture(
                pair.gt, f"{label}: its ground truth {Path(pair.gt.path).name}", job.spec.bits
            )
            source = f"{source} {digest}"
    except images.PictureError as error:
        return [PairFault("damaged", pair.id, str(error))]
    border = job.spec.crop_border_px
    if gt is not None and border and gt.shape[:2] == (lq.shape[0] + 2 * border, lq.shape[1] + 2 * border):
        gt = np.ascontiguousarray(gt[border:-border, border:-border])
        gt_bytes = images.encode(gt)
    if gt is not None and gt.shape != lq.shape:
        sizes = " and ".join(f"{p.shape[1]}x{p.shape[0]}" for p in (lq, gt))
        return [PairFault("sizes", pair.id, f"{pair.name}: it and its ground truth are {sizes} px")]
    if job.spec.cut_border_part or job.spec.resize_px:
        lq = _adjusted(job.spec, lq)
        lq_bytes = images.encode(lq)
        if gt is not None:
            gt = _adjusted(job.spec, gt)
            gt_bytes = images.encode(gt)
    is_clean = pair.gt == pair.lq  # then the row stores the picture once, as its ground truth
    side = job.spec.tile_px
    if side is None or max(lq.shape[:2]) <= side:
        row = Row(id=pair.id, task=pair.task, lq=None if is_clean else lq_bytes, gt=gt_bytes, source=source, recipe="")
        return [row]
    rows = []
    for top, bottom in _spans(lq.shape[0], side):
        for left, right in _spans(lq.shape[1], side):
            lq_png, gt_png = (
                None if p is None else images.encode(np.ascontiguousarray(p[top:bottom, left:right]))
                for p in (None if is_clean else lq, gt)
            )
            row_id = f"{pair.id}-{top}-{left}"
            rows.append(Row(id=row_id, task=pair.task, lq=lq_png, gt=gt_png, source=source, recipe=""))
    return rows


def _adjusted(spec: Pairs, picture: np.ndarray) -> np.ndarray:
    """A picture (H, W, 3) without its border (`cut_border_part`), then resized (`resize_px`), as the set's users do."""
    if part := spec.cut_border_part:
        (top, bottom), (left, right) = ((n // part, n * (part - 1) // part) for n in picture.shape[:2])
        picture = np.ascontiguousarray(picture[top:bottom, left:right])
    if spec.resize_px:
        picture = images.resize(picture, spec.resize_px, spec.resize_px)
    return picture


def _spans(length: int, side: int) -> list[tuple[int, int]]:
    """Parts (start, end) of length ``side`` that cover a length, evenly spaced; a shorter length is one part."""
    starts = np.linspace(0, max(0, length - side), -(-length // side)).round().astype(int).tolist()
    return [(start, min(start + side, length)) for start in starts]


def _read_picture(stored: StoredPicture, label: str, bits: int) -> tuple[np.ndarray, bytes, str]:
    """A picture, uint8 (H, W, 3), or uint16 of 16 ``bits``; the bytes that the row stores; and the SHA-256 of what was read.

    Raises:
        PictureError: it is damaged. DataError: its file has vanished or cannot be read, which says nothing of the picture.
    """
    try:
        if stored.row is not None:
            picture = np.array(np.load(stored.path, mmap_mode="r")[stored.row])
            return picture, images.encode(picture), hashlib.sha256(picture.tobytes()).hexdigest()
        data = Path(stored.path).read_bytes()
    except OSError as error:
        raise DataError(
            f"{label}: {stored.path} cannot be read ({error.strerror or error}). It was there when the pairs were matched: another "
            "program has removed it, or its disk fails. Run the same command again"
        ) from error
    if bits == 16:
        picture = images.decode_deep(data, label)
        row_bytes = images.encode(picture)
    else:
        picture, row_bytes = images.stored(data, label)
    return picture, row_bytes, hashlib.sha256(data).hexdigest()
