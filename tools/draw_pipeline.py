"""Draw docs/pipeline.svg from the workflow's own graph:

uv run snakemake --rulegraph | uv run python tools/draw_pipeline.py
"""

import re
import sys
from pathlib import Path

import matplotlib.pyplot as plt
from matplotlib.patches import FancyBboxPatch

# Where a rule stands (column, row from the top), its colour and what it makes; the arrows come from the graph.
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
    "restore": (1.5, 6, GREEN, "a method × a dataset"),
    "score": (1.5, 7, GREEN, "under the dataset's protocol"),
    "table": (1.0, 8, VIOLET, "HTML, CSV, LaTeX"),
    "figure": (2.0, 8, VIOLET, "pictures, curves"),
    "report": (1.5, 9, VIOLET, "results/report/index.html"),
}
WIDE, HIGH = 2.7, 0.46  # inches of a box
INK, PALE = "#1f2328", "#59636e"


def read(text: str) -> tuple[set[str], set[tuple[str, str]]]:
    """Rules and arrows of a graph in the DOT language as Snakemake prints it, the target rule and loops left out."""
    names = dict(re.findall(r'^\s*(\d+)\[label = "(\w+)"', text, re.MULTILINE))
    arrows = {(names[a], names[b]) for a, b in re.findall(r"^\s*(\d+) -> (\d+)", text, re.MULTILINE)}
    return set(names.values()) - {"all"}, {(a, b) for a, b in arrows if a != b and b != "all"}


def reduced(arrows: set[tuple[str, str]]) -> set[tuple[str, str]]:
    """Without the arrows that a longer way says too."""

    def reached(start: str) -> set[str]:
        found = {b for a, b in arrows if a == start}
        return found.union(*map(reached, found))

    return {(a, b) for a, b in arrows if not any(b in reached(c) for x, c in arrows if x == a and c != b)}


def centre(rule: str) -> tuple[float, float]:
    column, row, *_ = PLACES[rule]
    return column * (WIDE + 0.7), -row * 0.78


def draw(rules: set[str], arrows: set[tuple[str, str]], path: Path) -> None:
    x, y = zip(*(centre(rule) for rule in rules), strict=True)
    size = (max(x) - min(x) + WIDE + 0.2, max(y) - min(y) + HIGH + 0.2)
    settings = {"svg.fonttype": "path", "svg.hashsalt": "pipeline", "font.family": "DejaVu Sans"}
    with plt.rc_context(settings):
        figure = plt.figure(figsize=size)
        axes = figure.add_axes((0, 0, 1, 1))
        for rule in sorted(rules):
            (across, up), (*_, colour, product) = centre(rule), PLACES[rule]
            style = "round,pad=0,rounding_size=0.09"
            axes.add_patch(
                FancyBboxPatch(
                    (across - WIDE / 2, up - HIGH / 2), WIDE, HIGH, boxstyle=style, fc=colour, ec="#c3c9d0", lw=0.8
                )
            )
            both = {"ha": "center", "va": "center"}
            axes.text(across, up + 0.085, rule, size=10.5, weight="bold", color=INK, **both)
            axes.text(across, up - 0.105, product, size=8.5, color=PALE, **both)
        for a, b in sorted(arrows):
            (x0, y0), (x1, y1) = centre(a), centre(b)
            way = {
                "arrowstyle": "-|>,head_width=0.16,head_length=0.32",
                "color": PALE,
                "lw": 1.1,
                "shrinkA": 0,
                "shrinkB": 1,
            }
            axes.annotate(
                "", (x1 + (x0 - x1) * 0.22, y1 + HIGH / 2), (x0 + (x1 - x0) * 0.22, y0 - HIGH / 2), arrowprops=way
            )
        axes.set(
            xlim=(min(x) - WIDE / 2 - 0.1, max(x) + WIDE / 2 + 0.1),
            ylim=(min(y) - HIGH / 2 - 0.1, max(y) + HIGH / 2 + 0.1),
        )
        axes.axis("off")
        figure.savefig(path, facecolor="white", metadata={"Date": None} if path.suffix == ".svg" else None)


if __name__ == "__main__":
    rules, arrows = read(sys.stdin.read())
    if rules != set(PLACES):
        sys.exit(f"PLACES in {__file__} and the workflow differ: {', '.join(sorted(rules ^ set(PLACES)))}")
    draw(rules, reduced(arrows), Path(sys.argv[1] if len(sys.argv) > 1 else "docs/pipeline.svg"))
