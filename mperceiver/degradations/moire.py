"""Moire: a screen whose pixels interfere with those of the camera."""

from typing import Annotated

import numpy as np
from pydantic import Field

from mperceiver.degradations.common import clip, record_map, smooth_field
from mperceiver.degradations.mosaic import bilinear, sample
from mperceiver.degradations.ranges import checked

STRIPE, ROW = 1 / 3, 0.8  # width of a colour's stripe and height of its lit part, relative to a pixel of the screen
HARMONICS = 2


@checked("moire")
def moire(
    image: np.ndarray,
    rng: np.random.Generator,
    *,
    pitch_px: Annotated[float, Field(ge=0.5, le=10)] = 2.05,
    angle_deg: Annotated[float, Field(ge=-45, le=45)] = 2.0,
    bend_px: Annotated[float, Field(ge=0, le=50)] = 4.0,
    blur_px: Annotated[float, Field(ge=0, le=5)] = 0.3,
    strength: Annotated[float, Field(ge=0, le=1)] = 0.35,
) -> np.ndarray:
    """A photographed screen: I = D(S(J (1 + strength (G - 1)))), G the screen's light, S a Bayer mosaic, D demosaicing.

    G_c(u, v) = g(u - c/3; 1/3) g(v; 0.8) for the colours c = 0, 1, 2 of the screen's vertical stripes. g(x; w) is the light of
    one lit part of width w in every screen pixel, with mean 1: a Fourier series of two terms, each weakened by the blur of the
    lens and by the extent of the camera's pixel. (u, v) is the camera's grid, rotated, divided by the pitch and bent. Fringes
    appear if the pitch is near 1 or 2 camera pixels; they are coloured because the mosaic samples each colour at other pixels.
    The steps (stripes of the display, projection, lens, mosaic, demosaicing) are those of Liu, Shu & Wu, arXiv:1804.03809, and
    of LCDMoire (AIM 2019, arXiv:1911.03461). They resample the picture; here a formula replaces that, so the picture is not
    moved. TIP2018 (Sun, Yu & Wang, arXiv:1805.02996) has real photographs of screens.

    Args:
        image: float32 (H, W, 3) in [0, 1].
        rng: draws the phases and the bend.
        pitch_px: width of a screen pixel in camera pixels.
        angle_deg: between the two grids.
        bend_px: largest shift of the screen's grid by projection and lens.
        blur_px: standard deviation of the lens's blur.
        strength: contrast of the screen's grid.
    """
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
    record_map("light", light)
    return clip(bilinear(sample(image * (1 + np.float32(strength) * (light - 1)))))


def _grid(place: np.ndarray, lit: float, pitch_px: float, blur_px: float) -> np.ndarray:
    """Light (H, W), mean 1, that camera pixels at ``place`` (H, W) receive from screen pixels lit in a share ``lit``."""
    out = np.ones_like(place)
    for n in range(1, HARMONICS + 1):
        frequency = n / pitch_px  # cycles per camera pixel
        contrast = np.exp(-2 * (np.pi * blur_px * frequency) ** 2) * np.sinc(frequency)
        out += np.float32(2 * np.sinc(n * lit) * contrast) * np.cos(np.float32(2 * np.pi * n) * place)
    return out
