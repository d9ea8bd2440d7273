"""TransWeather (Valanarasu et al., CVPR 2022, arXiv:2111.14813): a pyramid transformer whose decoder asks with weather queries.

Written from the paper. Parameter names and shapes are those of the published network, so that its checkpoints load strictly;
``Tenc.mini_patch_embed4`` and ``convtail.conv_output`` are not used.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.ops import StochasticDepth

WEATHER_QUERIES = 48
DROP_PATH = 0.1  # of the last block; it grows linearly from 0


class PatchEmbed(nn.Module):
    """Overlapping patches by a strided convolution: (B, C_in, H, W) -> tokens (B, h w, C), h, w."""

    def __init__(self, kernel: int, stride: int, channels_in: int, channels: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(channels_in, channels, kernel, stride, kernel // 2)
        self.norm = nn.LayerNorm(channels)

    def forward(self, x: Tensor) -> tuple[Tensor, int, int]:
        x = self.proj(x)
        height, width = x.shape[2:]
        return self.norm(x.flatten(2).transpose(1, 2)), height, width


class DepthwiseConv(nn.Module):
    """3x3 convolution of each channel of tokens (B, h w, C)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.dwconv = nn.Conv2d(channels, channels, 3, 1, 1, groups=channels)

    def forward(self, x: Tensor, height: int, width: int) -> Tensor:
        return self.dwconv(as_map(x, height, width)).flatten(2).transpose(1, 2)


