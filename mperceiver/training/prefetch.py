"""Batches drawn ahead: a thread reads and decodes the pictures of the next batches while the GPU computes a step."""

import contextlib
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from mperceiver.config.runs import Phase

BATCHES_AHEAD = 2  # in memory beside the batch in use

# (generator, phase) -> batch: a dict of tensors on the CPU and of whatever else the losses need. Under "ids" stand the names
# of its pictures, which are printed if a loss is not finite. The function must not read anything that the losses change.
DrawBatch = Callable[[np.random.Generator, Phase], dict[str, Any]]


class Turn(NamedTuple):
    """One batch of one step, not yet drawn."""

    step: int  # from 0
    number: int  # of the batch among the batches of its step, from 0
    key: list[int]  # seeds every random number of the batch
    phase: Phase


class DrawnBatch(NamedTuple):
    """A batch and the turn it was drawn for."""

    step: int
    number: int
    key: list[int]
    phase: Phase
    seed: int  # of the torch generator that the losses get
    batch: Any  # what ``draw`` returned; without ``draw`` the numpy generator itself


def generators(key: list[int]) -> tuple[np.random.Generator, int]:
    """The two sources of randomness of a batch with ``key`` (seed of the training, step, number of the batch).

    Returns the numpy generator that draws the batch and the seed of the torch generator that its losses use.
    """
    rng = np.random.default_rng(key)
    return rng, int(rng.integers(2**62))


@contextlib.contextmanager
def drawn_batches(
    draw: DrawBatch | None, turns: Iterator[Turn], device: torch.device
) -> Iterator[Iterator[DrawnBatch]]:
    """Yield an iterator over the batches of ``turns``, in their order and on ``device``, drawn ahead where that saves time.

    An exception that ``draw`` raises comes out of the iterator at the batch it belongs to.
    """
    if draw is None:
        yield (DrawnBatch(*turn, seed, rng) for turn in turns for rng, seed in [generators(turn.key)])
        return
    if not _worth_a_thread(device):
        yield (DrawnBatch(*turn, seed, draw(rng, turn.phase)) for turn in turns for rng, seed in [generators(turn.key)])
        return
    pin = device.type == "cuda"

    def draw_pinned(turn: Turn) -> DrawnBatch:
        rng, seed = generators(turn.key)
        batch = draw(rng, turn.phase)
        pinned = {k: v.pin_memory() if pin and isinstance(v, Tensor) else v for k, v in batch.items()}
        return DrawnBatch(*turn, seed, pinned)

    def batches(thread: ThreadPoolExecutor) -> Iterator[DrawnBatch]:
        futures = deque(thread.submit(draw_pinned, turn) for turn in islice(turns, BATCHES_AHEAD))
        while futures:
            drawn = futures.popleft().result()
            futures.extend(thread.submit(draw_pinned, turn) for turn in islice(turns, 1))
            yield drawn._replace(batch={k: _on(device, v) for k, v in drawn.batch.items()})

    thread = ThreadPoolExecutor(1, "draw")
    try:
        thread.submit(_use_one_core).result()
        # set_num_threads(1) in the drawing thread also sets the number for threads that start later; this call sets it back.
        torch.set_num_threads(torch.get_num_threads())
        yield batches(thread)
    finally:
        thread.shutdown(cancel_futures=True)


def _worth_a_thread(device: torch.device) -> bool:
    """False on the CPU: a step uses every core there, and a thread that takes the interpreter's lock halves the step's speed."""
    return device.type != "cpu"


def _use_one_core() -> None:
    """Limit the drawing thread to one core: a second team of OpenMP threads would compete with the step for the cores."""
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)


def _on(device: torch.device, value: Any) -> Any:
    return value.to(device, non_blocking=True) if isinstance(value, Tensor) else value
