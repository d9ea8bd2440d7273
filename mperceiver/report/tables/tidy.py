"""A table as tidy CSV: a line for each cell, with numbers as they were computed."""

from mperceiver import csvs
from mperceiver.report.grid import FilledTable


def to_csv(table: FilledTable) -> str:
    """The CSV's text. A field is empty where there is no number. See ``csvs``.

    ``reported_mean`` is there only for a published average that is not the mean of the row's published numbers: that mean.
    ``not_compared`` names the datasets that ``seen_in_training`` does not count, since they are not prepared here.
    """
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
            "reported_mean": cell.reported_mean,
            "doubt": cell.doubt,
            "source": row.source,
            "seen_in_training": cell.trained_on or None,
            "not_compared": cell.not_compared,
        }
        for block in table.blocks
        for row in block.rows
        for column, cell in ((column, table.cells[row, column]) for column in block.columns)
    ]
    return csvs.to_csv(list(lines[0]), [list(line.values()) for line in lines])
