"""Figures: pictures side by side, training curves, grouped bars. Same inputs, same bytes."""

import csv
import math
import textwrap
from pathlib import Path
from typing import Any

from mperceiver import config, images, lineage
from mperceiver.metrics import METRICS
from mperceiver.report import tables

DPI = 200
CELL_PX = 256  # a picture of a comparison, after enlarging it a whole number of times
GAP_PX = 10
# Okabe and Ito's palette, safe for the colour-blind, darkest first; line styles and hatches tell the series apart in grey
PALETTE = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000"]
DASHES = ["-", (0, (5, 1.5)), (0, (1.5, 1.2)), (0, (5, 1.5, 1.2, 1.5)), "-", (0, (5, 1.5)), (0, (1.5, 1.2))]
STYLE = {
    "font.family": "STIXGeneral",  # shipped with matplotlib, so it is the same everywhere
    "mathtext.fontset": "stix",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "grid.linewidth": 0.4,
    "grid.color": "#d9d9d9",
    "legend.frameon": False,
    "svg.fonttype": "path",
    "figure.dpi": DPI,
    "savefig.dpi": DPI,
}


class FigureError(ValueError):
    """A figure cannot be drawn; the message says what is missing and how to get it."""


def write(name: str) -> Path:
    """Draw ``config/figures/{name}.yaml`` to results/figures/{name}.png (plots: .svg too) and its card, whose path
    is returned.

    Raises ConfigError, or FigureError where there is nothing to draw yet or the configuration asks for no picture.
    """
    import matplotlib

    matplotlib.use("Agg")
    figure = config.load("figures", name)
    stem = Path("results/figures") / name
    suffixes = [".png"] if figure.kind == "comparison" else [".png", ".svg"]
    with matplotlib.rc_context(STYLE | {"svg.hashsalt": name}):
        drawn, inputs, result = {"comparison": comparison, "curves": curves, "bars": bars}[figure.kind](name, figure)
        for suffix in suffixes:
            plain = {"Software": None} if suffix == ".png" else {"Date": None, "Creator": None}
            with lineage.whole(stem.with_suffix(suffix)) as beside:
                drawn.savefig(beside, format=suffix[1:], metadata=plain, facecolor="white")
    card = stem.with_suffix(".json")
    lineage.write_card(
        card,
        verb="figure",
        spec=figure,
        inputs=list(dict.fromkeys(map(str, [*config.files_of("figures", name), *inputs]))),
        outputs=[stem.with_suffix(suffix) for suffix in suffixes],
        result=result,
    )
    return card


def per_picture(method: str, dataset: str) -> dict[str, dict[str, Any]]:
    """{picture id: {"task": …, metric: value or None}} from a score CSV; empty where there is none."""
    path = tables.score_card(method, dataset).with_suffix(".csv")
    if not path.is_file():
        return {}
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    return {
        row["id"]: {k: v if k == "task" else (float(v) if v else None) for k, v in row.items() if k != "id"}
        for row in rows
    }


def ground_truth(pairs, index: int):
    """The ground truth of a prepared picture, uint8 (H, W, 3), or None for a real picture that has none."""
    from mperceiver.data import DataError

    try:
        return pairs.gt(index)
    except DataError:
        return None


# ---------------------------------------------------------------- comparison


