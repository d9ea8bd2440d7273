"""What the kinds of figures share: their style, their error, and plots in rows."""

import math
from typing import Any

from mperceiver import config, paths

DPI = 200
# Okabe and Ito's palette for colour-blind readers, darkest first; line styles tell series apart in print without colours
PALETTE = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000"]
DASHES = ["-", (0, (5, 1.5)), (0, (1.5, 1.2)), (0, (5, 1.5, 1.2, 1.5)), "-", (0, (5, 1.5)), (0, (1.5, 1.2))]
# Paul Tol's "muted" palette, nine colours for colour-blind readers, where a colour is a degradation
COLOURS = ["#332288", "#88CCEE", "#44AA99", "#117733", "#999933", "#DDCC77", "#CC6677", "#882255", "#AA4499"]
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


def nothing_yet(name: str, lacking: str) -> FigureError:
    """The error of config/figures/{name}.yaml before there is anything to draw; ``lacking`` says what there is not."""
    return FigureError(
        f"{config.path_of('figures', name)}: {lacking} yet; run: {paths.making(paths.figure_file(name, 'json'))}"
    )


def nothing_scored(name: str) -> FigureError:
    """The error of a figure of scores before there are any."""
    return nothing_yet(name, "none of its methods has been scored")


def plots_in_rows(count: int, across: int, plot: tuple[float, float], around: tuple[float, float]) -> tuple[Any, list]:
    """A matplotlib figure with plots of one size, of which the last row may have fewer.

    Args:
        count: how many plots, at least 1.
        across: the most in a row.
        plot: width and height of each in inches, with its share of the space between.
        around: the width and height that the figure has besides, in inches, as for a legend.

    Returns:
        (the figure, its axes row by row).
    """
    import matplotlib.pyplot as plt

    across = min(across, count)
    down = math.ceil(count / across)
    size = (plot[0] * across + around[0], plot[1] * down + around[1])
    drawing, axes = plt.subplots(down, across, figsize=size, layout="constrained", squeeze=False)
    axes = list(axes.flat)
    for axis in axes[count:]:
        axis.remove()
    return drawing, axes[:count]
