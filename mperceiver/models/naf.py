"""Blocks of NAFNet (Chen et al., ECCV 2022, arXiv:2204.04676), of which the detail refinement module is made."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class LayerNorm2d(nn.LayerNorm):
    """LayerNorm over the channels of (B, C, H, W)."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class NAFBlock(nn.Module):
    """NAFNet's block, with gates in place of activations: (B, C, H, W) -> the same.

    Before training it is the identity.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = LayerNorm2d(width, eps=1e-6), LayerNorm2d(width, eps=1e-6)
        self.expand = nn.Conv2d(width, 2 * width, 1)
        self.depthwise = nn.Conv2d(2 * width, 2 * width, 3, padding=1, groups=2 * width)
        self.attention = nn.Conv2d(width, width, 1)  # simplified channel attention
        self.project = nn.Conv2d(width, width, 1)
        self.feed = nn.Conv2d(width, 2 * width, 1)
        self.feed_out = nn.Conv2d(width, width, 1)
        self.beta = nn.Parameter(torch.zeros(width, 1, 1))
        self.gamma = nn.Parameter(torch.zeros(width, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        a, b = self.depthwise(self.expand(self.norm1(x))).chunk(2, dim=1)
        h = a * b
        h = h * self.attention(h.mean((2, 3), keepdim=True))
        x = torch.addcmul(x, self.beta, self.project(h))
        a, b = self.feed(self.norm2(x)).chunk(2, dim=1)
        return torch.addcmul(x, self.gamma, self.feed_out(a * b))


def naf_blocks(width: int, count: int) -> nn.Sequential:
    """``count`` NAFBlocks in a row."""
    return nn.Sequential(*(NAFBlock(width) for _ in range(count)))


def upscale(width: int, width_out: int, factor: int) -> nn.Sequential:
    """(B, width, H, W) -> (B, width_out, factor H, factor W), as in NAFNet."""
    return nn.Sequential(nn.Conv2d(width, width_out * factor**2, 1, bias=False), nn.PixelShuffle(factor))


class CoarserScales(nn.Module):
    """A U-Net of NAFBlocks below a scale, each of its scales with half the side and twice the channels of the one before.

    (B, C, H, W) -> the same, with what the coarser scales found added. Sides may be odd.
    """

    def __init__(self, width: int, blocks: Sequence[int]) -> None:
        """``blocks``: their number at each coarser scale, on the way down and, but for the coarsest, again on the way up."""
        super().__init__()
        here, further = blocks[0], blocks[1:]
        self.down = nn.Conv2d(width, 2 * width, 2, stride=2)
        self.blocks = naf_blocks(2 * width, here)
        self.further = (
            nn.Sequential(CoarserScales(2 * width, further), naf_blocks(2 * width, here)) if further else None
        )
        self.up = upscale(2 * width, width, 2)

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[2:]
        h = self.blocks(self.down(F.pad(x, (0, width % 2, 0, height % 2), mode="replicate")))
        if self.further is not None:
            h = self.further(h)
        return x + self.up(h)[..., :height, :width]
