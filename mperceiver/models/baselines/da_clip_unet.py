"""The U-Net of DA-CLIP (Luo et al., ICLR 2024, arXiv:2310.01018), which reverses the mean-reverting diffusion of ir_sde.py.

Written from the paper. Parameter names and shapes are those of the published checkpoints, so that one loads strictly. The
U-Net is steered by two embeddings of the degraded picture: one of its content, one of its degradation.
"""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mperceiver.models.blocks import start_at_zero

HEAD_CHANNELS = 32
LINEAR_HEADS = 4


class ChannelNorm(nn.Module):
    """LayerNorm over the channels of (B, C, H, W), with a gain and no bias."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.g = nn.Parameter(torch.ones(1, channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        variance, mean = torch.var_mean(x, dim=1, unbiased=False, keepdim=True)
        return (x - mean) * (variance + 1e-5).rsqrt() * self.g


class TimeEmbedding(nn.Module):
    """Times (B,) -> sines and cosines (B, C)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.pairs = channels // 2

    def forward(self, time: Tensor) -> Tensor:
        rates = torch.exp(torch.arange(self.pairs, device=time.device) * (-math.log(10000) / (self.pairs - 1)))
        angles = time[:, None] * rates[None]
        return torch.cat([angles.sin(), angles.cos()], -1)


