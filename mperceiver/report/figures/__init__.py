"""Figures, one module a kind. The same inputs give the same bytes.

To add a kind, write a module with the names of ``Kind``, name it in ``KINDS``, and add its name to `kind` in
mperceiver/config/figures.py.
"""

from pathlib import Path
from typing import Any, Protocol

from mperceiver import config, files, lineage, paths
from mperceiver.config.figures import Figure
from mperceiver.report.figures import bars, comparison, curves, probabilities, prompts, reliability, tradeoff, usage
from mperceiver.report.figures.common import DPI, STYLE, FigureError

SUFFIXES = ("png", "svg")  # of the files that every figure has


class Kind(Protocol):
    """What a module of this package offers."""

    # Whether the figure is made of pictures. The site then shows its PNG, a pixel on a CSS px; otherwise its SVG.
    OF_PICTURES: bool

    def draw(self, name: str, figure: Figure) -> tuple[Any, list[Path], dict]:
        """Draw config/figures/{name}.yaml: (a matplotlib figure, the files that it was made of, `result` of its card).

        Raises FigureError where there is nothing to draw yet, or where the configuration lacks something.
        """

    def describe(self, figure: Figure) -> str:
        """What the figure shows, for those who cannot see it."""


KINDS: dict[str, Kind] = {
    "comparison": comparison,
    "curves": curves,
    "bars": bars,
    "prompts": prompts,
    "probabilities": probabilities,
    "reliability": reliability,
    "tradeoff": tradeoff,
    "usage": usage,
}


def kind_of(figure: Figure) -> Kind:
    """The module of a figure's kind. Raises FigureError for one that the configuration knows and KINDS does not."""
    if figure.kind not in KINDS:
        raise FigureError(
            f"kind {figure.kind} of figures has no entry in KINDS in mperceiver/report/figures/__init__.py; it has {', '.join(KINDS)}"
        )
    return KINDS[figure.kind]


def write(name: str) -> Path:
    """Draw ``config/figures/{name}.yaml`` as results/figures/{name}.png and .svg; return the path of its card.

    Raises ConfigError, or FigureError where there is nothing to draw yet or the configuration lacks something.
    """
    import matplotlib
    import matplotlib.pyplot

    matplotlib.use("Agg")
    figure = config.load("figures", name)
    kind = kind_of(figure)
    planned = config.figure_inputs(name)  # refuses what cannot be drawn
    card = paths.figure_file(name, "json")
    with matplotlib.rc_context(STYLE | {"svg.hashsalt": name}):
        drawing, inputs, result = kind.draw(name, figure)
        for suffix in SUFFIXES:
            without_time = {"Software": None} if suffix == "png" else {"Date": None, "Creator": None}
            with files.atomic_file(paths.figure_file(name, suffix), card) as beside:
                drawing.savefig(beside, format=suffix, metadata=without_time, facecolor="white")
        matplotlib.pyplot.close(drawing)
    read = [file for file in dict.fromkeys([*planned, *map(str, inputs)]) if Path(file).is_file()]
    work = lineage.begin("figure", figure, read)
    work.write_card(card, outputs=[paths.figure_file(name, suffix) for suffix in SUFFIXES], result=result)
    return card
