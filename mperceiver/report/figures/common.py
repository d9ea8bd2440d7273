"""What the kinds of figures share: their style and their error."""

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
