"""Figures: one module a kind, each a function (name, figure) -> (matplotlib figure, inputs, result). Same inputs, same bytes."""

from pathlib import Path

from mperceiver import config, files, lineage
from mperceiver.report.figures import bars, comparison, curves, probabilities, prompts, tradeoff
from mperceiver.report.figures.common import DPI, STYLE, FigureError, ground_truth, per_picture

KINDS = {
    "comparison": comparison.draw,
    "curves": curves.draw,
    "bars": bars.draw,
    "prompts": prompts.draw,
    "probabilities": probabilities.draw,
    "tradeoff": tradeoff.draw,
}

__all__ = ["DPI", "KINDS", "FigureError", "ground_truth", "per_picture", "write"]


def write(name: str) -> Path:
    """Draw ``config/figures/{name}.yaml`` to results/figures/{name}.png (plots: .svg too) and its card, whose path
    is returned.

    Raises ConfigError, or FigureError where there is nothing to draw yet or the configuration asks for no picture.
    """
    import matplotlib
    import matplotlib.pyplot

    matplotlib.use("Agg")
    figure = config.load("figures", name)
    means = [m for m in figure.methods if config.load("methods", m).kind == "mean"]
    if means and figure.kind != "bars":
        raise FigureError(
            f"{config.path_of('figures', name)}: {means[0]} is a mean over methods and has no pictures; name one of them"
        )
    stem = Path("results/figures") / name
    suffixes = [".png"] if figure.kind == "comparison" else [".png", ".svg"]
    with matplotlib.rc_context(STYLE | {"svg.hashsalt": name}):
        drawn, inputs, result = KINDS[figure.kind](name, figure)
        for suffix in suffixes:
            plain = {"Software": None} if suffix == ".png" else {"Date": None, "Creator": None}
            with files.atomic_file(stem.with_suffix(suffix)) as beside:
                drawn.savefig(beside, format=suffix[1:], metadata=plain, facecolor="white")
        matplotlib.pyplot.close(drawn)
    card = stem.with_suffix(".json")
    lineage.write_card(
        card,
        verb="figure",
        spec=figure,
        inputs=list(dict.fromkeys(map(str, [*config.files_of("figures", name), *inputs]))),
        outputs=[stem.with_suffix(suffix) for suffix in suffixes],
        result=result,
    )
    return card