def crop(picture):
    """What of a picture (H, W, 3) is shown: all of it, or the middle of a large one; enlarged a whole number of times."""
    height, width = picture.shape[:2]
    top, left = max(0, height - CELL_PX) // 2, max(0, width - CELL_PX) // 2
    part = picture[top : top + CELL_PX, left : left + CELL_PX]
    times = max(1, CELL_PX // max(part.shape[:2]))
    return part.repeat(times, axis=0).repeat(times, axis=1)


def comparison(name: str, figure: config.Figure):
    """Rows are panels; columns the input, each method, the ground truth; PSNR under each. Pixel for pixel, not resampled."""
    import matplotlib.pyplot as plt

    from mperceiver.data.loader import Prepared

    methods = {m: config.load("methods", m) for m in figure.methods}
    outputs = [m for m, spec in methods.items() if spec.kind != "identity"]
    titles = ["Input", *(methods[m].title for m in outputs), "Ground truth"]
    inputs = [Path(file) for m in methods for file in config.files_of("methods", m)]
    if not figure.panels:
        raise FigureError(f"{config.path_of('figures', name)}: a comparison needs `panels`")
    prepared = {d: Prepared(d) for d in dict.fromkeys(panel.dataset for panel in figure.panels)}
    identity = next((m for m, spec in methods.items() if spec.kind == "identity"), "input")
    rows, missing = [], []
    for panel in figure.panels:
        pairs = prepared[panel.dataset]
        ids = list(pairs.ids)
        if panel.picture not in ids:
            raise FigureError(
                f"{config.path_of('figures', name)}: dataset {panel.dataset} has no picture {panel.picture}; it has "
                f"{', '.join(ids[:6])} … ({len(ids)} in all)"
            )
        index = ids.index(panel.picture)
        inputs.append(Path("data/prepared") / f"{panel.dataset}.json")
        scores = {m: per_picture(m, panel.dataset).get(panel.picture, {}) for m in [identity, *outputs]}
        cells = [(pairs.lq(index), scores[identity].get("psnr"))]
        for method in outputs:
            path = Path("results/restored") / method / panel.dataset / f"{panel.picture}.png"
            cells.append((images.decode(path), scores[method].get("psnr")) if path.is_file() else (None, None))
            if cells[-1][0] is None:
                missing.append(str(path))
        cells.append((ground_truth(pairs, index), None))
        for method in [identity, *outputs]:
            inputs += [
                tables.score_card(method, panel.dataset),
                Path("results/restored") / method / f"{panel.dataset}.json",
            ]
        task = next((s["task"] for s in scores.values() if s.get("task")), "")
        rows.append((task.replace("-", " ") or panel.picture, cells))

    crops = [[None if p is None else crop(p) for p, _ in cells] for _, cells in rows]
    tall = [max(c.shape[0] for c in line if c is not None) for line in crops]
    wide = max(c.shape[1] for line in crops for c in line if c is not None)
    wrapped = ["\n".join(textwrap.wrap(title, 20)) for title in titles]
    head, left, under = 16 + 30 * max(t.count("\n") + 1 for t in wrapped), 44, 38
    width = left + len(titles) * (wide + GAP_PX)
    height = head + sum(tall) + len(rows) * (under + GAP_PX // 2)
    drawn = plt.figure(figsize=(width / DPI, height / DPI), dpi=DPI)

    def text(x, y, words, **how):
        drawn.text(x / width, 1 - y / height, words, **({"ha": "center", "fontsize": 9} | how))

    for j, title in enumerate(wrapped):
        text(left + j * (wide + GAP_PX) + wide / 2, head - 10, title, va="bottom", linespacing=1.05)
    y = head
    for (label, cells), line, high in zip(rows, crops, tall, strict=True):
        text(left - 10, y + high / 2, label, rotation=90, va="center", ha="right", style="italic")
        best = max((v for _, v in cells[:-1] if v is not None), default=None)
        for j, ((_, value), picture) in enumerate(zip(cells, line, strict=True)):
            x = left + j * (wide + GAP_PX)
            if picture is None:
                text(
                    x + wide / 2,
                    y + high / 2,
                    "not run" if j < len(cells) - 1 else "none",
                    va="center",
                    color="#666666",
                )
                continue
            drawn.figimage(picture, x, height - y - picture.shape[0], origin="upper")
            if value is not None:
                bold = "bold" if value == best else "normal"
                text(x + wide / 2, y + high + 8, f"{value:.2f} dB", va="top", fontsize=8.5, fontweight=bold)
        y += high + under + GAP_PX // 2
    result = {"panels": len(rows), "missing": missing}
    return drawn, [path for path in inputs if path.is_file()], result


# ---------------------------------------------------------------- curves


def curve(path: Path) -> dict[str, list[float]]:
    """The columns `step` and `loss` of a training curve, lines without a number left out."""
    with path.open(newline="") as file:
        rows = [(float(r["step"]), float(r["loss"])) for r in csv.DictReader(file) if r.get("step") and r.get("loss")]
    rows = [(s, v) for s, v in rows if math.isfinite(v)]
    return {"step": [s for s, _ in rows], "loss": [v for _, v in rows]}


def smooth(values: list[float]) -> list[float]:
    """Exponential moving average over about a twentieth of the curve, without the pull of its start towards zero."""
    keep = 1 - 1 / max(1, len(values) / 20)
    found, total, weight = [], 0.0, 0.0
    for value in values:
        total, weight = keep * total + (1 - keep) * value, keep * weight + (1 - keep)
        found.append(total / weight)
    return found


def curves(name: str, figure: config.Figure):
    """Loss against step, a plot a stage and a colour a run: pale as recorded, dark smoothed."""
    import matplotlib.pyplot as plt

    for run in figure.runs:
        config.load("runs", run)
    files = {
        (run, stage): Path("results/runs") / run / f"{stage}.csv" for run in figure.runs for stage in config.STAGES
    }
    found = {key: curve(path) for key, path in files.items() if path.is_file()}
    found = {key: points for key, points in found.items() if points["step"]}
    if not found:
        raise FigureError(
            f"{config.path_of('figures', name)}: no training curve of {', '.join(figure.runs) or 'any run'} in results/runs "
            "yet; train first (snakemake)"
        )
    stages = [stage for stage in config.STAGES if any(s == stage for _, s in found)]
    across = min(2, len(stages))
    down = math.ceil(len(stages) / across)
    drawn, axes = plt.subplots(
        down, across, figsize=(3.4 * across + 0.2, 2.3 * down + 0.3), layout="constrained", squeeze=False
    )
    for axis in list(axes.flat)[len(stages) :]:
        axis.remove()
    for stage, axis in zip(stages, axes.flat, strict=False):
        for index, run in enumerate(figure.runs):
            if points := found.get((run, stage)):
                colour = PALETTE[index % len(PALETTE)]
                axis.plot(points["step"], points["loss"], color=colour, alpha=0.22, linewidth=0.6)
                dashes = DASHES[index % len(DASHES)]
                axis.plot(
                    points["step"], smooth(points["loss"]), color=colour, linewidth=1.3, linestyle=dashes, label=run
                )
        everything = sorted(v for (_, s), p in found.items() if s == stage for v in p["loss"])
        if everything[0] > 0 and everything[-1] > 3 * everything[0]:
            axis.set_yscale("log")
            axis.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
            axis.yaxis.set_minor_formatter(lambda value, _: f"{value:g}" if str(f"{value:e}")[0] in "25" else "")
            axis.tick_params(axis="y", which="minor", length=2)
        axis.set_title(f"{stage} stage", fontsize=9.5, loc="left")
        axis.set_xlabel("step")
        axis.set_ylabel("loss")
        axis.set_xlim(left=0)
        axis.legend(fontsize=8, handlelength=2.2, borderaxespad=0.1)
    cards = [files[key].with_suffix(".json") for key in found]
    lost = sorted(set(figure.runs) - {run for run, _ in found})
    return (
        drawn,
        [f for c in cards for f in (c, c.with_suffix(".csv")) if f.is_file()],
        {"curves": len(found), "missing": lost},
    )


# ---------------------------------------------------------------- bars


def bars(name: str, figure: config.Figure):
    """A group of bars a column, a bar a method: the column's first metric with its 95 % interval. The axis starts at 0."""
    import matplotlib.pyplot as plt

    metric = figure.columns[0].metrics[0] if figure.columns else ""
    if not figure.columns or not figure.methods or any(c.metrics[0] != metric for c in figure.columns):
        raise FigureError(
            f"{config.path_of('figures', name)}: bars need `columns` that all begin with the same metric, and `methods`"
        )
    # a figure's bars are a table of one group: same numbers, same refusal to mix protocols
    table = config.Table(
        title=figure.title,
        caption=figure.caption,
        rows=[config.Rows(title="", methods=figure.methods)],
        columns=[c.model_copy(update={"metrics": [metric]}) for c in figure.columns],
    )
    built = tables.fill(name, table)
    if not any(cell.mean is not None for _, _, cell in built.there()):
        raise FigureError(f"{config.path_of('figures', name)}: none of its methods has been scored yet (snakemake)")
    groups, series = len(built.columns), len(built.rows)
    drawn, axis = plt.subplots(figsize=(max(5.0, 0.9 * groups + 1.6), 2.9), layout="constrained")
    identity = {m for m in figure.methods if config.load("methods", m).kind == "identity"}
    colours = iter(PALETTE * series)  # the input is a reference, not a competitor: grey
    colour = {row.method: "#9a9a9a" if row.method in identity else next(colours) for row in built.rows}
    thick = 0.82 / series
    for i, row in enumerate(built.rows):
        there = [(j, c) for j, c in enumerate(built.cells[i]) if c.mean is not None]
        at = [j - 0.41 + thick * (i + 0.5) for j, _ in there]
        reach = [
            [c.mean - (c.mean if c.low is None else c.low) for _, c in there],
            [(c.mean if c.high is None else c.high) - c.mean for _, c in there],
        ]
        axis.bar(at, [c.mean for _, c in there], thick * 0.92, color=colour[row.method], label=row.title)
        axis.errorbar(
            at, [c.mean for _, c in there], yerr=reach, fmt="none", ecolor="#333333", elinewidth=0.7, capsize=1.5
        )
    axis.set_xticks(range(groups), ["\n".join(textwrap.wrap(c.label, 14)) for c in built.columns])
    axis.tick_params(axis="x", length=0)
    for label in axis.get_xticklabels():
        label.set_linespacing(1.05)
    better = "higher" if METRICS[metric].higher_is_better else "lower"
    unit = " (dB)" if metric == "psnr" else ""
    axis.set_ylabel(f"{METRICS[metric].label}{unit}, {better} is better")
    axis.set_ylim(bottom=0)
    drawn.legend(loc="outside upper left", ncols=min(4, series), fontsize=8, handlelength=1.2, columnspacing=1.2)
    pairs = [(m, d) for m in figure.methods for c in figure.columns for d in c.datasets]
    inputs = [Path(file) for m in figure.methods for file in config.files_of("methods", m)]
    inputs += [tables.score_card(*pair) for pair in pairs]
    done, total = built.progress
    return drawn, [path for path in inputs if path.is_file()], {"cells": total, "run": done}
