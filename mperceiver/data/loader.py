"""Read prepared pairs: one by one by number, or mixed into batches for training."""

import json
import struct
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mperceiver import images
from mperceiver.data import DataError, prepared_file

if TYPE_CHECKING:
    import torch

CACHE_BYTES = 2 * 2**30  # a training set that decodes to less stays in memory decoded


class Prepared:
    """The rows of data/prepared/{name}.arrow, memory-mapped: opening costs nothing, a picture is read when asked for."""

    def __init__(self, name: str):
        """Raises DataError if the file is missing or is no Arrow file."""
        import pyarrow as pa

        self.name = name
        path: Path = prepared_file(name)
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

    def png(self, column: str, i: int) -> bytes:
        """The PNG of picture i, `lq` or `gt`. Raises DataError if it has no ground truth."""
        data = self._table[column][i].as_py()
        if data is None:
            raise DataError(f"{self.name}: picture {self.ids[i]} has no ground truth ({column} is empty)")
        return data

    def source(self, i: int) -> str:
        """What is known of where picture i is from: a hash."""
        return self._table["source"][i].as_py()

    def recipe(self, i: int) -> dict[str, Any] | None:
        """What ``mix.replay`` needs to make lq of gt again; none for pictures this project did not degrade."""
        text = self._table["recipe"][i].as_py()
        return json.loads(text) if text else None

    def size(self, i: int) -> tuple[int, int]:
        """(height, width) of lq i, read from the PNG's header."""
        header = self._table["lq"][i].as_buffer()[:24].to_pybytes()  # not the whole picture: it stays on disk
        if header[:4] != b"\x89PNG" or len(header) < 24:
            raise DataError(
                f"{self.name}: lq of picture {self.ids[i]} is no PNG; make it again: mperceiver prepare {self.name}"
            )
        width, height = struct.unpack(">II", header[16:24])
        return height, width

    def _decode(self, column: str, i: int) -> np.ndarray:
        return images.decode(self.png(column, i), name=f"{self.name}: {column} of picture {self.ids[i]}")


