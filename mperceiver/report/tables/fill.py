"""Fill a table: values, then means over datasets, columns and runs, then published numbers and the ranks."""

import pandas as pd

from mperceiver import config
from mperceiver.config.tables import Table
from mperceiver.report.grid import Cell, Column, FilledBlock, FilledTable, Row, printed
from mperceiver.report.overlap import training_overlap
from mperceiver.report.tables.layout import blocks_of
from mperceiver.report.tables.means import over_columns, over_datasets, over_runs
from mperceiver.report.tables.ranks import rank
from mperceiver.report.tables.reported import add_reported
from mperceiver.report.tables.values import PLACE, check_datasets, check_protocols, values


def fill(name: str, table: Table) -> FilledTable:
    """A table with the scores that exist, whether or not it stands in a file (a figure of bars does not).

    Raises ConfigError for a bad configuration, TableError where one column would hold two protocols or two states of a
    dataset, LineageError for a broken card. A cell without a score says why.
    """
    blocks = blocks_of(name, table)
    rows = list(dict.fromkeys(row for block in blocks for row in block.rows))
    columns = [column for block in blocks for column in block.columns]
    lines = values(rows, blocks)
    check_protocols(name, table, blocks, lines)
    check_datasets(name, blocks, lines)
    members = over_datasets(lines)
    averages = [over_columns(members, block, column) for block in blocks for column in block.columns if column.average]
    frame = _everywhere(over_runs(pd.concat([members, *averages], ignore_index=True)), rows, blocks)
    frame = add_reported(frame, rows, blocks)
    frame["why"] = [_why(rows[line.row], line) for line in frame.itertuples()]
    frame["rank"] = rank(frame, rows, columns)
    cells = _cells(frame, rows, columns)
    return FilledTable(
        name=name,
        title=table.title,
        caption=table.caption,
        rows=rows,
        columns=columns,
        blocks=blocks,
        cells=cells,
        protocols=_protocols(cells, columns),
        trained_on=_trained_on(cells, blocks),
    )


def method_cells(method: str, columns: list[Column]) -> list[Cell]:
    """A method's cells under columns of some table, none of them an average; without ranks, whether or not the table has its row."""
    row = Row("", method, "", members=(method,))
    frame = over_datasets(values([row], [FilledBlock("", [row], columns)]))
    cells = _cells(frame.drop(columns="member"), [row], {column.number: column for column in columns})
    return [cells[row, column] for column in columns]


def _everywhere(frame: pd.DataFrame, rows: list[Row], blocks: list[FilledBlock]) -> pd.DataFrame:
    """A line for every row and column of every block, block by block; an empty one where the method was not run here."""
    pairs = [(rows.index(row), column.number) for block in blocks for column in block.columns for row in block.rows]
    places = pd.DataFrame(list(dict.fromkeys(pairs)), columns=PLACE, dtype=int)
    filled = places.merge(frame.drop(columns="member"), how="left", on=PLACE)
    empty = {"n": 0, "trained_on": 0, "protocol": "", "why": "", "not_compared": ""}
    return filled.fillna(empty).astype({"n": int, "trained_on": int})


def _why(row: Row, line) -> str:
    """The reason for an empty cell; a published number is one that a method which was not run here may lack."""
    if row.measured:
        return line.why
    return "not reported" if pd.isna(line.reported) else ""


def _cells(frame: pd.DataFrame, rows: list[Row], columns) -> dict[tuple[Row, Column], Cell]:
    """The lines of a frame as cells; ``columns`` gives a column for its number."""
    cells = {}
    for line in frame.astype(object).where(frame.notna(), None).to_dict("records"):
        row, column = rows[line.pop("row")], columns[line.pop("column")]
        text = "" if line["mean"] is None else printed(line["mean"], column.measure)
        cells[row, column] = Cell(**line, text=text)
    return cells


def _protocols(cells: dict[tuple[Row, Column], Cell], columns: list[Column]) -> dict[str, str]:
    """Name -> title of the protocols of all numbers; before anything is scored, those of the datasets."""
    names = dict.fromkeys(cell.protocol for (_, column), cell in cells.items() if column.has_pictures and cell.protocol)
    datasets = [name for column in columns if column.has_pictures for name in column.datasets]
    names = names or dict.fromkeys(config.load("datasets", name).protocol for name in datasets)
    return {name: config.load("protocols", name).title for name in names}


def _trained_on(cells: dict[tuple[Row, Column], Cell], blocks: list[FilledBlock]) -> list[str]:
    """Which test pictures a method was also trained on, a sentence for each row and dataset."""
    places = {
        (row, column.place): column
        for block in blocks
        for column in block.columns
        for row in block.rows
        if column.has_pictures and cells[row, column].trained_on
    }
    overlaps = [
        (row, dataset, training_overlap(member, dataset, column.task))
        for (row, _), column in places.items()
        for member in row.members
        for dataset in column.datasets
    ]
    return list(dict.fromkeys(f"{row.title} on {name}: {overlap}" for row, name, overlap in overlaps if overlap.n))
