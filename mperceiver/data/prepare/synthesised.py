"""The rows of a dataset that is made here: pictures are sampled, cut and degraded, each with its recipe.

Rows are in the order of `from`, then of the pictures' names, then of the crops, then of the degradations. All that is drawn
for a row comes from a hash of (dataset, row id, dataset seed). A dataset that has only `sources` becomes rows of task "clean"
without lq. The picture that is degraded is a downloaded one, or the ground truth or (`onto: lq`) the degraded picture of a
ready-made pair, whose ground truth stays as it is. A ground truth that is a whole picture keeps the bytes of its file, if that
is an upright PNG or JPEG of 8-bit RGB; all others are written as PNG.
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
from mperceiver.data.prepare.cutting import crop_corners, cut, darkest, most_detailed
from mperceiver.data.prepare.rows import Row
from mperceiver.data.raw.folder import left_out, pictures_in
from mperceiver.data.read.loader import PreparedDataset
from mperceiver.degradations.mix import check_layers, degrade
from mperceiver.printing import say
from mperceiver.seeds import picture_seed

ROWS_A_JOB = 32  # about so many


class OriginPicture(NamedTuple):
    """A picture that rows are made of: a file of a downloaded dataset, or a row of a prepared one."""

    dataset: str
    id: str
    where: str | int  # path of the file, or index of the row


class OpenedPicture(NamedTuple):
    """A decoded picture before it is degraded."""

    base: np.ndarray  # what is degraded, uint8 (H, W, 3)
    gt: np.ndarray  # ground truth, uint8 (H, W, 3); another picture than base only if a pair's degraded one is degraded
    stored: bytes | None  # the content of an 8-bit RGB file of the whole ground truth; None: it is of another form
    sha256: str  # of the file that `base` was read from
    source: str  # value of the row's column `source`
    depth: np.ndarray | None  # float32 (H, W) in [0, 1], if there is a depth map
    depth_sha256: str  # of the map's file; "" without one


class RowsToRender(NamedTuple):
    """A job: crops ``first`` up to (excluding) ``last`` of one picture."""

    name: str  # of the dataset
    dataset: Dataset
    origin: OriginPicture
    picture: str  # id of the picture in the dataset
    crops: int  # of this picture in all
    first: int
    last: int
    offset: int  # crops of all pictures before this one; decides which degradation a crop gets if they take turns

    @property
    def rows(self) -> int:
        """How many rows the job makes."""
        per_crop = len(self.dataset.degradations) if self.dataset.every else 1
        return max(1, per_crop) * (self.last - self.first)


# ---------------------------------------------------------------- planning


def plan_rows(name: str, dataset: Dataset) -> list[RowsToRender]:
    """The jobs in order. Crops are shared evenly among the datasets in `from`, then among the pictures of each.

    So three photographs beside hundreds of generated pictures give half of a training set, not a hundredth. With `share_by: pictures`,
    all pictures get as many crops.

    Raises DataError if there are fewer crops than pictures: some pictures would have no part in the dataset.
    """
    open_picture.cache_clear()  # files may have changed since an earlier plan
    _open_dataset.cache_clear()
    groups = [_sample(origin_pictures(origin, name), dataset) for origin in config.pictures_of(name)]
    uses = Counter(origin.id for group in groups for origin in group)
    if dataset.share_by == "pictures":
        groups = [[origin for group in groups for origin in group]]
    jobs: list[RowsToRender] = []
    offset = 0
    for group, group_crops in zip(groups, _shares(dataset.crops or 0, len(groups)), strict=True):
        if dataset.crop_px and group_crops < len(group):
            of = ", ".join(dict.fromkeys(origin.dataset for origin in group))
            raise DataError(
                f"{name}: `crops` leaves {group_crops} for the {len(group)} pictures of {of}; raise it, or choose pictures with `sample`"
            )
        crops_of_pictures = _shares(group_crops, len(group)) if dataset.crop_px else [1] * len(group)
        for origin, crops in zip(group, crops_of_pictures, strict=True):
            # An id that two datasets use gets the dataset's name in front.
            picture = origin.id if uses[origin.id] == 1 else f"{origin.dataset}-{origin.id}"
            per_crop = max(1, len(dataset.degradations) if dataset.every else 1)
            step = max(1, ROWS_A_JOB // per_crop)
            for first in range(0, crops, step):
                last = min(first + step, crops)
                jobs.append(RowsToRender(name, dataset, origin, picture, crops, first, last, offset))
            offset += crops
    return jobs


def origin_pictures(origin: str, name: str) -> list[OriginPicture]:
    """The pictures of a dataset named in `from` of ``name``; what is no picture that is read is named on standard error.

    Raises DataError if there are none.
    """
    if config.load("datasets", origin).sources:
        folder = paths.raw_folder(origin)
        pictures = [OriginPicture(origin, file.stem, str(file.absolute())) for file in pictures_in(folder)]
        if not pictures:
            raise DataError(f"{name}: {folder} has no pictures; run: mperceiver download --force {origin}")
        below = {f"{path.relative_to(folder).parts[0]}/" for path in pictures_in(folder, "*/**/*")}
        if others := [*(path.name for path in left_out(folder)), *sorted(below)]:
            say(f"{name}: of {folder} are left out: {', '.join(others)} (other forms, and subfolders)", error=True)
        return pictures
    return [OriginPicture(origin, picture, row) for row, picture in enumerate(_open_dataset(origin).ids)]


def _sample(pictures: list[OriginPicture], dataset: Dataset) -> list[OriginPicture]:
    """The pictures of one dataset that `sample` selects, in their order: the first by a hash of (dataset, id, seed).

    The name of the dataset that is being made has no part in the hash: datasets made of the same pictures select the same.
    """
    if dataset.sample is None:
        return pictures
    share = dataset.sample.share or 0
    count = dataset.sample.count or max(1, round(share * len(pictures)))
    if count > len(pictures):
        raise DataError(
            f"{pictures[0].dataset} has {len(pictures)} pictures, `sample.count` wants {count} of each dataset in `from`"
        )
    by_hash = sorted(pictures, key=lambda picture: picture_seed(picture.dataset, f"{picture.id}|sample", dataset.seed))
    selected = set(by_hash[:count])
    return [picture for picture in pictures if picture in selected]


def _shares(count: int, parts: int) -> list[int]:
    """``count`` shared among ``parts`` as evenly as possible; the first parts get one more if it does not divide."""
    return [count // parts + (i < count % parts) for i in range(parts)]


def check_degradations(name: str, dataset: Dataset) -> None:
    """Raise ConfigError for unknown degradations, bad parameters and wrong orders, before any work."""
    for task, layers in dataset.degradations.items():
        try:
            check_layers(list(layers.items()))
        except (ValueError, TypeError) as error:
            raise config.ConfigError(f"{config.path_of('datasets', name)}: degradations.{task}: {error}") from None


# ---------------------------------------------------------------- opening pictures


def to_float(picture: np.ndarray) -> np.ndarray:
    """uint8 (H, W, 3) -> float32 (H, W, 3) in [0, 1], as degradations take it."""
    return picture.astype(np.float32) / np.float32(255)


@lru_cache(maxsize=8)
def _open_dataset(name: str) -> PreparedDataset:
    return PreparedDataset(name)


@lru_cache(maxsize=2)  # neighbouring jobs cut the same picture
def open_picture(origin: OriginPicture, onto: str, depths: str | None, label: str) -> OpenedPicture:
    """Decode a picture, its ground truth, and its depth map in the dataset ``depths``. Errors begin with ``label``.

    Raises:
        PictureError, DataError: one of them is missing, cannot be read, or has another size.
    """
    if isinstance(origin.where, str):
        data = Path(origin.where).read_bytes()
        photograph, digest = images.read_photograph(data, label), hashlib.sha256(data).hexdigest()
        picture, stored = photograph.pixels, data if photograph.plain_rgb else None
        depth = _depth_map(depths, origin.id, picture.shape, label)
        return OpenedPicture(picture, picture, stored, digest, digest, *depth)
    pairs = _open_dataset(origin.dataset)
    gt = pairs.gt(origin.where)
    base = pairs.lq(origin.where) if onto == "lq" else gt
    if base.shape != gt.shape:
        raise DataError(f"{label}: the pair's pictures differ in size, {base.shape} and {gt.shape}")
    digest = hashlib.sha256(pairs.stored(onto, origin.where)).hexdigest()
    source = pairs.source(origin.where)
    stored = pairs.stored("gt", origin.where) if pairs.bits == 8 else None  # of 16 bits, `gt` above was rounded to 8
    return OpenedPicture(base, gt, stored, digest, source, *_depth_map(depths, origin.id, gt.shape, label))


def _depth_map(depths: str | None, picture: str, shape: tuple[int, ...], label: str) -> tuple[np.ndarray | None, str]:
    """The depth map of a picture, float32 (H, W) in [0, 1], and the SHA-256 of its file; (None, "") without `depth`."""
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


# ---------------------------------------------------------------- rendering


def render_rows(job: RowsToRender) -> list[Row]:
    """The rows of a job. Raises PictureError or DataError with the picture's name."""
    label = f"{job.name}: picture {job.picture}"
    opened = open_picture(job.origin, job.dataset.onto, job.dataset.depth, label)
    try:
        boxes = _boxes(job, opened.gt)
        return [row for index in range(job.first, job.last) for row in _render_box(job, index, opened, boxes[index])]
    except (ValueError, TypeError) as error:
        raise DataError(f"{label}: {error}") from error


