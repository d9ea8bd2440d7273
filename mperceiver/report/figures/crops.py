"""Which part of a picture is shown, and how it is enlarged."""

import numpy as np

from mperceiver import images
from mperceiver.report.figures.common import PALETTE, FigureError

CELL_PX = 256  # longer side of a picture, or of a crop after it is enlarged a whole number of times
FRAME = PALETTE[4]  # orange is visible on light and on dark pictures
LINE_PX = 2  # width of the frame

Crop = tuple[int, int, int]  # left, top and side in px


def cropped(picture: np.ndarray, crop: Crop | None = None) -> np.ndarray:
    """A crop of a picture, uint8 (H, W, 3); without ``crop`` all of the picture, of a large one the middle.

    It is enlarged a whole number of times, so that no pixel is interpolated. Raises FigureError for a crop that does not fit.
    """
    height, width = picture.shape[:2]
    left, top, side = crop or (max(0, width - CELL_PX) // 2, max(0, height - CELL_PX) // 2, CELL_PX)
    if crop and not (0 <= left <= width - side and 0 <= top <= height - side):
        raise FigureError(f"crop {list(crop)} does not fit into a picture of {width}x{height} px")
    part = picture[top : top + side, left : left + side]
    times = max(1, CELL_PX // max(part.shape[:2]))
    return part.repeat(times, axis=0).repeat(times, axis=1)


def framed(picture: np.ndarray, crop: Crop) -> np.ndarray:
    """All of a picture, uint8 (H, W, 3), resampled to a longer side of ``CELL_PX``, with a frame around a crop."""
    from matplotlib.colors import to_rgb

    scale = CELL_PX / max(picture.shape[:2])
    height, width = (max(1, round(side * scale)) for side in picture.shape[:2])
    resampled = images.resize(picture, height, width).copy()
    left, top, side = crop
    x0, y0, x1, y1 = (round(edge * scale) for edge in (left, top, left + side, top + side))
    inside = resampled[y0:y1, x0:x1]
    within_frame = inside[LINE_PX:-LINE_PX, LINE_PX:-LINE_PX].copy()
    inside[:] = np.round(255 * np.array(to_rgb(FRAME)))
    inside[LINE_PX:-LINE_PX, LINE_PX:-LINE_PX] = within_frame
    return resampled


def most_varied(lq: np.ndarray, target: np.ndarray | None, side: int) -> Crop:
    """The crop in which the degraded picture's error has the largest variance, so where structure was lost.

    It depends on no method. Of equal crops it is the first; without a ground truth it is where the picture itself varies most.

    Args:
        lq, target: degraded picture and ground truth, uint8 (H, W, 3).
        side: in px; the picture's shorter side if that is smaller.
    """
    error = lq.astype(np.int64).sum(2) - (0 if target is None else target.astype(np.int64).sum(2))
    side = min(side, *error.shape)

    def sums(values: np.ndarray) -> np.ndarray:
        """Sums over all crops, from the integral image."""
        integral = np.pad(values.cumsum(0).cumsum(1), ((1, 0), (1, 0)))
        return integral[side:, side:] - integral[:-side, side:] - integral[side:, :-side] + integral[:-side, :-side]

    variance = sums(error**2) - sums(error) ** 2 / side**2
    top, left = np.unravel_index(variance.argmax(), variance.shape)
    return int(left), int(top), side
