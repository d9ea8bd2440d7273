"""Low light: a dark picture with the noise of the sensor."""

from typing import Annotated

import numpy as np
from pydantic import Field

from mperceiver.degradations.common import clip
from mperceiver.degradations.ranges import checked


@checked("low-light")
def low_light(
    image: np.ndarray,
    rng: np.random.Generator,
    *,
    alpha: Annotated[float, Field(ge=0.1, le=1)] = 0.95,
    light: Annotated[float, Field(ge=0, le=1)] = 0.75,
    gamma: Annotated[float, Field(ge=1, le=6)] = 2.7,
    noise_255: Annotated[float, Field(ge=0, le=50)] = 1.5,
) -> np.ndarray:
    """I = light * (alpha J)^gamma + n, n ~ N(0, s^2 (0.5 + 5 I)), s = noise_255 / 255.

    The curve is AGLLNet's (Lv, Li & Lu, arXiv:1908.00682, section 3). The noise grows with the light as shot noise does.

    Args:
        image: float32 (H, W, 3) in [0, 1].
        rng: draws the noise.
        alpha: gain before the curve.
        light: gain after the curve (beta in the paper).
        gamma: exponent.
        noise_255: standard deviation of the noise where I = 0.1, in 8-bit steps; 0 adds none.
    """
    dark = np.float32(light) * (np.float32(alpha) * image) ** np.float32(gamma)
    if noise_255 > 0:
        sigma = np.float32(noise_255 / 255) * np.sqrt(0.5 + 5 * dark)
        dark = dark + sigma * rng.standard_normal(image.shape, np.float32)
    return clip(dark)
