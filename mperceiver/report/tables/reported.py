"""Published numbers, from config/reported/: those of each cell, whether an average is the mean of its parts, and what is doubtful."""

from dataclasses import dataclass
from fractions import Fraction

import pandas as pd

from mperceiver import config
from mperceiver.config import Number
from mperceiver.report.grid import Column, FilledBlock, Row
from mperceiver.report.tables.layout import averaged

Published = dict[tuple[tuple[str, ...], str, str], Number]  # (place, method, label of the metric) -> the number


@dataclass(frozen=True)
class Shown:
    """A published number in a cell."""

    reported: float
    reported_mean: float | None = None  # of an average that is not the mean of the row's published numbers: that mean
    doubt: str = ""


def published_numbers(columns: list[Column]) -> Published:
    """All numbers of the files that the columns name. Raises ConfigError for a file with faults."""
    files = dict.fromkeys(column.reported.file for column in columns if column.reported)
    return {
        (number.place, number.method, number.metric): number
        for name in files
        for number in config.reported_numbers(name)
    }


def add_reported(frame: pd.DataFrame, rows: list[Row], blocks: list[FilledBlock]) -> pd.DataFrame:
    """The cells with ``reported``, ``reported_mean`` and ``doubt``: NaN and empty where no published number stands."""
    columns = [column for block in blocks for column in block.columns]
    published = published_numbers(columns)
    shown: dict[tuple[int, int], Shown] = {}
    for block in blocks:
        for row in block.rows:
            for column in block.columns:
                number = _number(published, row, column)
                if number:
                    parts = (
                        [_number(published, row, part) for part in averaged(block, column)] if column.average else []
                    )
                    mean = mean_of_parts(number, parts)
                    shown[rows.index(row), column.number] = Shown(
                        float(number.value), None if mean is None else float(mean), number.doubt
                    )
    cells = [shown.get((line.row, line.column)) for line in frame.itertuples()]
    return frame.assign(
        reported=[cell and cell.reported for cell in cells],
        reported_mean=[cell and cell.reported_mean for cell in cells],
        doubt=[cell.doubt if cell else "" for cell in cells],
    ).astype({"reported": float, "reported_mean": float})


def mean_of_parts(average: Number, parts: list[Number | None]) -> Fraction | None:
    """The mean of the parts, exactly, if ``average`` cannot be it; None if it can, or if not all parts were published.

    Each number was rounded to the decimals that it is printed with, so the average can differ from the mean of the printed parts by half a
    unit of its own last decimal and the mean of those of the parts.
    """
    known = [part for part in parts if part is not None]
    if not known or len(known) < len(parts):
        return None
    mean = sum((Fraction(part.value) for part in known), Fraction(0)) / len(known)
    rounding = _rounding(average) + sum(map(_rounding, known), Fraction(0)) / len(known)
    return mean if abs(mean - Fraction(average.value)) > rounding else None


def _rounding(number: Number) -> Fraction:
    """Half a unit of the last decimal that the number is printed with."""
    return Fraction(10) ** int(number.value.as_tuple().exponent) / 2


def _number(published: Published, row: Row, column: Column) -> Number | None:
    where = column.reported
    if where is None or row.file not in (None, where.file):
        return None
    keys = ((where.place, name, column.measure.label) for name in row.names)
    return next((published[key] for key in keys if key in published), None)
