"""Snow: flakes of several sizes in front of the scene."""

from typing import Annotated

import numpy as np
from pydantic import Field

from mperceiver.degradations.common import (
    ReferencePx,
    blend_towards_white,
    record_map,
    scale_sizes,
    scatter,
    segment_kernel,
    smooth_field,
)
from mperceiver.degradations.ranges import checked

# Far, middle and near flakes: relative size, share of the covered area, opacity (near flakes are out of focus, so thinner).
LAYERS = ((0.25, 0.4, 1.0), (0.5, 0.35, 0.95), (1.0, 0.25, 0.8))


@checked("snow")
def snow(
    image: np.ndarray,
    rng: np.random.Generator,
    *,
    cover: Annotated[float, Field(ge=0, le=1)] = 0.15,
    radius_px: Annotated[float, Field(ge=0.5, le=50)] = 3.0,
    length_px: Annotated[float, Field(ge=0, le=100)] = 3.0,
    angle_deg: Annotated[float, Field(ge=-80, le=80)] = 15.0,
    opacity: Annotated[float, Field(ge=0, le=1)] = 0.9,
    reference_px: ReferencePx = None,
) -> np.ndarray:
    """White flakes over the scene: I = J (1 - m) + m, m the mask of flakes of three sizes.

    The law and the three sizes follow Snow100K (Liu et al., DesnowNet, TIP 2018, doi:10.1109/TIP.2018.2806202). Flakes are
    white here, and masks are drawn instead of taken from its files.

    Args:
        image: float32 (H, W, 3) in [0, 1].
        rng: draws places, brightness and outlines of the flakes.
        cover: sum of the flakes' areas relative to the picture's.
        radius_px: of the nearest flakes.
        length_px: path of the nearest flakes during the exposure.
        angle_deg: of that path from the vertical.
        opacity: of the farthest flakes; near ones are thinner.
        reference_px: short side for which radius_px and length_px are meant; they are scaled with the picture's
            own short side. Without it they are used as given.
    """
    radius_px, length_px = scale_sizes(reference_px, image.shape, radius_px, length_px)
    height, width = image.shape[:2]
    bare = np.ones((height, width), np.float32)  # 1 - m
    for size, part, solid in LAYERS:
        radius, length = max(radius_px * size, 0.5), length_px * size
        area = np.pi * radius**2 + 2 * radius * length
        count = cover * part * height * width / area
        for _ in range(2):  # two outlines a size, so that not all flakes look alike
            kernel = segment_kernel(length, 2 * radius, angle_deg + rng.uniform(-20, 20))
            ragged = kernel * (0.5 + smooth_field(rng, kernel.shape[0], kernel.shape[1], waves=6))
            flakes = scatter(rng, height, width, count / 2, ragged / ragged.max())
            bare *= 1 - np.float32(opacity * solid) * flakes
    mask = 1 - bare
    record_map("mask", mask)
    return blend_towards_white(image, mask)  # = J (1 - m) + m
