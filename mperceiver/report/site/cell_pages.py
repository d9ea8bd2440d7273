"""The pages of a table's cells: a method on a dataset and task, with its scores, its pictures, and what they were made of."""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from mperceiver import config, paths
from mperceiver.report import trace
from mperceiver.report.columns.score import MAIN, MEASURES
from mperceiver.report.grid import Cell, Column, FilledTable, Row
from mperceiver.report.overlap import training_overlap
from mperceiver.report.scores import INPUT, per_picture
from mperceiver.report.site import comparisons
from mperceiver.report.site.chains import Chains
from mperceiver.report.site.comparisons import Key
from mperceiver.report.site.folder import SiteFolder
from mperceiver.report.site.pictures import FULL_255, Pictures, worst_and_best
from mperceiver.report.site.references import references_of
from mperceiver.report.tables.fill import method_cells


@dataclass
class Page:
    """A method on the datasets and task of some columns, which share the page."""

    row: Row
    cells: dict[str, tuple[Column, Cell]] = field(default_factory=dict)  # by the column's key

    @property
    def columns(self) -> list[Column]:
        return [column for column, _ in self.cells.values()]


def page_of(table: FilledTable, method: str, column: Column) -> str:
    """The path of a cell's page in the site. Columns of the same datasets and task share it."""
    return f"cells/{table.name}/{method}/{column.place}.html"


@dataclass
class CellPages:
    """Writes the pages of all tables of a site."""

    site: SiteFolder
    references: list[str] = field(default_factory=config.references)

    def __post_init__(self) -> None:
        self.chains = Chains(self.site)
        self.pictures = Pictures(self.site)
        self.comparisons: dict[str, list[tuple[str, str]]] = {}  # table -> (label, page) of what compares two methods

    def write(self, table: FilledTable, number: int) -> list[Path]:
        """Write the pages of the cells that have been run, and of the runs that some are the mean of.

        ``number`` of the table in the report. Return the score cards that the pages show.
        """
        places: dict[str, dict[str, Page]] = {}
        for row, column, cell in table.filled():
            if column.has_pictures:
                page = places.setdefault(column.place, {}).setdefault(row.method, Page(row))
                page.cells.setdefault(column.key, (column, cell))
        return [card for pages in places.values() for card in self._write_place(table, number, pages)]

    def _write_place(self, table: FilledTable, number: int, pages: dict[str, Page]) -> list[Path]:
        """Write the pages of all methods on the datasets and task of some columns; ``pages`` has one a method."""
        column = next(iter(pages.values())).columns[0]
        scored = {method: page for method, page in pages.items() if any(cell.n for _, cell in page.cells.values())}
        shared = {
            "table": table,
            "number": number,
            "label": column.label,
            "datasets": column.datasets,
            "task": column.task,
            "place": column.place,
            "others": [(page.row.title, method, f"{method}/{column.place}.html") for method, page in scored.items()],
        }
        shared["comparison"], shared["compared"] = self._compare(table, scored, shared)
        cards = []
        for method, page in scored.items():
            runs = _runs(page)
            rows = [(run.row.method, run.row.title, [cell for _, cell in run.cells.values()]) for run in runs]
            cards += self._write_page(page, shared | {"runs": rows, "of_mean": []})
            for run in runs:
                if run.row.method not in scored:  # else it has a page as a row of the table
                    cards += self._write_page(run, shared | {"runs": [], "of_mean": [(method, page.row.title)]})
        return cards

    def _compare(self, table: FilledTable, scored: dict[str, Page], shared: dict) -> tuple[str | None, list[Key]]:
        """Write the page that compares two of the methods, or two of the runs that some are the mean of.

        Return its path and the pictures that it shows; None and none if there is no such page.
        """
        pages = [one for page in scored.values() for one in (_runs(page) or [page])]
        rows = {page.row.method: (page.row, page.columns) for page in pages}
        methods = [
            comparisons.Compared(name, row.title, row.ranked, _scores(name, columns[0]))
            for name, (row, columns) in rows.items()
        ]
        columns = next(iter(scored.values())).columns if scored else []
        extremes = (_worst_and_best(one.scores, rows[one.name][1][0]) for one in methods if one.ranked)
        elsewhere = Counter(key for groups in extremes for _, keys in groups for key in keys)
        shared = shared | {"columns": columns}
        written = comparisons.write(self.site, self.pictures, methods, columns, elsewhere, shared)
        if written is None:
            return None, []
        self.comparisons.setdefault(table.name, []).append((shared["label"], written[0]))
        return written

    def _write_page(self, page: Page, shared: dict) -> list[Path]:
        """Write one page; return the score cards that it shows."""
        row, column, table, datasets = page.row, page.columns[0], shared["table"], shared["datasets"]
        references = references_of(self.references, row.members[0], page.columns)
        first = next(cell for _, cell in page.cells.values() if cell.n)
        values = shared | {
            "row": row,
            "n": first.n,
            "protocol": first.protocol,
            "values": [(column.measure, cell) for column, cell in page.cells.values()],
            "references": list(references.values()),
            "commands": [trace.command(table.name, row.method, dataset, column.task) for dataset in datasets],
        }
        place = page_of(table, row.method, column)
        if len(row.members) > 1:
            self.site.page(place, "mean.html.j2", **values)
        else:
            self.site.page(place, "cell.html.j2", **values, **self._scores(row, page.columns, shared["compared"]))
        methods = [*row.members, *references]
        return [paths.scores_card(method, dataset) for method in methods for dataset in datasets]

    def _scores(self, row: Row, columns: list[Column], compared: list[Key]) -> dict:
        """What only the page of a method with pictures shows: scores, pictures, training overlap, and the chain of cards.

        Metrics stand in the order of the page's heading, that of ``columns``; those of the protocol that no column asks for follow.
        A reference shows the pictures that the comparison shows (``compared``), a method its worst and its best.
        """
        column, method = columns[0], row.method
        scores = _scores(method, column)
        gains = _gains(scores, _scores(INPUT, column)) if method != INPUT else pd.Series(dtype=float)
        better = gains > 0 if MEASURES[MAIN].higher_is_better else gains < 0
        groups = _worst_and_best(scores, column)
        if compared and not row.ranked:
            groups = [("Pictures of the comparison", compared)]
        shown = [
            (
                title,
                [
                    panes
                    for panes in (self.pictures.panes(method, *key) for key in keys if key in scores.index)
                    if panes
                ],
            )
            for title, keys in groups
        ]
        return {
            "scores": scores.astype(object).where(scores.notna(), None).to_dict("index"),
            "mixed": scores["task"].nunique() > 1,
            "metrics": {
                name: MEASURES[name]
                for name in dict.fromkeys([*(one.key for one in columns), *MEASURES])
                if name in scores and scores[name].notna().any()
            },
            "main": MEASURES[MAIN],
            "gains": gains.astype(object).where(gains.notna(), None).to_dict(),
            "improved": int(better.sum()),
            "overlaps": [(name, training_overlap(method, name, column.task)) for name in column.datasets],
            "shown": shown,
            "white": FULL_255,
            "chains": [(name, *self.chains.below(method, name)) for name in column.datasets],
        }


