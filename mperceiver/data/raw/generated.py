"""Pictures generated from a seed alone: training material that needs no download and no licence.

Each generator is a plain function ``(rng, size_px) -> float32 (size_px, size_px, 3) RGB in [0, 1]``.
"""

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw

SUPERSAMPLE = 2  # leaves are painted at twice the size and averaged: anti-aliased edges
SHAPES = ("ellipse", "rectangle", "polygon", "blob")
COVER = 4.0  # mean number of leaves over a point; pixels that no leaf covers show one large leaf behind the others
SHADED, TEXTURED, STRIPED = 0.6, 0.7, 0.06  # shares of leaves with a shading gradient, 1/f texture, fine stripes

# Anchor colours (sRGB, 8 bit) of common scenes; a leaf's colour is a mix of two neighbours in one list.
PALETTES = {
    "foliage": [(24, 38, 14), (58, 84, 30), (96, 128, 52), (152, 168, 84), (196, 188, 120), (92, 66, 40)],
    "earth": [(46, 32, 24), (94, 66, 46), (140, 104, 72), (182, 148, 108), (214, 192, 158), (120, 60, 40)],
    "sea": [(12, 34, 58), (28, 76, 112), (72, 132, 168), (142, 188, 206), (214, 230, 232), (220, 200, 160)],
    "sky": [(74, 112, 168), (124, 160, 204), (176, 200, 226), (226, 232, 238), (200, 190, 186), (150, 140, 150)],
    "city": [(34, 34, 38), (78, 78, 82), (122, 120, 118), (168, 164, 158), (212, 208, 200), (150, 82, 62)],
    "dusk": [(26, 20, 46), (76, 40, 78), (148, 64, 80), (216, 110, 74), (242, 178, 108), (250, 224, 176)],
    "night": [(6, 8, 14), (16, 20, 34), (34, 38, 58), (70, 64, 72), (200, 150, 70), (244, 226, 170)],
    "wood": [(38, 22, 14), (84, 50, 28), (132, 84, 48), (176, 124, 78), (210, 168, 120), (236, 210, 172)],
    "winter": [(58, 66, 80), (110, 122, 140), (160, 174, 190), (204, 214, 224), (240, 244, 248), (90, 74, 60)],
    "garden": [(40, 70, 30), (110, 150, 60), (206, 40, 60), (236, 130, 160), (250, 210, 70), (120, 70, 160)],
    "skin": [(60, 34, 26), (120, 76, 56), (176, 122, 94), (216, 168, 138), (240, 208, 184), (60, 70, 100)],
    "paint": [(200, 36, 40), (30, 90, 170), (240, 190, 40), (40, 140, 90), (240, 240, 236), (24, 24, 26)],
}


