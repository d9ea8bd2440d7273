"""A metric as grouped bars."""

import textwrap
from pathlib import Path

from mperceiver import config
from mperceiver.config.figures import Figure
from mperceiver.config.tables import RowGroup, Table
from mperceiver.metrics import METRICS
from mperceiver.report import tables
from mperceiver.report.figures.common import PALETTE, FigureError
from mperceiver.report.grid import Cell


def draw(name: str, figure: Figure):
    """A group of bars a column, a bar a method: the column's first metric with its 95 % interval, or of several runs their standard
    deviation. The axis starts at 0.

    What the paper reports of a method that was not run here is drawn hatched.
    """
    import matplotlib.pyplot as plt

    metric = figure.columns[0].metrics[0] if figure.columns else ""
    if not figure.columns or not figure.methods or any(c.metrics[0] != metric for c in figure.columns):
        raise FigureError(
            f"{config.path_of('figures', name)}: bars need `columns` that all begin with the same metric, and `methods`"
        )
    # a figure's bars are a table of one group: same numbers, same refusal to mix protocols
    table = Table(
        title=figure.title,
        caption=figure.caption,
        rows=[RowGroup(title="", methods=figure.methods)],
        columns=[c.model_copy(update={"metrics": [metric]}) for c in figure.columns],
    )
    built = tables.fill(name, table)
    if not any(cell.mean is not None or not built.rows[i].measured for i, _, cell in built.there()):
        raise FigureError(f"{config.path_of('figures', name)}: none of its methods has been scored yet (snakemake)")
    groups, series = len(built.columns), len(built.rows)
    drawn, axis = plt.subplots(figsize=(max(5.0, 0.9 * groups + 1.6), 2.9), layout="constrained")
    identity = {m for m in figure.methods if config.load("methods", m).kind == "identity"}
    colours = iter(PALETTE * series)  # the input is a reference, not a competitor: grey
    colour = {row.method: "#9a9a9a" if row.method in identity else next(colours) for row in built.rows}
    thick = 0.82 / series
    for i, row in enumerate(built.rows):
        value = (lambda c: c.mean) if row.measured else (lambda c: c.reported)
        there = [(j, c) for j, c in enumerate(built.cells[i]) if value(c) is not None]
        at = [j - 0.41 + thick * (i + 0.5) for j, _ in there]
        look = {"color": colour[row.method]}
        if not row.measured:
            look = {"facecolor": "white", "edgecolor": colour[row.method], "hatch": "/////", "linewidth": 0.5}
        label = row.title + ("" if row.measured else " (reported)")
        axis.bar(at, [value(c) for _, c in there], thick * 0.92, label=label, **look)
        spread = [(x, c.mean, *_reach(c)) for x, (_, c) in zip(at, there, strict=True) if any(_reach(c))]
        for x, mean, below, above in spread:
            axis.errorbar(x, mean, [[below], [above]], fmt="none", ecolor="#333333", elinewidth=0.7, capsize=1.5)
    axis.set_xticks(range(groups), ["\n".join(textwrap.wrap(c.label, 14)) for c in built.columns])
    axis.tick_params(axis="x", length=0)
    for label in axis.get_xticklabels():
        label.set_linespacing(1.05)
    better = "higher" if METRICS[metric].higher_is_better else "lower"
    unit = " (dB)" if metric == "psnr" else ""
    axis.set_ylabel(f"{METRICS[metric].label}{unit}, {better} is better")
    axis.set_ylim(bottom=0)
    drawn.legend(loc="outside upper left", ncols=min(4, series), fontsize=8, handlelength=1.2, columnspacing=1.2)
    methods = list(dict.fromkeys(m for method in figure.methods for m in (method, *config.members(method))))
    pairs = [(m, d) for m in methods for c in figure.columns for d in c.datasets]
    inputs = [Path(file) for m in methods for file in config.files_of("methods", m)]
    inputs += [tables.score_card(*pair) for pair in pairs]
    done, total = built.progress
    return drawn, [path for path in inputs if path.is_file()], {"cells": total, "run": done}


def _reach(cell: Cell) -> tuple[float, float]:
    """How far its interval, or the standard deviation of its runs, reaches below and above a mean; none of what is reported."""
    if cell.low is not None and cell.high is not None:
        return cell.mean - cell.low, cell.high - cell.mean
    return cell.sd or 0.0, cell.sd or 0.0
