"""Detail refinement module: repairs detail in the VAE decoder from the encoder's features of the degraded picture.

Section 3.3, Fig. 4. The paper names the parts (VP modulator, concatenation, NAFNet's ResBlocks, SwinIR's SwinBlocks, residual)
but not their number, widths and places. Those are choices of this project; the places follow StableSR's fusion: after the
residual blocks of a decoder level, before its upsampler. Three additions are this project's, and off by default: coarser scales,
features handed on from level to level, and a gate for what is not degraded (`drm` in config/runs/).
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, TypeVar, cast

import torch
from torch import Tensor, nn

from mperceiver.config.modules import ModelConfig
from mperceiver.models.blocks import start_at_zero, use_channels_last
from mperceiver.models.hooks import HookValue
from mperceiver.models.naf import CoarserScales, naf_blocks, upscale
from mperceiver.models.vp_modulator import VPModulator

if TYPE_CHECKING:
    from diffusers import AutoencoderKL

EncoderFeatures = dict[int, Tensor]  # of the VAE's encoder: level -> (B, C, h, w)
PICTURE = -1  # in place of a level: the degraded picture itself, (B, 3, H, W) in [0, 1]; only for a DRM with a gate
T = TypeVar("T")


@dataclass
class Repair:
    """What the decoder's hooks share while they repair a batch of pictures."""

    degraded: EncoderFeatures
    probabilities: Tensor  # (B, N)
    # level -> the DRM's own features (B, C_inner, h, w), for levels that are needed later
    inside: dict[int, Tensor] = field(default_factory=dict)


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
        self.naf = naf_blocks(inner, drm.naf_blocks.get(level, 2))
        has_scales = bool(drm.coarser_blocks) and level == max(drm.levels)
        self.coarser_scales = CoarserScales(inner, drm.coarser_blocks) if has_scales else None
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

    def forward(
        self, decoded: Tensor, degraded: Tensor, probabilities: Tensor, handed_on: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """f_dec (B, C, h, w), f_lq (B, C, h, w), P (B, N) -> f_dec repaired (B, C, h, w), the module's own features (B, C_inner, h, w).

        ``handed_on``: what the coarser level hands on, (B, C_inner, h, w), or None.
        """
        lq = self.modulator(degraded, self.modulator.keys_values(self.vp_pool), probabilities)
        h = self.join(torch.cat([lq, decoded], dim=1))
        if handed_on is not None:
            h = h + handed_on
        h = self.naf(h)
        if self.coarser_scales is not None:
            h = self.coarser_scales(h)
        if len(self.swin):
            h = self.swin(h.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return decoded + self.out(h), h


class DetailRefinement(nn.Module):
    """DRM over the chosen levels of a frozen AutoencoderKL. Before training the decoder is bit-identical to the stock decoder."""

    def __init__(self, vae: "AutoencoderKL", count: int, spec: ModelConfig) -> None:
        """``count``: N, the number of degradations."""
        super().__init__()
        drm, widths = spec.drm, vae.config["block_out_channels"]
        self.levels = nn.ModuleDict(
            {str(level): DetailLevel(widths[level], level, count, spec) for level in drm.levels}
        )
        inner = {level: drm.widths.get(level, widths[level]) for level in drm.levels}
        steps = pairwise(sorted(drm.levels, reverse=True)) if drm.hand_on else ()
        # level -> the coarser level that hands its features on to it
        self.handed_from = {fine: coarse for coarse, fine in steps}
        self.hand_on = nn.ModuleDict(
            {
                str(fine): upscale(inner[level], inner[fine], 2 ** (level - fine))
                for fine, level in self.handed_from.items()
            }
        )
        self.gate = nn.Conv2d(inner[0], 3, 3, padding=1) if drm.gate else None
        if self.gate is not None:
            start_at_zero(self.gate)
        self.needed = {*self.handed_from.values(), *([0] if drm.gate else [])}  # levels whose own features are kept
        # Of what ``degraded_features`` returns, for each pixel of the picture.
        self.bytes_per_pixel = sum(4 * widths[level] / 4**level for level in drm.levels) + (4 * 3 if drm.gate else 0)
        self.collected: HookValue[EncoderFeatures] = HookValue()  # into which the encoder's hooks put its features
        self.repairing: HookValue[Repair] = HookValue()

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
            now = self.repairing.value
            if now is None:
                return output
            handed_on = None
            if level in self.handed_from:
                handed_on = self.hand_on[str(level)](now.inside[self.handed_from[level]])
            repaired, inside = self.levels[str(level)](output, now.degraded[level], now.probabilities, handed_on)
            if level in self.needed:
                now.inside[level] = inside
            return repaired

        return repair

    @torch.no_grad()
    def degraded_features(self, encode: Callable[[Tensor], T], pictures: Tensor) -> tuple[T, EncoderFeatures]:
        """(what ``encode(pictures)`` returns, the encoder's features by level); pictures (B, 3, H, W) in [0, 1]."""
        features: EncoderFeatures = {} if self.gate is None else {PICTURE: pictures}
        with self.collected.set_to(features):
            return encode(pictures), features

    def forward(
        self, decode: Callable[[Tensor], Tensor], latents: Tensor, degraded: EncoderFeatures, probabilities: Tensor
    ) -> Tensor:
        """``decode(latents)`` with its detail repaired: (B, 4, h, w), the encoder's features, P (B, N) -> (B, 3, H, W)."""
        repair = Repair(degraded, probabilities)
        with self.repairing.set_to(repair):
            decoded = decode(latents)
        if self.gate is None:
            return decoded
        # Where the gate is 1, the degraded picture passes as it is; where it is 0, what the decoder made of it.
        gate = self.gate(repair.inside[0].float())  # the decoder's autocast has ended
        return torch.lerp(decoded, degraded[PICTURE], gate.to(decoded.dtype))


def _last_resnet(block: nn.Module) -> nn.Module:
    return cast(nn.ModuleList, block.resnets)[-1]