def dead_leaves(rng: np.random.Generator, size_px: int) -> np.ndarray:
    """Paint occluding leaves whose radii follow p(r) ~ r^-3, which gives the scale-invariant statistics of photographs.

    The law is Lee, Mumford & Huang, "Occlusion Models for Natural Images", IJCV 2001, doi:10.1023/A:1011109015675
    (power spectrum near f^-2). Shapes, palettes, shading and texture are ours. The smallest radius is drawn for each picture, so
    that pictures are busy or calm.

    Args:
        rng: numpy Generator; the same state gives the same bytes.
        size_px: side of the square picture, at least 16.

    Returns:
        float32 (size_px, size_px, 3) RGB in [0, 1].

    Raises ValueError if ``size_px`` is less than 16.
    """
    if size_px < 16:
        raise ValueError(f"dead_leaves: size_px is {size_px}, allowed are whole numbers >= 16")
    radius_min_px, radius_max_px = float(np.exp(rng.uniform(np.log(1.5), np.log(max(size_px / 32, 2))))), size_px

    # Inverse CDF of p(r) ~ r^-3 on [min, max]; mean leaf area follows from it.
    lo, hi = radius_min_px**-2, radius_max_px**-2
    mean_area = np.pi * 2 * np.log(radius_max_px / radius_min_px) / (lo - hi)
    n = int(np.clip(COVER * size_px**2 / mean_area, 30, 20_000)) + 1
    radius = ((lo - rng.random(n) * (lo - hi)) ** -0.5).astype(np.float32)
    # A leaf may reach over the border by its own radius.
    centre = ((size_px + 2 * radius[:, None]) * rng.random((n, 2)) - radius[:, None]).astype(np.float32)
    radius[0], centre[0] = 2 * size_px, size_px / 2  # the ground behind all others

    labels = _paint(rng, centre, radius, size_px)  # (2s, 2s) leaf number of every fine pixel
    colour = _colours(rng, centre / size_px)  # (n, 3)
    strength = rng.uniform(0.1, 0.5, n) * (rng.random(n) < SHADED)
    angle = rng.uniform(0, 2 * np.pi, n)
    slope = np.stack([np.cos(angle), np.sin(angle)], 1) * (strength / radius)[:, None]  # (n, 2) relative light per px
    gain = _shade(labels, centre, slope.astype(np.float32))
    _stripe(rng, gain, labels, radius)

    fine = colour[labels] * gain[..., None]  # (2s, 2s, 3)
    picture = _halve(fine)
    amplitude = (rng.uniform(0.03, 0.25, n) * (rng.random(n) < TEXTURED)).astype(np.float32)
    texture = _one_over_f(rng, size_px)
    # Relative texture: bright surfaces show more of it, as reflectance does.
    picture *= 1 + (_halve(amplitude[labels][..., None]) * texture[..., None])
    picture *= np.float32(rng.uniform(0.8, 1.15))  # exposure
    return np.clip(picture, 0, 1, dtype=np.float32)


def _paint(rng: np.random.Generator, centre: np.ndarray, radius: np.ndarray, size_px: int) -> np.ndarray:
    """Draw the outlines over each other: (2s, 2s) number of the topmost leaf at each fine pixel, s = size_px."""
    n = len(radius)
    shape = rng.choice(len(SHAPES), n, p=[0.4, 0.25, 0.15, 0.2])
    aspect = rng.uniform(0.35, 1.0, n).astype(np.float32)
    aspect[rng.random(n) < 0.3] = 1  # plain discs and squares too
    turn = rng.uniform(0, 2 * np.pi, n).astype(np.float32)
    lobes, phase = rng.integers(2, 6, n), rng.uniform(0, 2 * np.pi, n)
    outlines: list = [None] * n
    # Round shapes take as many corners as their size needs; groups keep the arithmetic vectorised.
    round_corners = np.where(radius < 5, 10, np.where(radius < 25, 24, 64))
    corners = np.select([shape == 1, shape == 2], [4, rng.integers(3, 8, n)], round_corners)
    for count in np.unique(corners):
        who = np.flatnonzero(corners == count)
        theta = np.tile(np.arange(count) * (2 * np.pi / count), (len(who), 1))  # (k, count)
        jitter = rng.uniform(-0.8, 0.8, theta.shape) * (np.pi / count)
        theta += np.where(shape[who, None] == 2, jitter, np.where(shape[who, None] == 1, np.pi / 4, 0))
        wave = 0.25 * np.cos(lobes[who, None] * theta + phase[who, None]) * (shape[who, None] == 3)
        rho = (1 + wave) * radius[who, None]
        x, y = rho * np.cos(theta), rho * np.sin(theta) * aspect[who, None]
        c, s = np.cos(turn[who, None]), np.sin(turn[who, None])
        points = np.stack([c * x - s * y + centre[who, :1], s * x + c * y + centre[who, 1:]], -1) * SUPERSAMPLE
        for i, outline in zip(who.tolist(), points.reshape(len(who), -1).tolist(), strict=True):
            outlines[i] = outline
    canvas = Image.new("I", (size_px * SUPERSAMPLE,) * 2, 0)  # leaf 0, the ground, is everywhere first
    draw = ImageDraw.Draw(canvas)
    for i in range(1, n):
        draw.polygon(outlines[i], fill=i)
    return np.asarray(canvas)