class ScaledConv(nn.Module):
    """3x3 convolution without bias; then, if they are given, a scale and a shift for each channel; then SiLU."""

    def __init__(self, channels_in: int, channels: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(channels_in, channels, 3, padding=1, bias=False)

    def forward(self, x: Tensor, scale_shift: tuple[Tensor, Tensor] | None = None) -> Tensor:
        x = self.proj(x)
        if scale_shift is not None:
            x = x * (1 + scale_shift[0]) + scale_shift[1]
        return F.silu(x)


class ResidualBlock(nn.Module):
    """(B, C_in, H, W) and an embedding of the time (B, D) -> (B, C, H, W)."""

    def __init__(self, channels_in: int, channels: int, embedding: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(nn.SiLU(), nn.Linear(embedding, 2 * channels))
        self.block1, self.block2 = ScaledConv(channels_in, channels), ScaledConv(channels, channels)
        self.res_conv = nn.Conv2d(channels_in, channels, 1, bias=False) if channels_in != channels else nn.Identity()

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        scale, shift = self.mlp(embedding)[:, :, None, None].chunk(2, dim=1)
        return self.block2(self.block1(x, (scale, shift))) + self.res_conv(x)


class LinearAttention(nn.Module):
    """Attention whose cost is linear in the pixels: (B, C, H, W) -> the same. It does not use the context."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        hidden = LINEAR_HEADS * HEAD_CHANNELS
        self.to_qkv = nn.Conv2d(channels, 3 * hidden, 1, bias=False)
        self.to_out = nn.Sequential(nn.Conv2d(hidden, channels, 1), ChannelNorm(channels))

    def forward(self, x: Tensor, context: Tensor | None) -> Tensor:
        height, width = x.shape[2:]
        qkv = self.to_qkv(x).unflatten(1, (3, LINEAR_HEADS, HEAD_CHANNELS)).flatten(4)
        q, k, v = qkv.unbind(1)  # each (B, heads, D, H W)
        summary = k.softmax(-1) @ (v / (height * width)).transpose(-2, -1)  # (B, heads, D, D)
        attended = summary.transpose(-2, -1) @ (q.softmax(-2) * HEAD_CHANNELS**-0.5)
        return self.to_out(attended.flatten(1, 2).unflatten(2, (height, width)))


class CrossAttention(nn.Module):
    """Tokens (B, N, C) attend to a context (B, M, D), or to themselves where there is none."""

    def __init__(self, channels: int, context: int | None, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.to_q = nn.Linear(channels, channels, bias=False)
        self.to_k, self.to_v = (nn.Linear(context or channels, channels, bias=False) for _ in range(2))
        self.to_out = nn.Sequential(nn.Linear(channels, channels), nn.Dropout(0.0))

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        other = x if context is None else context
        q, k, v = (
            part.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for part in (self.to_q(x), self.to_k(other), self.to_v(other))
        )
        return self.to_out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class GatedLinear(nn.Module):
    """A linear layer, multiplied by the GELU of a second one: (B, N, C) -> (B, N, hidden)."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.proj = nn.Linear(channels, 2 * hidden)

    def forward(self, x: Tensor) -> Tensor:
        x, gate = self.proj(x).chunk(2, dim=-1)
        return x * F.gelu(gate)


class FeedForward(nn.Module):
    """Gated feed-forward network of tokens: (B, N, C) -> the same."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.net = nn.Sequential(
            GatedLinear(channels, 4 * channels), nn.Dropout(0.0), nn.Linear(4 * channels, channels)
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)


class TransformerBlock(nn.Module):
    """Self-attention, attention to the context, feed-forward network."""

    def __init__(self, channels: int, context: int, heads: int) -> None:
        super().__init__()
        self.attn1 = CrossAttention(channels, None, heads)
        self.ff = FeedForward(channels)
        self.attn2 = CrossAttention(channels, context, heads)
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(channels) for _ in range(3))

    def forward(self, x: Tensor, context: Tensor | None) -> Tensor:
        x = x + self.attn1(self.norm1(x))
        x = x + self.attn2(self.norm2(x), context)
        return x + self.ff(self.norm3(x))


class SpatialTransformer(nn.Module):
    """A transformer block over the pixels: (B, C, H, W) -> the same; cost quadratic in the pixels."""

    def __init__(self, channels: int, context: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(min(32, channels), channels, eps=1e-6)
        self.proj_in = nn.Conv2d(channels, channels, 1)
        self.transformer_blocks = nn.ModuleList([TransformerBlock(channels, context, channels // HEAD_CHANNELS)])
        self.proj_out = nn.Conv2d(channels, channels, 1)
        start_at_zero(self.proj_out)

    def forward(self, x: Tensor, context: Tensor | None) -> Tensor:
        tokens = self.proj_in(self.norm(x)).flatten(2).transpose(1, 2)
        for block in self.transformer_blocks:
            tokens = block(tokens, context)
        return x + self.proj_out(tokens.transpose(1, 2).unflatten(2, tuple(x.shape[2:])))


class PreNorm(nn.Module):
    """Norm over the channels before a module that takes (B, C, H, W) and a context."""

    def __init__(self, channels: int, fn: nn.Module) -> None:
        super().__init__()
        self.fn, self.norm = fn, ChannelNorm(channels)

    def forward(self, x: Tensor, context: Tensor | None) -> Tensor:
        return self.fn(self.norm(x), context)


class Residual(nn.Module):
    """Adds a module to its input: (B, C, H, W) and a context -> (B, C, H, W)."""

    def __init__(self, fn: nn.Module) -> None:
        super().__init__()
        self.fn = fn

    def forward(self, x: Tensor, context: Tensor | None) -> Tensor:
        return x + self.fn(x, context)


class ConditionalUNet(nn.Module):
    """The noise (or the residual) in a state of the diffusion: (B, 3, H, W), given the degraded picture, the time and two embeddings.

    Args:
        width: channels at full resolution; a multiple of 32.
        multipliers: channels of the levels, in widths; each but the last halves the resolution.
        context: length of the embeddings of content and degradation.
    """

    def __init__(self, width: int = 64, multipliers: Sequence[int] = (1, 2, 4, 8), context: int = 512) -> None:
        super().__init__()
        self.multiple = 2 ** len(multipliers)
        embedding = 4 * width
        self.init_conv = nn.Conv2d(6, width, 7, padding=3, bias=False)
        self.time_mlp = nn.Sequential(
            TimeEmbedding(width), nn.Linear(width, embedding), nn.GELU(), nn.Linear(embedding, embedding)
        )
        self.prompt = nn.Parameter(torch.rand(1, embedding))
        self.text_mlp = nn.Sequential(nn.Linear(context, embedding), nn.SiLU(), nn.Linear(embedding, embedding))
        self.prompt_mlp = nn.Linear(embedding, embedding)
        self.downs, self.ups = nn.ModuleList(), nn.ModuleList()
        channels = [width, *(width * multiplier for multiplier in multipliers)]
        last = len(multipliers) - 1

        def attention(channels: int, level: int) -> Residual:
            inner = LinearAttention(channels) if level < 3 else SpatialTransformer(channels, context)
            return Residual(PreNorm(channels, inner))

        for level, (fine, coarse) in enumerate(pairwise(channels)):
            self.downs.append(
                nn.ModuleList(
                    [
                        ResidualBlock(fine, fine, embedding),
                        ResidualBlock(fine, fine, embedding),
                        attention(fine, level),
                        nn.Conv2d(fine, coarse, 3, padding=1, bias=False)
                        if level == last
                        else nn.Conv2d(fine, coarse, 4, 2, 1),
                    ]
                )
            )
            self.ups.insert(
                0,
                nn.ModuleList(
                    [
                        ResidualBlock(coarse + fine, coarse, embedding),
                        ResidualBlock(coarse + fine, coarse, embedding),
                        attention(coarse, level),
                        nn.Conv2d(coarse, fine, 3, padding=1, bias=False)
                        if level == 0
                        else nn.Sequential(nn.Upsample(scale_factor=2), nn.Conv2d(coarse, fine, 3, padding=1)),
                    ]
                ),
            )
        middle = channels[-1]
        self.mid_block1 = ResidualBlock(middle, middle, embedding)
        self.mid_attn = Residual(PreNorm(middle, SpatialTransformer(middle, context)))
        self.mid_block2 = ResidualBlock(middle, middle, embedding)
        self.final_res_block = ResidualBlock(2 * width, width, embedding)
        self.final_conv = nn.Conv2d(width, 3, 3, padding=1)

    def forward(self, state: Tensor, lq: Tensor, time: Tensor, degradation: Tensor, content: Tensor) -> Tensor:
        """Predict from a state.

        Args:
            state: the diffusion's state, (B, 3, H, W).
            lq: the degraded picture in [0, 1], the same shape.
            time: (B,), from 1 to the number of steps.
            degradation, content: embeddings (B, context).

        Returns:
            What DaClip's ``predicts`` names, (B, 3, H, W): the noise in ``state``, or the residual.
        """
        height, width = state.shape[2:]
        x = torch.cat([state - lq, lq], 1)
        x = F.pad(x, (0, -width % self.multiple, 0, -height % self.multiple), "reflect")
        x = self.init_conv(x)
        first, skips = x, []
        prompt = self.prompt_mlp(self.text_mlp(degradation).softmax(1) * self.prompt)
        embedding = self.time_mlp(time) + prompt
        context = content[:, None]  # one token
        for block1, block2, attention, down in cast("list[list[nn.Module]]", self.downs):
            x = block1(x, embedding)
            skips.append(x)
            x = attention(block2(x, embedding), context)
            skips.append(x)
            x = down(x)
        x = self.mid_block2(self.mid_attn(self.mid_block1(x, embedding), context), embedding)
        for block1, block2, attention, up in cast("list[list[nn.Module]]", self.ups):
            x = block1(torch.cat([x, skips.pop()], 1), embedding)
            x = block2(torch.cat([x, skips.pop()], 1), embedding)
            x = up(attention(x, context))
        x = self.final_conv(self.final_res_block(torch.cat([x, first], 1), embedding))
        return x[..., :height, :width]
