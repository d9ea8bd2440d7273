"""Noise: plain Gaussian noise, and the noise of a camera."""

from typing import Annotated

import numpy as np
import scipy
from pydantic import Field

from mperceiver.degradations import common
from mperceiver.degradations.common import display_light, linear_light
from mperceiver.degradations.ranges import checked


@checked("gaussian-noise")
def gaussian_noise(
    image: np.ndarray,
    rng: np.random.Generator,
    *,
    sigma_255: Annotated[float, Field(ge=0, le=255)] = 25.0,
    common_seed: Annotated[int | None, Field(ge=0, le=2**32 - 1)] = None,
    clip: bool = True,
) -> np.ndarray:
    """I = J + n, n ~ N(0, (sigma_255 / 255)^2), independent in every pixel and channel, clipped to [0, 1].

    As in DnCNN (Zhang et al., TIP 2017, arXiv:1608.03981) and in the paper's denoising sets. Preparing then rounds the picture
    to 8 bit. Public code differs in clipping and rounding: Restormer (arXiv:2111.09881) adds noise of numpy's seed 0, the
    same for every picture, in float, neither clipped nor rounded; AirNet and PromptIR clip and truncate to 8 bit, unseeded.

    Args:
        image: float32 (H, W, 3) in [0, 1].
        rng: draws the noise.
        sigma_255: standard deviation in 8-bit steps.
        common_seed: draw from numpy's RandomState of this seed instead, so that pictures of one size get the same noise; 0
            is Restormer's noise.
        clip: false: values below 0 and above 1 stay, for the last layer of a mix. Methods are then given the picture in
            float, drawn again when it is read, neither clipped nor rounded; what is stored is a clipped copy to look at.
    """
    if not isinstance(clip, bool):
        raise ValueError(f"gaussian-noise: clip is {clip!r}, allowed is true or false")
    if common_seed is not None:
        noise: np.ndarray = np.random.RandomState(common_seed).normal(0, sigma_255 / 255, image.shape)
    else:
        noise = np.float32(sigma_255 / 255) * rng.standard_normal(image.shape, np.float32)
    return common.clip(image + noise) if clip else (image + noise).astype(np.float32, copy=False)


@checked("real-noise")
def real_noise(
    image: np.ndarray,
    rng: np.random.Generator,
    *,
    shot: Annotated[float, Field(ge=0, le=0.1)] = 0.004,
    read: Annotated[float, Field(ge=0, le=0.2)] = 0.008,
    red_gain: Annotated[float, Field(ge=0.5, le=4)] = 2.1,
    blue_gain: Annotated[float, Field(ge=0.5, le=4)] = 1.7,
    grain_px: Annotated[float, Field(ge=0, le=2)] = 0.5,
) -> np.ndarray:
    """Poisson-Gaussian noise of a sensor, added in linear light before the camera's white balance and gamma curve.

    x = linear(J) / g_c, n ~ N(0, shot x + read^2), I = gamma(linear(J) + g_c n), g the white balance gains (1 for green).
    Inverse camera pipeline: Brooks et al., "Unprocessing Images for Learned Raw Denoising", CVPR 2019, arXiv:1811.11127,
    section 3 (there shot is 1e-4 to 0.012, and log read^2 is near 2.18 log shot + 1.2). grain_px correlates neighbouring
    pixels of n as demosaicing does, with the same variance.

    Args:
        image: float32 (H, W, 3) in [0, 1].
        rng: draws the noise.
        shot: variance per unit of linear light.
        read: standard deviation without light.
        red_gain, blue_gain: white balance.
        grain_px: standard deviation of the Gaussian that correlates pixels; 0 is white noise.
    """
    gain = np.array([red_gain, 1, blue_gain], np.float32)
    linear = linear_light(image)
    noise = rng.standard_normal(image.shape, np.float32)
    if grain_px > 0.05:  # a narrower Gaussian does not reach the next pixel
        reach = np.arange(-4, 5)
        kernel = np.exp(-0.5 * (reach / grain_px) ** 2).astype(np.float32)
        kernel /= np.sqrt((kernel**2).sum())  # unit energy, so that the variance does not change
        for axis in (0, 1):
            noise = scipy.ndimage.convolve1d(noise, kernel, axis=axis, mode="reflect")
    sigma = np.sqrt(np.float32(shot) * linear / gain + np.float32(read) ** 2)
    return common.clip(display_light(np.clip(linear + gain * sigma * noise, 0, 1)))