class Mixture:
    """Prepared datasets mixed for training: tasks are equally likely, datasets of a task by the root of their size.

    All randomness comes from the generator that is passed in. Pictures stay in memory decoded when all of them together are
    at most ``cache_bytes``.
    """

    def __init__(self, datasets: list[Prepared], tasks: list[str], cache_bytes: int = CACHE_BYTES):
        """Rows of other tasks are never drawn. Raises DataError for a task, or a dataset, without a row."""
        self.datasets, self.tasks = datasets, tasks
        number = {task: t for t, task in enumerate(tasks)}
        self._task = [np.array([number.get(task, -1) for task in d.tasks], np.int64) for d in datasets]  # of each row
        for dataset, of_rows in zip(datasets, self._task, strict=True):
            if not (of_rows >= 0).any():
                raise DataError(
                    f"{dataset.name}: has {', '.join(sorted(set(dataset.tasks)))}, none of {', '.join(tasks)}"
                )
        self._rows: list[list[tuple[int, np.ndarray]]] = []  # task -> [(dataset, its rows of that task)]
        self._cumulated: list[np.ndarray] = []  # task -> upper ends of the datasets' shares
        for t, task in enumerate(tasks):
            parts = [(d, np.flatnonzero(of_rows == t)) for d, of_rows in enumerate(self._task)]
            parts = [(d, rows) for d, rows in parts if len(rows)]
            if not parts:
                raise DataError(f"no picture of task {task!r} in {', '.join(d.name for d in datasets)}")
            share = np.sqrt([len(rows) for _, rows in parts])
            self._rows.append(parts)
            self._cumulated.append(np.cumsum(share / share.sum())[:-1])
        self._sizes = [[d.size(i) for i in range(len(d))] for d in datasets]
        self.cached = 6 * sum(h * w for sizes in self._sizes for h, w in sizes) <= cache_bytes
        self._held: list[dict[int, np.ndarray]] = [{} for _ in datasets]
        self._stacks = [self._stack(d) for d in range(len(datasets))]

    def _stack(self, d: int) -> tuple[np.ndarray, np.ndarray] | None:
        """Room for all pairs of a dataset, (n, 2, H, W, 3), and which are there; none unless all are of one size."""
        if not self.cached or len(set(self._sizes[d])) != 1:
            return None
        n = len(self.datasets[d])
        return np.empty((n, 2, *self._sizes[d][0], 3), np.uint8), np.zeros(n, bool)

    def draw(self, rng: np.random.Generator, batch: int) -> list[tuple[int, int]]:
        """``batch`` pairs (dataset index, row): uniform over tasks, root of size over datasets, uniform over pictures."""
        of_task = rng.integers(len(self.tasks), size=batch).tolist()
        return [self._one(t, *pair) for t, pair in zip(of_task, rng.random((batch, 2)).tolist(), strict=True)]

    def balanced(self, rng: np.random.Generator, per_task: int) -> list[tuple[int, int]]:
        """``per_task`` pairs (dataset index, row) of each task, in the order of the tasks; none twice before all were there."""
        drawn: list[tuple[int, int]] = []
        for t, parts in enumerate(self._rows):
            left = per_task
            while left:
                round_ = min(left, sum(len(rows) for _, rows in parts))
                mine: dict[tuple[int, int], None] = {}  # a set that keeps its order
                while len(mine) < round_:
                    mine[self._one(t, *rng.random(2).tolist())] = None
                drawn += mine
                left -= round_
        return drawn

    def _one(self, t: int, which: float, place: float) -> tuple[int, int]:
        """The pair (dataset index, row) of task t at two places in [0, 1): among its datasets, and in the one found there."""
        d, rows = self._rows[t][int(np.searchsorted(self._cumulated[t], which, side="right"))]
        return d, int(rows[int(place * len(rows))])

    def batch(
        self, indices: list[tuple[int, int]], crop_px: int, rng: np.random.Generator, flip: bool = True
    ) -> "tuple[torch.Tensor, torch.Tensor, torch.Tensor]":
        """Cut one random square out of each pair, the same of lq and gt, half of them mirrored left to right if ``flip``.

        Returns:
            lq and gt, float32 (B, 3, crop_px, crop_px) in [0, 1]; index into ``tasks``, int64 (B,).

        Raises:
            DataError: a picture is smaller than the crop, has no ground truth or one of another size, or is of another task.
        """
        import torch

        datasets, rows = np.array(indices, np.int64).reshape(-1, 2).T
        task = np.array([self._task[d][row] for d, row in indices], np.int64)
        sizes = np.array([self._sizes[d][row] for d, row in indices]).reshape(-1, 2)
        for wrong, why in (
            (task < 0, "is of none of the tasks"),
            (sizes.min(1) < crop_px, f"is smaller than {crop_px} px"),
        ):
            if wrong.any():
                d, row = indices[int(np.flatnonzero(wrong)[0])]
                raise DataError(f"{self.datasets[d].name}: picture {self.datasets[d].ids[row]} {why}")
        y, x = (rng.random((2, len(indices))) * (sizes.T - crop_px + 1)).astype(np.int64)
        mirrored = rng.random(len(indices)) < 0.5
        out = np.empty((len(indices), 2, 3, crop_px, crop_px), np.uint8)
        for d in np.unique(datasets):
            mine = np.flatnonzero(datasets == d)
            if self._stacks[d] is None:
                for k in mine:
                    pair = self._pair(d, rows[k])
                    out[k] = pair[:, y[k] : y[k] + crop_px, x[k] : x[k] + crop_px].transpose(0, 3, 1, 2)
                continue
            stack, there = self._stacks[d]
            for row in np.unique(rows[mine])[~there[np.unique(rows[mine])]]:
                stack[row], there[row] = self._pair(d, row, keep=False), True
            views = np.lib.stride_tricks.sliding_window_view(stack, (crop_px, crop_px), axis=(2, 3))
            out[mine] = views[rows[mine], :, y[mine], x[mine]]  # (k, 2, 3, c, c)
        if flip:
            out[mirrored] = out[mirrored][..., ::-1]
        pairs = torch.from_numpy(out).float().div_(255)
        return pairs[:, 0].contiguous(), pairs[:, 1].contiguous(), torch.from_numpy(task)

    def _pair(self, d: int, row: int, keep: bool = True) -> np.ndarray:
        """lq and gt of a row, uint8 (2, H, W, 3)."""
        if row in self._held[d]:
            return self._held[d][row]
        dataset = self.datasets[d]
        lq, gt = dataset.lq(row), dataset.gt(row)
        if lq.shape != gt.shape:
            raise DataError(f"{dataset.name}: picture {dataset.ids[row]}: lq is {lq.shape}, gt is {gt.shape}")
        pair = np.stack([lq, gt])
        if keep and self.cached:
            self._held[d][row] = pair
        return pair
