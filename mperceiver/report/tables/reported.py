"""The paper's own numbers, from config/reported/."""

import pandas as pd

from mperceiver import config
from mperceiver.report.grid import Column, Row

KEY = ["table", "task", "dataset", "method", "metric"]


def reported_numbers() -> dict[tuple[int, str, str, str, str], float]:
    """(number of the paper's table, task, dataset, method, label of the metric) -> the number that the paper prints."""
    numbers = pd.read_csv(config.REPORTED, dtype=str, keep_default_na=False)
    numbers = numbers[numbers["value"] != ""].astype({"table": int, "value": float})
    return numbers.set_index(KEY)["value"].to_dict()


def reported(cells: pd.DataFrame, rows: list[Row], columns: list[Column]) -> list[float | None]:
    """The paper's number for each cell; None where the configuration names no place in the paper, or no number stands there."""
    numbers = reported_numbers() if any(column.reported for column in columns) else {}
    return [_number(numbers, rows[line.row], columns[line.column]) for line in cells.itertuples()]


def _number(numbers: dict, row: Row, column: Column) -> float | None:
    where, names = column.reported, config.load("methods", row.method).reported
    if where is None:
        return None
    names = [names] if isinstance(names, str) else names
    keys = ((where.table, where.task, where.dataset, name, column.measure.label) for name in names)
    return next((numbers[key] for key in keys if key in numbers), None)
