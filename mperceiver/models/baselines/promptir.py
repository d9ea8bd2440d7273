"""PromptIR (Potlapalli et al., NeurIPS 2023, arXiv:2306.13090): Restormer's trunk with prompt blocks in its decoder.

Written from the paper. Parameter names and shapes are those of the published checkpoint, so that it loads strictly; six
of its tensors (``chnl_reduce*``, ``reduce_noise_channel_*``) are not used.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mperceiver.models.baselines.restormer import Downsample, PatchEmbedding, TransformerBlock, Upsample


class PromptBlock(nn.Module):
    """Prompt generation (section 3.2): learned components, mixed with weights from the features: (B, C, H, W) -> (B, P, H, W)."""

    def __init__(self, channels: int, prompt_channels: int, side: int, components: int) -> None:
        super().__init__()
        self.prompt_param = nn.Parameter(torch.rand(1, components, prompt_channels, side, side))
        self.linear_layer = nn.Linear(channels, components)
        self.conv3x3 = nn.Conv2d(prompt_channels, prompt_channels, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        shares = self.linear_layer(x.mean((-2, -1))).softmax(1)  # (B, components)
        prompt = torch.einsum("bn,nchw->bchw", shares, self.prompt_param[0])
        return self.conv3x3(F.interpolate(prompt, x.shape[-2:], mode="bilinear"))


class PromptIR(nn.Module):
    """(B, 3, H, W) in [0, 1], H and W multiples of 8 -> the restored picture, the same shape, not clamped.

    Args:
        width: channels of the first level; they double at each of the three halvings.
        blocks, heads: transformer blocks and attention heads of the four encoder levels.
        refinement_blocks: transformer blocks at full resolution after the decoder.
        expansion: of the feed-forward networks' hidden channels.
        prompt_channels, prompt_px: channels and side of the prompts after decoder level 2, level 3 and the latent.
        components: prompts of each block that are mixed.
    """

    def __init__(
        self,
        width: int = 48,
        blocks: Sequence[int] = (4, 6, 6, 8),
        heads: Sequence[int] = (1, 2, 4, 8),
        refinement_blocks: int = 4,
        expansion: float = 2.66,
        prompt_channels: Sequence[int] = (64, 128, 320),
        prompt_px: Sequence[int] = (64, 32, 16),
        components: int = 5,
    ) -> None:
        super().__init__()

        def level(channels: int, at: int, count: int | None = None) -> nn.Sequential:
            number = blocks[at] if count is None else count
            return nn.Sequential(*(TransformerBlock(channels, heads[at], expansion) for _ in range(number)))

        def steered(channels: int) -> TransformerBlock:
            # The published code takes the heads of level 3 for all three.
            return TransformerBlock(channels, heads[2], expansion)

        one, two, three, four = (width * 2**k for k in range(4))
        small, middle, large = prompt_channels
        self.patch_embed = PatchEmbedding(3, one)
        self.prompt1 = PromptBlock(two, small, prompt_px[0], components)
        self.prompt2 = PromptBlock(three, middle, prompt_px[1], components)
        self.prompt3 = PromptBlock(four, large, prompt_px[2], components)
        self.chnl_reduce1 = nn.Conv2d(64, 64, 1, bias=False)
        self.chnl_reduce2 = nn.Conv2d(128, 128, 1, bias=False)
        self.chnl_reduce3 = nn.Conv2d(320, 256, 1, bias=False)
        self.reduce_noise_channel_1 = nn.Conv2d(one + 64, one, 1, bias=False)
        self.encoder_level1 = level(one, 0)
        self.down1_2 = Downsample(one)
        self.reduce_noise_channel_2 = nn.Conv2d(two + 128, two, 1, bias=False)
        self.encoder_level2 = level(two, 1)
        self.down2_3 = Downsample(two)
        self.reduce_noise_channel_3 = nn.Conv2d(three + 256, three, 1, bias=False)
        self.encoder_level3 = level(three, 2)
        self.down3_4 = Downsample(three)
        self.latent = level(four, 3)
        self.up4_3 = Upsample(three)
        self.reduce_chan_level3 = nn.Conv2d(two + three, three, 1, bias=False)
        self.noise_level3 = steered(four + large)
        self.reduce_noise_level3 = nn.Conv2d(four + large, three, 1, bias=False)
        self.decoder_level3 = level(three, 2)
        self.up3_2 = Upsample(three)
        self.reduce_chan_level2 = nn.Conv2d(three, two, 1, bias=False)
        self.noise_level2 = steered(three + middle)
        self.reduce_noise_level2 = nn.Conv2d(three + middle, three, 1, bias=False)
        self.decoder_level2 = level(two, 1)
        self.up2_1 = Upsample(two)
        self.noise_level1 = steered(two + small)
        self.reduce_noise_level1 = nn.Conv2d(two + small, two, 1, bias=False)
        self.decoder_level1 = level(two, 0)
        self.refinement = level(two, 0, refinement_blocks)
        self.output = nn.Conv2d(two, 3, 3, padding=1, bias=False)

    def forward(self, picture: Tensor) -> Tensor:
        level1 = self.encoder_level1(self.patch_embed(picture))
        level2 = self.encoder_level2(self.down1_2(level1))
        level3 = self.encoder_level3(self.down2_3(level2))
        x = self.latent(self.down3_4(level3))
        x = self.reduce_noise_level3(self.noise_level3(torch.cat([x, self.prompt3(x)], 1)))
        x = self.decoder_level3(self.reduce_chan_level3(torch.cat([self.up4_3(x), level3], 1)))
        x = self.reduce_noise_level2(self.noise_level2(torch.cat([x, self.prompt2(x)], 1)))
        x = self.decoder_level2(self.reduce_chan_level2(torch.cat([self.up3_2(x), level2], 1)))
        x = self.reduce_noise_level1(self.noise_level1(torch.cat([x, self.prompt1(x)], 1)))
        x = self.refinement(self.decoder_level1(torch.cat([self.up2_1(x), level1], 1)))
        return self.output(x) + picture
