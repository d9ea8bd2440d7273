"""Restormer (Zamir et al., CVPR 2022, arXiv:2111.09881): a U-shaped transformer whose attention is between channels.

Written from the paper. Parameter names and shapes are those of the published checkpoints, so that one loads strictly.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class _Affine(nn.Module):
    """Weight and, unless ``bias_free``, bias of a LayerNorm over C channels."""

    def __init__(self, channels: int, bias_free: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = None if bias_free else nn.Parameter(torch.zeros(channels))


class ChannelNorm(nn.Module):
    """LayerNorm over the channels of (B, C, H, W). Without bias the mean is not subtracted, as in the published code."""

    EPS = 1e-5

    def __init__(self, channels: int, bias_free: bool = False) -> None:
        super().__init__()
        self.body = _Affine(channels, bias_free)

    def forward(self, x: Tensor) -> Tensor:
        last = x.permute(0, 2, 3, 1)
        if self.body.bias is None:
            normed = last * torch.rsqrt(last.var(-1, keepdim=True, unbiased=False) + self.EPS) * self.body.weight
        else:
            normed = F.layer_norm(last, last.shape[-1:], self.body.weight, self.body.bias, self.EPS)
        return normed.permute(0, 3, 1, 2)


class ChannelAttention(nn.Module):
    """Multi-Dconv head transposed attention (MDTA, section 3.1): (B, C, H, W) -> the same; cost linear in the pixels."""

    def __init__(self, channels: int, heads: int, bias: bool = False) -> None:
        super().__init__()
        self.heads = heads
        self.temperature = nn.Parameter(torch.ones(heads, 1, 1))
        self.qkv = nn.Conv2d(channels, 3 * channels, 1, bias=bias)
        self.qkv_dwconv = nn.Conv2d(3 * channels, 3 * channels, 3, padding=1, groups=3 * channels, bias=bias)
        self.project_out = nn.Conv2d(channels, channels, 1, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        batch, channels, height, width = x.shape
        qkv = self.qkv_dwconv(self.qkv(x)).reshape(batch, 3, self.heads, channels // self.heads, height * width)
        q, k, v = qkv.unbind(1)  # each (B, heads, C / heads, H W)
        similarity = F.normalize(q, dim=-1) @ F.normalize(k, dim=-1).transpose(-2, -1) * self.temperature
        return self.project_out((similarity.softmax(-1) @ v).reshape(batch, channels, height, width))


class GatedFeedForward(nn.Module):
    """Gated-Dconv feed-forward network (GDFN, section 3.2): (B, C, H, W) -> the same."""

    def __init__(self, channels: int, expansion: float, bias: bool = False) -> None:
        super().__init__()
        hidden = int(channels * expansion)
        self.project_in = nn.Conv2d(channels, 2 * hidden, 1, bias=bias)
        self.dwconv = nn.Conv2d(2 * hidden, 2 * hidden, 3, padding=1, groups=2 * hidden, bias=bias)
        self.project_out = nn.Conv2d(hidden, channels, 1, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        gate, value = self.dwconv(self.project_in(x)).chunk(2, dim=1)
        return self.project_out(F.gelu(gate) * value)


class TransformerBlock(nn.Module):
    """Attention between channels, then the feed-forward network, each normalised before and added to its input."""

    def __init__(self, channels: int, heads: int, expansion: float, bias_free: bool = False) -> None:
        super().__init__()
        self.norm1 = ChannelNorm(channels, bias_free)
        self.attn = ChannelAttention(channels, heads)
        self.norm2 = ChannelNorm(channels, bias_free)
        self.ffn = GatedFeedForward(channels, expansion)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x))
        return x + self.ffn(self.norm2(x))


class PatchEmbedding(nn.Module):
    """The first 3x3 convolution: (B, C_in, H, W) -> (B, C, H, W)."""

    def __init__(self, channels_in: int, channels: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(channels_in, channels, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.proj(x)


class Downsample(nn.Module):
    """(B, C, H, W) -> (B, 2 C, H / 2, W / 2)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(channels, channels // 2, 3, padding=1, bias=False), nn.PixelUnshuffle(2))

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x)


class Upsample(nn.Module):
    """(B, C, H, W) -> (B, C / 2, 2 H, 2 W)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(channels, 2 * channels, 3, padding=1, bias=False), nn.PixelShuffle(2))

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x)


class Restormer(nn.Module):
    """(B, 3, H, W) in [0, 1], H and W multiples of 8 -> the restored picture, the same shape, not clamped.

    Args:
        width: channels of the first level; they double at each of the three halvings.
        blocks: transformer blocks of the four encoder levels; the decoder mirrors the first three.
        heads: attention heads of the four levels.
        refinement_blocks: transformer blocks at full resolution after the decoder.
        expansion: of the feed-forward network's hidden channels.
        bias_free: norms without bias (and without the mean), as for denoising.
        dual_pixel: 6 channels in (two views of a dual-pixel camera), and no global residual.
    """

    def __init__(
        self,
        width: int = 48,
        blocks: Sequence[int] = (4, 6, 6, 8),
        heads: Sequence[int] = (1, 2, 4, 8),
        refinement_blocks: int = 4,
        expansion: float = 2.66,
        bias_free: bool = False,
        dual_pixel: bool = False,
    ) -> None:
        super().__init__()

        def level(channels: int, at: int, count: int | None = None) -> nn.Sequential:
            number = blocks[at] if count is None else count
            return nn.Sequential(*(TransformerBlock(channels, heads[at], expansion, bias_free) for _ in range(number)))

        one, two, three, four = (width * 2**k for k in range(4))
        self.patch_embed = PatchEmbedding(6 if dual_pixel else 3, one)
        self.encoder_level1 = level(one, 0)
        self.down1_2 = Downsample(one)
        self.encoder_level2 = level(two, 1)
        self.down2_3 = Downsample(two)
        self.encoder_level3 = level(three, 2)
        self.down3_4 = Downsample(three)
        self.latent = level(four, 3)
        self.up4_3 = Upsample(four)
        self.reduce_chan_level3 = nn.Conv2d(four, three, 1, bias=False)
        self.decoder_level3 = level(three, 2)
        self.up3_2 = Upsample(three)
        self.reduce_chan_level2 = nn.Conv2d(three, two, 1, bias=False)
        self.decoder_level2 = level(two, 1)
        self.up2_1 = Upsample(two)
        self.decoder_level1 = level(two, 0)  # the skip of level 1 is not reduced: twice the width from here on
        self.refinement = level(two, 0, refinement_blocks)
        self.skip_conv = nn.Conv2d(one, two, 1, bias=False) if dual_pixel else None
        self.output = nn.Conv2d(two, 3, 3, padding=1, bias=False)

    def forward(self, picture: Tensor) -> Tensor:
        first = self.patch_embed(picture)
        level1 = self.encoder_level1(first)
        level2 = self.encoder_level2(self.down1_2(level1))
        level3 = self.encoder_level3(self.down2_3(level2))
        x = self.latent(self.down3_4(level3))
        x = self.decoder_level3(self.reduce_chan_level3(torch.cat([self.up4_3(x), level3], 1)))
        x = self.decoder_level2(self.reduce_chan_level2(torch.cat([self.up3_2(x), level2], 1)))
        x = self.refinement(self.decoder_level1(torch.cat([self.up2_1(x), level1], 1)))
        if self.skip_conv is not None:
            return self.output(x + self.skip_conv(first))
        return self.output(x) + picture
