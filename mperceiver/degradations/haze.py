"""Haze: light scattered on the way to the camera."""

from typing import Annotated

import numpy as np
import scipy
from pydantic import Field

from mperceiver.degradations.common import check_depth, clip, outdoor_depth, record_map
from mperceiver.degradations.ranges import checked

DEPTH_BOX_PX = 22


@checked("haze")
def haze(
    image: np.ndarray,
    rng: np.random.Generator,
    *,
    beta: Annotated[float, Field(ge=0, le=5)] = 1.5,
    airlight: Annotated[float, Field(ge=0, le=1)] = 0.75,
    depth: np.ndarray | None = None,
) -> np.ndarray:
    """Atmospheric scattering: I = J t + A (1 - t) with t = exp(-beta d).

    The law is Koschmieder's as in He, Sun & Tang, "Single Image Haze Removal Using Dark Channel Prior", TPAMI 2011,
    doi:10.1109/TPAMI.2010.168; ranges and the 22x22 box on the depth follow CDD-11 (OneRestore, arXiv:2407.04621).

    Args:
        image: float32 (H, W, 3) in [0, 1].
        rng: draws the depth if none is given.
        beta: scattering per unit depth; 0 changes nothing.
        airlight: grey airlight A.
        depth: (H, W) in [0, 1], 1 is far, e.g. of a depth network; without it an analytic depth is drawn: a vertical
            gradient with low-frequency relief. The recipe of such a picture says that its depth is analytic.
    """
    height, width = image.shape[:2]
    if depth is None:
        depth = outdoor_depth(rng, height, width)
    check_depth("haze", depth, (height, width))
    depth = scipy.ndimage.uniform_filter(np.asarray(depth, np.float32), DEPTH_BOX_PX, mode="nearest")
    record_map("depth", depth)
    transmission = np.exp(-beta * depth)[..., None]  # (H, W, 1)
    return clip(image * transmission + airlight * (1 - transmission))
