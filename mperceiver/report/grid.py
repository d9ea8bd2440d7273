"""A table as data: rows, columns, cells, and how a number is printed and ranked. No torch here."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import groupby

from mperceiver import config
from mperceiver.config.tables import Reported
from mperceiver.metrics import METRICS


@dataclass(frozen=True)
class Row:
    group: str
    method: str
    title: str
    ranked: bool = True  # false: it was shown the ground truth (kind vae), so it is a ceiling and no competitor
    members: tuple[str, ...] = ()  # the methods whose scores it shows: itself; of kind mean several, reported none

    @property
    def measured(self) -> bool:
        """False: only the paper's numbers are shown."""
        return bool(self.members)


@dataclass(frozen=True)
class Column:
    label: str
    datasets: tuple[str, ...]
    task: str | None
    metric: str
    reported: Reported | None = None
    average: bool = False
    scored: str = ""  # how sure it is that the paper's numbers were scored so

    @property
    def dataset(self) -> str:
        """Its datasets in one word."""
        return "+".join(self.datasets)

    @property
    def place(self) -> str:
        """The datasets and the task in one name without ambiguity: names never hold two hyphens in a row."""
        return f"{self.dataset}--{self.task}" if self.task else self.dataset


@dataclass(frozen=True)
class Cell:
    mean: float | None = None
    sd: float | None = None  # of the members' means, where the row has several
    low: float | None = None
    high: float | None = None
    n: int = 0
    protocol: str = ""
    why: str = ""  # why there is no mean
    text: str = ""  # the mean as printed
    rank: int | None = None
    reported: float | None = None  # the paper's number
    seen: int = 0  # pictures that the method also learned from

    @property
    def difference(self) -> float | None:
        """Ours less the paper's."""
        return None if self.mean is None or self.reported is None else self.mean - self.reported


@dataclass(frozen=True)
class FilledBlock:
    """A part of a table: indices of its rows and its columns."""

    title: str
    rows: list[int]
    columns: list[int]


@dataclass(frozen=True)
class Built:
    """A table as data; ``cells[i][j]`` is row i, column j, or None where no block has both."""

    name: str
    title: str
    caption: str
    rows: list[Row]
    columns: list[Column]
    cells: list[list[Cell | None]]
    blocks: list[FilledBlock]
    protocols: dict[str, str] = field(default_factory=dict)  # name: its title, in words
    seen: list[str] = field(default_factory=list)  # where a method was scored on what it learned from, in words

    def groups(self, block: FilledBlock) -> list[tuple[str, list[int]]]:
        """(heading, row indices), in order."""
        return _runs([(self.rows[i].group, i) for i in block.rows])

    def heads(self, block: FilledBlock) -> list[tuple[str, list[int]]]:
        """(label, column indices) of the columns that share a dataset, in order."""
        keys = [((c.average, c.dataset, c.task, c.label), j) for j, c in ((j, self.columns[j]) for j in block.columns)]
        return [(key[3], indices) for key, indices in _runs(keys)]

    def protocol(self, j: int) -> str:
        """The protocol of a column's numbers, by name; of datasets that are not scored yet, theirs."""
        column = self.columns[j]
        found = [row[j].protocol for row in self.cells if row[j] is not None and row[j].protocol]
        told = found[:1] or dict.fromkeys(config.load("datasets", d).protocol for d in column.datasets)
        return "" if column.average else " + ".join(told)

    def scored_by(self) -> list[tuple[str, str, list[str]]]:
        """(protocol, it in words, the labels of its columns), in order."""
        labels: dict[str, dict[str, None]] = {}
        for j, column in enumerate(self.columns):
            for name in self.protocol(j).split(" + ") if not column.average else ():
                labels.setdefault(name, {})[column.label] = None
        return [(name, self.protocols.get(name, ""), list(of)) for name, of in labels.items()]

    def sure(self) -> list[tuple[str, str]]:
        """(how sure it is that the paper scored so, the labels of the columns of which that is said), in order."""
        said: dict[str, dict[str, None]] = {}
        for column in self.columns:
            if column.scored:
                said.setdefault(column.scored, {})[column.label] = None
        return [(", ".join(of), words) for words, of in said.items()]

    def there(self) -> Iterator[tuple[int, int, Cell]]:
        """(row index, column index, cell) of every cell, block by block."""
        for block in self.blocks:
            yield from ((i, j, self.cells[i][j]) for i in block.rows for j in block.columns)

    @property
    def progress(self) -> tuple[int, int]:
        """(cells that have been run, all cells); a cell is a method on a dataset and task, whatever its metrics."""
        seen = {
            (i, self.columns[j].place): cell.n > 0
            for i, j, cell in self.there()
            if self.rows[i].measured and not self.columns[j].average
        }
        return sum(seen.values()), len(seen)


def _runs(keyed: list[tuple]) -> list[tuple]:
    """(key, index) pairs -> (key, indices of neighbours of that key)."""
    return [(key, [index for _, index in same]) for key, same in groupby(keyed, key=lambda pair: pair[0])]


def printed(value: float, metric: str) -> str:
    """A value with the metric's decimals."""
    return f"{value:.{METRICS[metric].decimals}f}" if math.isfinite(value) else ("∞" if value > 0 else "−∞")


def signed(value: float, metric: str) -> str:
    """A difference with its sign and the metric's decimals."""
    return f"{value:+.{METRICS[metric].decimals}f}".replace("-", "−")


def rank(values: list[float | None], metric: str) -> list[int | None]:
    """Ranks from 1 (best) in the metric's direction; values that print alike share one; None stays None."""
    texts = [None if v is None else printed(v, metric) for v in values]
    number = {t: float(t.replace("∞", "inf").replace("−", "-")) for t in texts if t is not None}
    ordered = sorted(set(number.values()), reverse=METRICS[metric].higher_is_better)
    return [None if t is None else ordered.index(number[t]) + 1 for t in texts]
