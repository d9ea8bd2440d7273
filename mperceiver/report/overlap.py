"""Which pictures of a test set a method was also trained on.

What a run trains on and what it is scored on are chosen in different files, and benchmarks overlap: CBSD400 contains the test
pictures of BSDS500. Pictures are compared by the SHA-256 of the files that they were made of. So a copy that was stored in
another format is not recognised, and what a frozen foundation was pre-trained on is not examined. A dataset that is not prepared
in the working directory cannot be compared: what shows the overlap names it.
"""

import re
from collections import Counter
from dataclasses import dataclass, field
from functools import lru_cache

from mperceiver import config, paths

DIGEST = re.compile(r"\b[0-9a-f]{64}\b")


@dataclass(frozen=True)
class Overlap:
    """The pictures of a test set that also stand in a method's training sets."""

    n: int = 0  # number of such test pictures
    shared: dict[str, int] = field(default_factory=dict)  # training set -> how many of them it contains
    compared: tuple[str, ...] = ()  # training sets that were compared
    # Datasets that could not be compared, since they are not prepared here; if the test set is not, it alone.
    absent: tuple[str, ...] = ()

    def __str__(self) -> str:
        return ", ".join(f"{count} in {name}" for name, count in self.shared.items())


def training_overlap(method: str, dataset: str, task: str | None = None) -> Overlap:
    """Compare a test set, or one of its tasks, with the sets that a method was trained on.

    Raises ConfigError for an unknown method or dataset.
    """
    names = config.learned_from(method)
    if not names:
        return Overlap()
    test_set = _version(dataset)
    if test_set is None:
        return Overlap(absent=(dataset,))
    present = {name: version for name in names if (version := _version(name))}
    absent = tuple(name for name in names if name not in present)
    return _compare(test_set, task, tuple(present.items()), absent)


@lru_cache(maxsize=4096)
def _compare(test_set: tuple[str, int], task: str | None, training_sets: tuple, absent: tuple[str, ...]) -> Overlap:
    pictures = [digests for of, digests in _pictures(*test_set) if task in (None, of)]
    trained_on = {name: _all_digests(*version) for name, version in training_sets}
    sets_of = [[name for name, known in trained_on.items() if not known.isdisjoint(digests)] for digests in pictures]
    shared = Counter(name for names in sets_of for name in names)
    return Overlap(sum(map(bool, sets_of)), dict(shared), tuple(trained_on), absent)


def _version(dataset: str) -> tuple[str, int] | None:
    """Path and modification time of a prepared dataset, by which its digests are cached; None if it is not here."""
    path = paths.prepared_file(dataset)
    return (str(path.absolute()), path.stat().st_mtime_ns) if config.is_prepared(dataset) else None


@lru_cache(maxsize=64)
def _all_digests(path: str, modified: int) -> frozenset[str]:
    return frozenset().union(*(digests for _, digests in _pictures(path, modified)))


@lru_cache(maxsize=64)
def _pictures(path: str, _modified: int) -> list[tuple[str, frozenset[str]]]:
    """(task, SHA-256 of the files that it was made of) for each picture. Only these two columns are read."""
    import pyarrow as pa

    with pa.memory_map(path) as file:
        table = pa.ipc.open_file(file).read_all().select(["task", "source"])
        return [
            (task, frozenset(DIGEST.findall(source or "")))
            for task, source in zip(table["task"].to_pylist(), table["source"].to_pylist(), strict=True)
        ]
