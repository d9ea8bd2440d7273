"""What the degradation predictor sees: its mean probabilities for the pictures of each task, as stacked bars."""

import csv
from pathlib import Path

import numpy as np

from mperceiver import config
from mperceiver.config.figures import Figure
from mperceiver.report.figures.common import FigureError
from mperceiver.report.figures.prompts import COLOURS

HATCHES = ["", "", "", "////", "", "", "....", "", "\\\\\\\\"]


def draw(name: str, figure: Figure):
    """A bar for each task of each dataset in `columns`, of the first method; shares of the bar are the classes' means."""
    import matplotlib.pyplot as plt

    if len(figure.methods) != 1 or not figure.columns:
        raise FigureError(
            f"{config.path_of('figures', name)}: probabilities are of one method: `methods: [one]`, and `columns`"
        )
    method = figure.methods[0]
    files = {d: Path("results/restored") / method / d / "probabilities.csv" for c in figure.columns for d in c.datasets}
    if missing := [path for path in files.values() if not path.is_file()]:
        raise FigureError(f"{missing[0]}: no such file; restore first (snakemake {missing[0].parent}.json)")
    bars: dict[str, np.ndarray] = {}
    for column in figure.columns:
        rows = [row for d in column.datasets for row in _rows(files[d]) if column.task in (None, row["task"])]
        if not rows:
            raise FigureError(
                f"{config.path_of('figures', name)}: no picture of {column.label} in {', '.join(column.datasets)}"
            )
        classes = [key for key in rows[0] if key not in ("id", "task")]
        bars[column.label] = np.array([[float(row[key]) for key in classes] for row in rows]).mean(0)
    drawn, axis = plt.subplots(figsize=(6.4, 0.34 * len(bars) + 1.3), layout="constrained")
    left = np.zeros(len(bars))
    for k, key in enumerate(classes):
        shares = np.array([bar[k] for bar in bars.values()])
        look = {
            "color": COLOURS[k % len(COLOURS)],
            "hatch": HATCHES[k % len(HATCHES)],
            "edgecolor": "white",
            "linewidth": 0.4,
        }
        axis.barh(range(len(bars)), shares, left=left, height=0.72, label=key.replace("-", " "), **look)
        for i, share in enumerate(shares):
            if share >= 0.1:
                dark = COLOURS[k % len(COLOURS)] in ("#332288", "#117733", "#882255", "#AA4499", "#CC6677")
                axis.text(
                    left[i] + share / 2,
                    i,
                    f"{share:.2f}",
                    ha="center",
                    va="center",
                    fontsize=7,
                    color="white" if dark else "black",
                    # so that hatching does not run through the number
                    bbox={"facecolor": COLOURS[k % len(COLOURS)], "edgecolor": "none", "pad": 0.8},
                )
        left += shares
    axis.set_yticks(range(len(bars)), list(bars))
    axis.invert_yaxis()
    axis.set_xlim(0, 1)
    axis.grid(False)
    axis.tick_params(axis="y", length=0)
    axis.set_xlabel("mean probability")
    drawn.legend(loc="outside upper center", ncols=5, fontsize=8, handlelength=1.2, columnspacing=1.1)
    inputs = [f for path in files.values() for f in (path.parent.with_suffix(".json"), path)]
    return drawn, inputs, {label: [round(float(p), 4) for p in bar] for label, bar in bars.items()}


def _rows(path: Path) -> list[dict]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))