def _boxes(job: RowsToRender, picture: np.ndarray) -> list[tuple[int, int, int, int]]:
    """What is cut out of a picture, as boxes (y, x, height, width): its crops, or its centre of a multiple of px."""
    height, width = picture.shape[:2]
    dataset = job.dataset
    if dataset.short_side_px and min(height, width) < dataset.short_side_px:
        raise ValueError(f"the picture is {width}x{height} px, `short_side_px` is {dataset.short_side_px}")
    side = dataset.crop_px
    if side:
        seed = picture_seed(job.name, f"{job.picture}|crops", dataset.seed)
        rng = np.random.Generator(np.random.PCG64(seed))
        candidates = crop_corners(rng, job.crops * dataset.candidates, height, width, side)
        return [(y, x, side, side) for y, x in most_detailed(picture, candidates, job.crops, side)]
    multiple = dataset.multiple_px or 1
    if min(height, width) < multiple:
        raise ValueError(f"the picture is {width}x{height} px, `multiple_px` is {multiple}")
    cut_height, cut_width = height // multiple * multiple, width // multiple * multiple
    return [((height - cut_height) // 2, (width - cut_width) // 2, cut_height, cut_width)]


def _render_box(job: RowsToRender, index: int, opened: OpenedPicture, box: tuple[int, int, int, int]) -> list[Row]:
    """Rows of one box of a picture: with each degradation, or with the one whose turn it is."""
    degradations = job.dataset.degradations
    if job.dataset.clean_darkest_of > 1:
        [task] = _tasks_of(job, index)
        if _stays_clean(job, f"{job.picture}-{index}-{task}"):
            box = _dark_box(job, index, opened.gt)
    is_whole = box[2:] == opened.gt.shape[:2]
    gt = opened.stored if is_whole and opened.stored is not None else images.encode(cut(opened.gt, box))
    if not degradations:
        row_id = f"{job.picture}-{index}" if job.dataset.crop_px else job.picture
        return [Row(id=row_id, task=CLEAN, lq=None, gt=gt, source=opened.source, recipe="")]
    base = to_float(cut(opened.base, box))
    depth = None if opened.depth is None else cut(opened.depth, box)
    source: dict[str, Any] = {
        "dataset": job.origin.dataset,
        "picture": job.origin.id,
        "onto": job.dataset.onto,
        "sha256": opened.sha256,
    }
    if depth is not None:
        source |= {"depth": job.dataset.depth, "depth_sha256": opened.depth_sha256}
    rows = []
    for task in _tasks_of(job, index):
        row = Row(id=f"{job.picture}-{index}-{task}", task=task, lq=None, gt=gt, source=opened.source, recipe="")
        if not job.dataset.on_the_fly:
            seed = picture_seed(job.name, row["id"], job.dataset.seed)
            layers = [] if _stays_clean(job, row["id"]) else list(degradations[task].items())
            lq, drawn = degrade(base, layers, seed, depth)
            recipe = {"dataset": job.name, "id": row["id"], "source": source, "cut": box, **drawn}
            row["lq"], row["recipe"] = images.encode(lq), json.dumps(recipe, sort_keys=True)
        rows.append(row)
    return rows


def _tasks_of(job: RowsToRender, index: int) -> list[str]:
    """The degradations of a crop: all, or the one whose turn it is."""
    tasks = list(job.dataset.degradations)
    return tasks if job.dataset.every else [tasks[(job.offset + index) % len(tasks)]]


def _dark_box(job: RowsToRender, index: int, picture: np.ndarray) -> tuple[int, int, int, int]:
    """The box (y, x, height, width) of the darkest of up to ``clean_darkest_of`` random crops of a picture, uint8 (H, W, 3)."""
    rng = np.random.Generator(np.random.PCG64(picture_seed(job.name, f"{job.picture}-{index}|dark", job.dataset.seed)))
    side, count = job.dataset.crop_px or 0, int(rng.integers(1, job.dataset.clean_darkest_of, endpoint=True))
    height, width = picture.shape[:2]
    tops, lefts = rng.integers(height - side + 1, size=count), rng.integers(width - side + 1, size=count)
    y, x = darkest(picture, list(zip(tops.tolist(), lefts.tolist(), strict=True)), side)
    return y, x, side, side


def _stays_clean(job: RowsToRender, row_id: str) -> bool:
    """Whether a row is one of the dataset's ``clean_share``. All other random numbers of the row are the same with and without it."""
    seed = picture_seed(job.name, f"{row_id}|clean", job.dataset.seed)
    return np.random.Generator(np.random.PCG64(seed)).random() < job.dataset.clean_share
