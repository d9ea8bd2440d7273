"""Learned prompts: t-SNE of the visual and the textual prompt tokens, a colour a degradation (the paper's Fig. 8)."""

from pathlib import Path

import numpy as np

from mperceiver import config, paths
from mperceiver.config.figures import Figure
from mperceiver.report.figures.common import COLOURS, FigureError, plots_in_rows

MARKERS = "osD^vP*X<"
PERPLEXITY = 20
OF_PICTURES = False


def describe(figure: Figure) -> str:
    """What the points are."""
    return f"Prompt tokens of the run {', '.join(figure.runs)} in the plane, a colour a degradation."


def draw(name: str, figure: Figure):
    """A plot for each scale of the visual prompt pools and one for the textual pool; each point is a token."""
    run = config.load("runs", figure.runs[0])
    path = paths.weights_file(config.weights_of(figure.runs[0]).get("branches", ""), "branches")
    pools = _pools(path)
    if not pools:
        raise FigureError(
            f"{config.path_of('figures', name)}: {path} has no prompt pools yet; train first: "
            f"{paths.making(path.with_suffix('.json'))}"
        )
    drawing, axes = plots_in_rows(len(pools), across=3, plot=(2.3, 2.3), around=(0, 0.9))
    for (title, pool), axis in zip(pools.items(), axes, strict=True):
        for i, points in enumerate(_embedded(pool)):
            marker, colour = MARKERS[i % len(MARKERS)], COLOURS[i % len(COLOURS)]
            axis.scatter(
                *points.T, s=11, marker=marker, color=colour, linewidths=0, label=run.tasks[i].replace("-", " ")
            )
        axis.set_title(title, fontsize=9.5, loc="left")
        axis.set_xticks([])
        axis.set_yticks([])
        axis.grid(False)
    handles = axes[0].get_legend_handles_labels()
    drawing.legend(*handles, loc="outside lower center", ncols=5, fontsize=8, handletextpad=0.2, columnspacing=1.1)
    return (
        drawing,
        [path.with_suffix(".json"), path],
        {"pools": {title: list(pool.shape) for title, pool in pools.items()}},
    )


def _pools(path: Path) -> dict[str, np.ndarray]:
    """Title -> tokens (N, M, C) of each prompt pool in a weights file, float64; N degradations with M tokens each."""
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        return {}
    pools = {}
    try:
        with safe_open(path, framework="np") as file:
            names = set(file.keys())
            if "ir_adapter.vp_pool" in names:
                scales = list(file.get_tensor("ir_adapter.vp_pool"))
            else:  # a pool a scale, of widths of their own
                scales = [file.get_tensor(name) for name in sorted(names) if name.startswith("ir_adapter.vp_pool.")]
            pools = {f"visual prompts, scale {k + 1}": pool.astype(np.float64) for k, pool in enumerate(scales)}
            if "textual.tp_pool" in names:
                pools["textual prompts"] = file.get_tensor("textual.tp_pool").astype(np.float64)
    except SafetensorError as error:
        raise FigureError(f"{path}: damaged ({error}); remove it and train again: {paths.making(path)}") from None
    return pools


def _embedded(pool: np.ndarray) -> np.ndarray:
    """t-SNE of all tokens together: (N, M, C) -> (N, M, 2)."""
    from sklearn.manifold import TSNE

    n, m, _ = pool.shape
    flat = pool.reshape(n * m, -1)
    flat = (flat - flat.mean(0)) / (flat.std(0) + 1e-12)
    perplexity = min(PERPLEXITY, max(2, (n * m - 1) // 3))
    return (
        TSNE(2, perplexity=perplexity, init="pca", random_state=0, method="exact").fit_transform(flat).reshape(n, m, 2)
    )
