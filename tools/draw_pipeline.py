"""docs/pipeline.svg, drawn from the workflow's own graph of rules; `make docs` writes it."""

import io
import re
import subprocess
import sys

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

# Of each rule: column, row from the top, colour, what it makes. The arrows come from Snakemake.
BLUE, GREY, ORANGE, GREEN, VIOLET = "#ddebfa", "#e9e9ee", "#fdebd3", "#e3f1e1", "#ece4f5"
PLACES = {
    "download": (1.0, 0, BLUE, "pictures of a dataset"),
    "foundation": (2.0, 0, GREY, "frozen Stable Diffusion, CLIP"),
    "prepare": (1.0, 1, BLUE, "pairs, or degraded with a seed"),
    "encode": (2.0, 2, BLUE, "cached latents, embeddings"),
    "train_predictor": (2.0, 3, ORANGE, "stage 1: degradation predictor"),
    "train_branches": (2.0, 4, ORANGE, "stage 2: both branches"),
    "train_network": (1.0, 4, ORANGE, "a baseline, on the same pairs"),
    "train_drm": (2.0, 5, ORANGE, "stage 3: detail refinement"),
    "command": (0.0, 5, GREEN, "what another program restores"),
    "restore": (1.5, 6, GREEN, "a method × a dataset"),
    "measure": (2.5, 6, GREEN, "what a method costs"),
    "score": (1.5, 7, GREEN, "under the dataset's protocol"),
    "table": (1.0, 8, VIOLET, "HTML, CSV, LaTeX"),
    "figure": (2.0, 8, VIOLET, "pictures, curves"),
    "report": (1.5, 9, VIOLET, "results/report/*/index.html"),
}
# Rules that the demo has no use for, and their arrows.
ASIDE: dict[str, set[tuple[str, str]]] = {
    "command": {("prepare", "command"), ("command", "restore")},
    "measure": {("train_drm", "measure"), ("train_network", "measure"), ("measure", "table")},
}
BOX_WIDTH, BOX_HEIGHT = 2.7, 0.46  # inches
MARGIN = 0.1  # inches around the drawing
INK, PALE = "#1f2328", "#59636e"

Arrows = set[tuple[str, str]]


def page() -> str:
    """The picture as SVG: the same text for the same rules and the same matplotlib."""
    rules, arrows = parse(rule_graph())
    rules, arrows = rules | set(ASIDE), arrows.union(*ASIDE.values())
    if rules != set(PLACES):
        sys.exit(f"PLACES in tools/draw_pipeline.py and the workflow differ: {', '.join(sorted(rules ^ set(PLACES)))}")
    return draw(rules, without_shortcuts(arrows))


def rule_graph() -> str:
    """The graph of rules of the workflow in the working directory, in the DOT language."""
    command = [sys.executable, "-m", "snakemake", "--rulegraph"]
    return subprocess.run(command, stdout=subprocess.PIPE, encoding="utf-8", check=True).stdout


def parse(dot: str) -> tuple[set[str], Arrows]:
    """Rules and arrows of a graph in the DOT language, without the target rule `all` and without loops."""
    names = dict(re.findall(r'^\s*(\d+)\[label = "(\w+)"', dot, re.MULTILINE))
    arrows = {(names[a], names[b]) for a, b in re.findall(r"^\s*(\d+) -> (\d+)", dot, re.MULTILINE)}
    return set(names.values()) - {"all"}, {(a, b) for a, b in arrows if a != b and b != "all"}


def without_shortcuts(arrows: Arrows) -> Arrows:
    """The transitive reduction: an arrow a → b goes where a longer way leads from a to b too."""

    def reachable(start: str) -> set[str]:
        ends = {b for a, b in arrows if a == start}
        return ends.union(*map(reachable, ends))

    return {(a, b) for a, b in arrows if not any(b in reachable(c) for x, c in arrows if x == a and c != b)}


def centre(rule: str) -> tuple[float, float]:
    """Where the middle of a rule's box is, in inches; up is positive."""
    column, row, *_ = PLACES[rule]
    return column * (BOX_WIDTH + 0.7), -row * 0.78


def draw(rules: set[str], arrows: Arrows) -> str:
    """Boxes and arrows as SVG."""
    x, y = zip(*(centre(rule) for rule in rules), strict=True)
    left, right = min(x) - BOX_WIDTH / 2 - MARGIN, max(x) + BOX_WIDTH / 2 + MARGIN
    bottom, top = min(y) - BOX_HEIGHT / 2 - MARGIN, max(y) + BOX_HEIGHT / 2 + MARGIN
    svg = io.StringIO()
    with mpl.rc_context({"svg.fonttype": "path", "svg.hashsalt": "pipeline", "font.family": "DejaVu Sans"}):
        figure = Figure(figsize=(right - left, top - bottom))
        axes = figure.add_axes((0, 0, 1, 1), xlim=(left, right), ylim=(bottom, top))
        axes.axis("off")
        for rule in sorted(rules):
            draw_box(axes, rule)
        for above, below in sorted(arrows):
            draw_arrow(axes, centre(above), centre(below))
        figure.savefig(svg, format="svg", facecolor="white", metadata={"Date": None})
    return svg.getvalue()


def draw_box(axes, rule: str) -> None:
    (x, y), (*_, colour, product) = centre(rule), PLACES[rule]
    corner, style = (x - BOX_WIDTH / 2, y - BOX_HEIGHT / 2), "round,pad=0,rounding_size=0.09"
    axes.add_patch(FancyBboxPatch(corner, BOX_WIDTH, BOX_HEIGHT, boxstyle=style, fc=colour, ec="#c3c9d0", lw=0.8))
    axes.text(x, y + 0.085, rule, size=10.5, weight="bold", color=INK, ha="center", va="center")
    axes.text(x, y - 0.105, product, size=8.5, color=PALE, ha="center", va="center")


def draw_arrow(axes, above: tuple[float, float], below: tuple[float, float]) -> None:
    """From the lower edge of one box to the upper edge of another, each end a little towards the other box."""
    (x0, y0), (x1, y1) = above, below
    start = (x0 + (x1 - x0) * 0.22, y0 - BOX_HEIGHT / 2)
    end = (x1 + (x0 - x1) * 0.22, y1 + BOX_HEIGHT / 2)
    style = {"arrowstyle": "-|>,head_width=0.16,head_length=0.32", "color": PALE, "lw": 1.1, "shrinkA": 0, "shrinkB": 1}
    axes.annotate("", end, start, arrowprops=style)
