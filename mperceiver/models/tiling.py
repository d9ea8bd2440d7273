"""Overlapping tiles of a picture, in pixels or in its latent, blended without seams.

A model that holds a whole picture of 8k needs hundreds of gigabytes. So all that works on many pixels works on tiles of a
fixed side, ``batch`` of them together: the VAE's encoder, the U-Net at each step of the sampler, the VAE's decoder with
the DRM, or a whole network. What they return is blended into one whole after each of these, in latents too, so that
neighbouring tiles cannot drift apart over the steps (StableSR; Jimenez, arXiv:2302.02412). What fits one tile is
not blended at all: it is the untiled result, bit by bit.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor

from mperceiver import config, images
from mperceiver.models.restorer import Restorer

VARIANCE = 0.01  # of a tile's Gaussian weight, in units of its side (StableSR)


@dataclass
class Tiles:
    """The tiles of pictures of one padded size, the same for each.

    Corners and sides are picture pixels and multiples of what the model wants, so that one set of tiles serves the picture
    and its latent, which is ``f`` times smaller. Tiles of several pictures stand behind one another: all of the first, row
    by row, then all of the second.
    """

    size: tuple[int, int]  # H, W of the padded picture
    tops: list[int]
    lefts: list[int]
    tile: tuple[int, int]  # h, w of a tile
    batch: int = 1  # tiles that the model gets at once
    device: torch.device | str = "cpu"  # where it gets them
    _bells: dict = field(default_factory=dict, repr=False)

    @property
    def count(self) -> int:
        """Tiles of one picture."""
        return len(self.tops) * len(self.lefts)

    def owners(self, pictures: int) -> list[list[int]]:
        """For each batch of tiles the pictures they are of."""
        flat = [number for number in range(pictures) for _ in range(self.count)]
        return [flat[start : start + self.batch] for start in range(0, len(flat), self.batch)]

    def cut(self, whole: Tensor) -> Iterator[Tensor]:
        """Batches of tiles on ``device`` out of whole pictures (B, 3, H, W) or latents (B, 4, H/f, W/f)."""
        scale = self.size[0] // whole.shape[-2]
        if self.count == 1:
            for some in whole.split(self.batch):
                yield some.to(self.device)
            return
        h, w = (side // scale for side in self.tile)
        corners = [(y // scale, x // scale) for y in self.tops for x in self.lefts]
        for start in range(0, len(whole) * self.count, self.batch):
            numbers = range(start, min(start + self.batch, len(whole) * self.count))
            places = [(number // self.count, *corners[number % self.count]) for number in numbers]
            yield torch.stack([whole[b, :, y : y + h, x : x + w].to(self.device) for b, y, x in places])

    def blend(self, parts: Iterable[Tensor], pictures: int, home: torch.device | str) -> Tensor:
        """Batches of what became of the tiles, in the order of ``cut`` -> wholes on ``home``, float32.

        ``parts`` may have any channels, and any scale: (n, C, h/f, w/f) -> (``pictures``, C, H/f, W/f).
        """
        if self.count == 1:
            found = [part.float().to(home) for part in parts]
            return found[0] if len(found) == 1 else torch.cat(found)
        whole, number = None, 0
        for part in parts:
            if whole is None:
                scale = self.tile[0] // part.shape[-2]
                shape = (pictures, part.shape[1], *(side // scale for side in self.size))
                whole = torch.zeros(shape, device=home)
            for tile in part.float().to(home):
                picture, place = divmod(number, self.count)
                self._add(whole[picture], tile, *divmod(place, len(self.lefts)), scale)
                number += 1
        return whole

    def _add(self, whole: Tensor, tile: Tensor, row: int, column: int, scale: int) -> None:
        down = self._weights(0, self.tops, scale, whole.device)[row]
        across = self._weights(1, self.lefts, scale, whole.device)[column]
        y, x = self.tops[row] // scale, self.lefts[column] // scale
        whole[:, y : y + tile.shape[-2], x : x + tile.shape[-1]] += tile * down[:, None] * across

    def _weights(self, axis: int, starts: list[int], scale: int, device: torch.device) -> list[Tensor]:
        if (axis, scale, device) not in self._bells:
            found = weights(self.size[axis] // scale, [start // scale for start in starts], self.tile[axis] // scale)
            self._bells[axis, scale, device] = [weight.to(device) for weight in found]
        return self._bells[axis, scale, device]


def weights(length: int, starts: list[int], side: int) -> list[Tensor]:
    """What each tile adds to its pixels along one side: (side,) for each start, 1 in sum at every pixel.

    StableSR's Gaussian, lowered to reach zero one pixel beyond the tile's ends, so that a tile fades in from nothing
    and leaves no seam however small the overlap. Over a grid of tiles the products of both sides' weights add up to 1.
    """
    place = (torch.arange(-1, side + 1, dtype=torch.float64) - (side - 1) / 2) / side
    bell = torch.exp(-place.square() / (2 * VARIANCE))
    bell = (bell - bell[0])[1:-1]
    total = torch.zeros(length, dtype=torch.float64)
    for start in starts:
        total[start : start + side] += bell
    return [(bell / total[start : start + side]).float() for start in starts]


# ---------------------------------------------------------------- where the tiles stand


def smallest_side(restorer: Restorer) -> int:
    """The least side of a tile: ``minimum``, as a multiple of ``multiple``."""
    return max(1, math.ceil(restorer.minimum / restorer.multiple)) * restorer.multiple


def lay_out(restorer: Restorer, size: tuple[int, int], side: int, overlap_px: int, batch: int = 1) -> Tiles:
    """The fewest tiles of at most ``side`` px that cover a padded picture of (H, W), each no larger than it must be.

    Raises ConfigError for tiles that the model cannot take, or that overlap by their whole side.
    """
    multiple, least = restorer.multiple, smallest_side(restorer)
    if side < least:
        raise config.ConfigError(
            f"tiles of {side} px, but this method's model needs {least} px or more; "
            "raise tile_px in config/methods/, or --tile"
        )
    side = side // multiple * multiple
    overlap = math.ceil(overlap_px / multiple) * multiple
    found = []
    for length in size:
        if length <= side:
            found.append(([0], length))
            continue
        if overlap >= side:
            raise config.ConfigError(
                f"overlap_px is {overlap_px}, too much for tiles of {side} px in steps of {multiple} px; "
                "lower it in config/methods/, or take larger tiles"
            )
        count = math.ceil((length - overlap) / (side - overlap))
        # As many tiles, but as small as they may be: the model's work is in their area.
        tight = math.ceil((length + (count - 1) * overlap) / count / multiple) * multiple
        tight = max(tight, least)
        starts = images.tiles(length // multiple, tight // multiple, overlap // multiple)
        found.append(([multiple * start for start in starts], tight))
    (tops, h), (lefts, w) = found
    return Tiles(size, tops, lefts, (h, w), batch, restorer.device)
