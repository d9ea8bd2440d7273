"""Detail refinement module: repairs detail in the VAE decoder from the encoder's features of the degraded picture.

Section 3.3, Fig. 4. The paper names the parts (VP modulator, concatenation, NAFNet's ResBlocks, SwinIR's SwinBlocks, residual)
but not their number, widths and places. Those are choices of this project; the places follow StableSR's fusion: after the
residual blocks of a decoder level, before its upsampler.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar, cast

import torch
from torch import Tensor, nn

from mperceiver.config.modules import ModelConfig
from mperceiver.models.blocks import start_at_zero, use_channels_last
from mperceiver.models.hooks import HookValue
from mperceiver.models.vp_modulator import VPModulator

if TYPE_CHECKING:
    from diffusers import AutoencoderKL

EncoderFeatures = dict[int, Tensor]  # of the VAE's encoder: level -> (B, C, h, w)
T = TypeVar("T")


class LayerNorm2d(nn.LayerNorm):
    """LayerNorm over the channels of (B, C, H, W)."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class NAFBlock(nn.Module):
    """NAFNet's block (Chen et al., ECCV 2022, arXiv:2204.04676), with gates in place of activations: (B, C, H, W) -> the same.

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


class DetailLevel(nn.Module):
    """The DRM at one decoder level: f_dec <- f_dec + Conv0(Swin(NAF(Conv1x1[VP(f_lq), f_dec])))."""

    def __init__(self, width: int, level: int, count: int, spec: ModelConfig) -> None:
        """``width``: channels of the VAE at ``level``; ``count``: N, the number of degradations."""
        super().__init__()
        from torchvision.models.swin_transformer import SwinTransformerBlock

        drm = spec.drm
        inner = drm.widths.get(level, width)
        self.vp_pool = nn.Parameter(torch.randn(count, spec.vp_tokens, width) * 0.02)
        self.modulator = VPModulator(width, width, spec.vp_heads, spec.vp_head_width, width, None, attend=True)
        self.join = nn.Conv2d(2 * width, inner, 1)
        self.naf = nn.Sequential(*(NAFBlock(inner) for _ in range(drm.naf_blocks.get(level, 2))))
        heads = max(inner // drm.head_width, 1)
        self.swin = nn.Sequential(
            *(
                SwinTransformerBlock(
                    inner, heads, [drm.window] * 2, [0 if i % 2 == 0 else drm.window // 2] * 2, mlp_ratio=2.0
                )
                for i in range(drm.swin_blocks.get(level, 2))
            )
        )
        self.out = nn.Conv2d(inner, width, 3, padding=1)
        start_at_zero(self.out)

    def forward(self, decoded: Tensor, degraded: Tensor, probabilities: Tensor) -> Tensor:
        """f_dec (B, C, h, w), f_lq (B, C, h, w), P (B, N) -> (B, C, h, w)."""
        lq = self.modulator(degraded, self.modulator.keys_values(self.vp_pool), probabilities)
        h = self.naf(self.join(torch.cat([lq, decoded], dim=1)))
        if len(self.swin):
            h = self.swin(h.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return decoded + self.out(h)


class DetailRefinement(nn.Module):
    """DRM over the chosen levels of a frozen AutoencoderKL. Before training the decoder is bit-identical to the stock decoder."""

    def __init__(self, vae: "AutoencoderKL", count: int, spec: ModelConfig) -> None:
        """``count``: N, the number of degradations."""
        super().__init__()
        widths = vae.config["block_out_channels"]
        self.levels = nn.ModuleDict(
            {str(level): DetailLevel(widths[level], level, count, spec) for level in spec.drm.levels}
        )
        self.bytes_per_pixel = sum(
            4 * widths[level] / 4**level for level in spec.drm.levels
        )  # of the encoder's features
        self.collected: HookValue[EncoderFeatures] = HookValue()  # into which the encoder's hooks put its features
        self.repairing: HookValue[tuple[EncoderFeatures, Tensor]] = HookValue()  # the encoder's features, and P

    def attach(self, vae: "AutoencoderKL") -> None:
        """Hook into ``vae``: collect the encoder's features before each downsampler, repair the decoder's before each upsampler."""
        last = len(vae.config["block_out_channels"]) - 1
        for key in self.levels:
            level = int(key)
            _last_resnet(vae.encoder.down_blocks[level]).register_forward_hook(self._collect(level))
            _last_resnet(vae.decoder.up_blocks[last - level]).register_forward_hook(self._repair(level))

    def set_up(self, vae: "AutoencoderKL", channels_last: bool = False, gradient_checkpointing: bool = False) -> None:
        """How the DRM and ``vae`` are run from now on, as in ``Branches.set_up``; the VAE stays in single precision."""
        if channels_last:
            use_channels_last(vae, self)
        if gradient_checkpointing:
            self.repairing.checkpoint(vae)

    def _collect(self, level: int) -> Callable[[nn.Module, tuple, Tensor], None]:
        def collect(module: nn.Module, inputs: tuple, output: Tensor) -> None:
            if self.collected.value is not None:
                self.collected.value[level] = output

        return collect

    def _repair(self, level: int) -> Callable[[nn.Module, tuple, Tensor], Tensor]:
        def repair(module: nn.Module, inputs: tuple, output: Tensor) -> Tensor:
            if self.repairing.value is None:
                return output
            degraded, probabilities = self.repairing.value
            return self.levels[str(level)](output, degraded[level], probabilities)

        return repair

    @torch.no_grad()
    def degraded_features(self, encode: Callable[[Tensor], T], pictures: Tensor) -> tuple[T, EncoderFeatures]:
        """(what ``encode(pictures)`` returns, the encoder's features by level)."""
        features: EncoderFeatures = {}
        with self.collected.set_to(features):
            return encode(pictures), features

    def forward(
        self, decode: Callable[[Tensor], Tensor], latents: Tensor, degraded: EncoderFeatures, probabilities: Tensor
    ) -> Tensor:
        """``decode(latents)`` with its detail repaired: (B, 4, h, w), the encoder's features, P (B, N) -> (B, 3, H, W)."""
        with self.repairing.set_to((degraded, probabilities)):
            return decode(latents)


def _last_resnet(block: nn.Module) -> nn.Module:
    return cast(nn.ModuleList, block.resnets)[-1]
