"""Any picture of any size through any method: padding, overlapping tiles, self-ensemble.

A method's model is a restorer, an object with

- ``multiple``, ``minimum``: pixels that a side must be a multiple of, and at least; ``batch`` (1 if it has none):
  tiles it takes at once at most; ``device`` (the CPU if it has none): where it works; ``sees`` (``("lq",)`` if it has
  none): which pictures of a pair it is given, as three channels each; a ceiling is shown ``gt``,
- ``look(whole) -> seen``: what is to be known of whole pictures, (B, 3, H, W) in [0, 1], padded, on the CPU: for MPerceiver
  the CLIP embedding and the degradations' probabilities,
- ``restore(whole, seen, seeds, tiles) -> restored``: as large, RGB, on the CPU again; ``seeds[b]`` is where all that is
  drawn for picture b comes from, ``tiles`` (mperceiver.tiling) how its work is cut.

Whole pictures stay on the CPU: the device holds their latents and the work on one batch of tiles.
"""

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mperceiver import config, files, images, lineage, paths
from mperceiver.config.methods import Method
from mperceiver.data.read.loader import PreparedDataset
from mperceiver.images import PictureError
from mperceiver.progress import progress
from mperceiver.seeds import picture_seed

if TYPE_CHECKING:
    import torch

    from mperceiver.models.tiling import Tiles
    from mperceiver.restoring.memory import Plan

# (quarter turns, mirrored) of the views that a self-ensemble averages; a half turn and a mirror make the vertical flip.
VIEWS = {
    "none": [(0, False)],
    "flip2": list(product((0,), (False, True))),
    "flip4": list(product((0, 2), (False, True))),
    "geometric8": list(product(range(4), (False, True))),
}
PROBABILITIES = "probabilities.csv"  # beside the restored pictures, of a method that looks at degradations
HELD = 4  # batches that wait for pictures of their size, or to be written; pictures read ahead


class Identity:
    """The degraded picture itself: what a method is measured against."""

    multiple = minimum = 1
    batch = 16

    def look(self, whole: "torch.Tensor") -> None:
        return None

    def restore(self, whole: "torch.Tensor", seen: None, seeds: list[int], tiles: "Tiles") -> "torch.Tensor":
        return whole


def load(method: str) -> Any:
    """The restorer of config/methods/<method>.yaml, with its weights, on the GPU where there is one."""
    kind = config.load("methods", method).kind
    if kind == "identity":
        return Identity()
    if kind == "mperceiver":
        from mperceiver.models.mperceiver import load_restorer
    elif kind == "network":
        from mperceiver.models.baselines import load_restorer
    else:
        from mperceiver.models.ceiling import load_restorer
    import torch

    return load_restorer(method, "cuda" if torch.cuda.is_available() else "cpu")


# ---------------------------------------------------------------- pictures in memory


def restore_picture(restorer: Any, picture: "torch.Tensor", method: Method, seed: int) -> "torch.Tensor":
    """Restore one picture: (1, 3, H, W) in [0, 1] -> the same."""
    from mperceiver.restoring.memory import Plan

    return restore_pictures(Plan(restorer, method), picture, [seed])[0]


def restore_pictures(plan: "Plan", pictures: "torch.Tensor", seeds: list[int]) -> tuple["torch.Tensor", Any]:
    """Restore B pictures of one size: float (B, 3, H, W) in [0, 1] on the CPU -> the same, not rounded; and what was seen of them.

    A self-ensemble restores every view from start noise of its own and averages the outputs, turned back, before they
    are clamped and rounded.

    Raises:
        PictureError: not pictures, or the restorer gave back something else, or has no memory left. ConfigError: tiles
        that cannot be cut.
    """
    import torch

    for part in pictures.split(3, dim=1):
        images.check(part)
    views = VIEWS[plan.method.self_ensemble]
    total, first = None, None
    with torch.inference_mode():
        for number, (turns, mirrored) in enumerate(views):
            view = pictures.rot90(turns, (-2, -1))
            view = view.flip(-1) if mirrored else view
            restored, seen = _one_view(plan, view.contiguous(), [(seed + number) % 2**64 for seed in seeds])
            restored = restored.flip(-1) if mirrored else restored
            restored = restored.rot90(-turns, (-2, -1))
            total, first = (restored, seen) if total is None else (total + restored, first)
        return (total / len(views) if len(views) > 1 else total).clamp(0, 1), first