def _colours(rng: np.random.Generator, centre: np.ndarray) -> np.ndarray:
    """Draw the leaves' colours, (n, 3) float32 in [0, 1], from one or two palettes; leaves near each other have similar ones."""
    n = len(centre)
    names = rng.choice(list(PALETTES), size=int(rng.integers(1, 3)), replace=False)
    anchors = np.array([PALETTES[name] for name in names], np.float32) / 255  # (palettes, 6, 3)
    last = anchors.shape[1] - 1
    # A slow wave over the picture selects the part of a palette for each region; each leaf departs from it at random.
    towards, start = rng.uniform(-4, 4, 2), rng.uniform(0, 2 * np.pi)
    region = last / 2 * (1 + np.sin(centre @ towards + start))
    place = np.clip(region + rng.uniform(0.4, 1.6) * rng.standard_normal(n), 0, last - 1e-3)
    which = (rng.random(n) < rng.uniform(0, 0.5)).astype(int) % len(names)  # the second palette has the smaller part
    left = place.astype(int)
    mix = (place - left).astype(np.float32)[:, None]
    colour = anchors[which, left] * (1 - mix) + anchors[which, left + 1] * mix
    # Light varies more than hue: a shared log-normal gain, a small one per channel.
    light = np.exp(0.25 * rng.standard_normal((n, 1), np.float32) + 0.04 * rng.standard_normal((n, 3), np.float32))
    return np.clip(colour * light, 0, 1)


def _shade(labels: np.ndarray, centre: np.ndarray, slope: np.ndarray) -> np.ndarray:
    """Relative light of every fine pixel, 1 + slope . (place - centre of its leaf); same shape as ``labels``."""
    place = (np.arange(labels.shape[0], dtype=np.float32) + 0.5) / SUPERSAMPLE
    offset = 1 - (slope * centre).sum(1)  # (n,)
    return offset[labels] + slope[:, 0][labels] * place[None, :] + slope[:, 1][labels] * place[:, None]


def _stripe(rng: np.random.Generator, gain: np.ndarray, labels: np.ndarray, radius: np.ndarray) -> None:
    """Multiply sinusoidal stripes, 3 to 16 px apart, into the gain of some of the leaves that are large enough for them."""
    n = len(radius)
    # Three times the share is drawn, since most leaves are too small for stripes.
    chosen = (rng.random(n) < STRIPED * 3) & (radius > 8) & (radius < gain.shape[0] / 4)
    pace = 2 * np.pi / rng.uniform(3, 16, n) / SUPERSAMPLE
    angle, depth = rng.uniform(0, np.pi, n), rng.uniform(0.05, 0.3, n)
    rows, columns = np.nonzero(chosen[labels])
    leaf = labels[rows, columns]
    wave = (columns * (pace * np.cos(angle))[leaf] + rows * (pace * np.sin(angle))[leaf]).astype(np.float32)
    gain[rows, columns] *= 1 + depth.astype(np.float32)[leaf] * np.sin(wave)


def _one_over_f(rng: np.random.Generator, size_px: int) -> np.ndarray:
    """A field (size_px, size_px) of mean 0 and variance 1 whose amplitude falls as 1/f."""
    import scipy.fft  # half a second that no other source needs

    spectrum = scipy.fft.rfft2(rng.standard_normal((size_px, size_px), np.float32))
    frequency = np.hypot(scipy.fft.fftfreq(size_px)[:, None], scipy.fft.rfftfreq(size_px)[None, :])
    frequency[0, 0] = np.inf
    field = scipy.fft.irfft2(spectrum / frequency.astype(np.float32), s=(size_px, size_px))
    return field / (field.std() + np.float32(1e-8))


def _halve(fine: np.ndarray) -> np.ndarray:
    """Average 2x2 fine pixels: (2s, 2s, c) -> (s, s, c)."""
    return (fine[::2, ::2] + fine[1::2, ::2] + fine[::2, 1::2] + fine[1::2, 1::2]) * np.float32(0.25)


GENERATORS: dict[str, Callable[..., np.ndarray]] = {"dead-leaves": dead_leaves}
