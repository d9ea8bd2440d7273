"""A camera under a display, which looks through the openings between the screen's pixels."""

from typing import Annotated, Literal

import numpy as np
import scipy
from pydantic import Field

from mperceiver.degradations.common import clip, display_light, linear_light, record_map
from mperceiver.degradations.ranges import checked

# Wavelengths of red, green and blue, relative to green's; diffraction grows with the wavelength.
WAVELENGTHS = np.array([610, 530, 450]) / 530


@checked("under-display")
def under_display(
    image: np.ndarray,
    rng: np.random.Generator,
    *,
    panel: Literal["toled", "poled"] = "toled",
    order_px: Annotated[float, Field(ge=0, le=30)] = 1.5,
    open_share: Annotated[float, Field(ge=0.05, le=1)] = 0.21,
    spot_px: Annotated[float, Field(ge=0.3, le=10)] = 0.8,
    light: Annotated[float, Field(ge=0, le=1)] = 0.8,
    warmth: Annotated[float, Field(ge=0, le=1)] = 0.1,
    shot: Annotated[float, Field(ge=0, le=0.1)] = 0.001,
    read: Annotated[float, Field(ge=0, le=0.2)] = 0.005,
) -> np.ndarray:
    """Light behind a grid of openings: I = (L_c J) * k_c + n in linear light, * a convolution, n ~ N(0, shot I + read^2).

    The formation model is that of Zhou et al., "Image Restoration for Under-Display Camera", CVPR 2021, arXiv:2003.04857, which
    measured two panels: a transparent one, whose openings are upright slits (T-OLED), and a phone's, whose openings lie in a
    grid (P-OLED), darker and yellow. Their measured k is replaced by the diffraction of a regular grid: order m lies at m times
    order_px (times the relative wavelength), has the weight sinc^2(m open_share), and is a Gaussian spot. For slits the orders
    lie in one direction, for a grid in both. L_c is ``light`` for red, and less for green and blue by ``warmth``.

    Args:
        image: float32 (H, W, 3) in [0, 1].
        rng: draws the noise.
        panel: T-OLED or P-OLED.
        order_px: distance between two orders of green light.
        open_share: width of an opening relative to the distance between two (in one direction); 1 is no grid.
        spot_px: standard deviation of an order's spot.
        light: share of red light after the camera's gain.
        warmth: share of ``light`` that blue lacks; green lacks half as much.
        shot: variance of the noise per unit of linear light.
        read: standard deviation of the noise without light.
    """
    light_c = linear_light(image)
    for channel, (wavelength, share) in enumerate(zip(WAVELENGTHS, (1, 1 - warmth / 2, 1 - warmth), strict=True)):
        psf = orders_psf(order_px * wavelength, open_share, spot_px)
        record_map(f"psf-{'rgb'[channel]}", psf)
        down = psf if panel == "poled" else orders_psf(0, 1, spot_px)
        rows = scipy.ndimage.convolve1d(light_c[..., channel], psf, axis=1, mode="reflect")
        light_c[..., channel] = np.float32(light * share) * scipy.ndimage.convolve1d(rows, down, axis=0, mode="reflect")
    sigma = np.sqrt(np.float32(shot) * light_c + np.float32(read) ** 2)
    return clip(display_light(np.clip(light_c + sigma * rng.standard_normal(image.shape, np.float32), 0, 1)))


def orders_psf(order_px: float, open_share: float, spot_px: float) -> np.ndarray:
    """Point spread function (k,), k odd, sum 1, across a row of openings: the orders up to the second zero of their weight."""
    last = int(np.ceil(2 / open_share))
    orders = np.arange(-last, last + 1)
    half = int(np.ceil(last * order_px + 4 * spot_px))
    place = np.arange(-half, half + 1)
    spots = np.exp(-0.5 * ((place[:, None] - orders * order_px) / spot_px) ** 2)
    psf = spots @ np.sinc(orders * open_share) ** 2
    return (psf / psf.sum()).astype(np.float32)
