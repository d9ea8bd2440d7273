"""The fixed crops of a dataset: those whose latents and CLIP embeddings are cached, and the pictures of stage 3."""

from functools import cached_property
from typing import NamedTuple

import numpy as np

from mperceiver import config
from mperceiver.config.datasets import Dataset
from mperceiver.data import DataError
from mperceiver.data.read.loader import PreparedDataset
from mperceiver.seeds import picture_seed


class Window(NamedTuple):
    """A fixed crop: the row it is cut out of, its top-left corner in px, and whether it is mirrored left to right."""

    row: int
    y: int
    x: int
    mirrored: bool


class FixedCrops:
    """The fixed crops of a dataset, which are read like rows. What is drawn for a crop is always the same.

    The ``windows`` of one row follow each other; ``side``: (height, width) of every crop; ``per_picture``: crops of a row.
    """

    def __init__(
        self,
        name: str,
        ids: list[str],
        tasks: list[str],
        windows: list[Window],
        side: tuple[int, int],
        per_picture: int,
    ) -> None:
        self.name, self.ids, self.tasks, self.windows, self.per_picture = name, ids, tasks, windows, per_picture
        self._side = side

    @cached_property
    def prepared(self) -> PreparedDataset:
        """The rows that the crops are cut out of, opened when they are first needed."""
        return PreparedDataset(self.name)

    @property
    def on_the_fly(self) -> bool:
        """As ``PreparedDataset.on_the_fly``."""
        return self.prepared.on_the_fly

    def __len__(self) -> int:
        return len(self.windows)

    def size(self, i: int) -> tuple[int, int]:
        """(height, width) of crop i."""
        return self._side

    def pair(self, i: int) -> np.ndarray:
        """lq and gt of crop i, uint8 (2, h, w, 3). Raises as ``PreparedDataset.pair``."""
        return self.cut(i, self.prepared.pair(self.windows[i].row))

    def cut(self, i: int, pair: np.ndarray) -> np.ndarray:
        """Cut crop i out of its row's pair: uint8 (2, H, W, 3) -> (2, h, w, 3)."""
        _, y, x, mirrored = self.windows[i]
        crop = pad_by_reflection(pair, self._side)[:, y : y + self._side[0], x : x + self._side[1]]
        return crop[:, :, ::-1] if mirrored else crop

    def is_clean(self, i: int) -> bool:
        """As ``PreparedDataset.is_clean``."""
        return self.prepared.is_clean(self.windows[i].row)

    def source(self, i: int) -> str:
        """As ``PreparedDataset.source``."""
        return self.prepared.source(self.windows[i].row)

    def degraded(self, i: int, gt: np.ndarray, seed: int) -> np.ndarray:
        """As ``PreparedDataset.degraded``."""
        return self.prepared.degraded(self.windows[i].row, gt, seed)

    def seed(self, i: int) -> int:
        """Seed of crop i's degradation on the fly; always the same."""
        return picture_seed(self.name, f"{self.ids[i]}|on the fly", 0)


def fixed_crops(name: str) -> FixedCrops:
    """The crops that config/datasets/{name}.yaml asks for under `encode`; without `encode` the whole pictures.

    Raises DataError if there is no `encode` and the pictures differ in size.
    """
    rows = PreparedDataset(name)
    dataset: Dataset = config.load("datasets", name)
    spec = dataset.encode
    if spec is None:
        side = rows.size(0)
        other = next((i for i in range(len(rows)) if rows.size(i) != side), None)
        if other is not None:
            raise DataError(
                f"{name}: picture {rows.ids[other]} is {rows.size(other)}, others {side}; name the crops to train on in "
                f"{config.path_of('datasets', name)}, e.g. encode: {{crop_px: 512, crops: 2}}"
            )
        windows = [Window(i, 0, 0, False) for i in range(len(rows))]
        return FixedCrops(name, rows.ids, rows.tasks, windows, side, 1)
    windows = []
    for i, row_id in enumerate(rows.ids):
        rng = np.random.Generator(np.random.PCG64(picture_seed(name, f"{row_id}|encode", dataset.seed)))
        corners = np.maximum(np.array(rows.size(i)) - spec.crop_px, 0) + 1  # number of possible y, and of possible x
        for y, x, coin in rng.random((spec.crops, 3)):
            windows.append(Window(i, int(y * corners[0]), int(x * corners[1]), bool(spec.flip and coin < 0.5)))
    ids = [f"{row_id}|{k}" for row_id in rows.ids for k in range(spec.crops)]
    tasks = [task for task in rows.tasks for _ in range(spec.crops)]
    return FixedCrops(name, ids, tasks, windows, (spec.crop_px, spec.crop_px), spec.crops)


def pad_by_reflection(pictures: np.ndarray, side: tuple[int, int]) -> np.ndarray:
    """Pad (..., H, W, 3) at the right and bottom edges up to ``side`` (height, width), by reflection without the edge pixel."""
    missing = [max(wanted - actual, 0) for wanted, actual in zip(side, pictures.shape[-3:-1], strict=True)]
    if not any(missing):
        return pictures
    padding = [(0, 0)] * (pictures.ndim - 3) + [(0, missing[0]), (0, missing[1]), (0, 0)]
    return np.pad(pictures, padding, mode="reflect")