def _one_view(plan: "Plan", pictures: "torch.Tensor", seeds: list[int]) -> tuple["torch.Tensor", Any]:
    """Pad, restore in tiles, crop."""
    import torch

    height, width = pictures.shape[-2:]
    whole = images.pad(pictures, plan.restorer.multiple, plan.smallest)
    size = (whole.shape[-2], whole.shape[-1])
    try:
        seen = plan.restorer.look(whole)
        restored = plan.restorer.restore(whole, seen, seeds, plan.tiles(size))
    except (RuntimeError, MemoryError) as error:
        if not isinstance(error, (torch.OutOfMemoryError, MemoryError)) and "can't allocate memory" not in str(error):
            raise
        raise PictureError(
            f"no memory left for {width}x{height} px in tiles of {max(plan.tiles(size).tile)} px; "
            "give restoring less than it found free: --memory-gib (memory_gib in config/methods/)"
        ) from None
    if restored.shape != whole[:, :3].shape or not restored.isfinite().all():
        what = f"the shape {tuple(restored.shape)}" if restored.isfinite().all() else "values that are not numbers"
        raise PictureError(
            f"the model returned {what} for a picture of shape {tuple(whole.shape)}; "
            "its weights are damaged or its training diverged (see the run's curve)"
        )
    return restored[..., :height, :width], seen


# ---------------------------------------------------------------- many pictures


@dataclass
class Job:
    """A picture to restore: how it comes, as uint8 (H, W, 3 for each seen), and goes, and the seed of what is drawn for it."""

    name: str
    read: Callable[[], np.ndarray]
    write: Callable[[np.ndarray], None]
    seed: int


@dataclass
class Outcome:
    """What became of a job; with an ``error`` nothing was written."""

    job: Job
    error: str | None = None
    seconds: float = 0.0  # of the model, a picture's share of its batch
    tiles: "Tiles | None" = None
    probabilities: dict[str, float] | None = None


def restore_all(restorer: Any, method: Method, jobs: Iterable[Job]) -> Iterator[Outcome]:
    """Restore pictures; yield each one's outcome when it is written, or cannot be read or restored.

    One thread reads ahead and another writes while the model works. Pictures of one size that are one tile go through it
    together, so the outcomes come in another order than the jobs.
    """
    if isinstance(restorer, Identity):  # nothing to compute; the work is over before torch would be there
        yield from map(_copy, jobs)
        return
    from mperceiver.restoring.memory import Plan

    plan, waiting = Plan(restorer, method), deque()
    with ThreadPoolExecutor(1) as reader, ThreadPoolExecutor(1) as writer:
        for group in _groups(_read_ahead(jobs, reader), plan):
            waiting.append([(outcome, writer.submit(write)) for outcome, write in _restored(plan, group)])
            while len(waiting) > HELD:
                yield from _finished(waiting.popleft())
        for group in waiting:
            yield from _finished(group)


def _copy(job: Job) -> Outcome:
    try:
        job.write(job.read())
    except PictureError as error:
        return Outcome(job, str(error))
    return Outcome(job)


def _read_ahead(jobs: Iterable[Job], reader: ThreadPoolExecutor) -> Iterator[tuple[Job, np.ndarray | PictureError]]:
    waiting: deque[tuple[Job, Future]] = deque()
    for job in jobs:
        waiting.append((job, reader.submit(job.read)))
        if len(waiting) > HELD:
            yield _taken(*waiting.popleft())
    yield from (_taken(*one) for one in waiting)


def _taken(job: Job, reading: Future) -> tuple[Job, np.ndarray | PictureError]:
    try:
        return job, reading.result()
    except PictureError as error:
        return job, error


def _groups(read: Iterable[tuple[Job, np.ndarray | PictureError]], plan: "Plan") -> Iterator[list[tuple[Job, Any]]]:
    """Batches of pictures of one size. Holds about HELD of them."""
    waiting: dict[tuple, list] = {}
    for job, picture in read:
        together = 1 if isinstance(picture, PictureError) else plan.together(picture.shape[:2])
        if together == 1:
            yield [(job, picture)]
            continue
        size = picture.shape[:2]
        waiting.setdefault(size, []).append((job, picture))
        if len(waiting[size]) == together:
            yield waiting.pop(size)
        elif sum(map(len, waiting.values())) >= HELD * together:
            yield waiting.pop(max(waiting, key=lambda s: len(waiting[s])))
    yield from waiting.values()


