"""Training curves."""

from pathlib import Path

import numpy as np
import pandas as pd

from mperceiver import config, paths
from mperceiver.config.figures import Figure
from mperceiver.report.figures.common import DASHES, PALETTE, nothing_yet, plots_in_rows

OF_PICTURES = False
SMOOTHED_OVER = 1 / 20  # of the curve


def describe(figure: Figure) -> str:
    """What is on the axes."""
    return f"Training loss against step for the runs {', '.join(figure.runs)}."


def curve(path: Path) -> pd.DataFrame:
    """The columns `step` and `loss` of a training curve, float64, without lines that lack a number or have an infinite one."""
    points = pd.read_csv(path, usecols=["step", "loss"], dtype=float)[["step", "loss"]]
    return points[np.isfinite(points).all(axis=1)].reset_index(drop=True)


def smooth(losses: pd.Series) -> pd.Series:
    """Exponential moving average, its weights normalised at each step, so that the start is not drawn towards zero."""
    keep = 1 - 1 / max(1, len(losses) * SMOOTHED_OVER)
    return losses.ewm(alpha=1 - keep).mean()


def draw(name: str, figure: Figure):
    """Loss against step, a plot for each stage, a colour for each run: pale as recorded, dark smoothed."""
    for run in figure.runs:
        config.load("runs", run)
    pairs = [(run, stage) for run in figure.runs for stage in config.STAGES]
    curves = {pair: curve(paths.curve_file(*pair)) for pair in pairs if paths.curve_file(*pair).is_file()}
    curves = {pair: points for pair, points in curves.items() if len(points)}
    if not curves:
        raise nothing_yet(name, f"no training curve of {', '.join(figure.runs) or 'any run'} in {paths.RUNS}")
    stages = [stage for stage in config.STAGES if any(of == stage for _, of in curves)]
    drawing, axes = plots_in_rows(len(stages), across=2, plot=(3.4, 2.3), around=(0.2, 0.3))
    for stage, axis in zip(stages, axes, strict=True):
        for index, run in enumerate(figure.runs):
            if (points := curves.get((run, stage))) is not None:
                colour, dashes = PALETTE[index % len(PALETTE)], DASHES[index % len(DASHES)]
                axis.plot(points["step"], points["loss"], color=colour, alpha=0.22, linewidth=0.6)
                look = {"color": colour, "linewidth": 1.3, "linestyle": dashes}
                axis.plot(points["step"], smooth(points["loss"]), label=run, **look)
        _scale(axis, pd.concat([points["loss"] for (_, of), points in curves.items() if of == stage]))
        axis.set_title(f"{stage} stage", fontsize=9.5, loc="left")
        axis.set_xlabel("step")
        axis.set_ylabel("loss")
        axis.set_xlim(left=0)
        axis.legend(fontsize=8, handlelength=2.2, borderaxespad=0.1)
    files = [file for pair in curves for file in (paths.weights_card(*pair), paths.curve_file(*pair))]
    missing = sorted(set(figure.runs) - {run for run, _ in curves})
    return drawing, [file for file in files if file.is_file()], {"curves": len(curves), "missing": missing}


def _scale(axis, losses: pd.Series) -> None:
    """Make the loss axis logarithmic where losses differ by more than a factor of 3."""
    if losses.min() > 0 and losses.max() > 3 * losses.min():
        axis.set_yscale("log")
        axis.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axis.yaxis.set_minor_formatter(lambda value, _: f"{value:g}" if str(f"{value:e}")[0] in "25" else "")
        axis.tick_params(axis="y", which="minor", length=2)
