"""Match ready-made pairs among files, by the `pairs` of a dataset's file. No picture is read here, only lists and arrays.

Faults are named (the first few) and counted: a picture whose path does not fit, a picture without its ground truth, two pairs
with one id, another number of pairs than expected. Pairs are in natural order of their degraded pictures' paths ("2" before
"10").
"""

import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from mperceiver import config
from mperceiver.config.datasets import Dataset
from mperceiver.config.pairs import Arrays, GroundTruth, PairList, Pairs
from mperceiver.config.sources import matches
from mperceiver.data import DataError
from mperceiver.data.archives.names import LEFT_BY_DESKTOPS
from mperceiver.data.prepare.matlab import extract_array
from mperceiver.data.prepare.ordering import contradictions
from mperceiver.data.raw.folder import files_in
from mperceiver.seeds import picture_seed
from mperceiver.wording import first_few

FEW = 5  # examples in a message
NOT_IN_IDS = re.compile(r"[^A-Za-z0-9_.-]+")  # an id becomes the name of a file


class StoredPicture(NamedTuple):
    """Where a picture is stored: in a file of its own, or in a row of an array file (.npy)."""

    path: str
    row: int | None = None


class MatchedPair(NamedTuple):
    """A degraded picture and its ground truth; neither has been read yet."""

    id: str
    task: str
    name: str  # of the degraded picture, for messages
    lq: StoredPicture
    gt: StoredPicture | None


class PairFault(NamedTuple):
    """What is wrong with a pair. ``kind``: a key of `known` in the dataset's file (missing, sizes, damaged)."""

    kind: str
    id: str
    text: str


def file_tree(folders: Iterable[Path]) -> dict[str, Path]:
    """Files below the folders by relative path, in natural order, as if all folders were one.

    Hidden files and files that desktops leave behind are skipped; links are followed. Raises DataError if two files have one
    relative path, or a link leads nowhere.
    """
    files: dict[str, Path] = {}
    for folder in folders:
        for file in files_in(folder):
            inside = file.relative_to(folder)
            if any(part in LEFT_BY_DESKTOPS for part in inside.parts):
                continue
            if inside.as_posix() in files:
                raise DataError(f"{inside} is both in {files[inside.as_posix()]} and in {file}; which one is meant?")
            files[inside.as_posix()] = file
    return {path: files[path] for path in sorted(files, key=natural_key)}


def natural_key(text: str) -> tuple[list[str | int], str]:
    """Sorting key that compares numbers by value: "a2" before "a10". Names of equal numbers ("01" and "1") are in the order of their letters.

    No two names have one key, so an order never depends on that in which a disk lists its files.
    """
    return [int(part) if i % 2 else part for i, part in enumerate(re.split("([0-9]+)", text))], text


def match_pairs(name: str, files: dict[str, Path], scratch: Path) -> tuple[list[MatchedPair], list[PairFault]]:
    """The pairs of dataset ``name``, and a fault for each degraded picture without its ground truth.

    Args:
        files: {relative path: file}.
        scratch: a folder for arrays taken out of MATLAB files.

    Raises:
        DataError: no pairs, paths that do not fit `match`, repeated ids, or sorted folders of different numbers.
    """
    dataset: Dataset = config.load("datasets", name)
    spec = dataset.pairs
    assert spec is not None, f"{name} is not a dataset of pairs"
    pairs, faults = _match(name, spec, files, scratch)
    if spec.keep_listed:
        pairs = _only_listed(name, spec.keep_listed, files, pairs)
    if not pairs and not faults:
        raise DataError(f"{name}: `keep` and `drop` in its `pairs` leave none of the pairs")
    uses = Counter(pair.id for pair in pairs)
    if repeated := [pair_id for pair_id, count in uses.items() if count > 1]:
        examples = [
            f"{pair_id}: {' and '.join(pair.name for pair in pairs if pair.id == pair_id)}"
            for pair_id in repeated[:FEW]
        ]
        raise DataError(
            f"{name}: {len(repeated)} ids are given twice, {'; '.join(examples)}. Make them differ by `id` in its `pairs`, "
            "e.g. with the folder"
        )
    if spec.sample:
        share = spec.sample.share or 0
        count = spec.sample.count or max(1, round(share * len(pairs)))
        if count > len(pairs):
            raise DataError(f"{name}: a sample of {count} wanted of {len(pairs)} pairs")
        by_hash = sorted(pairs, key=lambda pair: picture_seed(name, f"{pair.id}|sample", dataset.seed))
        selected = {pair.id for pair in by_hash[:count]}
        pairs = [pair for pair in pairs if pair.id in selected]
    return pairs, faults