class FeedForward(nn.Module):
    """Feed-forward network of tokens with a depthwise convolution inside: (B, h w, C) -> the same."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(channels, hidden)
        self.dwconv = DepthwiseConv(hidden)
        self.fc2 = nn.Linear(hidden, channels)

    def forward(self, x: Tensor, height: int, width: int) -> Tensor:
        return self.fc2(F.gelu(self.dwconv(self.fc1(x), height, width)))


class Attention(nn.Module):
    """Attention of tokens (B, N, C) to themselves; keys and values are taken at 1 / ``reduction`` of the resolution.

    With ``queries`` > 0, that many learned queries take the place of the tokens' own; each is repeated, to one for each token.
    """

    def __init__(self, channels: int, heads: int, reduction: int, queries: int = 0) -> None:
        super().__init__()
        self.heads, self.queries = heads, queries
        if queries:
            self.task_query = nn.Parameter(torch.randn(1, queries, channels))
        self.q = nn.Linear(channels, channels)
        self.kv = nn.Linear(channels, 2 * channels)
        self.proj = nn.Linear(channels, channels)
        self.reduced = reduction > 1
        if self.reduced:
            self.sr = nn.Conv2d(channels, channels, reduction, reduction)
            self.norm = nn.LayerNorm(channels)

    def forward(self, x: Tensor, height: int, width: int) -> Tensor:
        batch, tokens, channels = x.shape
        keys_from = self.norm(self.sr(as_map(x, height, width)).flatten(2).transpose(1, 2)) if self.reduced else x
        keys, values = self.kv(keys_from).chunk(2, dim=-1)
        query = self.q(self.task_query.expand(batch, -1, -1) if self.queries else x)
        query, keys, values = (self._split(part) for part in (query, keys, values))
        if self.queries:
            query = F.interpolate(query, (keys.shape[2], keys.shape[3]))  # the nearest query for each token
        attended = F.scaled_dot_product_attention(query, keys, values)
        return self.proj(attended.transpose(1, 2).reshape(batch, tokens, channels))

    def _split(self, x: Tensor) -> Tensor:
        """(B, N, C) -> (B, heads, N, C / heads)."""
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)


class Block(nn.Module):
    """Attention and feed-forward network, each normalised before and added to its input."""

    def __init__(
        self, channels: int, heads: int, expansion: int, reduction: int, drop_path: float, queries: int = 0
    ) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(channels, eps=1e-6)
        self.attn = Attention(channels, heads, reduction, queries)
        self.norm2 = nn.LayerNorm(channels, eps=1e-6)
        self.mlp = FeedForward(channels, expansion * channels)
        self.drop_path = StochasticDepth(drop_path, "row")

    def forward(self, x: Tensor, height: int, width: int) -> Tensor:
        x = x + self.drop_path(self.attn(self.norm1(x), height, width))
        return x + self.drop_path(self.mlp(self.norm2(x), height, width))


def growing(blocks: int) -> list[float]:
    """The drop probability of each block, from 0 to DROP_PATH."""
    return [DROP_PATH * at / (blocks - 1) for at in range(blocks)]


def as_map(tokens: Tensor, height: int, width: int) -> Tensor:
    """(B, h w, C) -> (B, C, h, w)."""
    return tokens.transpose(1, 2).unflatten(2, (height, width))


def run(blocks: nn.ModuleList, norm: nn.LayerNorm, tokens: Tensor, height: int, width: int) -> Tensor:
    """Tokens through blocks and a norm -> (B, C, h, w)."""
    for block in blocks:
        tokens = block(tokens, height, width)
    return as_map(norm(tokens), height, width).contiguous()


class PyramidEncoder(nn.Module):
    """Transformer encoder with intra-patch blocks: (B, 3, H, W) -> maps at 1/4, 1/8, 1/16 and 1/32 of the resolution."""

    def __init__(self, channels: Sequence[int], depths: Sequence[int], heads: Sequence[int], reductions: Sequence[int]):
        super().__init__()
        one, two, three, four = channels
        drops = growing(sum(depths))

        def norm(width: int) -> nn.LayerNorm:
            return nn.LayerNorm(width, eps=1e-6)

        def main(at: int) -> nn.ModuleList:
            first = sum(depths[:at])
            return nn.ModuleList(
                Block(channels[at], heads[at], 2, reductions[at], drops[first + i]) for i in range(depths[at])
            )

        def intra_patch(at: int) -> nn.ModuleList:
            # The published network takes level 2's heads in the third of these blocks.
            return nn.ModuleList(
                [Block(channels[at + 1], heads[min(at, 1)], 2, reductions[at], drops[sum(depths[:at])])]
            )

        self.patch_embed1 = PatchEmbed(7, 4, 3, one)
        self.patch_embed2 = PatchEmbed(3, 2, one, two)
        self.patch_embed3 = PatchEmbed(3, 2, two, three)
        self.patch_embed4 = PatchEmbed(3, 2, three, four)
        self.mini_patch_embed1 = PatchEmbed(3, 2, one, two)
        self.mini_patch_embed2 = PatchEmbed(3, 2, two, three)
        self.mini_patch_embed3 = PatchEmbed(3, 2, three, four)
        self.mini_patch_embed4 = PatchEmbed(3, 2, one, four)
        self.block1, self.norm1 = main(0), norm(one)
        self.patch_block1, self.pnorm1 = intra_patch(0), norm(two)
        self.block2, self.norm2 = main(1), norm(two)
        self.patch_block2, self.pnorm2 = intra_patch(1), norm(three)
        self.block3, self.norm3 = main(2), norm(three)
        self.patch_block3, self.pnorm3 = intra_patch(2), norm(four)
        self.block4, self.norm4 = main(3), norm(four)

    def forward(self, picture: Tensor) -> list[Tensor]:
        tokens, height, width = self.patch_embed1(picture)
        small = self.mini_patch_embed1(as_map(tokens, height, width))
        maps = [run(self.block1, self.norm1, tokens, height, width)]
        inner = run(self.patch_block1, self.pnorm1, *small)
        levels = [
            (self.patch_embed2, self.mini_patch_embed2, self.block2, self.norm2, self.patch_block2, self.pnorm2),
            (self.patch_embed3, self.mini_patch_embed3, self.block3, self.norm3, self.patch_block3, self.pnorm3),
        ]
        for embed, mini_embed, blocks, norm, patch_blocks, patch_norm in levels:
            tokens, height, width = embed(maps[-1])
            tokens = tokens + inner.flatten(2).transpose(1, 2)
            small = mini_embed(as_map(tokens, height, width))
            maps.append(run(blocks, norm, tokens, height, width))
            inner = run(patch_blocks, patch_norm, *small)
        tokens, height, width = self.patch_embed4(maps[-1])
        tokens = tokens + inner.flatten(2).transpose(1, 2)
        return [*maps, run(self.block4, self.norm4, tokens, height, width)]


class QueryDecoder(nn.Module):
    """The weather type decoder: learned queries attend to the smallest map (B, C, h, w) -> (B, C, ceil(h / 2), ceil(w / 2))."""

    def __init__(self, channels: int, depth: int, heads: int) -> None:
        super().__init__()
        drops = growing(16)  # the published network has the drop probabilities of the first of sixteen blocks
        self.patch_embed1 = PatchEmbed(3, 2, channels, channels)
        self.block1 = nn.ModuleList(Block(channels, heads, 4, 1, drops[i], WEATHER_QUERIES) for i in range(depth))
        self.norm1 = nn.LayerNorm(channels, eps=1e-6)

    def forward(self, x: Tensor) -> Tensor:
        return run(self.block1, self.norm1, *self.patch_embed1(x))


class Conv(nn.Module):
    """A convolution under the name that published checkpoints give it."""

    def __init__(self, channels_in: int, channels: int, transposed: bool = False) -> None:
        super().__init__()
        self.conv2d = (
            nn.ConvTranspose2d(channels_in, channels, 4, 2, 1)
            if transposed
            else nn.Conv2d(channels_in, channels, 3, 1, 1)
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.conv2d(x)


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions, a tenth of which is added to their input: (B, C, H, W) -> the same."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1, self.conv2 = Conv(channels, channels), Conv(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        return x + 0.1 * self.conv2(F.relu(self.conv1(x)))


class ConvTail(nn.Module):
    """Convolutions up to full resolution, the encoder's maps added on the way: -> (B, C, H, W)."""

    def __init__(self, channels: Sequence[int], narrow: Sequence[int]) -> None:
        super().__init__()
        one, two, three, four = channels
        self.convd32x = Conv(four, four, transposed=True)
        self.convd16x = Conv(four, three, transposed=True)
        self.dense_4 = nn.Sequential(ResidualBlock(three))
        self.convd8x = Conv(three, two, transposed=True)
        self.dense_3 = nn.Sequential(ResidualBlock(two))
        self.convd4x = Conv(two, one, transposed=True)
        self.dense_2 = nn.Sequential(ResidualBlock(one))
        self.convd2x = Conv(one, narrow[0], transposed=True)
        self.dense_1 = nn.Sequential(ResidualBlock(narrow[0]))
        self.convd1x = Conv(narrow[0], narrow[1], transposed=True)
        self.conv_output = Conv(narrow[1], 3)

    def forward(self, maps: list[Tensor], decoded: Tensor) -> Tensor:
        x = self.convd16x(onto(self.convd32x(decoded), maps[3]) + maps[3])
        x = self.convd8x(self.dense_4(onto(x, maps[2])) + maps[2])
        x = self.convd4x(self.dense_3(x) + maps[1])
        x = self.convd2x(self.dense_2(x) + maps[0])
        return self.convd1x(self.dense_1(x))


