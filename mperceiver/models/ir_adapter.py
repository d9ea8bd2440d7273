"""IR-Adapter and the visual prompt pool: features of the degraded latent that steer the U-Net (section 3.2)."""

from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from mperceiver.config.modules import ModelConfig
from mperceiver.models.blocks import ResBlock, SelfAttention, time_embedding
from mperceiver.models.vp_modulator import KeysValues, VPModulator


class IRAdapter(nn.Module):
    """Features f_1..f_4 of the degraded latent at four scales, conditioned on the time and modulated by the visual prompts.

    53,937,152 parameters at the paper's width. With ``checkpointing``, the activations inside a block are computed again for
    the gradient instead of being stored.
    """

    checkpointing = False

    def __init__(self, latent_channels: int, count: int, spec: ModelConfig) -> None:
        """``count``: N, the number of degradations."""
        super().__init__()
        widths = spec.ir_widths
        self.time_in = widths[0]
        time_width = 4 * widths[0]
        self.time = nn.Sequential(nn.Linear(widths[0], time_width), nn.SiLU(), nn.Linear(time_width, time_width))
        self.stem = nn.Conv2d(latent_channels, widths[0], 3, padding=1)
        self.blocks, self.attentions, self.downs = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        last = len(widths) - 1
        for k, width in enumerate(widths):
            before = widths[max(k - 1, 0)]
            self.blocks.append(nn.ModuleList([ResBlock(before, width, time_width), ResBlock(width, width, time_width)]))
            if k < last:
                self.attentions.append(nn.ModuleList([SelfAttention(width, spec.ir_heads) for _ in range(2)]))
                self.downs.append(nn.Conv2d(width, width, 3, stride=2, padding=1))
        self.middle = nn.ModuleList(
            [
                ResBlock(widths[-1], widths[-1], time_width),
                SelfAttention(widths[-1], spec.ir_heads),
                ResBlock(widths[-1], widths[-1], time_width),
            ]
        )
        # (scales, N, M, C_v), or, with `vp_width: scale`, (N, M, C_k) for each scale.
        self.vp_pool: nn.Parameter | nn.ParameterList | None = None
        if spec.vp_width == "scale":
            prompt_widths = widths
            if spec.vp_pool:
                self.vp_pool = nn.ParameterList(torch.randn(count, spec.vp_tokens, width) * 0.02 for width in widths)
        else:
            prompt_widths = [spec.vp_width] * len(widths)
            if spec.vp_pool:
                self.vp_pool = nn.Parameter(torch.randn(len(widths), count, spec.vp_tokens, spec.vp_width) * 0.02)
        self.modulators = nn.ModuleList(
            VPModulator(
                width, prompt_width, spec.vp_heads, spec.vp_head_width, spec.ir_feature_width, time_width, spec.vp_pool
            )
            for width, prompt_width in zip(widths, prompt_widths, strict=True)
        )

    def forward(self, latent: Tensor, t: Tensor, probabilities: Tensor) -> list[Tensor]:
        """z_lq (B, 4, H, W), t (B,), P (B, N) -> [(B, C_f, H / 2^k, W / 2^k) for k = 0..3]."""
        return self.features(self.static_features(latent), self.prompts(), t, probabilities)

    def static_features(self, latent: Tensor) -> tuple[Tensor, Tensor]:
        """The part that does not depend on t, up to the first block's time: (features, shortcut), (B, C_1, H, W) each."""
        return self._blocks()[0][0].before_time(self.stem(latent))

    def prompts(self) -> list[KeysValues | None]:
        """Keys and values of the visual prompts at each scale, the same for every picture; None without a pool."""
        if self.vp_pool is None:
            return [None] * len(self.modulators)
        return [modulator.keys_values(pool) for modulator, pool in zip(self._modulators(), self.vp_pool, strict=True)]

    def features(
        self,
        static_features: tuple[Tensor, Tensor],
        prompts: list[KeysValues | None],
        t: Tensor,
        probabilities: Tensor,
    ) -> list[Tensor]:
        """f_1..f_4 as ``forward`` returns them, from what ``static_features`` and ``prompts`` returned."""
        time = self.time(time_embedding(t, self.time_in))
        blocks, attentions = self._blocks(), cast("list[list[SelfAttention]]", self.attentions)
        x = self._run(blocks[0][0].after_time, *static_features, time)
        scales = []
        for k, (first, second) in enumerate(blocks):
            if k > 0:
                x = self._run(first, x, time)
            if k < len(attentions):
                x = self._run(attentions[k][0], x)
            x = self._run(second, x, time)
            if k < len(attentions):
                x = self._run(attentions[k][1], x)
                scales.append(x)
                x = self.downs[k](x)
        middle_first, middle_attention, middle_second = self.middle
        x = self._run(middle_attention, self._run(middle_first, x, time))
        scales.append(self._run(middle_second, x, time))
        return [
            self._run(modulator, x, keys_values, probabilities, time)
            for modulator, x, keys_values in zip(self._modulators(), scales, prompts, strict=True)
        ]

    def _run(self, part: Callable[..., Tensor], *arguments: Any) -> Tensor:
        if self.checkpointing and torch.is_grad_enabled():
            return checkpoint(part, *arguments, use_reentrant=False)
        return part(*arguments)

    # nn.ModuleList does not say what it contains.

    def _blocks(self) -> list[list[ResBlock]]:
        return cast("list[list[ResBlock]]", self.blocks)

    def _modulators(self) -> list[VPModulator]:
        return cast("list[VPModulator]", self.modulators)
