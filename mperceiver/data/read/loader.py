"""Read prepared pairs, one by one by number."""

import json
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from mperceiver import config, images, paths
from mperceiver.data import CLEAN, DataError
from mperceiver.degradations.mix import draw_recipe, render


class PreparedDataset:
    """The rows of data/prepared/{name}.arrow, memory-mapped: opening costs nothing, a picture is read when asked for."""

    per_picture = 1  # rows of one picture that only differ in their place in it

    def __init__(self, name: str):
        """Raises DataError if the file is missing or is no Arrow file."""
        import pyarrow as pa

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
        return self._table["id"].to_pylist()

    @cached_property
    def tasks(self) -> list[str]:
        return self._table["task"].to_pylist()

    def lq(self, i: int) -> np.ndarray:
        """Degraded picture i, uint8 (H, W, 3). Raises PictureError naming dataset and id."""
        return self._decode("lq", i)

    def gt(self, i: int) -> np.ndarray:
        """Ground truth of picture i, uint8 (H, W, 3). Raises DataError if it has none, PictureError if it is damaged."""
        return self._decode("gt", i)

    def stacked(self, columns: tuple[str, ...], i: int) -> np.ndarray:
        """Several of `lq` and `gt` of picture i behind one another: uint8 (H, W, 3 each). Raises as they do."""
        return np.concatenate([self._decode(column, i) for column in columns], axis=2)

    def stored(self, column: str, i: int) -> bytes:
        """The PNG or JPEG of picture i, `lq` or `gt`; a clean picture's lq is its gt. Raises DataError if it has none."""
        data = self._scalar(column, i).as_py()
        if data is None:
            what = "ground truth" if column == "gt" else "degraded picture, it is degraded on the fly"
            raise DataError(f"{self.name}: picture {self.ids[i]} has no {what} ({column} is empty)")
        return data

    def has(self, column: str, i: int) -> bool:
        """Whether picture i has bytes of its own in a column: a clean one has no `lq`, a real one may have no `gt`."""
        return self._table[column][i].is_valid

    def _scalar(self, column: str, i: int) -> Any:
        """The bytes of a picture, still on disk."""
        scalar = self._table[column][i]
        return self._table["gt"][i] if not scalar.is_valid and self.tasks[i] == CLEAN else scalar

    def source(self, i: int) -> str:
        """What is known of where picture i is from: a hash."""
        return self._table["source"][i].as_py()

    def recipe(self, i: int) -> dict[str, Any] | None:
        """What ``mix.replay`` needs to make lq of gt again; none for pictures this project did not degrade."""
        text = self._table["recipe"][i].as_py()
        return json.loads(text) if text else None

    @cached_property
    def on_the_fly(self) -> bool:
        """Whether the rows have no lq: it is made of gt whenever a row is read (see config.Dataset)."""
        without = self._table["lq"].is_null().to_pylist()
        return any(task != CLEAN for task, none in zip(self.tasks, without, strict=True) if none)

    @cached_property
    def _ways(self) -> dict[str, list[tuple[str, dict]]]:
        ways = config.load("datasets", self.name).degradations
        return {task: list(layers.items()) for task, layers in ways.items()}

    def pair(self, i: int) -> np.ndarray:
        """lq and gt of a row, uint8 (2, H, W, 3); gt twice where lq is made on the fly. Raises DataError if they differ in size."""
        gt = self.gt(i)
        lq = gt if self.on_the_fly else self.lq(i)
        if lq.shape != gt.shape:
            raise DataError(f"{self.name}: picture {self.ids[i]}: lq is {lq.shape}, gt is {gt.shape}")
        return np.stack([lq, gt])

    def degraded(self, i: int, gt: np.ndarray, seed: int) -> np.ndarray:
        """A crop of gt i, uint8 (h, w, 3), degraded on the fly: float32 (h, w, 3) in [0, 1], not rounded to 8 bit."""
        return render(gt.astype(np.float32) / np.float32(255), draw_recipe(self._ways[self.tasks[i]], seed)).astype(
            np.float32
        )

    def seed(self, i: int) -> int | None:
        """Of what is drawn on the fly for row i; none: drawn anew each time."""
        return None

    def size(self, i: int) -> tuple[int, int]:
        """(height, width) of row i, read from the file's header. Raises PictureError."""
        import pyarrow as pa

        column = "gt" if self.on_the_fly else "lq"
        header = pa.BufferReader(self._scalar(column, i).as_buffer())  # not the whole picture: it stays on disk
        return images.size(header, f"{self.name}: {column} of picture {self.ids[i]}")

    def _decode(self, column: str, i: int) -> np.ndarray:
        return images.decode(self.stored(column, i), name=f"{self.name}: {column} of picture {self.ids[i]}")
