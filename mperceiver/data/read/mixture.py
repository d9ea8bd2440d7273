"""Prepared pairs, or their fixed crops, mixed into batches for training."""

from collections.abc import Mapping, Sequence
from functools import cached_property, partial
from typing import TYPE_CHECKING

import numpy as np

from mperceiver.data import DataError
from mperceiver.data.read.crops import FixedCrops, pad_by_reflection
from mperceiver.data.read.loader import PreparedDataset
from mperceiver.parallel import in_threads

if TYPE_CHECKING:
    import torch

CACHE_BYTES = 2 * 2**30  # a training set whose decoded pairs take no more stays in memory


class Mixture:
    """Datasets mixed for training. All tasks are equally likely, unless ``weights`` say otherwise; within a task, a dataset is
    drawn with probability proportional to √(number of its pictures of that task), and then each of these pictures is equally likely.

    All randomness comes from the generator that is passed in. If all pairs together take at most ``cache_bytes`` decoded,
    they stay in memory once they have been read; otherwise several threads decode those of a batch.
    """

    def __init__(
        self,
        datasets: Sequence[PreparedDataset | FixedCrops],
        tasks: list[str],
        cache_bytes: int = CACHE_BYTES,
        weights: Mapping[str, float] | None = None,
    ) -> None:
        """Rows of tasks not in ``tasks`` are never drawn. Raises DataError for a task, a dataset or a weight without a row.

        ``weights``: how likely a task is drawn by ``draw`` and ``draw_one_task``, relative to 1 for one that is not named.
        """
        self.datasets, self.tasks, self._cache_bytes = list(datasets), tasks, cache_bytes
        if strange := [task for task in weights or () if task not in tasks]:
            raise DataError(f"task_weights: {strange[0]} is none of the training's tasks, {', '.join(tasks)}")
        # Cumulated probabilities of the tasks, the last (1) left out; None where all are equally likely.
        shares = np.array([(weights or {}).get(task, 1.0) for task in tasks])
        self._upper_ends_of_tasks = np.cumsum(shares / shares.sum())[:-1] if weights else None
        index = {task: t for t, task in enumerate(tasks)}
        # Of each dataset: index of each row's task, -1 for a task that is never drawn.
        self._task_of_row = [np.array([index.get(task, -1) for task in d.tasks], np.int64) for d in self.datasets]
        for dataset, task_of_row in zip(self.datasets, self._task_of_row, strict=True):
            if not (task_of_row >= 0).any():
                raise DataError(
                    f"{dataset.name}: has {', '.join(sorted(set(dataset.tasks)))}, none of {', '.join(tasks)}"
                )
        self._rows_of_task: list[list[tuple[int, np.ndarray]]] = []  # task -> [(dataset index, its rows of the task)]
        # task -> cumulated probabilities of its datasets, the last (1) left out
        self._upper_ends: list[np.ndarray] = []
        for t, task in enumerate(tasks):
            candidates = [(d, np.flatnonzero(of_row == t)) for d, of_row in enumerate(self._task_of_row)]
            with_rows = [(d, rows) for d, rows in candidates if len(rows)]
            if not with_rows:
                raise DataError(f"no picture of task {task!r} in {', '.join(d.name for d in self.datasets)}")
            sizes = np.sqrt([len(rows) / self.datasets[d].per_picture for d, rows in with_rows])
            self._rows_of_task.append(with_rows)
            self._upper_ends.append(np.cumsum(sizes / sizes.sum())[:-1])
        # Of each dataset without a stack: row -> decoded pair.
        self._pairs: list[dict[int, np.ndarray]] = [{} for _ in self.datasets]

    # Computed when a picture is first read, so that drawing alone opens no picture.

    @cached_property
    def _sizes(self) -> list[list[tuple[int, int]]]:
        return [[d.size(i) for i in range(len(d))] for d in self.datasets]

    @cached_property
    def cached(self) -> bool:
        """Whether decoded pairs stay in memory."""
        return 6 * sum(h * w for sizes in self._sizes for h, w in sizes) <= self._cache_bytes

    @cached_property
    def _stacks(self) -> list[tuple[np.ndarray, np.ndarray] | None]:
        return [self._new_stack(d) for d in range(len(self.datasets))]

    def _new_stack(self, d: int) -> tuple[np.ndarray, np.ndarray] | None:
        """Memory for all pairs of a dataset, uint8 (n, 2, H, W, 3), and which have been read, bool (n,).

        None if pairs do not stay in memory or differ in size.
        """
        if not self.cached or len(set(self._sizes[d])) != 1:
            return None
        n = len(self.datasets[d])
        return np.empty((n, 2, *self._sizes[d][0], 3), np.uint8), np.zeros(n, bool)

    def draw(self, rng: np.random.Generator, batch: int) -> list[tuple[int, int]]:
        """``batch`` times (dataset index, row), with the probabilities that the class describes."""
        tasks = self._draw_tasks(rng, batch)
        return [self._pick(t, *pair) for t, pair in zip(tasks, rng.random((batch, 2)).tolist(), strict=True)]

    def draw_one_task(self, rng: np.random.Generator, batch: int) -> list[tuple[int, int]]:
        """``batch`` times (dataset index, row), all of one task, each of which is equally likely."""
        (task,) = self._draw_tasks(rng, 1)
        return [self._pick(task, *pair) for pair in rng.random((batch, 2)).tolist()]

    def _draw_tasks(self, rng: np.random.Generator, count: int) -> list[int]:
        if self._upper_ends_of_tasks is None:
            return rng.integers(len(self.tasks), size=count).tolist()
        return np.searchsorted(self._upper_ends_of_tasks, rng.random(count), side="right").tolist()

    def balanced(self, rng: np.random.Generator, per_task: int) -> list[tuple[int, int]]:
        """``per_task`` times (dataset index, row) of each task, in the order of the tasks.

        No row of a task comes twice before every one has come once.
        """
        drawn: list[tuple[int, int]] = []
        for t, candidates in enumerate(self._rows_of_task):
            missing = per_task
            while missing:
                count = min(missing, sum(len(rows) for _, rows in candidates))
                different: dict[tuple[int, int], None] = {}  # used as a set that keeps its order
                while len(different) < count:
                    different[self._pick(t, *rng.random(2).tolist())] = None
                drawn += different
                missing -= count
        return drawn

    def _pick(self, t: int, u: float, v: float) -> tuple[int, int]:
        """(dataset index, row) of task t: ``u`` in [0, 1) selects the dataset, ``v`` in [0, 1) the row in it."""
        d, rows = self._rows_of_task[t][int(np.searchsorted(self._upper_ends[t], u, side="right"))]
        return d, int(rows[int(v * len(rows))])

    def ids(self, drawn: list[tuple[int, int]]) -> list[str]:
        """Names of rows for messages: "dataset: id"."""
        return [f"{self.datasets[d].name}: {self.datasets[d].ids[row]}" for d, row in drawn]

    def labels(self, drawn: list[tuple[int, int]]) -> np.ndarray:
        """Index into ``tasks`` of each row, int64 (B,). Raises DataError for a row of none of the tasks."""
        labels = np.array([self._task_of_row[d][row] for d, row in drawn], np.int64)
        if (labels < 0).any():
            d, row = drawn[int(np.flatnonzero(labels < 0)[0])]
            raise DataError(f"{self.datasets[d].name}: picture {self.datasets[d].ids[row]} is of none of the tasks")
        return labels

    def classes(self, drawn: list[tuple[int, int]], has_clean: bool) -> np.ndarray:
        """What a predictor should say of each row, int64 (B,): index into ``tasks``, or, if it ``has_clean`` as a class, the number
        of tasks where nothing is wrong with the row's degraded picture (``clean_share``).
        """
        labels = self.labels(drawn)
        return np.where([self._is_clean[d][row] for d, row in drawn], len(self.tasks), labels) if has_clean else labels

    @cached_property
    def _is_clean(self) -> list[list[bool]]:
        return [[d.is_clean(i) for i in range(len(d))] for d in self.datasets]

    def batch(
        self,
        drawn: list[tuple[int, int]],
        crop_px: int | tuple[int, int],
        rng: np.random.Generator,
        flip: bool = True,
    ) -> "tuple[torch.Tensor, torch.Tensor, torch.Tensor]":
        """Cut a random crop out of each pair, at the same place of lq and gt; ``flip`` mirrors half of them left to right.

        A picture smaller than the crop is reflected at its right and bottom edges.

        Args:
            crop_px: (height, width) of the crops, or the side of square ones.

        Returns:
            lq and gt, float32 (B, 3, height, width) in [0, 1]; index into ``tasks``, int64 (B,).

        Raises:
            DataError: a picture has no ground truth or one of another size, or is of none of the tasks.
        """
        import torch

        labels = self.labels(drawn)
        crop = (crop_px, crop_px) if isinstance(crop_px, int) else crop_px
        datasets, rows = np.array(drawn, np.int64).reshape(-1, 2).T
        sizes = np.array([self._sizes[d][row] for d, row in drawn]).reshape(-1, 2)
        rooms = np.maximum(sizes - crop, 0).T + 1  # number of possible y, and of possible x
        y, x = (rng.random((2, len(drawn))) * rooms).astype(np.int64)
        mirrored = rng.random(len(drawn)) < 0.5
        out = np.empty((len(drawn), 2, 3, *crop), np.uint8)
        for d in np.unique(datasets).tolist():
            places = np.flatnonzero(datasets == d)  # in the batch
            stack_and_read = self._stacks[d]
            if stack_and_read is None or any(np.less(self._sizes[d][0], crop)):
                pairs = in_threads(partial(self._pair, d), rows[places].tolist())
                for k, pair in zip(places.tolist(), pairs, strict=True):
                    pair = pad_by_reflection(pair, crop)
                    out[k] = pair[:, y[k] : y[k] + crop[0], x[k] : x[k] + crop[1]].transpose(0, 3, 1, 2)
                continue
            stack, is_read = stack_and_read
            different = np.unique(rows[places])
            for unread in different[~is_read[different]].tolist():
                stack[unread], is_read[unread] = self.datasets[d].pair(unread), True
            views = np.lib.stride_tricks.sliding_window_view(stack, crop, axis=(2, 3))
            out[places] = views[rows[places], :, y[places], x[places]]  # (k, 2, 3, height, width)
        if flip:
            out[mirrored] = out[mirrored][..., ::-1]
        batch = torch.from_numpy(out).float().div_(255)
        for k, (d, row) in enumerate(drawn):
            if self.datasets[d].on_the_fly:
                seed = self.datasets[d].seed(row)
                seed = int(rng.integers(2**62)) if seed is None else seed
                lq = self.datasets[d].degraded(row, out[k, 1].transpose(1, 2, 0), seed)
                batch[k, 0] = torch.from_numpy(lq).permute(2, 0, 1)
        return batch[:, 0].contiguous(), batch[:, 1].contiguous(), torch.from_numpy(labels)

    def _pair(self, d: int, row: int) -> np.ndarray:
        """lq and gt of a row, uint8 (2, H, W, 3); kept in memory if all pairs fit."""
        if row in self._pairs[d]:
            return self._pairs[d][row]
        pair = self.datasets[d].pair(row)
        if self.cached:
            self._pairs[d][row] = pair
        return pair
