"""Find ready-made pairs among files, as the `pairs` of a dataset's file say. Nothing is read here but lists and arrays.

What is wrong is told by name, the first few, and counted: a picture whose path does not fit, one without its partner, two
with one id, another number than expected. Pairs come in natural order of their degraded pictures' paths ("2" before "10").
"""

import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mperceiver import config
from mperceiver.config.pairs import Pairs
from mperceiver.config.sources import matches
from mperceiver.data import DataError
from mperceiver.seeds import picture_seed

FEW = 5  # examples in a message
JUNK = {"Thumbs.db", "desktop.ini", "__MACOSX"}
UNFIT = re.compile(r"[^A-Za-z0-9_.-]+")  # signs that an id, which becomes a file's name, cannot have


class Place(NamedTuple):
    """Where a picture lies: a file, or a row of an array file (.npy)."""

    path: str
    row: int | None = None


class Pair(NamedTuple):
    """A pair that was found; nothing of it has been read yet."""

    id: str
    task: str
    name: str  # of the degraded picture, for people
    lq: Place
    gt: Place | None


class Fault(NamedTuple):
    """What is wrong with a pair: `kind` is a key of `known`."""

    kind: str
    id: str
    text: str


def tree(folders: Iterable[Path]) -> dict[str, Path]:
    """Files below the folders by their relative paths, in natural order, as if all were unpacked into one place.

    Hidden files and what desktops leave behind are passed over. Raises DataError where two would have one path.
    """
    found: dict[str, Path] = {}
    for folder in folders:
        for file in folder.rglob("*"):
            inside = file.relative_to(folder)
            if any(part.startswith(".") or part in JUNK for part in inside.parts) or not file.is_file():
                continue
            if inside.as_posix() in found:
                raise DataError(f"{inside} is both in {found[inside.as_posix()]} and in {file}; which one is meant?")
            found[inside.as_posix()] = file
    return {path: found[path] for path in sorted(found, key=natural)}


def natural(text: str) -> list[str | int]:
    """Sorting key that counts: "a2" before "a10"."""
    return [int(part) if i % 2 else part for i, part in enumerate(re.split("([0-9]+)", text))]


def find(name: str, files: dict[str, Path], scratch: Path) -> tuple[list[Pair], list[Fault]]:
    """Pairs of dataset ``name`` among ``files`` {relative path: file}, and degraded pictures without their partner.

    Args:
        scratch: a folder for arrays taken out of MATLAB files.

    Raises:
        DataError: nothing is found, paths do not fit `match`, ids repeat, or sorted folders differ in number.
    """
    dataset = config.load("datasets", name)
    spec = dataset.pairs
    if spec.arrays:
        root = _root(name, spec.root, files, [spec.arrays.lq])
        pairs, faults = _of_arrays(spec, root, files, scratch), []
    elif spec.gt.listed:
        root = _root(name, spec.root, files, [spec.gt.listed.file])
        pairs, faults = _of_list(name, spec, root, files)
    else:
        root = _root(name, spec.root, files, spec.lq)
        pairs, faults = _of_globs(name, spec, root, files)
    if spec.keep_listed:
        pairs = _listed_only(name, spec.keep_listed, files, pairs)
    if not pairs and not faults:
        raise DataError(f"{name}: no pairs are left of those that were found; see `keep` and `drop` in its `pairs`")
    twice = [pair for pair, count in Counter(pair.id for pair in pairs).items() if count > 1]
    if twice:
        told = "; ".join(f"{id_}: {' and '.join(pair.name for pair in pairs if pair.id == id_)}" for id_ in twice[:FEW])
        raise DataError(
            f"{name}: {len(twice)} ids are given twice, {told}. Make them differ by `id` in its `pairs`, e.g. with the folder"
        )
    if spec.sample:
        count = spec.sample.count or max(1, round(spec.sample.share * len(pairs)))
        if count > len(pairs):
            raise DataError(f"{name}: a sample of {count} wanted of {len(pairs)} pairs")
        drawn = sorted(pairs, key=lambda pair: picture_seed(name, f"{pair.id}|sample", dataset.seed))[:count]
        kept = {pair.id for pair in drawn}
        pairs = [pair for pair in pairs if pair.id in kept]
    return pairs, faults


