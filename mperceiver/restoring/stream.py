"""Restoring many pictures: one thread reads ahead and another writes while the model works on batches.

Nothing here imports torch until a model needs it.
"""

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from mperceiver import images
from mperceiver.config.methods import Method
from mperceiver.images import PictureError
from mperceiver.models.restorer import Restorer
from mperceiver.restoring.restorers import Identity

if TYPE_CHECKING:
    from mperceiver.models.tiling import Tiles
    from mperceiver.restoring.memory import TilePlanner

QUEUE_LENGTH = 4  # most pictures read ahead, most batches waiting to be filled, most batches waiting to be written


@dataclass
class RestoreRequest:
    """A picture to restore: how it is read and written, and the seed of its random numbers.

    ``read`` returns uint8 (H, W, 3 for each picture that the model sees), or float32 of more than 8 bits or with noise that leaves
    [0, 1], or raises PictureError; ``write`` gets uint8 (H, W, 3), or uint16 with 16 ``bits``. Each is called in a thread of its own.
    """

    name: str
    read: Callable[[], np.ndarray]
    write: Callable[[np.ndarray], None]
    seed: int
    task: str = ""  # its degradation, where it is known
    bits: int = 8  # of a value in the file that is written


@dataclass
class RestoreOutcome:
    """How a request ended; where ``error`` is not None, its picture was not written."""

    request: RestoreRequest
    error: str | None = None
    seconds: float = 0.0  # time of the model, divided by the number of pictures in the batch
    tiles: "Tiles | None" = None
    probabilities: dict[str, float] | None = None  # of the degradations, from a model that predicts them
    clean: float | None = None  # probability that nothing is wrong, from a model that predicts it


Batch = list[tuple[RestoreRequest, np.ndarray]]


def restore_all(
    restorer: Restorer, method: Method, requests: Iterable[RestoreRequest], alone: bool = False
) -> Iterator[RestoreOutcome]:
    """Restore pictures; yield each one's outcome once the picture is written or has failed.

    Pictures of one size that each fit one tile go through the model together, so the outcomes' order can differ from the
    requests'. A picture that cannot be read or restored, or whose ``write`` raises PictureError, does not stop the others; another
    error while writing is raised.

    Args:
        alone: each picture goes through the model by itself, so that what becomes of it does not depend on the others: the sums of
            a convolution over a batch are added up in another order, and a value can differ by one level of 8 bits.
    """
    if isinstance(restorer, Identity):  # copying a picture takes less time than importing torch
        yield from map(_copy, requests)
        return
    from mperceiver.restoring.memory import TilePlanner

    planner = TilePlanner(restorer, method)
    unwritten: deque[list[tuple[RestoreOutcome, Future]]] = deque()
    with ThreadPoolExecutor(1) as reader, ThreadPoolExecutor(1) as writer:
        for batch in _batches(_read_ahead(requests, reader), planner, alone):
            if isinstance(batch, RestoreOutcome):
                yield batch
                continue
            results = _restore_batch(planner, batch)
            unwritten.append([(outcome, writer.submit(write)) for outcome, write in results])
            while len(unwritten) > QUEUE_LENGTH:
                yield from _written(unwritten.popleft())
        for waiting in unwritten:
            yield from _written(waiting)


def _copy(request: RestoreRequest) -> RestoreOutcome:
    try:
        picture = request.read()
        # Of noise that was not clipped this file is only to look at: scoring draws the noise again, in float.
        if picture.dtype != np.uint8:
            picture = images.to_levels(picture, request.bits)
        request.write(picture)
    except PictureError as error:
        return RestoreOutcome(request, str(error))
    return RestoreOutcome(request)


def _read_ahead(
    requests: Iterable[RestoreRequest], reader: ThreadPoolExecutor
) -> Iterator[tuple[RestoreRequest, np.ndarray] | RestoreOutcome]:
    waiting: deque[tuple[RestoreRequest, Future]] = deque()
    for request in requests:
        waiting.append((request, reader.submit(request.read)))
        if len(waiting) > QUEUE_LENGTH:
            yield _picture(*waiting.popleft())
    yield from (_picture(*pair) for pair in waiting)


def _picture(request: RestoreRequest, reading: Future) -> tuple[RestoreRequest, np.ndarray] | RestoreOutcome:
    try:
        return request, reading.result()
    except PictureError as error:
        return RestoreOutcome(request, str(error))


def _batches(
    pictures: Iterable[tuple[RestoreRequest, np.ndarray] | RestoreOutcome], planner: "TilePlanner", alone: bool
) -> Iterator[Batch | RestoreOutcome]:
    """Batches of pictures of one size, and the outcomes of pictures that could not be read.

    About QUEUE_LENGTH batches wait to be filled; beyond that, the fullest is yielded as it is.
    """
    waiting: dict[tuple[int, ...], Batch] = {}
    for read in pictures:
        if isinstance(read, RestoreOutcome):
            yield read
            continue
        size = read[1].shape[:2]
        together = 1 if alone else planner.together(size)
        if together == 1:
            yield [read]
            continue
        waiting.setdefault(size, []).append(read)
        if len(waiting[size]) == together:
            yield waiting.pop(size)
        elif sum(map(len, waiting.values())) >= QUEUE_LENGTH * together:
            yield waiting.pop(max(waiting, key=lambda s: len(waiting[s])))
    yield from waiting.values()


def _restore_batch(planner: "TilePlanner", batch: Batch) -> list[tuple[RestoreOutcome, Callable[[], None]]]:
    """The outcome of each picture of a batch, and the function that writes it (or does nothing, after an error)."""
    import torch

    from mperceiver.restoring.ensemble import restore_pictures

    requests, pictures = zip(*batch, strict=True)
    start = time.monotonic()
    try:
        unclipped = pictures[0].dtype != np.uint8
        stack = torch.cat([images.to_tensor(picture) for picture in pictures])
        restored, seen = restore_pictures(
            planner, stack, [request.seed for request in requests], [request.task for request in requests], unclipped
        )
    except PictureError as error:
        if len(batch) > 1:  # one by one, so that only the picture at fault fails
            return [result for one in batch for result in _restore_batch(planner, [one])]
        return [(RestoreOutcome(requests[0], str(error)), lambda: None)]
    seconds = (time.monotonic() - start) / len(batch)
    height, width = pictures[0].shape[:2]
    tiles = planner.tiles(planner.padded((height, width)))
    probabilities: list[dict[str, float] | None] = [None] * len(batch)
    clean: list[float | None] = [None] * len(batch)
    if seen is not None:
        rows = seen.probabilities.tolist()
        probabilities = [dict(zip(planner.restorer.tasks, row, strict=True)) for row in rows]
        clean = clean if seen.clean is None else seen.clean.tolist()
    return [
        (
            RestoreOutcome(request, None, seconds, tiles, p, nothing_wrong),
            partial(request.write, images.to_picture(picture, request.bits)),
        )
        for request, picture, p, nothing_wrong in zip(requests, restored, probabilities, clean, strict=True)
    ]


def _written(batch: list[tuple[RestoreOutcome, Future]]) -> Iterator[RestoreOutcome]:
    for outcome, writing in batch:
        try:
            writing.result()
        except PictureError as error:
            outcome.error = str(error)
        yield outcome
