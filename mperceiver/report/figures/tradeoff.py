"""Quality against the sampler's steps, and against the seconds that a picture takes."""

import csv
from pathlib import Path

from mperceiver import config
from mperceiver.config.figures import Figure
from mperceiver.config.tables import RowGroup, Table
from mperceiver.metrics import METRICS
from mperceiver.report import tables
from mperceiver.report.figures.common import DASHES, PALETTE, FigureError


def draw(name: str, figure: Figure):
    """A curve for each column's first metric over the methods, which differ in steps; left over steps, right over seconds.

    Seconds are those of the workflow's benchmark of the restore job, loading included, over its pictures.
    """
    import matplotlib.pyplot as plt
    from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

    rows = [RowGroup(title="", methods=figure.methods)] if figure.methods else []
    if not rows or not figure.columns:
        raise FigureError(f"{config.path_of('figures', name)}: a trade-off needs `methods` and `columns`")
    columns = [c.model_copy(update={"metrics": c.metrics[:1]}) for c in figure.columns]
    built = tables.fill(name, Table(title=figure.title, caption=figure.caption, rows=rows, columns=columns))
    if not any(cell.mean is not None for _, _, cell in built.there()):
        raise FigureError(f"{config.path_of('figures', name)}: none of its methods has been scored yet (snakemake)")
    steps = {row.method: config.load("methods", row.method).sampler.steps for row in built.rows}
    seconds = {(r.method, c.place): _seconds(r.method, c.datasets) for r in built.rows for c in built.columns}
    timed = any(value is not None for value in seconds.values())
    drawn, axes = plt.subplots(
        1, 1 + timed, figsize=(3.5 * (1 + timed), 2.7), layout="constrained", sharey=True, squeeze=False
    )
    for j, column in enumerate(built.columns):
        there = [
            (row.method, built.cells[i][j]) for i, row in enumerate(built.rows) if built.cells[i][j].mean is not None
        ]
        there.sort(key=lambda pair: steps[pair[0]])  # over seconds, too: the clock's noise is no order
        look = {
            "color": PALETTE[j % len(PALETTE)],
            "linestyle": DASHES[j % len(DASHES)],
            "marker": "o",
            "markersize": 3.5,
        }
        over = [lambda method: steps[method]] + [lambda method, place=column.place: seconds[method, place]] * timed
        for axis, of in zip(axes[0], over, strict=True):
            points = [(of(method), cell.mean) for method, cell in there if of(method) is not None]
            if points:
                axis.plot(*zip(*points, strict=True), label=column.label, linewidth=1.2, **look)
    metric = built.columns[0].metric
    axes[0, 0].set_ylabel(METRICS[metric].label + (" (dB)" if metric == "psnr" else ""))
    for axis, label in zip(axes[0], ["steps of the sampler", "seconds a picture"], strict=False):
        axis.set_xscale("log")
        axis.set_xlabel(label)
        low, high = axis.get_xlim()
        axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)) if high > 8 * low else MaxNLocator(5))
        axis.xaxis.set_minor_locator(NullLocator())
        axis.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes[0, 0].legend(fontsize=8)
    cards = [tables.score_card(r.method, d) for r in built.rows for c in built.columns for d in c.datasets]
    inputs = [Path(file) for method in figure.methods for file in config.files_of("methods", method)]
    return drawn, inputs + [card for card in cards if card.is_file()], {"steps": steps, "timed": timed}


def _seconds(method: str, datasets: tuple[str, ...]) -> float | None:
    """Seconds a picture of restoring some datasets, from the workflow's benchmarks; None where there is none."""
    total, pictures = 0.0, 0
    for dataset in datasets:
        path = Path("results/benchmarks/restore") / method / f"{dataset}.tsv"
        if not path.is_file() or not tables.score_card(method, dataset).is_file():
            return None
        with path.open(newline="") as file:
            total += float(next(csv.DictReader(file, delimiter="\t"))["s"])
        pictures += tables.scores_of(method, dataset)["n"]
    return total / pictures