def few(things: list[str]) -> str:
    """The first few things, and how many more."""
    more = len(things) - FEW
    return ", ".join(things[:FEW]) + (f" and {more} more" if more > 0 else "")


# ---------------------------------------------------------------- the ways to pair


def _of_globs(name: str, spec: Pairs, root: str, files: dict[str, Path]) -> tuple[list[Pair], list[Fault]]:
    inside = {path.removeprefix(root): file for path, file in files.items() if path.startswith(root)}
    left = [path for path in inside if matches(path, spec.lq)]
    partners: list[str | None] = [None] * len(left)
    if spec.gt.sorted:
        right = [path for path in inside if matches(path, spec.gt.sorted)]
        if len(left) != len(right):
            raise DataError(
                f"{name}: {len(left)} degraded pictures ({few(left)}) and {len(right)} ground truths ({few(right)}) cannot "
                "be paired by their order; one is missing or too many"
            )
        partners = list(right)
    pairs, faults, unfit = [], [], []
    for path, partner in zip(left, partners, strict=True):
        if not _wanted(spec, path):
            continue
        match = re.fullmatch(spec.match, path) if spec.match else None
        if spec.match and not match:
            unfit.append(path)
            continue
        id_ = UNFIT.sub("_", match.expand(spec.id) if spec.id else Path(path).stem)
        if spec.gt.itself:
            partner = path
        elif spec.gt.rule:
            wanted = [match.expand(template) for template in spec.gt.rule]
            partner = next((candidate for candidate in wanted if candidate in inside), None)
            if partner is None:
                faults.append(Fault("missing", id_, f"{path}: its ground truth {' or '.join(wanted)} is not there"))
                continue
        gt = Place(str(inside[partner])) if partner else None
        pairs.append(Pair(id_, _task(spec, path), path, Place(str(inside[path])), gt))
    if unfit:
        raise DataError(f"{name}: {len(unfit)} pictures do not fit `match` {spec.match}: {few(unfit)}")
    return pairs, faults


