"""Rain: streaks of drops at several distances."""

from typing import Annotated

import numpy as np
from pydantic import Field

from mperceiver.degradations.common import blend_towards_white, record_map, scatter, segment_kernel
from mperceiver.degradations.ranges import checked

# Near, middle and far rain: relative size of the streaks, their relative brightness, and their share of all streaks.
LAYERS = ((1.0, 1.0, 0.2), (0.7, 0.75, 0.3), (0.45, 0.5, 0.5))


@checked("rain")
def rain(
    image: np.ndarray,
    rng: np.random.Generator,
    *,
    density: Annotated[float, Field(ge=0, le=0.05)] = 0.009,
    length_px: Annotated[float, Field(ge=1, le=200)] = 28.0,
    width_px: Annotated[float, Field(ge=0.5, le=10)] = 1.3,
    angle_deg: Annotated[float, Field(ge=-80, le=80)] = 0.0,
    strength: Annotated[float, Field(ge=0, le=1)] = 0.85,
    veil: Annotated[float, Field(ge=0, le=0.9)] = 0.0,
) -> np.ndarray:
    """Streaks at three distances over the scene, then a thin white veil: I = J + strength S (1 - J), then I + veil (1 - I).

    The blend is that of sets made in a picture editor (Rain1400: Fu et al., CVPR 2017). Plain addition, J + strength S, would
    turn streaks on warm surfaces yellow where red saturates. S is sparse noise convolved with a line, as in most synthetic
    sets. Appearance of streaks: Garg & Nayar 2006, doi:10.1145/1141911.1141985; layers of different transparency, and the
    veil of many far drops: Li, Cheong & Tan, Heavy Rain, CVPR 2019, arXiv:1904.05050.

    Args:
        image: float32 (H, W, 3) in [0, 1].
        rng: draws places and brightness of the streaks, and a small deviation of each layer from the common angle.
        density: share of the pixels at which a streak is centred.
        length_px, width_px: of the nearest streaks.
        angle_deg: from the vertical.
        strength: brightness of the nearest streaks.
        veil: strength of the veil.
    """
    height, width = image.shape[:2]
    streaks = np.zeros((height, width), np.float32)
    for size, brightness, part in LAYERS:
        tilt = angle_deg + rng.uniform(-3, 3)  # the wind differs with the distance
        kernel = segment_kernel(length_px * size, max(width_px * size, 0.5), tilt, taper=True)
        streaks += np.float32(brightness) * scatter(rng, height, width, density * part * height * width, kernel)
    streaks = np.clip(streaks, 0, 1)
    record_map("streaks", streaks)
    # Both blends at once: 1 - I = (1 - J) (1 - strength S) (1 - veil).
    return blend_towards_white(image, 1 - (1 - np.float32(strength) * streaks) * np.float32(1 - veil))
