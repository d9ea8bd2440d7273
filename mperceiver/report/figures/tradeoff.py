"""Quality against the sampler's steps, and against the seconds that a picture takes."""

from itertools import product
from typing import Any

from mperceiver import config, paths
from mperceiver.config.figures import Figure
from mperceiver.config.tables import RowGroup, Table
from mperceiver.csvs import measured
from mperceiver.report.figures.common import DASHES, PALETTE, nothing_scored
from mperceiver.report.scores import result
from mperceiver.report.tables.fill import fill

OF_PICTURES = False


def describe(figure: Figure) -> str:
    """What is on the axes."""
    labels = ", ".join(column.label for column in figure.columns)
    return f"Quality against steps and seconds for {labels}; methods {', '.join(figure.methods)}."


def draw(name: str, figure: Figure):
    """For each column a curve of its first metric over the methods, which differ in steps; left over steps, right over seconds.

    Methods with other weights than the first one's make curves of their own, dotted and with triangles.

    Seconds are those of the restore job, loading included, as Snakemake's benchmark measured them, divided by its pictures.
    """
    import matplotlib.pyplot as plt
    from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

    rows = [RowGroup(title="", methods=figure.methods)]
    columns = [column.model_copy(update={"metrics": column.metrics[:1]}) for column in figure.columns]
    table = fill(name, Table(title=figure.title, caption=figure.caption, rows=rows, columns=columns))
    if not any(cell.mean is not None for cell in table.cells.values()):
        raise nothing_scored(name)
    specs = {row.method: config.load("methods", row.method) for row in table.rows}
    steps = {method: spec.sampler.steps for method, spec in specs.items()}
    seconds = {(row, column): _seconds(row.method, column.datasets) for row, column, _ in table.filled()}
    timed = any(value is not None for value in seconds.values())
    drawing, axes = plt.subplots(
        1, 1 + timed, figsize=(3.5 * (1 + timed), 2.7), layout="constrained", sharey=True, squeeze=False
    )
    for (j, column), first in product(enumerate(table.columns), (True, False)):
        shown = [row for row in table.rows if (specs[row.method].run == specs[figure.methods[0]].run) == first]
        scored = [row for row in shown if table.cells[row, column].mean is not None]
        scored.sort(key=lambda row: steps[row.method])  # over seconds too, since measured times may be in another order
        over_steps: list[tuple[Any, Any]] = [(steps[row.method], table.cells[row, column].mean) for row in scored]
        over_seconds: list[tuple[Any, Any]] = [(seconds[row, column], table.cells[row, column].mean) for row in scored]
        look: dict[str, Any] = {
            "color": PALETTE[j % len(PALETTE)],
            "linestyle": DASHES[j % len(DASHES)] if first else ":",
            "marker": "o" if first else "^",
            "markersize": 3.5,
            "label": column.label if first else None,
        }
        for axis, points in zip(axes[0], [over_steps, over_seconds], strict=False):
            known = [point for point in points if point[0] is not None]
            if known:
                axis.plot(*zip(*known, strict=True), linewidth=1.2, **look)
    measure = table.columns[0].measure
    axes[0, 0].set_ylabel(measure.label + (f" ({measure.unit})" if measure.unit else ""))
    for axis, label in zip(axes[0], ["steps of the sampler", "seconds a picture"], strict=False):
        axis.set_xscale("log")
        axis.set_xlabel(label)
        low, high = axis.get_xlim()
        axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)) if high > 8 * low else MaxNLocator(5))
        axis.xaxis.set_minor_locator(NullLocator())
        axis.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes[0, 0].legend(fontsize=8)
    cards = [paths.scores_card(row.method, dataset) for row, column, _ in table.filled() for dataset in column.datasets]
    return drawing, [card for card in cards if card.is_file()], {"steps": steps, "timed": timed}


def _seconds(method: str, datasets: tuple[str, ...]) -> float | None:
    """Seconds a picture of restoring some datasets; None where a benchmark or the number of pictures is missing."""
    total, pictures = 0.0, 0
    for dataset in datasets:
        seconds, scores = measured(paths.benchmark_file("restore", method, dataset), "s"), result(method, dataset)
        if seconds is None or scores is None:
            return None
        total += seconds
        pictures += scores["n"]
    return total / pictures
