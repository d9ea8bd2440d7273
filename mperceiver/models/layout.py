"""Where the tiles of a picture lie."""

import math

from mperceiver import config, images
from mperceiver.models.restorer import Restorer
from mperceiver.models.tiling import Tiles


def smallest_side(restorer: Restorer) -> int:
    """Pixels. The least side of a tile: ``minimum``, rounded up to a multiple of ``multiple``."""
    return max(1, math.ceil(restorer.minimum / restorer.multiple)) * restorer.multiple


def lay_out(
    restorer: Restorer, size: tuple[int, int], side: int, overlap_px: int, batch: int = 1, step: int | None = None
) -> Tiles:
    """The fewest tiles of at most ``side`` px that cover a padded picture of ``size`` (H, W); no tile is larger than needed.

    Args:
        overlap_px: least overlap of two neighbouring tiles.
        batch: number of tiles that the model gets at once.
        step: corners are multiples of this number of px; None: of the model's ``multiple``. The sides are always multiples of that.

    Raises ConfigError if the model cannot take such tiles, or if they overlap by their whole side.
    """
    multiple, least = restorer.multiple, smallest_side(restorer)
    step = step or multiple
    if side < least:
        raise config.ConfigError(
            f"tiles of {side} px, but this method's model needs {least} px or more; "
            "raise tile_px in config/methods/, or --tile; for tiles of the U-Net's own, sampling_tiles"
        )
    side = side // multiple * multiple
    overlap = math.ceil(overlap_px / step) * step
    sides: list[tuple[list[int], int]] = []  # starts and side of the tiles, down and across
    for length in size:
        if length <= side:
            sides.append(([0], length))
            continue
        if overlap >= side:
            raise config.ConfigError(
                f"overlap_px is {overlap_px}, too much for tiles of {side} px in steps of {step} px; "
                "lower it in config/methods/, or take larger tiles"
            )
        count = math.ceil((length - overlap) / (side - overlap))
        # The tiles are as small as this number of them allows, since the model's work grows with their area.
        tight = math.ceil((length + (count - 1) * overlap) / count / multiple) * multiple
        tight = max(tight, least)
        starts = images.tiles(length // step, tight // step, overlap // step)
        sides.append(([step * start for start in starts], tight))
    (tops, h), (lefts, w) = sides
    return Tiles(size, tops, lefts, (h, w), batch, restorer.device)
