"""Training curves."""

import csv
import math
from pathlib import Path

from mperceiver import config
from mperceiver.config.figures import Figure
from mperceiver.report.figures.common import DASHES, PALETTE, FigureError


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


def draw(name: str, figure: Figure):
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
