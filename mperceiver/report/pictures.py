"""The pictures of a cell's page: the worst and the best, each beside its input, its ground truth and where the two differ."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mperceiver import images
from mperceiver.metrics import METRICS
from mperceiver.report.figures import ground_truth

if TYPE_CHECKING:
    from mperceiver.report.site import Site

SHOWN = 2  # pictures shown of the worst, and of the best
PIXELATED_PX = 256  # smaller pictures are enlarged pixel by pixel
FULL_255 = 64  # absolute error, of 255, that a difference map shows as white; larger ones too


def shown(site: "Site", method: str, scores: dict, metric: str) -> list[tuple[str, list[dict]]]:
    """("Worst" and "Best", their pictures) by a metric, best last in its direction; no picture in both.

    ``scores``: (dataset, picture id) -> metric -> value. A picture that is not here any more is left out.
    """
    have = [k for k, v in scores.items() if v.get(metric) is not None]
    have.sort(key=lambda k: (scores[k][metric], k), reverse=not METRICS[metric].higher_is_better)
    worst, best = have[:SHOWN], have[SHOWN:][-SHOWN:][::-1]
    return [
        (title, [p for p in (_pictures(site, method, *k) for k in ids) if p])
        for title, ids in (("Worst", worst), ("Best", best))
        if ids
    ]


def difference(restored: np.ndarray, target: np.ndarray) -> np.ndarray:
    """The absolute error, mean over the channels: two uint8 (H, W, 3) -> uint8 (H, W, 3), black none, white ``FULL_255``.

    Between them matplotlib's "inferno", whose lightness grows evenly, so that it reads without colours too.
    """
    import matplotlib

    error = np.abs(restored.astype(np.int16) - target).mean(axis=2)
    colours = matplotlib.colormaps["inferno"](np.arange(256), bytes=True)[:, :3].copy()
    colours[-1] = 255
    return colours[np.minimum(np.rint(error * (255 / FULL_255)), 255).astype(np.uint8)]


def _pictures(site: "Site", method: str, dataset: str, picture: str) -> dict | None:
    """Where a picture's input, restored, ground truth and difference map lie in the site; None where they are not here."""
    restored = Path("results/restored") / method / dataset / f"{picture}.png"
    if dataset not in site.prepared:
        site.prepared[dataset] = _open(dataset)
    if site.prepared[dataset] is None or not restored.is_file():
        return None
    pairs, index = site.prepared[dataset]
    if picture not in index:
        return None
    lq, target = pairs.lq(index[picture]), ground_truth(pairs, index[picture])
    data = f"files/data/{dataset}/{picture}"
    found = {
        "id": picture,
        "key": (dataset, picture),
        "height": lq.shape[0],
        "width": lq.shape[1],
        "pixelated": max(lq.shape[:2]) <= PIXELATED_PX,
        "restored": site.copy(restored),
        "input": site.picture(f"{data}-input.png", lq),
        "target": None,
        "difference": None,
    }
    if target is not None:
        found["target"] = site.picture(f"{data}-target.png", target)
        made = images.decode(restored)
        if made.shape == target.shape:
            found["difference"] = site.picture(
                f"files/difference/{method}/{dataset}/{picture}.png", difference(made, target)
            )
    return found


def _open(dataset: str):
    from mperceiver.data.read.loader import PreparedDataset

    if not (Path("data/prepared") / f"{dataset}.arrow").is_file():
        return None
    pairs = PreparedDataset(dataset)
    return pairs, {name: i for i, name in enumerate(pairs.ids)}
