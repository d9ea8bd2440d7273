"""Record the tables and the picture of `make rivals` in docs/: uv run python -m tools.rivals"""

import shutil
from pathlib import Path

from mperceiver import config, files, paths
from mperceiver.report.grid import Cell, Column, FilledTable
from mperceiver.report.tables import build
from tools.blocks import commit_of, fill, table_lines

PAGE, FIGURE = Path("docs/rivals.md"), "rivals-comparison"
TABLES = {"rivals": "rivals table", "rivals-mixes": "rivals mixes", "rivals-efficiency": "rivals costs"}


def columns_of(table: FilledTable) -> list[Column]:
    """The columns that the page shows: averages, and numbers that are no scores. The columns of single tasks are in the report alone."""
    return [column for column in table.columns if column.average or not column.has_pictures]


def printed(cell: Cell) -> str:
    """A number as Markdown, the best in bold; a dash where there is none."""
    if not cell.text:
        return "–"
    return f"**{cell.text}**" if cell.rank == 1 else cell.text


def heading(column: Column) -> str:
    label = column.measure.label if column.average else f"{column.label}: {column.measure.label}"
    unit = f" ({column.measure.unit})" if column.measure.unit else ""
    return f"{label}{unit} {column.measure.arrow}".rstrip()


def table_of(table: FilledTable) -> str:
    """A table as Markdown."""
    columns = columns_of(table)
    rows = [[row.title, *(printed(table.cells[row, column]) for column in columns)] for row in table.rows]
    return "\n".join(table_lines(["", *map(heading, columns)], rows, numbers=True))


def recorded(name: str) -> str:
    """A table with the sentence that says where it comes from. Raises ValueError if a cell of a trained method is empty."""
    table = build(name)
    absent = [
        f"{row.title}, {column.label} ({table.cells[row, column].why})"
        for row in table.rows
        for column in columns_of(table)
        if row.method != "input" and not table.cells[row, column].text
    ]
    if absent:
        raise ValueError(f"table {name} is not complete: {absent[0]}; run `make rivals` first")
    commit = commit_of(paths.table_file(name, "json"))
    return f"{table_of(table)}\n\n{table.caption}\n\nMade by `make rivals` at commit {commit}."


def main() -> None:
    """Fill the page's blocks and copy the picture beside it."""
    text = PAGE.read_text(encoding="utf-8")
    for name, block in TABLES.items():
        text = fill(text, block, recorded(name))
    shutil.copyfile(paths.figure_file(FIGURE, "png"), "docs/rivals.png")
    text = fill(text, "rivals picture", f"![{config.load('figures', FIGURE).title}](rivals.png)")
    files.write_text(PAGE, text)
    print(f"{PAGE}: written")


if __name__ == "__main__":
    main()
