"""A table on a terminal: each method's main number of every column, and its averages."""

from typing import TYPE_CHECKING

from mperceiver.report.grid import Column, FilledBlock, FilledTable
from mperceiver.report.tables import build

if TYPE_CHECKING:
    from rich.table import Table


COLUMN_CHARACTERS, TITLE_CHARACTERS = 9, 30  # least width of a column, and of the methods' titles


def terminal_tables(name: str, width: int) -> "list[Table]":
    """The blocks of a table as rich tables. A column shows its first metric alone, an average all of them; bold is the best.

    Where ``width``, the terminal's in characters, is too small for all columns, only the averages are shown.

    Raises ConfigError or TableError as ``build`` does.
    """
    table = build(name)
    return [_terminal_table(table, block, width) for block in table.blocks]


def _terminal_table(table: FilledTable, block: FilledBlock, width: int) -> "Table":
    from rich import box
    from rich.table import Table
    from rich.text import Text

    shown = _main_columns(block)
    averages = [column for column in shown if column.average]
    if averages and TITLE_CHARACTERS + COLUMN_CHARACTERS * len(shown) > width:
        shown = averages
    drawn = Table(title=Text(block.title or table.title), title_justify="left", title_style="bold", box=box.SIMPLE_HEAD)
    drawn.add_column("")
    for column in shown:
        label = "Average" if column.average else column.label
        drawn.add_column(
            Text(f"{label}\n{column.measure.label} {column.measure.arrow}".rstrip()), justify="right", vertical="bottom"
        )
    for row in block.rows:
        cells = [table.cells[row, column] for column in shown]
        texts = [Text(cell.text or "–", "bold" if cell.rank == 1 else "") for cell in cells]
        drawn.add_row(Text(row.title), *texts)
    return drawn


def _main_columns(block: FilledBlock) -> list[Column]:
    columns: list[Column] = []
    for _, of_place in block.heads():
        columns += of_place if of_place[0].average else of_place[:1]
    return columns
