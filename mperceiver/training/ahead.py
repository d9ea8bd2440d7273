"""Batches drawn by a thread while the step before runs: reading and decoding pictures costs a GPU no time."""

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

AHEAD = 2  # batches held in memory beside the one in use

# (generator, phase) -> batch: a mapping of names to tensors on the CPU and to what else the losses need; its "ids" are the
# pictures' ids, told if the loss should be no number. It touches nothing that the losses write to.
Draw = Callable[[np.random.Generator, Phase], dict[str, Any]]


class Drawn(NamedTuple):
    """A batch and where its numbers came from."""

    step: int
    part: int
    key: list[int]  # seeds the generator that drew it
    phase: Phase
    seed: int  # of the torch generator of its losses
    batch: Any  # what the losses get: of ``draw``, or without one the generator itself


def generators(key: list[int]) -> tuple[np.random.Generator, int]:
    """(generator that draws a batch, seed of its losses' torch generator) of a key (seed, step, part): all there is of chance."""
    rng = np.random.default_rng(key)
    return rng, int(rng.integers(2**62))


@contextlib.contextmanager
def drawing(
    draw: Draw | None, turns: Iterator[tuple[int, int, list[int], Phase]], device: torch.device
) -> Iterator[Iterator[Drawn]]:
    """Batches of ``turns`` (step, part, key, phase) in their order, on ``device``; drawn ahead where that pays.

    An exception of ``draw`` comes out where its batch would have.
    """
    if draw is None:
        yield (Drawn(*turn, seed, rng) for turn in turns for rng, seed in [generators(turn[2])])
        return
    if not _worth_a_thread(device):
        yield (Drawn(*turn, seed, draw(rng, turn[3])) for turn in turns for rng, seed in [generators(turn[2])])
        return
    pin = device.type == "cuda"

    def make(turn: tuple[int, int, list[int], Phase]) -> Drawn:
        rng, seed = generators(turn[2])
        batch = draw(rng, turn[3])
        return Drawn(*turn, seed, {k: v.pin_memory() if pin and isinstance(v, Tensor) else v for k, v in batch.items()})

    def drawn(thread: ThreadPoolExecutor) -> Iterator[Drawn]:
        waiting = deque(thread.submit(make, turn) for turn in islice(turns, AHEAD))
        while waiting:
            one = waiting.popleft().result()
            waiting.extend(thread.submit(make, turn) for turn in islice(turns, 1))
            yield one._replace(batch={k: _on(device, v) for k, v in one.batch.items()})

    thread = ThreadPoolExecutor(1, "draw")
    try:
        thread.submit(_modest).result()
        torch.set_num_threads(torch.get_num_threads())  # for threads to come; the other one's 1 is its own
        yield drawn(thread)
    finally:
        thread.shutdown(cancel_futures=True)


def _worth_a_thread(device: torch.device) -> bool:
    """Not on the CPU: the step has every core already, and loses half its speed to a thread that takes the interpreter's lock."""
    return device.type != "cpu"


def _modest() -> None:
    """One core for the thread that draws: a second team of OpenMP's would spin where the step computes."""
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)


def _on(device: torch.device, value: Any) -> Any:
    return value.to(device, non_blocking=True) if isinstance(value, Tensor) else value
