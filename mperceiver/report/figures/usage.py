"""What trainings used over time: memory, speed, and of GPUs how busy they were and their power."""

import textwrap
from pathlib import Path

import numpy as np
import pandas as pd

from mperceiver import config, paths
from mperceiver.config.figures import Figure
from mperceiver.report.figures.common import DASHES, PALETTE, nothing_yet, plots_in_rows

OF_PICTURES = False
MINUTE, HOUR = 60, 3600  # seconds
QUANTITIES = {  # column -> title of its plot
    "gib": "Peak memory (GiB)",
    "pictures_per_s": "Pictures a second",
    "gpu_percent": "GPU in use (%)",
    "watts": "Power of the GPUs (W)",
}


def describe(figure: Figure) -> str:
    """What is on the axes."""
    return f"Memory, pictures a second, and of GPUs use and power, against time for the trainings of {', '.join(figure.runs)}."


def used(path: Path) -> pd.DataFrame | None:
    """What a training used, from its curve (mperceiver.training.meter): a row a row of the curve, index: seconds since it began.

    Columns are those of QUANTITIES that the curve tells, float64; `watts` is the mean power since the row before. None for a curve
    that tells no time, as those of an earlier version.
    """
    curve = pd.read_csv(path)
    if "seconds" not in curve:
        return None
    curve = curve[np.isfinite(curve["seconds"].astype(float))].set_index("seconds")
    if "watt_hours" in curve:
        joules, seconds = curve["watt_hours"].diff() * HOUR, curve.index.to_series().diff()
        curve["watts"] = (joules / seconds).fillna(
            curve["watt_hours"] * HOUR / curve.index.to_series().clip(lower=1e-9)
        )
    return curve[[name for name in QUANTITIES if name in curve]].astype(float)


def draw(name: str, figure: Figure):
    """A plot for each quantity that a curve tells, a line for each training."""
    import matplotlib.pyplot as plt

    for run in figure.runs:
        config.load("runs", run)
    pairs = [(run, stage) for run in figure.runs for stage in config.STAGES if paths.curve_file(run, stage).is_file()]
    if not pairs:
        raise nothing_yet(name, f"no training curve of {', '.join(figure.runs)} in {paths.RUNS}")
    lines = {pair: rows for pair in pairs if (rows := used(paths.curve_file(*pair))) is not None and len(rows)}
    files = [file for pair in pairs for file in (paths.weights_card(*pair), paths.curve_file(*pair)) if file.is_file()]
    missing = [": ".join(pair) for pair in pairs if pair not in lines]
    if not lines:  # weights of an earlier version are good weights: no reason to stop a report
        drawing = plt.figure(figsize=(7, 0.6))
        words = f"Not known: an earlier version trained {', '.join(missing)}."
        drawing.text(0.01, 0.5, textwrap.fill(words, 110), va="center")
        return drawing, files, {"trainings": 0, "quantities": [], "missing": missing}
    shown = [key for key in QUANTITIES if any(key in rows and rows[key].notna().any() for rows in lines.values())]
    longest = max(rows.index.max() for rows in lines.values())
    unit, words = (
        (HOUR, "hours") if longest > 2 * HOUR else (MINUTE, "minutes") if longest > 2 * MINUTE else (1, "seconds")
    )
    drawing, axes = plots_in_rows(len(shown), across=2, plot=(3.4, 2.1), around=(0.2, 0.7))
    for key, axis in zip(shown, axes, strict=True):
        for index, (pair, rows) in enumerate(lines.items()):
            if key in rows:
                look = {
                    "color": PALETTE[index % len(PALETTE)],
                    "linestyle": DASHES[index % len(DASHES)],
                    "linewidth": 1.1,
                }
                marker = {"marker": ".", "markersize": 3} if len(rows) < 8 else {}
                axis.plot(rows.index / unit, rows[key], label=": ".join(pair), **look, **marker)
        axis.set_title(QUANTITIES[key], fontsize=9.5, loc="left")
        axis.set_xlabel(f"{words} since the training began")
        axis.set_xlim(left=0)
        axis.set_ylim(bottom=0)
    handles, labels = axes[0].get_legend_handles_labels()
    drawing.legend(handles, labels, fontsize=8, handlelength=2.2, loc="outside lower center", ncols=min(4, len(labels)))
    return drawing, files, {"trainings": len(lines), "quantities": shown, "missing": missing}
