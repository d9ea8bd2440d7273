"""The rows of a dataset made of others: pictures chosen, cut, degraded by layers, each with its recipe.

Rows come in the order of `from`, then of the pictures' names, then of the crops, then of the degradations. All that is drawn
for a row comes from a hash of (dataset, row id, dataset seed). A dataset that has `sources` only becomes rows of task "clean"
whose lq is the gt. What is degraded is a downloaded picture, or the ground truth or (`onto: lq`) the degraded picture of a
ready-made pair, whose ground truth stays as it is.
"""

import hashlib
import json
from collections import Counter
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mperceiver import config, images, paths
from mperceiver.config.datasets import Dataset
from mperceiver.data import CLEAN, DataError
from mperceiver.data.raw.folder import pictures_in
from mperceiver.data.read.loader import PreparedDataset
from mperceiver.degradations.mix import check_layers, degrade
from mperceiver.seeds import picture_seed

JOB_ROWS = 32  # rows made in one go by a worker, about


class Origin(NamedTuple):
    """Where one picture is: a file of a downloaded dataset, or a row of a prepared one."""

    dataset: str
    picture: str  # its id there
    place: str | int  # path of the file, or number of the row


class Opened(NamedTuple):
    """One picture before it is degraded."""

    base: np.ndarray  # what is degraded, uint8 (H, W, 3)
    gt: np.ndarray  # what restoring it should give; the same one, unless a pair's degraded picture is degraded further
    sha256: str  # of the file that `base` was read from
    source: str  # what the row tells of its source
    depth: np.ndarray | None  # float32 (H, W) in [0, 1], if there is a map of it
    depth_sha256: str  # of that map's file


class Job(NamedTuple):
    """Crops `first` up to `last` of one picture."""

    name: str  # of the dataset
    dataset: Dataset
    origin: Origin
    picture: str  # id in the dataset
    crops: int  # of this picture in all
    first: int
    last: int
    offset: int  # crops of the pictures before it: whose turn it is

    @property
    def rows(self) -> int:
        """How many rows it makes."""
        ways = len(self.dataset.degradations) if self.dataset.every else 1
        return max(1, ways) * (self.last - self.first)


# ---------------------------------------------------------------- planning


