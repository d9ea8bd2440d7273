"""What the degradations share: checks of their inputs, light, blur kernels and random fields.

Nothing here draws random numbers except from the generator that is passed in.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Annotated

import numpy as np
import scipy
from pydantic import Field

SIDE_MIN_PX = 16
ReferencePx = Annotated[float | None, Field(ge=SIDE_MIN_PX, le=10000)]  # short side for which sizes are meant
STAMPED_PER_PIXEL = 2.0  # added values for each pixel, above which a Fourier transform is faster
_recorded: ContextVar[dict[str, np.ndarray] | None] = ContextVar("recorded", default=None)


def check_picture(owner: str, image: np.ndarray) -> None:
    """Raise ValueError unless image is a float32 RGB picture (H, W, 3) in [0, 1] with both sides >= 16 px.

    The message has the owner (a degradation's name), and the image's type, shape and range. Raises TypeError if it is not an array.
    """
    if not isinstance(image, np.ndarray):
        raise TypeError(f"{owner}: image is a {type(image).__name__}, expected a numpy float32 array (H, W, 3)")
    actual = f"{image.dtype} {image.shape}"
    if image.dtype != np.float32:
        raise ValueError(f"{owner}: image is {actual}, expected float32; divide an 8-bit picture by 255 first")
    if image.ndim != 3 or image.shape[2] != 3 or min(image.shape[:2]) < SIDE_MIN_PX:
        raise ValueError(f"{owner}: image is {actual}, expected (H, W, 3) with H and W >= {SIDE_MIN_PX}")
    low, high = float(image.min()), float(image.max())
    if not (low >= 0 and high <= 1):  # written so that NaN fails too
        raise ValueError(f"{owner}: image is {actual} in [{low:.4g}, {high:.4g}], expected [0, 1]")


def check_depth(owner: str, depth: np.ndarray, shape: tuple[int, int]) -> None:
    """Raise ValueError unless depth is an array (H, W) in [0, 1]."""
    if np.shape(depth) != shape or not (np.min(depth) >= 0 and np.max(depth) <= 1):
        raise ValueError(
            f"{owner}: depth is {np.shape(depth)} in [{np.min(depth):.4g}, {np.max(depth):.4g}], "
            f"expected {shape} in [0, 1]"
        )


def clip(image: np.ndarray) -> np.ndarray:
    """Clip to [0, 1] as float32: the last step of every degradation."""
    return np.clip(image, 0, 1).astype(np.float32, copy=False)


@contextmanager
def recorded_maps() -> Iterator[dict[str, np.ndarray]]:
    """Collect, by name, the maps that degradations called inside the block record: depth, streaks, masks, kernels."""
    maps: dict[str, np.ndarray] = {}
    token = _recorded.set(maps)
    try:
        yield maps
    finally:
        _recorded.reset(token)


def record_map(name: str, array: np.ndarray) -> None:
    """Record a map if the caller is inside ``recorded_maps``; otherwise do nothing."""
    maps = _recorded.get()
    if maps is not None:
        maps[name] = np.asarray(array, np.float32)


def linear_light(display: np.ndarray) -> np.ndarray:
    """sRGB in [0, 1] to linear light in [0, 1] (IEC 61966-2-1)."""
    return np.where(display <= 0.04045, display / 12.92, ((display + 0.055) / 1.055) ** np.float32(2.4))


def display_light(linear: np.ndarray) -> np.ndarray:
    """Linear light in [0, 1] to sRGB in [0, 1] (IEC 61966-2-1)."""
    return np.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear ** np.float32(1 / 2.4) - 0.055)


def smooth_field(rng: np.random.Generator, height: int, width: int, waves: int = 4) -> np.ndarray:
    """A random field (height, width) in [0, 1] made of the lowest cosine waves, weighted 1/(1 + i^2 + j^2)."""
    order = np.arange(waves)
    weight = rng.standard_normal((waves, waves)) / (1 + order[:, None] ** 2 + order**2)
    weight[0, 0] = 0
    rows = np.cos(np.pi * order * (np.arange(height)[:, None] + 0.5) / height)  # (height, waves)
    columns = np.cos(np.pi * order * (np.arange(width)[:, None] + 0.5) / width)
    return _to_unit(rows @ weight @ columns.T)


def outdoor_depth(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """A plausible depth (height, width) in [0, 1], 1 is far: far at the top, near at the bottom, with low-frequency relief."""
    slope = np.linspace(1, 0, height)[:, None]
    return _to_unit(slope + rng.uniform(0.4, 1.2) * smooth_field(rng, height, width))


def _to_unit(field: np.ndarray) -> np.ndarray:
    """Scale a field to [0, 1]."""
    low, high = field.min(), field.max()
    return ((field - low) / max(high - low, 1e-12)).astype(np.float32)


def scale_sizes(reference_px: float | None, shape: tuple[int, ...], *sizes_px: float) -> tuple[float, ...]:
    """Scale sizes meant for a picture whose short side is ``reference_px`` to one of ``shape`` (H, W, ...); None: unchanged."""
    if reference_px is None:
        return sizes_px
    return tuple(size * min(shape[:2]) / reference_px for size in sizes_px)


def segment_kernel(length_px: float, width_px: float, angle_deg: float, taper: bool = False) -> np.ndarray:
    """An anti-aliased line, float32 (k, k), k odd, with peak 1: the trace of a falling drop or flake during the exposure.

    Args:
        length_px, width_px: of the line, without its round ends.
        angle_deg: from the vertical; with a positive angle the lower end is to the right.
        taper: fade towards both ends, as rain streaks do.
    """
    half = int(np.ceil((length_px + width_px) / 2)) + 1
    y, x = np.mgrid[-half : half + 1, -half : half + 1].astype(np.float32)
    angle = np.deg2rad(angle_deg)
    along = x * np.sin(angle) + y * np.cos(angle)
    across = x * np.cos(angle) - y * np.sin(angle)
    distance = np.hypot(across, np.maximum(np.abs(along) - length_px / 2, 0))
    soft = 0.5 + 0.25 * width_px  # a thick line has a soft rim
    kernel = np.clip((width_px / 2 + soft - distance) / (2 * soft), 0, 1)
    if taper:
        kernel = kernel * np.cos(0.5 * np.pi * np.clip(along / (length_px / 2 + width_px), -1, 1))
    return kernel / kernel.max()


def scatter(rng: np.random.Generator, height: int, width: int, count: float, kernel: np.ndarray) -> np.ndarray:
    """Copies of a kernel at random places: float32 (height, width) in [0, 1].

    Their number is drawn from a Poisson distribution whose mean is ``count`` for the area of the picture, the brightness of
    each from U(0.4, 1); sums are clipped to 1.
    """
    k = kernel.shape[0]
    tall, wide = height + k - 1, width + k - 1  # kernels centred outside the picture reach into it
    n = int(rng.poisson(count * tall * wide / (height * width)))
    places, brightness = rng.integers(0, tall * wide, n), rng.uniform(0.4, 1, n)
    if n * np.count_nonzero(kernel) <= STAMPED_PER_PIXEL * tall * wide:
        sums = _stamped(places, brightness, (tall, wide), kernel)
    else:
        sums = _valid(np.bincount(places, brightness, tall * wide).reshape(tall, wide, 1), kernel)[..., 0]
    return np.clip(sums, 0, 1)


def _stamped(places: np.ndarray, brightness: np.ndarray, shape: tuple[int, int], kernel: np.ndarray) -> np.ndarray:
    """What ``_valid`` gives for points at flat indices ``places`` of an array of ``shape`` (H+k-1, W+k-1): float32 (H, W).

    The kernel is added point by point, which takes a tenth of the time of a Fourier transform where points are few.
    """
    k, (tall, wide) = kernel.shape[0], shape
    full = wide + k - 1
    down, right = np.nonzero(kernel)
    corners = places + places // wide * (k - 1)  # in rows of the full convolution's length
    indices = corners[:, None] + (down * full + right)
    sums = np.bincount(indices.ravel(), np.outer(brightness, kernel[down, right]).ravel(), (tall + k - 1) * full)
    return sums.reshape(-1, full)[k - 1 : tall, k - 1 : wide].astype(np.float32)


def blend_towards_white(image: np.ndarray, share: np.ndarray) -> np.ndarray:
    """J + (1 - J) m: image (H, W, 3) mixed with white by ``share`` (H, W) in [0, 1], in a form that rounding cannot make darker."""
    import cv2

    white = 1 - image
    white *= cv2.merge([share, share, share])
    white += image
    return np.minimum(white, 1, out=white)


def convolve(image: np.ndarray, psf: np.ndarray) -> np.ndarray:
    """Convolve each channel of image (H, W, C) with a point spread function (k, k), k odd, mirrored at the border: (H, W, C)."""
    half = psf.shape[0] // 2
    return _valid(np.pad(image, ((half, half), (half, half), (0, 0)), mode="symmetric"), psf)


def _valid(padded: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """The part of the convolution of (H+k-1, W+k-1, C) with (k, k) that needs no padding: float32 (H, W, C)."""
    k = kernel.shape[0]
    # The circular convolution wraps only into the first k-1 rows and columns, which are cut off.
    shape = [scipy.fft.next_fast_len(side, real=True) for side in padded.shape[:2]]
    spectrum = scipy.fft.rfft2(padded.astype(np.float32), s=shape, axes=(0, 1))
    spectrum *= scipy.fft.rfft2(kernel.astype(np.float32), s=shape)[..., None]
    return scipy.fft.irfft2(spectrum, s=shape, axes=(0, 1))[k - 1 : padded.shape[0], k - 1 : padded.shape[1]]
