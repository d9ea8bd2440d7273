"""The degradation predictor's mean probabilities for the pictures of each task, as stacked bars."""

import numpy as np
import pandas as pd

from mperceiver import config
from mperceiver.config.figures import Figure
from mperceiver.report import predictions
from mperceiver.report.figures.common import COLOURS, FigureError
from mperceiver.report.figures.predicted import inputs_of, pictures_of

HATCHES = ["", "", "", "////", "", "", "....", "", "\\\\\\\\"]
DARK = ("#332288", "#117733", "#882255", "#AA4499", "#CC6677")  # of these colours, on which text is white
LEGIBLE = 0.1  # smaller shares have no room for their number
OF_PICTURES = False


def describe(figure: Figure) -> str:
    """What the bars are."""
    labels = ", ".join(column.label for column in figure.columns)
    return f"Stacked bars of the predictor's mean probabilities for {labels}; method {', '.join(figure.methods)}."


def draw(name: str, figure: Figure):
    """A bar for each of `columns`, with a share for each class: its mean probability over the column's pictures, for one method."""
    import matplotlib.pyplot as plt

    method = figure.methods[0]
    bars: dict[str, pd.Series] = {}
    for column in figure.columns:
        pictures = pictures_of(method, column)
        if pictures.empty:
            raise FigureError(
                f"{config.path_of('figures', name)}: no picture of {column.label} in {', '.join(column.datasets)}"
            )
        bars[column.label] = predictions.classes(pictures).mean()
    drawing, axis = plt.subplots(figsize=(6.4, 0.34 * len(bars) + 1.3), layout="constrained")
    left = np.zeros(len(bars))
    for k, task in enumerate(next(iter(bars.values())).index):
        colour = COLOURS[k % len(COLOURS)]
        shares = np.array([bar[task] for bar in bars.values()])
        look = {"color": colour, "hatch": HATCHES[k % len(HATCHES)], "edgecolor": "white", "linewidth": 0.4}
        axis.barh(range(len(bars)), shares, left=left, height=0.72, label=task.replace("-", " "), **look)
        for i, share in enumerate(shares):
            if share >= LEGIBLE:
                text = {"ha": "center", "va": "center", "fontsize": 7, "color": "white" if colour in DARK else "black"}
                box = {"facecolor": colour, "edgecolor": "none", "pad": 0.8}  # hides the hatching behind the number
                axis.text(left[i] + share / 2, i, f"{share:.2f}", bbox=box, **text)
        left += shares
    axis.set_yticks(range(len(bars)), list(bars))
    axis.invert_yaxis()
    axis.set_xlim(0, 1)
    axis.grid(False)
    axis.tick_params(axis="y", length=0)
    axis.set_xlabel("mean probability")
    drawing.legend(loc="outside upper center", ncols=5, fontsize=8, handlelength=1.2, columnspacing=1.1)
    shares_of = {label: [round(float(share), 4) for share in bar] for label, bar in bars.items()}
    return drawing, inputs_of(figure), shares_of
