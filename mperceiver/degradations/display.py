"""A camera under a display, which looks through the openings between the screen's pixels."""

import numpy as np
import scipy

from mperceiver.degradations.common import (
    check_number,
    check_picture,
    check_word,
    clip,
    display_light,
    linear_light,
    record_map,
)

PANELS = ("toled", "poled")
WAVELENGTHS = (
    np.array([610, 530, 450]) / 530
)  # of red, green and blue, relative to green; diffraction grows with the wavelength


def under_display(
    image: np.ndarray,
    rng: np.random.Generator,
    *,
    panel: str = "toled",
    order_px: float = 1.5,
    open_share: float = 0.21,
    spot_px: float = 0.8,
    light: float = 0.8,
    warmth: float = 0.1,
    shot: float = 0.001,
    read: float = 0.005,
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
        panel: toled or poled.
        order_px: distance between two orders of green light, [0, 30].
        open_share: width of an opening relative to the distance between two (in one direction), [0.05, 1]; 1 is no grid.
        spot_px: standard deviation of an order's spot, [0.3, 10].
        light: share of red light after the camera's gain, [0, 1].
        warmth: share of ``light`` that blue lacks; green lacks half as much; [0, 1].
        shot: variance of the noise per unit of linear light, [0, 0.1].
        read: standard deviation of the noise without light, [0, 0.2].
    """
    check_picture("under-display", image)
    check_word("under-display", "panel", panel, PANELS)
    check_number("under-display", "order_px", order_px, 0, 30)
    check_number("under-display", "open_share", open_share, 0.05, 1)
    check_number("under-display", "spot_px", spot_px, 0.3, 10)
    check_number("under-display", "light", light, 0, 1)
    check_number("under-display", "warmth", warmth, 0, 1)
    check_number("under-display", "shot", shot, 0, 0.1)
    check_number("under-display", "read", read, 0, 0.2)
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
