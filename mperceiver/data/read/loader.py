"""Read the rows of a prepared dataset by their index."""

import json
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from mperceiver import config, images, paths
from mperceiver.config.datasets import Dataset
from mperceiver.data import CLEAN, DataError

HEADER_BYTES = 32  # of a PNG, which hold its bits a value


class PreparedDataset:
    """The rows of data/prepared/{name}.arrow, memory-mapped: opening reads no picture; each is read when asked for."""

    per_picture = 1  # rows that are crops of one picture; here every row is a picture of its own

    def __init__(self, name: str) -> None:
        """Raises DataError if the file is missing or not an Arrow file; ConfigError if ``name`` is no name."""
        import pyarrow as pa

        config.check_name("datasets", name)
        self.name = name
        path: Path = paths.prepared_file(name)
        try:
            self._table = pa.ipc.open_file(pa.memory_map(str(path))).read_all()
        except FileNotFoundError:
            raise DataError(
                f"{path}: no such file; the dataset is not prepared yet: mperceiver prepare {name}"
            ) from None
        except pa.ArrowInvalid as error:
            raise DataError(f"{path}: not an Arrow file ({error}); make it again: mperceiver prepare {name}") from None

    def __len__(self) -> int:
        return self._table.num_rows

    @cached_property
    def ids(self) -> list[str]:
        """The id of each row."""
        return self._table["id"].to_pylist()

    @cached_property
    def tasks(self) -> list[str]:
        """The task of each row; CLEAN for a picture that is not degraded."""
        return self._table["task"].to_pylist()

    @cached_property
    def bits(self) -> int:
        """Bits a value of its pictures as they are stored: 16 where `pairs.bits` said so when it was prepared, else 8."""
        import pyarrow as pa

        columns = [column for column in ("gt", "lq") if len(self) and self.has(column, 0)]
        headers = [pa.BufferReader(self._table[column][0].as_buffer()).read(HEADER_BYTES) for column in columns]
        return 16 if any(map(images.is_deep, headers)) else 8

    def lq(self, i: int) -> np.ndarray:
        """Degraded picture of row i, uint8 (H, W, 3), rounded to 8 bits. Raises PictureError with the dataset and id if it is damaged."""
        return self._decode("lq", i)

    @cached_property
    def unclipped(self) -> bool:
        """Whether it has the noise of `clip: false`, which is drawn again whenever a row is read."""
        dataset: Dataset = config.load("datasets", self.name)
        return dataset.unclipped

    @property
    def in_float(self) -> bool:
        """Whether methods are given float pictures: noise that was not clipped, or pictures of 16 bits."""
        return self.unclipped or self.bits == 16

    def lq_float(self, i: int) -> np.ndarray:
        """Degraded picture of row i as a method gets it, float32 (H, W, 3): in [0, 1], or in any range with `clip: false`."""
        from mperceiver.degradations.mix import render, unclipped

        recipe = self.recipe(i)
        return render(self.gt_float(i), recipe) if recipe is not None and unclipped(recipe) else self._float("lq", i)

    def gt_float(self, i: int) -> np.ndarray:
        """Ground truth of row i with all its bits, float32 (H, W, 3) in [0, 1]. Raises as ``gt``."""
        return self._float("gt", i)

    def gt(self, i: int) -> np.ndarray:
        """Ground truth of row i, uint8 (H, W, 3), rounded to 8 bits. Raises DataError if it has none, PictureError if it is damaged."""
        return self._decode("gt", i)

    def stacked(self, columns: tuple[str, ...], i: int) -> np.ndarray:
        """The pictures of several columns of row i, joined along the channels: (H, W, 3 x columns), uint8 or float32 (``in_float``)."""
        if self.in_float and "lq" in columns:
            pictures = [self.lq_float(i) if column == "lq" else self._float(column, i) for column in columns]
            return np.concatenate(pictures, axis=2)
        return np.concatenate([self._decode(column, i) for column in columns], axis=2)

    def stored(self, column: str, i: int) -> bytes:
        """The PNG or JPEG of row i; the lq of a clean picture is its gt. Raises DataError if there is none."""
        data = self._bytes_on_disk(column, i).as_py()
        if data is None:
            what = "ground truth" if column == "gt" else "degraded picture, it is degraded on the fly"
            raise DataError(f"{self.name}: picture {self.ids[i]} has no {what} ({column} is empty)")
        return data

    def has(self, column: str, i: int) -> bool:
        """Whether row i stores a picture in a column: a clean one has no lq, a real one may have no gt."""
        return self._table[column][i].is_valid

    def _bytes_on_disk(self, column: str, i: int) -> Any:
        """Arrow scalar of a picture's bytes, which are not read yet."""
        scalar = self._table[column][i]
        return self._table["gt"][i] if not scalar.is_valid and self.tasks[i] == CLEAN else scalar

    def source(self, i: int) -> str:
        """SHA-256 of the file or files that row i was made of."""
        return self._table["source"][i].as_py()

    def recipe(self, i: int) -> dict[str, Any] | None:
        """The recipe that renders lq of gt again; None for pictures that this project did not degrade."""
        text = self._table["recipe"][i].as_py()
        return json.loads(text) if text else None

    def is_clean(self, i: int) -> bool:
        """Whether row i was prepared without any degradation. A ready-made pair never counts as clean: its file does not say how it was degraded."""
        recipe = self.recipe(i)
        return self.tasks[i] == CLEAN or (recipe is not None and not recipe["layers"])

    @cached_property
    def on_the_fly(self) -> bool:
        """Whether the rows have no lq, because it is made of gt each time a row is read (see config.datasets.Dataset)."""
        is_empty = self._table["lq"].is_null().to_pylist()
        return any(empty and task != CLEAN for task, empty in zip(self.tasks, is_empty, strict=True))

    @cached_property
    def _degradations(self) -> dict[str, list[tuple[str, dict[str, Any]]]]:
        dataset: Dataset = config.load("datasets", self.name)
        return {task: list(layers.items()) for task, layers in dataset.degradations.items()}

    def pair(self, i: int) -> np.ndarray:
        """lq and gt of row i, uint8 (2, H, W, 3); gt twice if lq is made on the fly. Raises DataError if their sizes differ."""
        gt = self.gt(i)
        lq = gt if self.on_the_fly else self.lq(i)
        if lq.shape != gt.shape:
            raise DataError(f"{self.name}: picture {self.ids[i]}: lq is {lq.shape}, gt is {gt.shape}")
        return np.stack([lq, gt])

    def degraded(self, i: int, gt: np.ndarray, seed: int) -> np.ndarray:
        """A crop of the gt of row i, uint8 (h, w, 3), degraded on the fly: float32 (h, w, 3) in [0, 1], not rounded."""
        from mperceiver.degradations.mix import draw_recipe, render  # imports SciPy, which other datasets do not need

        recipe = draw_recipe(self._degradations[self.tasks[i]], seed)
        return render(gt.astype(np.float32) / np.float32(255), recipe).astype(np.float32)

    def seed(self, i: int) -> int | None:
        """Seed of row i's degradation on the fly; None: a new one is drawn each time."""
        return None

    def size(self, i: int) -> tuple[int, int]:
        """(height, width) of row i, from the header of its picture. Raises PictureError."""
        import pyarrow as pa

        column: str = "gt" if self.on_the_fly else "lq"
        header = pa.BufferReader(self._bytes_on_disk(column, i).as_buffer())  # the rest of the picture stays on disk
        return images.size(header, f"{self.name}: {column} of picture {self.ids[i]}")

    def _decode(self, column: str, i: int) -> np.ndarray:
        return images.decode(self.stored(column, i), name=f"{self.name}: {column} of picture {self.ids[i]}")

    def _float(self, column: str, i: int) -> np.ndarray:
        """float32 (H, W, 3) in [0, 1]."""
        if self.bits == 8:
            return self._decode(column, i).astype(np.float32) / np.float32(255)
        name = f"{self.name}: {column} of picture {self.ids[i]}"
        return images.decode_deep(self.stored(column, i), name).astype(np.float32) / np.float32(65_535)