def onto(x: Tensor, like: Tensor) -> Tensor:
    """``x`` without the last row or column that is too much where an odd side was halved and doubled again."""
    return x[..., : like.shape[2], : like.shape[3]]


class TransWeather(nn.Module):
    """(B, 3, H, W) in [0, 1], sides multiples of 16 and at least 48 -> the restored picture, in [-1, 1] by its tanh.

    Args:
        channels: of the encoder's four levels.
        depths, heads: transformer blocks and attention heads of the four levels.
        decoder_depth, decoder_heads: of the decoder.
        narrow: channels of the convolutions at half and at full resolution.
    """

    def __init__(
        self,
        channels: Sequence[int] = (64, 128, 320, 512),
        depths: Sequence[int] = (2, 2, 2, 2),
        heads: Sequence[int] = (1, 2, 4, 4),
        decoder_depth: int = 3,
        decoder_heads: int = 8,
        narrow: Sequence[int] = (16, 8),
    ) -> None:
        super().__init__()
        self.Tenc = PyramidEncoder(channels, depths, heads, reductions=(4, 2, 2, 1))
        self.Tdec = QueryDecoder(channels[3], decoder_depth, decoder_heads)
        self.convtail = ConvTail(channels, narrow)
        self.clean = Conv(narrow[1], 3)
        self.apply(_initialise)

    def forward(self, picture: Tensor) -> Tensor:
        maps = self.Tenc(2 * picture - 1)
        return self.clean(self.convtail(maps, self.Tdec(maps[3]))).tanh()


def _initialise(module: nn.Module) -> None:
    """As the published network: small linear layers, convolutions by their fan-out."""
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        nn.init.zeros_(module.bias)
    elif isinstance(module, PatchEmbed | DepthwiseConv):
        for conv in module.children():
            if isinstance(conv, nn.Conv2d):
                fan_out = conv.kernel_size[0] * conv.kernel_size[1] * conv.out_channels // conv.groups
                nn.init.normal_(conv.weight, 0, (2 / fan_out) ** 0.5)
                if conv.bias is not None:
                    nn.init.zeros_(conv.bias)
