"""Kinds of table columns, one module a kind: which columns it prints, and where their numbers come from.

To add a kind, write a module with the four names of ``Kind``, name it in ``KINDS``, and ask for it in a table by `kind:`
(docs/add-a-table.md).
"""

from dataclasses import asdict
from pathlib import Path
from typing import Protocol

from mperceiver.config.tables import ColumnGroup
from mperceiver.report.columns import cost, predictor, score, training
from mperceiver.report.grid import Cell, Column, Measure, Value, printed


class Kind(Protocol):
    """What a module of this package offers."""

    # Whether its numbers are means of scores of pictures: such numbers have a protocol, an average, and a page.
    HAS_PICTURES: bool

    def measures(self, group: ColumnGroup) -> dict[str, Measure]:
        """The columns of a group, from left to right: key in CSV and HTML -> how its numbers are printed and ranked."""

    def value(self, method: str, dataset: str, column: Column) -> Value:
        """The number of one method on one dataset, or a value whose ``why`` says in a few words why there is none.

        A column over several datasets shows the mean of their numbers, a method of kind mean that of its runs' numbers.
        """

    def inputs(self, method: str, dataset: str) -> list[Path]:
        """The files that the number is read from; the table's card names those that exist."""


KINDS: dict[str, Kind] = {
    "cost": cost,
    "predictor": predictor,
    "score": score,
    "training": training,
}


def own_cell(method: str, column: Column) -> Cell:
    """What a method that is one run shows under a column over one dataset: a number as it is, no mean of several."""
    value = asdict(KINDS[column.kind].value(method, column.dataset, column))
    del value["protocol_sha256"]
    return Cell(**value, text="" if value["mean"] is None else printed(value["mean"], column.measure))
