"""Blur: a camera that moves, a lens out of focus, and a plain Gaussian."""

import math
from typing import Annotated

import numpy as np
import scipy
from pydantic import Field

from mperceiver.degradations.common import clip, convolve, record_map
from mperceiver.degradations.ranges import checked

# Parameters that a degradation and the function of its point spread function share.
PathPx = Annotated[float, Field(ge=0, le=100)]
Anxiety = Annotated[float, Field(ge=0, le=0.1)]
Exposure = Annotated[float, Field(ge=0.01, le=1)]
DiscPx = Annotated[float, Field(ge=0, le=50)]
DiscSigmaPx = Annotated[float, Field(ge=0, le=10)]

STEPS = 200  # of a trajectory; DeblurGAN takes 2000, so its rates a step are converted below
REFERENCE_STEPS, REFERENCE_LENGTH = 2000, 60.0


@checked("motion-blur")
def motion_blur(
    image: np.ndarray,
    rng: np.random.Generator,
    *,
    length_px: PathPx = 28.0,
    anxiety: Anxiety = 0.005,
    exposure: Exposure = 1.0,
) -> np.ndarray:
    """Convolve with the path of a shaking camera (see motion_psf), mirrored at the border.

    Args:
        image: float32 (H, W, 3) in [0, 1].
        rng: draws the path.
        length_px: length of the path.
        anxiety: strength of the shaking; 0 is a straight line, DeblurGAN draws 0.003 to 0.01.
        exposure: share of the path during which the shutter is open.
    """
    psf = motion_psf(rng, length_px=length_px, anxiety=anxiety, exposure=exposure)
    record_map("psf", psf)
    return clip(convolve(image, psf))


@checked("defocus")
def defocus(
    image: np.ndarray, rng: np.random.Generator, *, radius_px: DiscPx = 3.0, sigma_px: DiscSigmaPx = 0.3
) -> np.ndarray:
    """Convolve with an anti-aliased disc (see disc_psf), mirrored at the border. Draws nothing.

    Args:
        image: float32 (H, W, 3) in [0, 1].
        rng: not used.
        radius_px: of the disc.
        sigma_px: standard deviation of a Gaussian that softens the disc.
    """
    psf = disc_psf(radius_px=radius_px, sigma_px=sigma_px)
    record_map("psf", psf)
    return clip(convolve(image, psf))


@checked("gaussian-blur")
def gaussian_blur(
    image: np.ndarray,
    rng: np.random.Generator,
    *,
    sigma_px: Annotated[float, Field(ge=0, le=50)] = 1.2,
    kernel_px: Annotated[int | None, Field(ge=1, le=401)] = None,
) -> np.ndarray:
    """Convolve with an isotropic Gaussian, mirrored at the border. Draws nothing.

    Args:
        image: float32 (H, W, 3) in [0, 1].
        rng: not used.
        sigma_px: standard deviation.
        kernel_px: side of the kernel, odd (at most 21 in Real-ESRGAN, arXiv:2107.10833); without it the kernel
            is cut at four standard deviations.
    """
    radius = int(4 * sigma_px + 0.5)
    if kernel_px is not None:
        if kernel_px % 2 == 0:
            raise ValueError(f"gaussian-blur: kernel_px is {kernel_px}, allowed is an odd number")
        radius = kernel_px // 2
    if sigma_px < 1e-15:
        return clip(image.copy())
    import cv2

    taps = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma_px) ** 2)
    taps = (taps / taps.sum()).astype(np.float32)
    return clip(cv2.sepFilter2D(np.ascontiguousarray(image), cv2.CV_32F, taps, taps, borderType=cv2.BORDER_REFLECT))


@checked("motion-blur")
def motion_psf(
    rng: np.random.Generator, *, length_px: PathPx, anxiety: Anxiety, exposure: Exposure = 1.0
) -> np.ndarray:
    """Point spread function (k, k), k odd, sum 1, of the first part (``exposure``) of a random trajectory.

    Boracchi & Foi, TIP 2012, doi:10.1109/TIP.2012.2192126, with the constants of DeblurGAN (Kupyn et al., CVPR 2018,
    arXiv:1711.07064, algorithm 1). Centred on its centre of gravity, so that the blurred picture is not shifted. The
    parameters are those of motion_blur. Raises ValueError for one outside its range.
    """
    ratio = REFERENCE_STEPS / STEPS
    pull = 0.7 * rng.random() * anxiety * ratio  # towards the start
    shake = 10 * rng.random() * anxiety * math.sqrt(ratio)  # small changes of the velocity
    big_shake = 0.2 * rng.random() * anxiety * ratio  # probability of turning round
    heading = rng.uniform(0, 2 * np.pi)
    tremor = (shake * (rng.standard_normal(STEPS) + 1j * rng.standard_normal(STEPS))).tolist()
    turns = np.where(rng.random(STEPS) < big_shake, 2 * np.exp(1j * (np.pi + rng.random(STEPS) - 0.5)), 0).tolist()
    # Plain complex numbers: each step depends on the one before, and numpy scalars would be ten times slower.
    velocity, place, path = complex(math.cos(heading), math.sin(heading)), 0j, [0j]
    step = REFERENCE_LENGTH / STEPS
    for tremble, turn in zip(tremor, turns, strict=True):
        velocity += velocity * turn + tremble - pull * place
        velocity /= abs(velocity) or 1.0
        place += velocity * step
        path.append(place)
    points = np.array(path[: round(exposure * STEPS) + 1]) * (length_px / REFERENCE_LENGTH)
    points -= points.mean()
    half = int(np.ceil(np.abs(np.concatenate([points.real, points.imag])).max())) + 1
    side = 2 * half + 1
    psf = np.zeros(side * side)
    y, x = points.imag + half, points.real + half
    iy, ix = np.floor(y).astype(int), np.floor(x).astype(int)
    for down in (0, 1):  # each point is distributed over the four pixels around it
        for right in (0, 1):
            share = np.abs(1 - down - (y - iy)) * np.abs(1 - right - (x - ix))
            psf += np.bincount((iy + down) * side + ix + right, share, side * side)
    return (psf / psf.sum()).reshape(side, side)


@checked("defocus")
def disc_psf(*, radius_px: DiscPx, sigma_px: DiscSigmaPx = 0.0) -> np.ndarray:
    """Point spread function (k, k), k odd, sum 1, of a lens out of focus: a disc with a rim of one pixel, then a Gaussian.

    The parameters are those of defocus. Raises ValueError for one outside its range.
    """
    half = math.ceil(radius_px + 4 * sigma_px) + 1
    y, x = np.mgrid[-half : half + 1, -half : half + 1]
    disc = np.clip(radius_px + 0.5 - np.hypot(y, x), 0, 1)
    if sigma_px > 0:
        disc = scipy.ndimage.gaussian_filter(disc, sigma_px, mode="constant")
    return disc / disc.sum()
