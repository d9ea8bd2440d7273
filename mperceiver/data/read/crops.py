"""The fixed crops of a dataset on which training stands: those whose frozen work is cached, and stage 3's pictures."""

from functools import cached_property
from typing import NamedTuple

import numpy as np

from mperceiver import config
from mperceiver.data import DataError
from mperceiver.data.read.loader import PreparedDataset
from mperceiver.seeds import picture_seed


class Window(NamedTuple):
    """A fixed crop: the row it is cut out of, its top-left corner, and whether it is mirrored left to right."""

    row: int
    y: int
    x: int
    mirrored: bool


class FixedCrops:
    """The crops of a dataset on which training stands, as rows of their own; what is drawn of them is always the same.

    ``windows`` of one row follow each other; their side is (height, width) ``side``.
    """

    on_the_fly = property(lambda self: self.prepared.on_the_fly)

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
        return PreparedDataset(self.name)

    def __len__(self) -> int:
        return len(self.windows)

    def size(self, i: int) -> tuple[int, int]:
        """(height, width) of crop i."""
        return self._side

    def pair(self, i: int) -> np.ndarray:
        """As ``PreparedDataset.pair``."""
        return self.cut(i, self.prepared.pair(self.windows[i].row))

    def cut(self, i: int, pair: np.ndarray) -> np.ndarray:
        """Crop i out of its row's pair: uint8 (2, H, W, 3) -> (2, h, w, 3)."""
        _, y, x, mirrored = self.windows[i]
        cut = grown(pair, self._side)[:, y : y + self._side[0], x : x + self._side[1]]
        return cut[:, :, ::-1] if mirrored else cut

    def degraded(self, i: int, gt: np.ndarray, seed: int) -> np.ndarray:
        """As ``PreparedDataset.degraded``."""
        return self.prepared.degraded(self.windows[i].row, gt, seed)

    def seed(self, i: int) -> int:
        """As ``PreparedDataset.seed``: a crop is always degraded alike."""
        return picture_seed(self.name, f"{self.ids[i]}|on the fly", 0)


def fixed_crops(name: str) -> FixedCrops:
    """The crops that config/datasets/{name}.yaml asks for under `encode`, or the whole pictures.

    Raises DataError if it asks for none and the pictures are not all of one size.
    """
    rows, dataset = PreparedDataset(name), config.load("datasets", name)
    spec = dataset.encode
    if spec is None:
        side = rows.size(0)
        odd = next((i for i in range(len(rows)) if rows.size(i) != side), None)
        if odd is not None:
            raise DataError(
                f"{name}: picture {rows.ids[odd]} is {rows.size(odd)}, others {side}; name the crops to train on in "
                f"{config.path_of('datasets', name)}, e.g. encode: {{crop_px: 512, crops: 2}}"
            )
        windows = [Window(i, 0, 0, False) for i in range(len(rows))]
        return FixedCrops(name, rows.ids, rows.tasks, windows, side, 1)
    windows = []
    for i, row_id in enumerate(rows.ids):
        rng = np.random.Generator(np.random.PCG64(picture_seed(name, f"{row_id}|encode", dataset.seed)))
        room = np.maximum(np.array(rows.size(i)) - spec.crop_px, 0) + 1
        for y, x, coin in rng.random((spec.crops, 3)):
            windows.append(Window(i, int(y * room[0]), int(x * room[1]), bool(spec.flip and coin < 0.5)))
    ids = [f"{row_id}|{k}" for row_id in rows.ids for k in range(spec.crops)]
    tasks = [task for task in rows.tasks for _ in range(spec.crops)]
    return FixedCrops(name, ids, tasks, windows, (spec.crop_px, spec.crop_px), spec.crops)


def grown(pair: np.ndarray, side: tuple[int, int]) -> np.ndarray:
    """(..., H, W, 3) with what is smaller than ``side`` reflected (101) at its right and bottom edges up to it."""
    missing = [max(wanted - there, 0) for wanted, there in zip(side, pair.shape[-3:-1], strict=True)]
    if not any(missing):
        return pair
    return np.pad(pair, [(0, 0)] * (pair.ndim - 3) + [(0, missing[0]), (0, missing[1]), (0, 0)], mode="reflect")
