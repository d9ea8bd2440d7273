"""A metric as grouped bars."""

import textwrap
from pathlib import Path
from typing import Any

from mperceiver import config, paths
from mperceiver.config.figures import Figure
from mperceiver.config.tables import RowGroup, Table
from mperceiver.report.figures.common import PALETTE, nothing_scored
from mperceiver.report.grid import Cell, Measure
from mperceiver.report.tables.fill import fill

OF_PICTURES = False
GROUP = 0.82  # width of a group's bars; groups are 1 apart
INPUT_GREY = "#9a9a9a"  # the input is a reference and no competitor


def describe(figure: Figure) -> str:
    """What is on the axes."""
    return f"Bars for {', '.join(c.label for c in figure.columns)}; methods {', '.join(figure.methods)}."


def draw(name: str, figure: Figure):
    """A group of bars for each column, a bar for each method: the first metric with its 95 % interval.

    A method of kind mean has the standard deviation over its runs instead. Numbers that the paper reports of a method that was
    not run here are hatched. The axis starts at 0.
    """
    import matplotlib.pyplot as plt

    metric = figure.columns[0].metrics[0]
    # The bars are a table of one group, so that they show the same numbers and mix no protocols.
    table = fill(
        name,
        Table(
            title=figure.title,
            caption=figure.caption,
            rows=[RowGroup(title="", methods=figure.methods)],
            columns=[column.model_copy(update={"metrics": [metric]}) for column in figure.columns],
        ),
    )
    if not any(cell.mean is not None or not row.measured for row, _, cell in table.filled()):
        raise nothing_scored(name)
    groups, series = len(table.columns), len(table.rows)
    drawing, axis = plt.subplots(figsize=(max(5.0, 0.9 * groups + 1.6), 2.9), layout="constrained")
    identity = {method for method in figure.methods if config.load("methods", method).kind == "identity"}
    palette = iter(PALETTE * series)
    colours = {row.method: INPUT_GREY if row.method in identity else next(palette) for row in table.rows}
    thick = GROUP / series
    for i, row in enumerate(table.rows):
        cells = [table.cells[row, column] for column in table.columns]
        heights = [cell.mean if row.measured else cell.reported for cell in cells]
        bars = [(k - GROUP / 2 + thick * (i + 0.5), k) for k, height in enumerate(heights) if height is not None]
        look: dict[str, Any] = {"color": colours[row.method]}
        if not row.measured:
            look = {"facecolor": "white", "edgecolor": colours[row.method], "hatch": "/////", "linewidth": 0.5}
        label = row.title + ("" if row.measured else " (reported)")
        axis.bar([x for x, _ in bars], [heights[k] for _, k in bars], thick * 0.92, label=label, **look)
        for x, k in bars:
            below, above = _spread(cells[k])
            if below or above:
                look = {"fmt": "none", "ecolor": "#333333", "elinewidth": 0.7, "capsize": 1.5}
                axis.errorbar(x, heights[k], [[below], [above]], **look)
    axis.set_xticks(range(groups), ["\n".join(textwrap.wrap(column.label, 14)) for column in table.columns])
    axis.tick_params(axis="x", length=0)
    for label in axis.get_xticklabels():
        label.set_linespacing(1.05)
    axis.set_ylabel(_axis_label(table.columns[0].measure))
    axis.set_ylim(bottom=0)
    drawing.legend(loc="outside upper left", ncols=min(4, series), fontsize=8, handlelength=1.2, columnspacing=1.2)
    done, total = table.progress
    return drawing, _inputs(figure), {"cells": total, "run": done}


def _axis_label(measure: Measure) -> str:
    unit = f" ({measure.unit})" if measure.unit else ""
    return f"{measure.label}{unit}, {'higher' if measure.higher_is_better else 'lower'} is better"


def _spread(cell: Cell) -> tuple[float, float]:
    """How far the interval, or the standard deviation over runs, reaches below and above the mean; 0 without either."""
    if cell.mean is not None and cell.low is not None and cell.high is not None:
        return cell.mean - cell.low, cell.high - cell.mean
    return cell.sd or 0.0, cell.sd or 0.0


def _inputs(figure: Figure) -> list[Path]:
    """The cards of the scores of the methods and of those that they are means of, so far as they exist."""
    methods = list(dict.fromkeys(name for method in figure.methods for name in (method, *config.members(method))))
    datasets = [dataset for column in figure.columns for dataset in column.datasets]
    inputs = [paths.scores_card(method, dataset) for method in methods for dataset in datasets]
    return [path for path in inputs if path.is_file()]
