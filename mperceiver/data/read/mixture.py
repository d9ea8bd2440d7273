"""Prepared pairs, or their fixed crops, mixed into batches for training."""

from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from mperceiver.data import DataError
from mperceiver.data.read.crops import FixedCrops, grown
from mperceiver.data.read.loader import PreparedDataset
from mperceiver.parallel import in_threads

if TYPE_CHECKING:
    import torch

CACHE_BYTES = 2 * 2**30  # a training set that decodes to less stays in memory decoded


class Mixture:
    """Datasets mixed for training: tasks are equally likely, datasets of a task by the root of their pictures' number.

    All randomness comes from the generator that is passed in. Pictures stay in memory decoded when all of them together are
    at most ``cache_bytes``; else those of a batch are decoded by several threads.
    """

    def __init__(self, datasets: list[PreparedDataset | FixedCrops], tasks: list[str], cache_bytes: int = CACHE_BYTES):
        """Rows of other tasks are never drawn. Raises DataError for a task, or a dataset, without a row."""
        self.datasets, self.tasks, self._cache_bytes = datasets, tasks, cache_bytes
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
            share = np.sqrt([len(rows) / datasets[d].per_picture for d, rows in parts])
            self._rows.append(parts)
            self._cumulated.append(np.cumsum(share / share.sum())[:-1])
        self._held: list[dict[int, np.ndarray]] = [{} for _ in datasets]

    # Read when a picture is first asked for: who only draws never opens the pictures.

    @cached_property
    def _sizes(self) -> list[list[tuple[int, int]]]:
        return [[d.size(i) for i in range(len(d))] for d in self.datasets]

    @cached_property
    def cached(self) -> bool:
        return 6 * sum(h * w for sizes in self._sizes for h, w in sizes) <= self._cache_bytes

    @cached_property
    def _stacks(self) -> list[tuple[np.ndarray, np.ndarray] | None]:
        return [self._stack(d) for d in range(len(self.datasets))]

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

    def ids(self, drawn: list[tuple[int, int]]) -> list[str]:
        """Names of rows, to be told in a message."""
        return [f"{self.datasets[d].name}: {self.datasets[d].ids[row]}" for d, row in drawn]

    def labels(self, drawn: list[tuple[int, int]]) -> np.ndarray:
        """Index into ``tasks`` of each row, int64 (B,). Raises DataError for a row of none of them."""
        task = np.array([self._task[d][row] for d, row in drawn], np.int64)
        if (task < 0).any():
            d, row = drawn[int(np.flatnonzero(task < 0)[0])]
            raise DataError(f"{self.datasets[d].name}: picture {self.datasets[d].ids[row]} is of none of the tasks")
        return task

    def batch(
        self, indices: list[tuple[int, int]], crop_px: int, rng: np.random.Generator, flip: bool = True
    ) -> "tuple[torch.Tensor, torch.Tensor, torch.Tensor]":
        """Cut one random square out of each pair, the same of lq and gt, half of them mirrored left to right if ``flip``.

        A picture smaller than the crop is reflected at its right and bottom edges up to it.

        Returns:
            lq and gt, float32 (B, 3, crop_px, crop_px) in [0, 1]; index into ``tasks``, int64 (B,).

        Raises:
            DataError: a picture has no ground truth or one of another size, or is of another task.
        """
        import torch

        task = self.labels(indices)
        datasets, rows = np.array(indices, np.int64).reshape(-1, 2).T
        sizes = np.array([self._sizes[d][row] for d, row in indices]).reshape(-1, 2)
        y, x = (rng.random((2, len(indices))) * (np.maximum(sizes.T, crop_px) - crop_px + 1)).astype(np.int64)
        mirrored = rng.random(len(indices)) < 0.5
        out = np.empty((len(indices), 2, 3, crop_px, crop_px), np.uint8)
        for d in np.unique(datasets):
            mine = np.flatnonzero(datasets == d)
            if self._stacks[d] is None or min(self._sizes[d][0]) < crop_px:
                for k, pair in zip(mine, in_threads(lambda row, d=d: self._pair(d, row), rows[mine]), strict=True):
                    pair = grown(pair, (crop_px, crop_px))
                    out[k] = pair[:, y[k] : y[k] + crop_px, x[k] : x[k] + crop_px].transpose(0, 3, 1, 2)
                continue
            stack, there = self._stacks[d]
            for row in np.unique(rows[mine])[~there[np.unique(rows[mine])]]:
                stack[row], there[row] = self.datasets[d].pair(row), True
            views = np.lib.stride_tricks.sliding_window_view(stack, (crop_px, crop_px), axis=(2, 3))
            out[mine] = views[rows[mine], :, y[mine], x[mine]]  # (k, 2, 3, c, c)
        if flip:
            out[mirrored] = out[mirrored][..., ::-1]
        pairs = torch.from_numpy(out).float().div_(255)
        for k, (d, row) in enumerate(indices):
            if self.datasets[d].on_the_fly:
                seed = self.datasets[d].seed(row)
                seed = int(rng.integers(2**62)) if seed is None else seed
                lq = self.datasets[d].degraded(row, out[k, 1].transpose(1, 2, 0), seed)
                pairs[k, 0] = torch.from_numpy(lq).permute(2, 0, 1)
        return pairs[:, 0].contiguous(), pairs[:, 1].contiguous(), torch.from_numpy(task)

    def _pair(self, d: int, row: int) -> np.ndarray:
        """lq and gt of a row, uint8 (2, H, W, 3), held where all fit into memory."""
        if row in self._held[d]:
            return self._held[d][row]
        pair = self.datasets[d].pair(row)
        if self.cached:
            self._held[d][row] = pair
        return pair
