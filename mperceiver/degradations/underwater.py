"""Underwater: water absorbs red light first, and scatters light back to the camera."""

from typing import Annotated

import numpy as np
from pydantic import Field

from mperceiver.degradations.common import check_depth, clip, outdoor_depth, record_map
from mperceiver.degradations.ranges import checked

# Share of red, green and blue light that passes one metre of water, by Jerlov's types I, IA, IB, II, III (ocean), 1, 3, 5, 7,
# 9 (coast), as UWCNN uses them.
LEFT_AFTER_ONE_METRE = np.array(
    [
        (0.85, 0.961, 0.982),
        (0.84, 0.955, 0.975),
        (0.83, 0.95, 0.968),
        (0.80, 0.925, 0.94),
        (0.75, 0.885, 0.89),
        (0.75, 0.885, 0.875),
        (0.71, 0.82, 0.8),
        (0.67, 0.73, 0.67),
        (0.62, 0.61, 0.5),
        (0.55, 0.46, 0.29),
    ],
    np.float32,
)


@checked("underwater")
def underwater(
    image: np.ndarray,
    rng: np.random.Generator,
    *,
    water_type: Annotated[int, Field(ge=0, le=len(LEFT_AFTER_ONE_METRE) - 1)] = 4,
    distance_m: Annotated[float, Field(ge=0, le=30)] = 5.0,
    below_surface_m: Annotated[float, Field(ge=0, le=30)] = 3.5,
    backscatter: Annotated[float, Field(ge=0, le=1)] = 0.75,
    depth: np.ndarray | None = None,
) -> np.ndarray:
    """Attenuation and backscatter by wavelength: I_c = J_c L_c t_c + B L_c (1 - t_c), t_c = N_c^d, L_c = N_c^s / max N^s.

    N_c is the share of light of colour c that passes one metre, d the metres from camera to scene, s the metres of water above
    the scene. L is relative to its strongest colour, because a camera adjusts its exposure. The law and N are UWCNN's (Li,
    Anwar & Porikli 2020, doi:10.1016/j.patcog.2019.107038, section 3). That L also tints the scattered light follows
    Akkaynak & Treibitz, "A Revised Underwater Image Formation Model", CVPR 2018.

    Args:
        image: float32 (H, W, 3) in [0, 1].
        rng: draws the depth if none is given.
        water_type: row of Jerlov's types I, IA, IB, II, III, 1, 3, 5, 7, 9 (0 is the clearest).
        distance_m: metres to the farthest point; the nearest point is at a tenth of that.
        below_surface_m: metres of water above the scene.
        backscatter: light B of the water at the surface.
        depth: (H, W) in [0, 1], 1 is at distance_m; without it an analytic depth is drawn, as for haze.
    """
    height, width = image.shape[:2]
    if depth is None:
        depth = outdoor_depth(rng, height, width)
    check_depth("underwater", depth, (height, width))
    left = LEFT_AFTER_ONE_METRE[water_type]
    metres = distance_m * (0.1 + 0.9 * np.asarray(depth, np.float32))
    record_map("depth", depth)
    transmission = np.exp(metres[..., None] * np.log(left))  # (H, W, 3)
    light = (left / left.max()) ** np.float32(below_surface_m)  # (3,)
    return clip(light * (image * transmission + backscatter * (1 - transmission)))
