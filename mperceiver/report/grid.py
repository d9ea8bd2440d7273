"""A table as data: its rows, columns, blocks and cells, and how a number is printed. This module reads no scores."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import groupby
from typing import NamedTuple

from mperceiver import config
from mperceiver.config.tables import Reported

AVERAGE = "average"  # stands in CSV and HTML where other columns have their dataset
NAMES_APART = "; "  # between names in one text


class TableError(ValueError):
    """A table cannot be printed correctly. The message names the column and says what to do."""


class Measure(NamedTuple):
    """How the numbers of a column are labelled, printed and ranked."""

    label: str
    decimals: int
    higher_is_better: bool | None  # None: neither is; the numbers have no ranks
    unit: str = ""

    @property
    def arrow(self) -> str:
        """The direction in which numbers get better, as headings show it; empty without one."""
        return {True: "↑", False: "↓", None: ""}[self.higher_is_better]


@dataclass(frozen=True)
class Row:
    """One method of a table."""

    group: str  # heading of the group of rows
    method: str
    title: str
    ranked: bool = True  # False for a reference, which is no method: the input itself, or what saw the ground truth
    # Methods whose scores it shows: itself, several for kind mean, none for kind reported.
    members: tuple[str, ...] = ()
    names: tuple[str, ...] = ()  # its names in the files of published numbers
    # For a row of published numbers alone, which has no file in config/methods: the stem of its file in config/reported.
    file: str | None = None
    source: str = ""  # for such a row: where its numbers are from

    @property
    def measured(self) -> bool:
        """Whether the method was run here; if not, only published numbers are shown."""
        return bool(self.members)


@dataclass(frozen=True)
class Column:
    """One column of numbers."""

    number: int  # counted from 0 over all blocks of the table
    label: str  # heading that it shares with its neighbours of the same dataset and task
    datasets: tuple[str, ...]
    task: str | None  # only pictures of this task
    key: str  # names the measure in CSV and HTML: psnr
    measure: Measure
    kind: str  # a key of KINDS in mperceiver/report/columns
    has_pictures: bool  # whether its cells are means of scores of pictures, which have a protocol and a page
    reported: Reported | None = None  # where the published numbers stand
    average: bool = False  # whether it is the mean over the other columns of its block
    scored: str = ""  # how certain it is that the paper scored in the same way

    @property
    def dataset(self) -> str:
        """Its datasets in one word."""
        return "+".join(self.datasets)

    @property
    def place(self) -> str:
        """Datasets and task in one unambiguous name: no name has two hyphens in a row."""
        return f"{self.dataset}--{self.task}" if self.task else self.dataset


@dataclass(frozen=True)
class Value:
    """The number of one method on one dataset under a column. Without a mean, ``why`` gives the reason in a few words."""

    mean: float | None = None
    low: float | None = None  # 95 % interval of the mean
    high: float | None = None
    n: int = 0  # number of pictures
    protocol: str = ""
    protocol_sha256: str = ""
    why: str = ""
    trained_on: int = 0  # number of its pictures that the method was also trained on
    # Training sets that ``trained_on`` does not count, since they are not prepared here, with NAMES_APART between the names.
    not_compared: str = ""


@dataclass(frozen=True)
class Cell:
    """What stands in one row and column, from one value or the mean of several. Without a mean, ``why`` gives the reason."""

    mean: float | None = None
    sd: float | None = None  # standard deviation over runs, for a method of kind mean
    low: float | None = None
    high: float | None = None
    n: int = 0
    protocol: str = ""
    why: str = ""
    trained_on: int = 0
    not_compared: str = ""
    text: str = ""  # the mean as it is printed
    rank: int | None = None  # 1 is the best
    reported: float | None = None  # the published number
    # If ``reported`` is an average and not the mean of the row's published numbers: that mean.
    reported_mean: float | None = None
    doubt: str = ""  # what speaks against the published number

    @property
    def difference(self) -> float | None:
        """Our number minus the published one."""
        return None if self.mean is None or self.reported is None else self.mean - self.reported


@dataclass(frozen=True)
class FilledBlock:
    """A part of a table with rows and columns of its own."""

    title: str
    rows: list[Row]
    columns: list[Column]

    def groups(self) -> list[tuple[str, list[Row]]]:
        """Neighbouring rows of one group, with its heading."""
        return [(heading, list(rows)) for heading, rows in groupby(self.rows, key=lambda row: row.group)]

    def heads(self) -> list[tuple[str, list[Column]]]:
        """Neighbouring columns of one dataset and task, with their label."""
        same = groupby(self.columns, key=lambda c: (c.average, c.dataset, c.task, c.label))
        return [(key[-1], list(columns)) for key, columns in same]


@dataclass(frozen=True)
class FilledTable:
    """A table with its numbers. A row and a column have a cell if one block has both."""

    name: str
    title: str
    caption: str
    rows: list[Row]
    columns: list[Column]
    blocks: list[FilledBlock]
    cells: dict[tuple[Row, Column], Cell]
    protocols: dict[str, str] = field(default_factory=dict)  # name -> title
    trained_on: list[str] = field(default_factory=list)  # test pictures that a method was trained on, a sentence each

    def protocol(self, column: Column) -> str:
        """Name of the protocol of a column's numbers; before anything is scored, that of its datasets."""
        if not column.has_pictures:
            return ""
        used = [self.cells[row, column].protocol for row in self.rows if (row, column) in self.cells]
        used = [name for name in used if name][:1]
        return " + ".join(used or dict.fromkeys(config.load("datasets", name).protocol for name in column.datasets))

    def scored_by(self) -> list[tuple[str, str, list[str]]]:
        """(protocol, its title, labels of its columns), in the order of the columns."""
        labels: dict[str, dict[str, None]] = {}
        for column in self.columns:
            for name in self.protocol(column).split(" + ") if column.has_pictures else ():
                labels.setdefault(name, {})[column.label] = None
        return [(name, self.protocols.get(name, ""), list(of)) for name, of in labels.items()]

    def certainty(self) -> list[tuple[str, str]]:
        """(labels of columns, how certain it is that the paper scored them in the same way), in order."""
        labels: dict[str, dict[str, None]] = {}
        for column in self.columns:
            if column.scored:
                labels.setdefault(column.scored, {})[column.label] = None
        return [(", ".join(of), words) for words, of in labels.items()]

    def filled(self) -> Iterator[tuple[Row, Column, Cell]]:
        """Every row, column and cell, block by block."""
        for block in self.blocks:
            yield from ((row, column, self.cells[row, column]) for row in block.rows for column in block.columns)

    def published_in(self) -> list[str]:
        """Files of the published numbers, in the order of the columns."""
        return list(dict.fromkeys(column.reported.file for column in self.columns if column.reported))

    def doubts(self) -> list[str]:
        """What speaks against published numbers, a sentence for each row and reason."""
        places: dict[tuple[str, str], dict[str, None]] = {}
        for row, column, cell in self.filled():
            if cell.doubt:
                places.setdefault((row.title, cell.doubt), {})[column.label] = None
        return [f"{title}, {', '.join(labels)}: {doubt}" for (title, doubt), labels in places.items()]

    def not_compared(self) -> list[str]:
        """The rows whose numbers may lack a §, with the datasets that are not prepared here: "Ours, Theirs: rain1400-train"."""
        datasets: dict[Row, dict[str, None]] = {}
        for row, column, cell in self.filled():
            if cell.not_compared and not column.average:
                datasets.setdefault(row, {}).update(dict.fromkeys(cell.not_compared.split(NAMES_APART)))
        rows: dict[str, dict[str, None]] = {}
        for row, names in datasets.items():
            rows.setdefault(", ".join(names), {})[row.title] = None
        return [f"{', '.join(titles)}: {names}" for names, titles in rows.items()]

    @property
    def progress(self) -> tuple[int, int]:
        """(cells that have been run, all cells). Here a cell is a method on a dataset and task, whatever its metrics."""
        run = {
            (row, column.place): cell.n > 0
            for row, column, cell in self.filled()
            if row.measured and column.has_pictures
        }
        return sum(run.values()), len(run)


def printed(value: float, measure: Measure) -> str:
    """A value with the measure's number of decimals; a negative one has a minus sign (U+2212), not a hyphen."""
    if math.isnan(value):
        return "NaN"
    return _minus(f"{value:z.{measure.decimals}f}") if math.isfinite(value) else ("∞" if value > 0 else "−∞")


def signed(value: float, measure: Measure) -> str:
    """A difference with its sign and the measure's number of decimals."""
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else ("+∞" if value > 0 else "−∞")
    return _minus(f"{value:+z.{measure.decimals}f}")


def _minus(number: str) -> str:
    return number.replace("-", "−")
