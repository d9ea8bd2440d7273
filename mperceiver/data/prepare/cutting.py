"""Cut pictures: where crops lie in a picture, and which of them are the most detailed."""

import numpy as np

from mperceiver import images

WEIGHTS = np.array(images.GREY, np.float32)


def crop_corners(rng: np.random.Generator, count: int, height: int, width: int, side: int) -> list[tuple[int, int]]:
    """Top-left corners (y, x) of ``count`` different square crops spread over a picture; without overlap if there is room.

    The picture is divided into cells; each crop lies at a random place in one of ``count`` cells drawn at random. If the
    crops cannot lie apart, the possible corners are divided in the same way. Raises ValueError if there are too few.
    """
    if side > min(height, width):
        raise ValueError(f"the picture is {width}x{height} px, smaller than crops of {side} px")
    if count <= (height // side) * (width // side):
        return _spread_boxes(rng, count, height, width, side)
    corners = (height - side + 1) * (width - side + 1)
    if count > corners:
        raise ValueError(f"{count} different crops of {side} px wanted, a picture of {width}x{height} px has {corners}")
    return _spread_boxes(rng, count, height - side + 1, width - side + 1, 1)


def _spread_boxes(rng: np.random.Generator, count: int, height: int, width: int, side: int) -> list[tuple[int, int]]:
    """Top-left corners (y, x) of ``count`` boxes that do not overlap, in an area that has room for them."""
    columns = min(width // side, max(1, round((count * width / height) ** 0.5)))
    rows = -(-count // columns)
    if rows > height // side:
        rows = height // side
        columns = -(-count // rows)
    corners = []
    for cell in rng.permutation(rows * columns)[:count].tolist():
        row, column = divmod(cell, columns)
        top, bottom = row * height // rows, (row + 1) * height // rows
        left, right = column * width // columns, (column + 1) * width // columns
        y = int(rng.integers(top, bottom - side, endpoint=True))
        corners.append((y, int(rng.integers(left, right - side, endpoint=True))))
    return corners


def most_detailed(picture: np.ndarray, corners: list[tuple[int, int]], count: int, side: int) -> list[tuple[int, int]]:
    """The ``count`` corners, in their order, whose crops have the largest variance of the Laplacian.

    (LAPV, doi:10.1016/j.patcog.2012.11.011.) A crop of empty sky shows nothing about a restorer: blur does not change it.

    Args:
        picture: uint8 (H, W, 3).
        corners: top-left corners (y, x) of crops.
    """
    if count == len(corners):
        return corners
    from scipy.ndimage import laplace

    luma = picture.astype(np.float32) @ WEIGHTS
    detail = [laplace(luma[y : y + side, x : x + side]).var() for y, x in corners]
    selected = set(np.argsort(detail, kind="stable")[-count:].tolist())
    return [corner for i, corner in enumerate(corners) if i in selected]


def darkest(picture: np.ndarray, corners: list[tuple[int, int]], side: int) -> tuple[int, int]:
    """The corner (y, x) whose square crop of a picture, uint8 (H, W, 3), has the least mean luma; the first of equals."""
    luma = [(picture[y : y + side, x : x + side] @ WEIGHTS).mean() for y, x in corners]
    return corners[int(np.argmin(luma))]


def cut(picture: np.ndarray, box: tuple[int, int, int, int]) -> np.ndarray:
    """The box (y, x, height, width) of a picture (H, W, 3) or a map (H, W)."""
    y, x, height, width = box
    return np.ascontiguousarray(picture[y : y + height, x : x + width])