# ---------------------------------------------------------------- the ways to match


def _match(name: str, spec: Pairs, files: dict[str, Path], scratch: Path) -> tuple[list[MatchedPair], list[PairFault]]:
    """Pairs and faults by arrays, by a list file, or by globs."""
    if spec.arrays:
        root = _find_root(name, spec.root, files, [spec.arrays.lq])
        return _match_arrays(spec, spec.arrays, root, files, scratch), []
    partner = spec.gt
    assert partner is not None, "the config has either `gt` or `arrays`"
    if partner.listed:
        root = _find_root(name, spec.root, files, [partner.listed.file])
        return _match_list(name, spec, partner.listed, root, files)
    lq = spec.lq
    assert lq is not None, "the config has `lq` where there is no list"
    return _match_globs(name, spec, partner, lq, _find_root(name, spec.root, files, lq), files)


def _match_globs(
    name: str, spec: Pairs, partner: GroundTruth, lq: list[str], root: str, files: dict[str, Path]
) -> tuple[list[MatchedPair], list[PairFault]]:
    """Pairs of the pictures that fit `lq`: with a ground truth by a rule, by order, the picture itself, or none."""
    inside = {path.removeprefix(root): file for path, file in files.items() if path.startswith(root)}
    degraded = [path for path in inside if matches(path, lq)]
    by_order: list[str | None] = [None] * len(degraded)
    if partner.sorted:
        truths = [path for path in inside if matches(path, partner.sorted)]
        if len(degraded) != len(truths):
            raise DataError(
                f"{name}: {len(degraded)} degraded pictures ({first_few(degraded)}) and {len(truths)} ground truths "
                f"({first_few(truths)}) cannot be paired by their order; one is missing or too many"
            )
        if wrong := contradictions(degraded, truths):
            named = "; ".join(f"{degraded[i]} with {truths[i]}" for i in wrong[:FEW])
            raise DataError(
                f"{name}: by their order {len(wrong)} of {len(truths)} pictures would get a ground truth whose name contradicts theirs: "
                f"{named}. Is a picture missing on each side? If they are pairs, give `gt.rule` or a list (`gt.listed`)"
            )
        by_order = list(truths)
    pairs, faults, unfit = [], [], []
    for path, gt_path in zip(degraded, by_order, strict=True):
        if not _is_kept(spec, path):
            continue
        match = re.fullmatch(spec.match, path) if spec.match else None
        if spec.match and not match:
            unfit.append(path)
            continue
        pair_id = _pair_id(spec, path, match)
        if partner.itself:
            gt_path = path
        elif partner.rule:
            assert match is not None, "the config has `match` where there is a rule"
            candidates = [match.expand(template) for template in partner.rule]
            gt_path = next((candidate for candidate in candidates if candidate in inside), None)
            if gt_path is None:
                text = f"{path}: its ground truth {' or '.join(candidates)} is not there"
                faults.append(PairFault("missing", pair_id, text))
                continue
        gt = StoredPicture(str(inside[gt_path])) if gt_path else None
        pairs.append(MatchedPair(pair_id, _task(spec, path), path, StoredPicture(str(inside[path])), gt))
    if unfit:
        raise DataError(f"{name}: {len(unfit)} pictures do not fit `match` {spec.match}: {first_few(unfit)}")
    return pairs, faults


def _match_list(
    name: str, spec: Pairs, listed: PairList, root: str, files: dict[str, Path]
) -> tuple[list[MatchedPair], list[PairFault]]:
    """Pairs in the order of a list file, whose paths are relative to the root."""
    pairs, faults = [], []
    for number, line in enumerate(_lines(files[root + listed.file]), 1):
        if not line.strip():
            continue
        where = f"{listed.file}, line {number}"
        words = line.split()
        try:
            lq_path, gt_path = (words[column].removeprefix("./") for column in (listed.lq_column, listed.gt_column))
        except IndexError:
            raise DataError(f"{name}: {where}: has no two paths: {line!r:.80}") from None
        if not _is_kept(spec, lq_path):
            continue
        match = re.fullmatch(spec.match, lq_path) if spec.match else None
        if spec.match and not match:
            raise DataError(f"{name}: {where}: {lq_path} does not fit `match` {spec.match}")
        pair_id = _pair_id(spec, lq_path, match)
        lq, gt = files.get(root + lq_path), files.get(root + gt_path)
        if lq is None or gt is None:
            faults.append(PairFault("missing", pair_id, f"{where}: {gt_path if lq else lq_path} is not there"))
            continue
        task = _task(spec, lq_path)
        pairs.append(MatchedPair(pair_id, task, lq_path, StoredPicture(str(lq)), StoredPicture(str(gt))))
    return pairs, faults


