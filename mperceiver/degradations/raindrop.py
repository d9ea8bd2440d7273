"""Raindrops on the glass before the lens: each drop shows a small upside-down view of the scene."""

from typing import Annotated

import numpy as np
import scipy
from pydantic import Field

from mperceiver.degradations.common import ReferencePx, clip, record_map, scale_sizes
from mperceiver.degradations.ranges import checked

MOST_DROPS = 100_000  # some seconds; the defaults make 39,000 in 40 megapixels


@checked("raindrop")
def raindrop(
    image: np.ndarray,
    rng: np.random.Generator,
    *,
    cover: Annotated[float, Field(ge=0, le=0.9)] = 0.15,
    count: Annotated[int | None, Field(ge=1, le=MOST_DROPS)] = None,
    radius_px: Annotated[float, Field(ge=2, le=200)] = 10.0,
    blur_px: Annotated[float, Field(ge=0, le=20)] = 2.0,
    edge: Annotated[float, Field(ge=0, le=1)] = 0.35,
    reference_px: ReferencePx = None,
) -> np.ndarray:
    """Drops that refract the scene: I = J (1 - a) + a e B(x0 - m (x - x0)).

    x0 is the centre of a drop, a its soft outline, e its dark rim, B the blurred scene, which the drop turns upside down and
    shrinks m times. Image law: Qian et al., "Attentive GAN for Raindrop Removal", CVPR 2018, arXiv:1711.10098, section 3;
    drops as lenses: Roser & Geiger 2009 (doi:10.1109/ICCVW.2009.5457650). The public generator ROLE (Raindrop on Lens
    Effect) puts 30 drops of 30 to 50 px on 2048 px and darkens their rims by 0.3.

    Args:
        image: float32 (H, W, 3) in [0, 1].
        rng: draws places, outlines and magnification of the drops.
        cover: sum of the drops' areas relative to the picture's; at least one drop is drawn.
        count: number of drops, in place of cover.
        radius_px: of the largest drops, at most a third of the short side; the smallest have 0.35 times that.
        blur_px: standard deviation of the blur inside.
        edge: darkness of the rim.
        reference_px: short side for which radius_px and blur_px are meant; they are scaled with the picture's
            own short side. Without it they are used as given.
    """
    height, width = image.shape[:2]
    radius_px, blur_px = scale_sizes(reference_px, image.shape, radius_px, blur_px)
    radius_px = min(radius_px, min(height, width) / 3)
    if count is None:
        count = max(1, round(cover * height * width / (np.pi * (0.7 * radius_px) ** 2)))
        if count > MOST_DROPS:
            raise ValueError(
                f"raindrop: count is {count} for this cover and radius_px, allowed is a number up to {MOST_DROPS}"
            )
    alpha = np.zeros((height, width), np.float32)
    light = np.ones((height, width), np.float32)
    source = np.zeros((2, height, width), np.float32)  # the pixel of the scene (y, x) that each wet pixel shows
    for _ in range(count):
        _drop(rng, alpha, light, source, radius_px * rng.uniform(0.35, 1), edge)
    record_map("mask", alpha)
    wet = np.nonzero(alpha)
    behind = scipy.ndimage.gaussian_filter(image, (blur_px, blur_px, 0), mode="reflect") if blur_px > 0 else image
    at = source[:, wet[0], wet[1]]  # (2, n)
    # A view may leave the picture by more than the picture's side, so coordinates are mirrored before the lookup.
    at = np.stack([_mirror(at[0], height), _mirror(at[1], width)])
    inside = np.stack(
        [scipy.ndimage.map_coordinates(behind[..., c], at, order=1, mode="nearest") for c in range(3)], -1
    )
    out = image.copy()
    a = alpha[wet][:, None]
    out[wet] = image[wet] * (1 - a) + a * np.clip(inside * light[wet][:, None], 0, 1)
    return clip(out)


def _drop(
    rng: np.random.Generator, alpha: np.ndarray, light: np.ndarray, source: np.ndarray, radius: float, edge: float
) -> None:
    """Draw one drop into the maps: opacity (H, W), light (H, W) and source (2, H, W)."""
    height, width = alpha.shape
    cy, cx = rng.uniform(0, height), rng.uniform(0, width)
    reach = int(np.ceil(1.8 * radius)) + 1
    y0, y1 = max(int(cy) - reach, 0), min(int(cy) + reach + 1, height)
    x0, x1 = max(int(cx) - reach, 0), min(int(cx) + reach + 1, width)
    dy = np.arange(y0, y1, dtype=np.float32)[:, None] - np.float32(cy)
    dx = np.arange(x0, x1, dtype=np.float32)[None, :] - np.float32(cx)
    # The outline: a circle stretched downwards by its weight, and bent by two slow waves around it.
    stretch = rng.uniform(0.8, 1.3)
    angle, distance = np.arctan2(dy, dx), np.hypot(dx, dy / stretch)
    bend = rng.uniform(0, 0.12, 2)
    phase = rng.uniform(0, 2 * np.pi, 2)
    rim = radius * (1 + bend[0] * np.cos(2 * angle + phase[0]) + bend[1] * np.cos(3 * angle + phase[1]))
    rho = distance / rim  # 1 on the outline
    feather = max(rng.uniform(0.08, 0.25), 1 / radius)
    soft = np.clip((1 + feather / 2 - rho) / feather, 0, 1)
    soft *= soft * (3 - 2 * soft) * rng.uniform(0.85, 1)
    here = soft > 0
    box = np.s_[y0:y1, x0:x1]
    alpha[box][here] = np.maximum(alpha[box], soft)[here]
    # Near the rim the surface is steeper and bends light more, so the view is wider there.
    demagnify = rng.uniform(1.5, 3.5) * (1 + 0.8 * rho**2)
    source[0][box][here] = (cy - demagnify * dy)[here]
    source[1][box][here] = (cx - demagnify * dx)[here]
    dark = 1 - edge * np.clip((rho - 0.55) / 0.45, 0, 1) ** 2
    # Sky enters through the lower half of a drop.
    light[box][here] = (dark * rng.uniform(0.95, 1.15) * (1 + 0.12 * dy / radius))[here]


def _mirror(place: np.ndarray, side: int) -> np.ndarray:
    """Fold coordinates into [0, side - 1] by mirroring at the border."""
    period = 2 * (side - 1)
    folded = np.mod(place, period)
    return np.minimum(folded, period - folded)
