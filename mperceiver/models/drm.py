"""Detail refinement module: repairs the VAE decoder's detail from the degraded picture's encoder features (section 3.3, Fig. 4).

The paper gives its parts (VP modulator, concatenation, NAFNet's ResBlocks, SwinIR's SwinBlocks, residual); their number,
widths and places are choices, made as StableSR places its fusion: after a decoder level's residual blocks, before its
upsampler.
"""

import torch
from torch import Tensor, nn

from mperceiver.config.runs import ModelConfig
from mperceiver.models.given import Given
from mperceiver.models.visual import VPModulator


class LayerNorm2d(nn.LayerNorm):
    """LayerNorm over the channels of (B, C, H, W)."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class NAFBlock(nn.Module):
    """NAFNet's block (Chen et al., ECCV 2022, arXiv:2204.04676): gates instead of activations; starts as the identity."""

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
        x = x + self.beta * self.project(h)
        a, b = self.feed(self.norm2(x)).chunk(2, dim=1)
        return x + self.gamma * self.feed_out(a * b)


class DetailLevel(nn.Module):
    """The DRM at one decoder level: f_dec <- f_dec + Conv0(Swin(NAF(Conv1x1[VP(f_lq), f_dec])))."""

    def __init__(self, width: int, level: int, count: int, spec: ModelConfig) -> None:
        super().__init__()
        from torchvision.models.swin_transformer import SwinTransformerBlock

        drm = spec.drm
        inner = drm.widths.get(level, width)
        self.vp_pool = nn.Parameter(torch.randn(count, spec.vp_tokens, width) * 0.02)
        self.modulator = VPModulator(width, width, spec.vp_heads, spec.vp_head_width, width, None, attend=True)
        self.join = nn.Conv2d(2 * width, inner, 1)
        self.naf = nn.Sequential(*(NAFBlock(inner) for _ in range(drm.naf_blocks)))
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
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, decoded: Tensor, degraded: Tensor, probabilities: Tensor) -> Tensor:
        """f_dec (B, C, h, w), f_lq (B, C, h, w), P (B, N) -> (B, C, h, w)."""
        lq = self.modulator(degraded, self.modulator.keys_values(self.vp_pool), probabilities)
        h = self.naf(self.join(torch.cat([lq, decoded], dim=1)))
        if len(self.swin):
            h = self.swin(h.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return decoded + self.out(h)


class DetailRefinement(nn.Module):
    """DRM over the chosen levels of a frozen AutoencoderKL. At the start the decoder is bit-identical to the stock one."""

    def __init__(self, vae: nn.Module, count: int, spec: ModelConfig) -> None:
        super().__init__()
        widths = vae.config.block_out_channels
        self.levels = nn.ModuleDict(
            {str(level): DetailLevel(widths[level], level, count, spec) for level in spec.drm.levels}
        )
        self.taken, self.given = Given(), Given()  # the encoder's features; those and P

    def attach(self, vae: nn.Module) -> None:
        """Hook into ``vae``: the encoder's features are taken before each downsampler, the decoder's repaired before each
        upsampler."""
        last = len(vae.config.block_out_channels) - 1
        for key in self.levels:
            level = int(key)
            vae.encoder.down_blocks[level].resnets[-1].register_forward_hook(self._take(level))
            vae.decoder.up_blocks[last - level].resnets[-1].register_forward_hook(self._repair(level))

    def set_up(self, vae: nn.Module, channels_last: bool = False, gradient_checkpointing: bool = False) -> None:
        """How it and ``vae`` are run from now on, as in ``Branches.set_up``; the VAE stays in single precision."""
        for module in [*vae.modules(), *self.modules()] if channels_last else []:
            if isinstance(module, nn.Conv2d):
                module.to(memory_format=torch.channels_last)
        if gradient_checkpointing:
            self.given.checkpoint(vae)

    def _take(self, level: int):
        def take(module: nn.Module, inputs: tuple, output: Tensor) -> None:
            if self.taken.value is not None:
                self.taken.value[level] = output

        return take

    def _repair(self, level: int):
        def repair(module: nn.Module, inputs: tuple, output: Tensor) -> Tensor:
            if self.given.value is None:
                return output
            degraded, probabilities = self.given.value
            return self.levels[str(level)](output, degraded[level], probabilities)

        return repair

    @torch.no_grad()
    def degraded_features(self, encode, pictures: Tensor) -> tuple[Tensor, dict[int, Tensor]]:
        """(what ``encode(pictures)`` returns, the encoder's features by level)."""
        features: dict[int, Tensor] = {}
        with self.taken(features):
            return encode(pictures), features

    def forward(self, decode, latents: Tensor, degraded: dict[int, Tensor], probabilities: Tensor) -> Tensor:
        """``decode(latents)`` with the detail repaired: (B, 4, h, w) -> (B, 3, H, W)."""
        with self.given((degraded, probabilities)):
            return decode(latents)
