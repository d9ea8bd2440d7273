"""Overlapping tiles of a picture or of its latent, blended without seams.

A model that holds a whole picture of 8k needs hundreds of gigabytes. So everything that works on many pixels works on tiles,
``batch`` of them at once: the VAE's encoder, the U-Net at each step of the sampler, the VAE's decoder with the DRM, a baseline's
network. After each of these the tiles are blended into one picture or latent, also between the sampler's steps, so that
neighbouring tiles cannot drift apart (StableSR; Jimenez, arXiv:2302.02412). A picture that is one tile is not blended: the
result is bit for bit the untiled one.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor

VARIANCE = 0.01  # of a tile's Gaussian weight, in units of the tile's side (StableSR)


@dataclass
class Tiles:
    """How pictures of one padded size are cut into tiles.

    Corners and sides are in picture pixels. They are multiples of ``f``, so that the same tiles serve the picture and its
    latent, which is ``f`` times smaller; the sides are multiples of the model's ``multiple`` too. The tiles of several
    pictures follow each other: all tiles of the first picture, row by row, then all of the second.
    """

    size: tuple[int, int]  # (H, W) of the padded picture
    tops: list[int]
    lefts: list[int]
    tile: tuple[int, int]  # (h, w) of a tile
    batch: int = 1  # number of tiles that the model gets at once
    device: torch.device | str = "cpu"  # where the model gets them
    spare_bytes: int = 0  # memory for features of all tiles, which would otherwise be computed twice
    _weights: dict = field(default_factory=dict, repr=False)

    @property
    def count(self) -> int:
        """Tiles of one picture."""
        return len(self.tops) * len(self.lefts)

    def owners(self, pictures: int) -> list[list[int]]:
        """For each batch of tiles, the index of each tile's picture, out of ``pictures``."""
        flat = [picture for picture in range(pictures) for _ in range(self.count)]
        return [flat[start : start + self.batch] for start in range(0, len(flat), self.batch)]

    def cut(self, whole: Tensor) -> Iterator[Tensor]:
        """Whole pictures (B, 3, H, W) or latents (B, 4, H/f, W/f) -> batches of tiles (n, 3, h, w) or (n, 4, h/f, w/f) on ``device``."""
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

    def blend(
        self,
        batches: Iterable[Tensor],
        pictures: int,
        device: torch.device | str,
        on_share: Callable[[float], None] = lambda share: None,
    ) -> Tensor:
        """Batches of processed tiles, in the order of ``cut`` -> whole pictures or latents on ``device``, float32.

        Tiles may have any number of channels and any scale: (n, C, h/f, w/f) -> (``pictures``, C, H/f, W/f).

        ``on_share``: called after each batch with its share of all batches.
        """
        batches = self._reported(batches, pictures, on_share)
        if self.count == 1:
            wholes = [batch.float().to(device) for batch in batches]
            return wholes[0] if len(wholes) == 1 else torch.cat(wholes)
        whole, number = torch.empty(0), 0
        for batch in batches:
            scale = self.tile[0] // batch.shape[-2]
            if number == 0:
                shape = (pictures, batch.shape[1], *(side // scale for side in self.size))
                whole = torch.zeros(shape, device=device)
            for tile in batch.float().to(device):
                picture, place = divmod(number, self.count)
                self._add(whole[picture], tile, *divmod(place, len(self.lefts)), scale)
                number += 1
        return whole

    def _reported(
        self, batches: Iterable[Tensor], pictures: int, on_share: Callable[[float], None]
    ) -> Iterator[Tensor]:
        share = 1 / len(self.owners(pictures))
        for batch in batches:
            yield batch
            on_share(share)

    def _add(self, whole: Tensor, tile: Tensor, row: int, column: int, scale: int) -> None:
        """Add a weighted tile (C, h, w) to a whole (C, H, W)."""
        down = self._side_weights(0, self.tops, scale, whole.device)[row]
        across = self._side_weights(1, self.lefts, scale, whole.device)[column]
        y, x = self.tops[row] // scale, self.lefts[column] // scale
        whole[:, y : y + tile.shape[-2], x : x + tile.shape[-1]] += tile * down[:, None] * across

    def _side_weights(self, axis: int, starts: list[int], scale: int, device: torch.device) -> list[Tensor]:
        if (axis, scale, device) not in self._weights:
            scaled = [start // scale for start in starts]
            weights = blending_weights(self.size[axis] // scale, scaled, self.tile[axis] // scale)
            self._weights[axis, scale, device] = [weight.to(device) for weight in weights]
        return self._weights[axis, scale, device]


def blending_weights(length: int, starts: list[int], side: int) -> list[Tensor]:
    """The weights of the tiles along one side of a picture: (``side``,) for each start. At every pixel they add up to 1.

    They are StableSR's Gaussian, lowered so that it is zero one pixel beyond the tile's ends. A tile therefore fades in from
    nothing and leaves no seam, however small the overlap. In a grid of tiles, the products of both sides' weights add up to 1.
    """
    place = (torch.arange(-1, side + 1, dtype=torch.float64) - (side - 1) / 2) / side
    gaussian = torch.exp(-place.square() / (2 * VARIANCE))
    gaussian = (gaussian - gaussian[0])[1:-1]
    total = torch.zeros(length, dtype=torch.float64)
    for start in starts:
        total[start : start + side] += gaussian
    return [(gaussian / total[start : start + side]).float() for start in starts]
