"""What the kinds of figures share: the look, the refusal, and scores a picture."""

import csv
from typing import Any

from mperceiver.report import tables

DPI = 200
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