def _restored(plan: "Plan", group: list[tuple[Job, Any]]) -> list[tuple[Outcome, Callable[[], None]]]:
    """Outcomes of a batch, and for each what is left to do: to write it, or nothing."""
    import torch

    jobs, pictures = zip(*group, strict=True)
    if isinstance(pictures[0], PictureError):
        return [(Outcome(jobs[0], str(pictures[0])), lambda: None)]
    start = time.monotonic()
    try:
        stack = torch.cat([images.to_tensor(picture) for picture in pictures])
        restored, seen = restore_pictures(plan, stack, [job.seed for job in jobs])
    except PictureError as error:
        if len(group) > 1:  # whose fault it is shows when each is alone
            return [pair for one in group for pair in _restored(plan, [one])]
        return [(Outcome(jobs[0], str(error)), lambda: None)]
    seconds, tiles = (time.monotonic() - start) / len(group), plan.tiles(plan.padded(pictures[0].shape[:2]))
    found = getattr(seen, "probabilities", None)
    told = (
        [None] * len(jobs)
        if found is None
        else [dict(zip(plan.restorer.tasks, p, strict=True)) for p in found.tolist()]
    )
    return [
        (Outcome(job, None, seconds, tiles, p), partial(job.write, images.to_picture(picture)))
        for job, picture, p in zip(jobs, restored, told, strict=True)
    ]


def _finished(group: list[tuple[Outcome, Future]]) -> Iterator[Outcome]:
    for outcome, writing in group:
        writing.result()
        yield outcome


# ---------------------------------------------------------------- datasets


def restore_dataset(method: str, dataset: str) -> Path:
    """Write results/restored/{method}/{dataset}/{id}.png and the card, whole or not at all; return the card's path.

    A method that looks at degradations leaves its probabilities there too (PROBABILITIES). Pictures of one size that fit a
    tile go through the model together. A picture's seed is a hash of (dataset, id, the sampler's seed), so neither order nor
    batch matters.

    Raises:
        ConfigError, LineageError, DataError: something is not described, or its weights or pictures are not there.
        PictureError: a picture cannot be read or restored, by name.
    """
    spec = config.load("methods", method)
    config.load("datasets", dataset)
    lineage.commit()  # a result without a commit cannot be kept: say so before the work, not after
    inputs = config.restore_inputs(method, dataset)
    for path in inputs:
        if path.endswith(".json"):
            lineage.read_card(path)
    prepared = PreparedDataset(dataset)
    restorer = load(method)
    read = partial(prepared.stacked, getattr(restorer, "sees", ("lq",)))
    folder, card = paths.restored_folder(method, dataset), paths.restored_card(method, dataset)
    tiled, seen = 0, {}
    with files.whole_folder(folder) as beside, progress(f"restore {method} {dataset}", len(prepared)) as advance:
        jobs = (
            Job(name, partial(read, i), partial(_write, beside / f"{name}.png"), _seed(prepared, name, spec))
            for i, name in enumerate(prepared.ids)
        )
        for outcome in restore_all(restorer, spec, jobs):
            if outcome.error:
                raise PictureError(f"{dataset}, {outcome.job.name}: {outcome.error}")
            tiled += outcome.tiles is not None and outcome.tiles.count > 1
            if outcome.probabilities:
                seen[outcome.job.name] = outcome.probabilities
            advance(1)
        if seen:
            (beside / PROBABILITIES).write_text(_table(prepared, seen))
        card.unlink(missing_ok=True)  # the old one must not stand beside the new pictures
    lineage.write_card(
        card,
        verb="restore",
        spec={"method": spec, "dataset": dataset},
        inputs=inputs,
        outputs=[folder],
        seed=spec.sampler.seed,
        device=_device_name(restorer),
        result={"count": len(prepared)} | ({"tiled": tiled} if tiled else {}),
    )
    return card


def _table(prepared: PreparedDataset, seen: dict[str, dict[str, float]]) -> str:
    """What the predictor said of every picture, as CSV: id, task, a column a class."""
    classes = list(next(iter(seen.values())))
    rows = [["id", "task", *classes]]
    rows += [
        [i, task, *(f"{seen[i][c]:.6g}" for c in classes)] for i, task in zip(prepared.ids, prepared.tasks, strict=True)
    ]
    return "".join(",".join(row) + "\n" for row in rows)  # neither ids nor names hold a comma


def _seed(prepared: PreparedDataset, name: str, spec: Method) -> int:
    return picture_seed(prepared.name, name, spec.sampler.seed)


def _write(path: Path, picture: np.ndarray) -> None:
    path.write_bytes(images.encode(picture))


def _device_name(restorer: Any) -> str:
    """For the card: "cpu", or the name of the GPU."""
    device = getattr(restorer, "device", "cpu")
    if str(device) == "cpu":
        return "cpu"
    import torch

    return torch.cuda.get_device_name(device)