def _runs(page: Page) -> list[Page]:
    """The pages of the runs that a row is the mean of; none for any other row."""
    pages = []
    for name in page.row.members if len(page.row.members) > 1 else ():
        row = Row(page.row.group, name, config.load("methods", name).title, page.row.ranked, (name,))
        cells = zip(page.cells.items(), method_cells(name, page.columns), strict=True)
        pages.append(Page(row, {key: (column, cell) for (key, (column, _)), cell in cells}))
    return pages


def _scores(method: str, column: Column) -> pd.DataFrame:
    """The scores of a column's pictures, a row a picture; index: (dataset, picture id)."""
    frames = {dataset: per_picture(method, dataset, column.task) for dataset in column.datasets}
    return pd.concat(frames, names=["dataset", "id"])


def _worst_and_best(scores: pd.DataFrame, column: Column) -> list[tuple[str, list[Key]]]:
    """As ``worst_and_best``, by the metric of the column, which the titles name."""
    values = scores[column.key] if column.key in scores else pd.Series(dtype=float)
    return [(f"{title} by {column.measure.label}", keys) for title, keys in worst_and_best(values, column.measure)]


def _gains(scores: pd.DataFrame, of_input: pd.DataFrame) -> pd.Series:
    """By how much the main metric of each picture is above that of its input; empty if it is so of none.

    An input that equals its ground truth has an infinite PSNR, above which there is no gain.
    """
    if MAIN not in scores or MAIN not in of_input:
        return pd.Series(dtype=float)
    before = of_input[MAIN].replace(np.inf, np.nan)
    gains = scores[MAIN] - before.reindex(scores.index)
    return gains if gains.notna().any() else gains.iloc[:0]
