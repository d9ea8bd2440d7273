"""Low light: a dark picture with the noise of the sensor."""

import numpy as np

from mperceiver.degradations.common import check_number, check_picture, clip


def low_light(
    image: np.ndarray,
    rng: np.random.Generator,
    *,
    alpha: float = 0.95,
    light: float = 0.75,
    gamma: float = 2.7,
    noise_255: float = 1.5,
) -> np.ndarray:
    """I = light * (alpha J)^gamma + n, n ~ N(0, s^2 (0.5 + 5 I)), s = noise_255 / 255.

    The curve is AGLLNet's (Lv, Li & Lu, arXiv:1908.00682, section 3). The noise grows with the light as shot noise does.

    Args:
        image: float32 (H, W, 3) in [0, 1].
        rng: draws the noise.
        alpha: gain before the curve, [0.1, 1].
        light: gain after the curve (beta in the paper), [0, 1].
        gamma: exponent, [1, 6].
        noise_255: standard deviation of the noise where I = 0.1, in 8-bit steps, [0, 50]; 0 adds none.
    """
    check_picture("low-light", image)
    check_number("low-light", "alpha", alpha, 0.1, 1)
    check_number("low-light", "light", light, 0, 1)
    check_number("low-light", "gamma", gamma, 1, 6)
    check_number("low-light", "noise_255", noise_255, 0, 50)
    dark = np.float32(light) * (np.float32(alpha) * image) ** np.float32(gamma)
    if noise_255 > 0:
        sigma = np.float32(noise_255 / 255) * np.sqrt(0.5 + 5 * dark)
        dark = dark + sigma * rng.standard_normal(image.shape, np.float32)
    return clip(dark)