def plan(name: str, dataset: Dataset) -> list[Job]:
    """The work in its order. Crops are shared evenly among the datasets in `from`, then among the pictures of each.

    So three photographs beside hundreds of generated pictures are half of a training set, not a hundredth.
    """
    open_picture.cache_clear(), _prepared.cache_clear()  # they may have changed since another plan was carried out
    groups = [chosen(pictures_of(origin, name), dataset) for origin in config.pictures_of(name)]
    ids = Counter(origin.picture for group in groups for origin in group)
    jobs: list[Job] = []
    offset = 0
    for group, group_crops in zip(groups, _shares(dataset.crops or 0, len(groups)), strict=True):
        crops_of_pictures = _shares(group_crops, len(group)) if dataset.crop_px else [1] * len(group)
        for origin, crops in zip(group, crops_of_pictures, strict=True):
            # A name that two datasets use is told apart by theirs.
            picture = origin.picture if ids[origin.picture] == 1 else f"{origin.dataset}-{origin.picture}"
            pace = max(1, JOB_ROWS // max(1, len(dataset.degradations) if dataset.every else 1))
            for first in range(0, crops, pace):
                last = min(first + pace, crops)
                jobs.append(Job(name, dataset, origin, picture, crops, first, last, offset))
            offset += crops
    return jobs


def pictures_of(origin: str, name: str) -> list[Origin]:
    """The pictures of a dataset named in `from` of ``name``. Raises DataError if there are none."""
    if config.load("datasets", origin).sources:
        found = [Origin(origin, file.stem, str(file.absolute())) for file in pictures_in(paths.raw_folder(origin))]
        if not found:
            raise DataError(
                f"{name}: {paths.raw_folder(origin)} has no pictures; run: mperceiver download --force {origin}"
            )
        return found
    return [Origin(origin, picture, row) for row, picture in enumerate(_prepared(origin).ids)]


def chosen(pictures: list[Origin], dataset: Dataset) -> list[Origin]:
    """Those of one dataset that `sample` leaves, in their order: the first ones by a hash of (dataset, id, seed).

    The name of the dataset that is made has no part in it: sets made of the same pictures choose the same ones.
    """
    if dataset.sample is None:
        return pictures
    count = dataset.sample.count or max(1, round(dataset.sample.share * len(pictures)))
    if count > len(pictures):
        raise DataError(f"{pictures[0].dataset} has {len(pictures)} pictures, `sample` wants {count}")
    ranked = sorted(pictures, key=lambda p: picture_seed(p.dataset, f"{p.picture}|sample", dataset.seed))
    kept = set(ranked[:count])
    return [picture for picture in pictures if picture in kept]


def _shares(count: int, parts: int) -> list[int]:
    """``count`` things shared among ``parts``, the first ones getting one more where it does not go up."""
    return [count // parts + (i < count % parts) for i in range(parts)]


def corners(rng: np.random.Generator, count: int, height: int, width: int, side: int) -> list[tuple[int, int]]:
    """Top-left corners (y, x) of ``count`` square crops, all different, spread over a picture; apart while there is room.

    The picture is divided into cells, one crop in each of ``count`` cells drawn at random, shaken inside its cell. Where the
    crops cannot lie apart, the same is done with the places a corner may have. Raises ValueError if there are too few.
    """
    if side > min(height, width):
        raise ValueError(f"the picture is {width}x{height} px, smaller than crops of {side} px")
    if count <= (height // side) * (width // side):
        return _boxes(rng, count, height, width, side)
    places = (height - side + 1) * (width - side + 1)
    if count > places:
        raise ValueError(f"{count} different crops of {side} px wanted, a picture of {width}x{height} px has {places}")
    return _boxes(rng, count, height - side + 1, width - side + 1, 1)


def most_detailed(picture: np.ndarray, places: list[tuple[int, int]], count: int, side: int) -> list[tuple[int, int]]:
    """The ``count`` places, in their order, whose crops vary most in their Laplacian (LAPV, doi:10.1016/j.patcog.2012.11.011).

    A crop of empty sky tells nothing of a restorer: blurred, it is what it was.
    """
    if count == len(places):
        return places
    from scipy.ndimage import laplace

    luma = picture.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)
    detail = [laplace(luma[y : y + side, x : x + side]).var() for y, x in places]
    kept = set(np.argsort(detail, kind="stable")[-count:].tolist())
    return [place for i, place in enumerate(places) if i in kept]


def _boxes(rng: np.random.Generator, count: int, height: int, width: int, side: int) -> list[tuple[int, int]]:
    """``count`` boxes apart from each other in an area that has room for them."""
    columns = min(width // side, max(1, round((count * width / height) ** 0.5)))
    rows = -(-count // columns)
    if rows > height // side:
        rows = height // side
        columns = -(-count // rows)
    found = []
    for cell in rng.permutation(rows * columns)[:count].tolist():
        row, column = divmod(cell, columns)
        top, bottom = row * height // rows, (row + 1) * height // rows
        left, right = column * width // columns, (column + 1) * width // columns
        y = int(rng.integers(top, bottom - side, endpoint=True))
        found.append((y, int(rng.integers(left, right - side, endpoint=True))))
    return found


def try_degradations(name: str, dataset: Dataset) -> None:
    """Refuse unknown degradations, numbers and orders before any work."""
    for task, layers in dataset.degradations.items():
        try:
            check_layers(list(layers.items()))
        except (ValueError, TypeError) as error:
            raise config.ConfigError(f"{config.path_of('datasets', name)}: degradations.{task}: {error}") from None


# ---------------------------------------------------------------- work


def to_float(picture: np.ndarray) -> np.ndarray:
    """uint8 (H, W, 3) -> float32 in [0, 1], as degradations and ``mix.replay`` take it."""
    return picture.astype(np.float32) / np.float32(255)


@lru_cache(maxsize=8)
def _prepared(name: str) -> PreparedDataset:
    return PreparedDataset(name)


@lru_cache(maxsize=2)  # neighbouring jobs cut the same picture
def open_picture(origin: Origin, onto: str, depths: str | None, label: str) -> Opened:
    """Decode a picture, its ground truth, and its map of the dataset ``depths``. Errors begin with ``label``.

    Raises:
        PictureError, DataError: one of them is not there, cannot be read, or is of another size.
    """
    if isinstance(origin.place, str):
        data = Path(origin.place).read_bytes()
        picture, digest = images.decode(data, name=label), hashlib.sha256(data).hexdigest()
        return Opened(picture, picture, digest, digest, *_depth_map(depths, origin.picture, picture.shape, label))
    pairs = _prepared(origin.dataset)
    gt = pairs.gt(origin.place)
    base = pairs.lq(origin.place) if onto == "lq" else gt
    if base.shape != gt.shape:
        raise DataError(f"{label}: the pair's pictures differ in size, {base.shape} and {gt.shape}")
    digest = hashlib.sha256(pairs.stored(onto, origin.place)).hexdigest()
    source = pairs.source(origin.place)
    return Opened(base, gt, digest, source, *_depth_map(depths, origin.picture, gt.shape, label))


def _depth_map(depths: str | None, picture: str, shape: tuple[int, ...], label: str) -> tuple[np.ndarray | None, str]:
    if depths is None:
        return None, ""
    file = next((path for path in pictures_in(paths.raw_folder(depths)) if path.stem == picture), None)
    if file is None:
        raise DataError(f"{label}: {depths} has no depth map {picture}")
    data = file.read_bytes()
    depth = images.decode(data, name=f"{label}: depth map of {depths}")
    if depth.shape != shape:
        raise DataError(f"{label}: its depth map in {depths} is {depth.shape[:2]}, the picture {shape[:2]}")
    return to_float(depth).mean(-1), hashlib.sha256(data).hexdigest()


def places(job: Job, picture: np.ndarray) -> list[tuple[int, int, int, int]]:
    """What is cut out of a picture, (y, x, height, width): its crops, or once what is left about its centre."""
    height, width = picture.shape[:2]
    if job.dataset.short_side_px and min(height, width) < job.dataset.short_side_px:
        raise ValueError(f"the picture is {width}x{height} px, `short_side_px` is {job.dataset.short_side_px}")
    side = job.dataset.crop_px
    if side:
        seed = picture_seed(job.name, f"{job.picture}|crops", job.dataset.seed)
        rng = np.random.Generator(np.random.PCG64(seed))
        candidates = corners(rng, job.crops * job.dataset.candidates, height, width, side)
        return [(y, x, side, side) for y, x in most_detailed(picture, candidates, job.crops, side)]
    multiple = job.dataset.multiple_px or 1
    if min(height, width) < multiple:
        raise ValueError(f"the picture is {width}x{height} px, `multiple_px` is {multiple}")
    tall, wide = height // multiple * multiple, width // multiple * multiple
    return [((height - tall) // 2, (width - wide) // 2, tall, wide)]


def cut(picture: np.ndarray, place: tuple[int, int, int, int]) -> np.ndarray:
    """The part (y, x, height, width) of a picture (H, W, 3) or a map (H, W)."""
    y, x, height, width = place
    return np.ascontiguousarray(picture[y : y + height, x : x + width])


def rows_of(job: Job) -> list[dict[str, Any]]:
    """The finished rows of a job, as the Arrow file has them. Raises PictureError, DataError by name."""
    label = f"{job.name}: picture {job.picture}"
    opened = open_picture(job.origin, job.dataset.onto, job.dataset.depth, label)
    try:
        cuts = places(job, opened.gt)
        return [row for index in range(job.first, job.last) for row in _degraded(job, index, opened, cuts[index])]
    except (ValueError, TypeError) as error:
        raise DataError(f"{label}: {error}") from error


def _degraded(job: Job, index: int, opened: Opened, place: tuple[int, int, int, int]) -> list[dict[str, Any]]:
    """Rows of one part of a picture: each way, or the way whose turn it is."""
    png = images.encode(cut(opened.gt, place))
    ways = job.dataset.degradations
    if not ways:
        row_id = f"{job.picture}-{index}" if job.dataset.crop_px else job.picture
        return [{"id": row_id, "task": CLEAN, "lq": None, "gt": png, "source": opened.source, "recipe": ""}]
    tasks = list(ways)
    if not job.dataset.every:
        tasks = [tasks[(job.offset + index) % len(tasks)]]
    base = to_float(cut(opened.base, place))
    depth = None if opened.depth is None else cut(opened.depth, place)
    origin = {"dataset": job.origin.dataset, "picture": job.origin.picture, "onto": job.dataset.onto}
    if depth is not None:
        origin |= {"depth": job.dataset.depth, "depth_sha256": opened.depth_sha256}
    rows = []
    for task in tasks:
        row_id = f"{job.picture}-{index}-{task}"
        if job.dataset.on_the_fly:
            rows.append({"id": row_id, "task": task, "lq": None, "gt": png, "source": opened.source, "recipe": ""})
            continue
        seed = picture_seed(job.name, row_id, job.dataset.seed)
        lq, drawn = degrade(base, list(ways[task].items()), seed, depth)
        recipe = {
            "dataset": job.name,
            "id": row_id,
            "source": origin | {"sha256": opened.sha256},
            "cut": place,
            **drawn,
        }
        text = json.dumps(recipe, sort_keys=True)
        row = {"id": row_id, "task": task, "lq": images.encode(lq), "gt": png, "source": opened.source, "recipe": text}
        rows.append(row)
    return rows