def _match_arrays(spec: Pairs, arrays: Arrays, root: str, files: dict[str, Path], scratch: Path) -> list[MatchedPair]:
    """Pairs of pictures with one number in two arrays of MATLAB files."""
    lq, gt = scratch / "lq.npy", scratch / "gt.npy"
    lq_shape = _extracted(files, root + arrays.lq, arrays.lq_key, lq)
    gt_shape = _extracted(files, root + arrays.gt, arrays.gt_key, gt)
    if lq_shape != gt_shape:
        raise DataError(f"{arrays.lq} has pictures {lq_shape}, {arrays.gt} {gt_shape}; they are no pairs")
    pairs = []
    for i in range(lq_shape[0]):
        number = f"{i:04d}"
        if _is_kept(spec, number):
            stored = StoredPicture(str(lq), i), StoredPicture(str(gt), i)
            pairs.append(MatchedPair(number, _task(spec, number), f"{arrays.lq}[{i}]", *stored))
    return pairs


def _extracted(files: dict[str, Path], path: str, key: str | None, target: Path) -> tuple[int, ...]:
    if path not in files:
        raise DataError(f"{path}: no such file in what was downloaded ({first_few(sorted(files))})")
    return extract_array(files[path], path, key, target)


# ---------------------------------------------------------------- helpers


def _find_root(name: str, roots: list[str] | None, files: dict[str, Path], wanted: list[str]) -> str:
    """The first folder, ending in a slash, below which a file fits ``wanted``; "" is the top. Raises DataError without one."""
    folders = dict.fromkeys(str(parent) for path in files for parent in Path(path).parents if str(parent) != ".")
    candidates = [f"{f}/" for root in roots or [] for f in sorted(folders, key=natural_key) if matches(f, [root])]
    for root in [*candidates, ""]:
        if any(path.startswith(root) and matches(path.removeprefix(root), wanted) for path in files):
            return root
    where = f" below {' or '.join(roots)} or at the top" if roots else ""
    listing = first_few(list(files)) or "nothing"
    raise DataError(
        f"{name}: no {' or '.join(wanted)}{where} in what was downloaded, where {len(files)} files are: {listing}. Another "
        f"edition of the set? Change `root` and the globs in {config.path_of('datasets', name)}"
    )


def _lines(file: Path) -> list[str]:
    """The lines of a list of paths, also of one that Windows wrote: in UTF-16, with the mark of UTF-8, with backslashes."""
    data = file.read_bytes()
    encoding = "utf-16" if data.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig"
    return data.decode(encoding, "replace").replace("\\", "/").splitlines()


def _pair_id(spec: Pairs, path: str, match: re.Match[str] | None) -> str:
    """A pair's id, from `id` or the file's stem."""
    return NOT_IN_IDS.sub("_", match.expand(spec.id) if spec.id and match else Path(path).stem)


def _is_kept(spec: Pairs, path: str) -> bool:
    return not (spec.keep and not re.search(spec.keep, path)) and not (spec.drop and re.search(spec.drop, path))


def _task(spec: Pairs, path: str) -> str:
    return next((task for pattern, task in spec.tasks.items() if re.search(pattern, path)), spec.task)


def _only_listed(name: str, listed: str, files: dict[str, Path], pairs: list[MatchedPair]) -> list[MatchedPair]:
    """The pairs whose degraded picture is named in a text file. Raises DataError for a name that no pair has."""
    if listed not in files:
        raise DataError(f"{name}: its list {listed} is not among what was downloaded")
    wanted = dict.fromkeys(line.strip().rpartition("/")[2] for line in _lines(files[listed]))
    wanted.pop("", None)
    names = {Path(pair.name).name for pair in pairs}
    if missing := [file for file in wanted if file not in names]:
        raise DataError(
            f"{name}: {len(missing)} of {len(wanted)} pictures in {listed} are not there: {first_few(missing)}"
        )
    return [pair for pair in pairs if Path(pair.name).name in wanted]
