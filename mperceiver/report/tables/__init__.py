"""Tables: methods down, datasets and metrics across, from the score cards.

``build`` fills a table, ``write`` prints it three times (HTML, CSV, LaTeX) from that one table. As in the paper the best value
of a column is red and the second best blue. Torch is never imported here; pandas, which takes long to import, only when a table is filled.
"""

from pathlib import Path

from mperceiver import config, files, lineage, paths
from mperceiver.report.columns import KINDS
from mperceiver.report.grid import FilledTable
from mperceiver.report.tables.html import to_html
from mperceiver.report.tables.latex import to_tex
from mperceiver.report.tables.tidy import to_csv


def build(name: str) -> FilledTable:
    """The table ``config/tables/{name}.yaml`` with the scores that exist. It raises what ``fill`` raises."""
    from mperceiver.report.tables.fill import fill

    return fill(name, config.load("tables", name))


def texts(table: FilledTable) -> dict[str, str]:
    """The table as it is printed: suffix of a file -> its text."""
    return {"csv": to_csv(table), "tex": to_tex(table), "html": to_html(table)}


def write(name: str) -> Path:
    """Print a table: results/tables/{name}.html, .csv, .tex and the card. Return the card's path."""
    table = build(name)
    card = paths.table_file(name, "json")
    printed = texts(table)
    for suffix, text in printed.items():
        files.write_text(paths.table_file(name, suffix), text, card=card)
    done, total = table.progress
    lineage.begin("table", config.load("tables", name), _inputs(table)).write_card(
        card,
        outputs=[paths.table_file(name, suffix) for suffix in printed],
        result={"cells": total, "run": done, "protocols": sorted(table.protocols)},
    )
    return card


def _inputs(table: FilledTable) -> list[str]:
    """The files that a table is made of, so far as they exist: configuration, and what its columns read."""
    read = [
        str(path)
        for row, column, _ in table.filled()
        if not column.average
        for member in row.members
        for dataset in column.datasets
        for path in KINDS[column.kind].inputs(member, dataset)
    ]
    return [path for path in dict.fromkeys([*config.table_inputs(table.name), *read]) if Path(path).is_file()]