def _of_list(name: str, spec: Pairs, root: str, files: dict[str, Path]) -> tuple[list[Pair], list[Fault]]:
    """Pairs in the order of a list, whose paths are relative to the list's root."""
    listed = spec.gt.listed
    file = files[root + listed.file]
    pairs, faults = [], []
    for number, line in enumerate(file.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
        if not line.strip():
            continue
        words = line.split()
        try:
            left, right = (words[column].removeprefix("./") for column in (listed.lq_column, listed.gt_column))
        except IndexError:
            raise DataError(f"{name}: {listed.file}, line {number}: has no two paths: {line!r:.80}") from None
        if not _wanted(spec, left):
            continue
        match = re.fullmatch(spec.match, left) if spec.match else None
        if spec.match and not match:
            raise DataError(f"{name}: {listed.file}, line {number}: {left} does not fit `match` {spec.match}")
        id_ = UNFIT.sub("_", match.expand(spec.id) if spec.id else Path(left).stem)
        lq, gt = files.get(root + left), files.get(root + right)
        if lq is None or gt is None:
            faults.append(Fault("missing", id_, f"{listed.file}, line {number}: {right if lq else left} is not there"))
            continue
        pairs.append(Pair(id_, _task(spec, left), left, Place(str(lq)), Place(str(gt))))
    return pairs, faults


def _of_arrays(spec: Pairs, root: str, files: dict[str, Path], scratch: Path) -> list[Pair]:
    arrays = spec.arrays
    lq = _array(files, root + arrays.lq, arrays.lq_key, scratch / "lq.npy")
    gt = _array(files, root + arrays.gt, arrays.gt_key, scratch / "gt.npy")
    if lq != gt:
        raise DataError(f"{arrays.lq} holds pictures {lq}, {arrays.gt} {gt}; they are no pairs")
    numbers = [f"{i:04d}" for i in range(lq[0])]
    return [
        Pair(number, _task(spec, number), f"{arrays.lq}[{i}]",
             Place(str(scratch / "lq.npy"), i), Place(str(scratch / "gt.npy"), i))
        for i, number in enumerate(numbers) if _wanted(spec, number)
    ]  # fmt: skip


def _array(files: dict[str, Path], path: str, key: str | None, target: Path) -> tuple[int, ...]:
    """Write the array of a MATLAB file as .npy (N, H, W, 3), which processes can map; its shape. Raises DataError."""
    from scipy.io import loadmat, whosmat
    from scipy.io.matlab import MatReadError

    if path not in files:
        raise DataError(f"{path}: no such file in what was downloaded ({few(sorted(files))})")
    try:
        there = {name: shape for name, shape, _ in whosmat(files[path])}
        key = key or (next(iter(there)) if len(there) == 1 else None)
        if key not in there:
            raise DataError(f"{path}: has no array {key or 'that is its only one'}, but {', '.join(there)}")
        array = loadmat(files[path], variable_names=[key])[key]
    except NotImplementedError:  # SciPy's word for HDF5
        raise DataError(
            f"{path}: saved by MATLAB 7.3 or later, which cannot be read here; in MATLAB: load it, then save(..., '-v7')"
        ) from None
    except (MatReadError, ValueError, OSError, TypeError) as error:
        raise DataError(f"{path}: not a whole MATLAB file ({error}); download it again") from None
    if array.dtype != np.uint8 or array.ndim < 4 or array.shape[-1] != 3:
        raise DataError(f"{path}: {key} is {array.dtype} {array.shape}, not uint8 (..., H, W, 3)")
    pictures = array.reshape(-1, *array.shape[-3:])
    np.save(target, pictures)
    return pictures.shape


# ---------------------------------------------------------------- parts of them


def _root(name: str, roots: list[str] | None, files: dict[str, Path], wanted: list[str]) -> str:
    """The folder, with its slash, below which ``wanted`` is found; "" for the top. Raises DataError if there is none."""
    folders = dict.fromkeys(str(parent) for path in files for parent in Path(path).parents if str(parent) != ".")
    for pattern in [*(roots or []), None]:
        candidates = (
            [""] if pattern is None else [f"{f}/" for f in sorted(folders, key=natural) if matches(f, [pattern])]
        )
        for root in candidates:
            if any(path.startswith(root) and matches(path.removeprefix(root), wanted) for path in files):
                return root
    where = f" below {' or '.join(roots)} or at the top" if roots else ""
    there = few(list(files)) or "nothing"
    raise DataError(
        f"{name}: no {' or '.join(wanted)}{where} in what was downloaded, where {len(files)} files are: {there}. Another "
        f"edition of the set? Change `root` and the globs in {config.path_of('datasets', name)}"
    )


def _wanted(spec: Pairs, path: str) -> bool:
    return not (spec.keep and not re.search(spec.keep, path)) and not (spec.drop and re.search(spec.drop, path))


def _task(spec: Pairs, path: str) -> str:
    return next((task for pattern, task in spec.tasks.items() if re.search(pattern, path)), spec.task)


def _listed_only(name: str, listed: str, files: dict[str, Path], pairs: list[Pair]) -> list[Pair]:
    """The pairs whose degraded picture's name stands in a text file. Raises DataError for a name that no pair has."""
    if listed not in files:
        raise DataError(f"{name}: its list {listed} is not among what was downloaded")
    wanted = dict.fromkeys(line.strip().rpartition("/")[2] for line in files[listed].read_text().splitlines())
    wanted.pop("", None)
    there = {Path(pair.name).name for pair in pairs}
    if missing := [file for file in wanted if file not in there]:
        raise DataError(f"{name}: {len(missing)} of {len(wanted)} pictures in {listed} are not there: {few(missing)}")
    return [pair for pair in pairs if Path(pair.name).name in wanted]
