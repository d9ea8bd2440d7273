"""A table as tidy CSV: a line for each cell, with numbers as they were computed."""

import pandas as pd

from mperceiver.report.grid import FilledTable

EMPTY_IF_ZERO = {"n": "Int64", "rank": "Int64", "seen_in_training": "Int64"}


def to_csv(table: FilledTable) -> str:
    """The CSV's text. A field is empty where there is no number."""
    lines = [
        {
            "block": block.title,
            "group": row.group,
            "method": row.method,
            "dataset": column.dataset,
            "task": column.task or "",
            "metric": column.key,
            "mean": cell.mean,
            "sd": cell.sd,
            "low": cell.low,
            "high": cell.high,
            "n": cell.n or None,
            "rank": cell.rank,
            "protocol": cell.protocol,
            "reported": cell.reported,
            "seen_in_training": cell.trained_on or None,
        }
        for block in table.blocks
        for row in block.rows
        for column, cell in ((column, table.cells[row, column]) for column in block.columns)
    ]
    return pd.DataFrame(lines).astype(EMPTY_IF_ZERO).to_csv(index=False, lineterminator="\n")
