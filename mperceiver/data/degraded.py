"""The rows of a dataset made of clean pictures: crops chosen, degraded by layers, each with its recipe.

Rows come in the order of `from`, then of the pictures' names, then of the crops, then of the degradations. All that is drawn
for a row comes from a hash of (dataset, row id, dataset seed). A dataset that has `sources` only becomes rows of task "clean"
whose lq is the gt.
"""

import json
from collections import Counter
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mperceiver import config, images, lineage
from mperceiver.data import DataError
from mperceiver.data.download import pictures_in, raw_folder
from mperceiver.degradations.mix import degrade, picture_seed

CLEAN = "clean"  # task of a row that is not degraded
JOB_ROWS = 32  # rows made in one go by a worker, about


class Job(NamedTuple):
    """Crops `first` up to `last` of one picture."""

    name: str  # of the dataset
    dataset: config.Dataset
    path: str
    picture: str  # id
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


def plan(name: str, dataset: config.Dataset) -> list[Job]:
    """The work in its order. Crops are shared evenly among the datasets in `from`, then among the pictures of each.

    So three photographs beside hundreds of generated pictures are half of a training set, not a hundredth.
    """
    open_picture.cache_clear()  # a file may have changed since another plan was carried out
    folders = [(origin, pictures_in(raw_folder(origin))) for origin in config.pictures_of(name)]
    for origin, files in folders:
        if not files:
            raise DataError(f"{name}: {raw_folder(origin)} has no pictures; run: mperceiver download --force {origin}")
    stems = Counter(file.stem for _, files in folders for file in files)
    jobs: list[Job] = []
    offset = 0
    crops_of_folders = _shares(dataset.crops or 0, len(folders))
    for (origin, files), folder_crops in zip(folders, crops_of_folders, strict=True):
        crops_of_files = _shares(folder_crops, len(files)) if dataset.crop_px else [1] * len(files)
        for file, crops in zip(files, crops_of_files, strict=True):
            # A name that two datasets use is told apart by theirs.
            picture = file.stem if stems[file.stem] == 1 else f"{origin}-{file.stem}"
            pace = max(1, JOB_ROWS // max(1, len(dataset.degradations) if dataset.every else 1))
            for first in range(0, crops, pace):
                last = min(first + pace, crops)
                jobs.append(Job(name, dataset, str(file.absolute()), picture, crops, first, last, offset))
            offset += crops
    return jobs


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


def try_degradations(name: str, dataset: config.Dataset) -> None:
    """Refuse unknown degradations, numbers and orders before any work."""
    for task, layers in dataset.degradations.items():
        try:
            degrade(np.full((32, 32, 3), 0.5, np.float32), list(layers.items()), seed=0)
        except (ValueError, TypeError) as error:
            raise config.ConfigError(f"{config.path_of('datasets', name)}: degradations.{task}: {error}") from None


# ---------------------------------------------------------------- work


def to_float(picture: np.ndarray) -> np.ndarray:
    """uint8 (H, W, 3) -> float32 in [0, 1], as degradations and ``mix.replay`` take it."""
    return picture.astype(np.float32) / np.float32(255)


@lru_cache(maxsize=2)  # neighbouring jobs cut the same picture
def open_picture(path: str, label: str) -> tuple[np.ndarray, str]:
    """A picture, uint8 (H, W, 3), and the SHA-256 of its file."""
    return images.decode(Path(path), name=label), lineage.sha256(path)


def rows_of(job: Job) -> list[dict[str, Any]]:
    """The finished rows of a job, as the Arrow file has them. Raises PictureError, DataError by name."""
    label = f"{job.name}: picture {job.picture}"
    picture, source = open_picture(job.path, label)
    height, width = picture.shape[:2]
    side = job.dataset.crop_px
    try:
        where = [(0, 0)]
        if side:
            seed = picture_seed(job.name, f"{job.picture}|crops", job.dataset.seed)
            rng = np.random.Generator(np.random.PCG64(seed))
            candidates = corners(rng, job.crops * job.dataset.candidates, height, width, side)
            where = most_detailed(picture, candidates, job.crops, side)
        rows = []
        for index in range(job.first, job.last):
            y, x = where[index]
            gt = picture[y : y + (side or height), x : x + (side or width)]
            rows += _degraded(job, index, np.ascontiguousarray(gt), source)
        return rows
    except (ValueError, TypeError) as error:
        raise DataError(f"{label}: {error}") from error


def _degraded(job: Job, index: int, gt: np.ndarray, source: str) -> list[dict[str, Any]]:
    """Rows of one crop, uint8 (h, w, 3): each way, or the way whose turn it is."""
    png = images.encode(gt)
    ways = job.dataset.degradations
    if not ways:
        row_id = f"{job.picture}-{index}" if job.dataset.crop_px else job.picture
        return [{"id": row_id, "task": CLEAN, "lq": png, "gt": png, "source": source, "recipe": ""}]
    tasks = list(ways)
    if not job.dataset.every:
        tasks = [tasks[(job.offset + index) % len(tasks)]]
    rows = []
    for task in tasks:
        row_id = f"{job.picture}-{index}-{task}"
        seed = picture_seed(job.name, row_id, job.dataset.seed)
        lq, recipe = degrade(to_float(gt), list(ways[task].items()), seed)
        text = json.dumps(recipe, sort_keys=True)
        rows.append({"id": row_id, "task": task, "lq": images.encode(lq), "gt": png, "source": source, "recipe": text})
    return rows
