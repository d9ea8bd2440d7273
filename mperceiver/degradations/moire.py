"""Moire: the grid of a screen seen through the grid of a camera."""

import numpy as np

from mperceiver.degradations.common import check_number, check_picture, clip, keep, smooth_field
from mperceiver.degradations.mosaic import bilinear, sample

STRIPE, ROW = 1 / 3, 0.8  # share of a screen's pixel that a colour's stripe is wide, and that is lit in height
HARMONICS = 2


def moire(
    image: np.ndarray,
    rng: np.random.Generator,
    *,
    pitch_px: float = 2.05,
    angle_deg: float = 2.0,
    bend_px: float = 4.0,
    blur_px: float = 0.3,
    strength: float = 0.35,
) -> np.ndarray:
    """A screen photographed: I = D(S(J (1 + strength (G - 1)))), G the screen's light, S a Bayer mosaic, D its filling in.

    G_c(u, v) = g(u - c/3; 1/3) g(v; 0.8) for the colours c = 0, 1, 2 of a screen's upright stripes: g(x; w) is what one lit part
    of width w in every pixel gives, mean 1, as a Fourier series of two terms, each weakened by the lens and by the extent of
    the camera's pixel. (u, v) is the camera's grid turned, divided by the pitch and bent. Fringes appear where the pitch comes
    near 1 or 2 camera pixels, in colours because the mosaic sees each colour at other places. The steps (stripes of the
    display, projection, lens, mosaic, filling in) are those of Liu, Shu & Wu, arXiv:1804.03809, and of LCDMoire (AIM 2019,
    arXiv:1911.03461); what they do by resampling is a formula here, and the picture stays where it is. TIP2018 (Sun, Yu &
    Wang, arXiv:1805.02996) is real photographs of this.

    Args:
        image: float32 (H, W, 3) in [0, 1].
        rng: draws the phases and the bend.
        pitch_px: camera pixels a pixel of the screen, [0.5, 10].
        angle_deg: between the two grids, [-45, 45].
        bend_px: how far projection and lens move the screen's grid, [0, 50].
        blur_px: standard deviation of the lens, [0, 5].
        strength: contrast of the screen's grid, [0, 1].
    """
    check_picture("moire", image)
    check_number("moire", "pitch_px", pitch_px, 0.5, 10)
    check_number("moire", "angle_deg", angle_deg, -45, 45)
    check_number("moire", "bend_px", bend_px, 0, 50)
    check_number("moire", "blur_px", blur_px, 0, 5)
    check_number("moire", "strength", strength, 0, 1)
    height, width = image.shape[:2]
    angle = np.deg2rad(angle_deg)
    y, x = np.arange(height, dtype=np.float32)[:, None], np.arange(width, dtype=np.float32)
    across = np.float32(np.cos(angle)) * x + np.float32(np.sin(angle)) * y
    down = np.float32(np.cos(angle)) * y - np.float32(np.sin(angle)) * x
    phases = rng.random(2)
    across += np.float32(bend_px) * smooth_field(rng, height, width, waves=3)
    down += np.float32(bend_px) * smooth_field(rng, height, width, waves=3)
    u = across / np.float32(pitch_px) + np.float32(phases[0])
    v = down / np.float32(pitch_px) + np.float32(phases[1])
    rows = _grid(v, ROW, pitch_px, blur_px)
    light = np.stack([rows * _grid(u - np.float32(c / 3), STRIPE, pitch_px, blur_px) for c in range(3)], -1)
    keep("light", light)
    return clip(bilinear(sample(image * (1 + np.float32(strength) * (light - 1)))))


def _grid(place: np.ndarray, lit: float, pitch_px: float, blur_px: float) -> np.ndarray:
    """Light, mean 1, of a row of screen pixels of which a share is lit, as a camera's pixels see it (H, W)."""
    out = np.ones_like(place)
    for n in range(1, HARMONICS + 1):
        frequency = n / pitch_px  # cycles a camera pixel
        seen = np.exp(-2 * (np.pi * blur_px * frequency) ** 2) * np.sinc(frequency)
        out += np.float32(2 * np.sinc(n * lit) * seen) * np.cos(np.float32(2 * np.pi * n) * place)
    return out
