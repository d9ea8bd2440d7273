"""Which pictures of a test set a method has learned from, by the SHA-256 of the files that both were made of.

What a run trains on and what it is scored on are chosen in different files, and benchmarks overlap: CBSD400 holds the test
pictures of BSDS500. Only files that are equal byte for byte are found; a copy that was stored anew is not, and what a frozen
foundation was pre-trained on is not looked into.
"""

import re
from collections import Counter
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from mperceiver import config

DIGEST = re.compile(r"\b[0-9a-f]{64}\b")


@dataclass(frozen=True)
class Seen:
    """What was found of a method on a test set; ``within`` has the training sets that share pictures with it."""

    n: int = 0  # pictures of the test set that are in any of them
    within: dict[str, int] = field(default_factory=dict)  # training set: how many of them it has
    compared: tuple[str, ...] = ()  # training sets that were looked into
    absent: tuple[str, ...] = ()  # those that are not here any more

    def __str__(self) -> str:
        return ", ".join(f"{count} in {name}" for name, count in self.within.items())


def seen(method: str, dataset: str, task: str | None = None) -> Seen:
    """How many pictures of a test set, or of one of its tasks, are among those that a method learned from.

    Raises ConfigError for a method or a dataset that is not described.
    """
    trained = config.learned_from(method)
    here = {name: at for name in trained if (at := _state(name))}
    absent = tuple(name for name in trained if name not in here)
    return _compared(_state(dataset), task, tuple(here.items()), absent)


@lru_cache(maxsize=4096)
def _compared(test: tuple | None, task: str | None, trained: tuple, absent: tuple[str, ...]) -> Seen:
    rows = [digests for of, digests in (_sources(*test) if test else ()) if task in (None, of)]
    known = {name: _digests(*at) for name, at in trained}
    shared = [[name for name, digests in known.items() if not digests.isdisjoint(row)] for row in rows]
    within = Counter(name for names in shared for name in names)
    return Seen(sum(map(bool, shared)), dict(within), tuple(known), absent)


def _state(dataset: str) -> tuple[str, int] | None:
    """A prepared dataset's file and when it was written; None where it is not here."""
    path = Path("data/prepared") / f"{dataset}.arrow"
    return (str(path.absolute()), path.stat().st_mtime_ns) if path.is_file() else None


@lru_cache(maxsize=64)
def _digests(path: str, written: int) -> frozenset[str]:
    return frozenset().union(*(digests for _, digests in _sources(path, written)))


@lru_cache(maxsize=64)
def _sources(path: str, _written: int) -> list[tuple[str, frozenset[str]]]:
    """(task, digests of the files it is of) for each row. Only these two columns are read."""
    import pyarrow as pa

    with pa.memory_map(path) as file:
        table = pa.ipc.open_file(file).read_all().select(["task", "source"])
        return [
            (task, frozenset(DIGEST.findall(source or "")))
            for task, source in zip(table["task"].to_pylist(), table["source"].to_pylist(), strict=True)
        ]
