"""The pictures of a cell's page: the worst and the best, each beside its input and its ground truth.

The page draws the error between them itself (templates/errors.js.j2), so the site holds no picture of it.
"""

import numpy as np
import pandas as pd

from mperceiver import images, paths
from mperceiver.report.grid import Measure
from mperceiver.report.pairs import PreparedPairs
from mperceiver.report.site.folder import SiteFolder

SHOWN = 1  # pictures of the worst, and of the best; the page that compares methods has further ones
PIXELATED_PX = 256  # pictures no larger are enlarged without interpolation
FULL_255 = 64  # absolute error, of 255, from which on an error map is white


def worst_and_best(values: pd.Series, measure: Measure) -> list[tuple[str, list[tuple[str, str]]]]:
    """("Worst" and "Best", their pictures, most extreme first), from a number a picture; no picture stands in both.

    ``values``: its index holds (dataset, picture id).
    """
    values = values.dropna().sort_index()
    order = sorted(values.index, key=lambda key: (values[key], key), reverse=not measure.higher_is_better)
    worst, best = order[:SHOWN], order[SHOWN:][-SHOWN:][::-1]
    return [(title, keys) for title, keys in (("Worst", worst), ("Best", best)) if keys]


def error_colours() -> np.ndarray:
    """The colours of absolute errors from 0 to ``FULL_255`` in even steps: float in [0, 1], (256, 3).

    Black is no error, white one of ``FULL_255`` or more. Between them stands matplotlib's "inferno", whose lightness grows
    evenly, so that errors can be read without colours.
    """
    import matplotlib

    colours = matplotlib.colormaps["inferno"](np.arange(256))[:, :3]
    colours[-1] = 1
    return colours


class Pictures:
    """Puts pictures into the site."""

    def __init__(self, site: SiteFolder) -> None:
        self.site = site
        self._pairs = PreparedPairs()

    def panes(self, method: str, dataset: str, picture: str) -> dict | None:
        """A picture's input, restored picture and ground truth, as paths in the site; None where they are absent.

        ``comparable``: whether the error of the restored picture can be shown.
        """
        restored = paths.restored_picture(method, dataset, picture)
        pair = self._pairs.pair(dataset, picture)
        if pair is None or not restored.is_file():
            return None
        lq, target = pair
        output = images.decode(restored)
        place = f"files/data/{dataset}/{picture}"
        return {
            "id": picture,
            "key": (dataset, picture),
            "height": lq.shape[0],
            "width": lq.shape[1],
            "pixelated": max(lq.shape[:2]) <= PIXELATED_PX,
            "input": self.site.add_picture(f"{place}-input.webp", lq),
            "target": None if target is None else self.site.add_picture(f"{place}-target.webp", target),
            "restored": self.site.add_picture(f"files/{restored.with_suffix('.webp')}", output),
            "comparable": target is not None and output.shape == target.shape,
        }
