"""Visual branch: IR-Adapter, visual prompt pools and the VP modulator (section 3.2, Eq. 4)."""

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from mperceiver.config.runs import ModelConfig

POSITIONS = 512  # whose attention to the visual prompts is computed at a time


def groups(width: int) -> int:
    """Groups of a GroupNorm: 32 as in Stable Diffusion, fewer where the width is small."""
    return math.gcd(32, width) if width >= 128 else math.gcd(8, width)


def sinusoidal(t: Tensor, width: int) -> Tensor:
    """Timesteps (B,) -> (B, width): cosines then sines, largest period 10,000."""
    frequencies = torch.exp(-math.log(10_000) * torch.arange(width // 2, device=t.device) / (width // 2))
    angles = t[:, None].float() * frequencies
    return torch.cat([angles.cos(), angles.sin()], dim=1)


class ResBlock(nn.Module):
    """GroupNorm-SiLU-Conv, plus time, GroupNorm-SiLU-Conv (zero at the start), plus shortcut."""

    def __init__(self, width_in: int, width: int, time_width: int | None) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(groups(width_in), width_in)
        self.conv1 = nn.Conv2d(width_in, width, 3, padding=1)
        self.time = nn.Linear(time_width, width) if time_width else None
        self.norm2 = nn.GroupNorm(groups(width), width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)
        self.skip = nn.Conv2d(width_in, width, 1) if width != width_in else nn.Identity()
        nn.init.zeros_(self.conv2.weight)
        nn.init.zeros_(self.conv2.bias)

    def begin(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """What comes before time does: (features, shortcut)."""
        return self.conv1(F.silu(self.norm1(x))), self.skip(x)

    def finish(self, h: Tensor, shortcut: Tensor, time: Tensor | None) -> Tensor:
        if self.time is not None:
            h = h + self.time(F.silu(time))[:, :, None, None]
        return shortcut + self.conv2(F.silu(self.norm2(h)))

    def forward(self, x: Tensor, time: Tensor | None = None) -> Tensor:
        return self.finish(*self.begin(x), time)


class SelfAttention(nn.Module):
    """Self-attention over positions, residual, zero at the start."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.GroupNorm(groups(width), width)
        self.qkv = nn.Conv2d(width, 3 * width, 1)
        self.out = nn.Conv2d(width, width, 1)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, x: Tensor) -> Tensor:
        b, c, h, w = x.shape
        qkv = self.qkv(self.norm(x)).view(b, 3, self.heads, c // self.heads, h * w)
        # Contiguous: of strided heads the fused attention is not taken, and (h w)^2 scores a head fill the memory.
        q, k, v = qkv.transpose(-1, -2).contiguous().unbind(1)
        mixed = F.scaled_dot_product_attention(q, k, v).transpose(-1, -2).reshape(b, c, h, w)
        return x + self.out(mixed)


class VPModulator(nn.Module):
    """Eq. 4: f <- RB(f + sum_i p_i MHCA(f, V_i, V_i)), one MHCA shared by the N visual prompts V_i.

    The sum is one attention over all N * M prompt tokens whose softmax runs within each prompt and whose values are
    multiplied by p_i: the same mathematics as N attentions, since the projections are linear and sum_i p_i = 1.
    """

    def __init__(
        self,
        width: int,
        prompt_width: int,
        heads: int,
        head_width: int,
        width_out: int,
        time_width: int | None,
        attend: bool,
    ) -> None:
        super().__init__()
        self.heads = heads
        self.attend = attend
        if attend:
            inner = heads * head_width
            self.norm_features = nn.LayerNorm(width)
            self.norm_prompts = nn.LayerNorm(prompt_width)
            self.to_q = nn.Linear(width, inner, bias=False)
            self.to_k = nn.Linear(prompt_width, inner, bias=False)
            self.to_v = nn.Linear(prompt_width, inner, bias=False)
            self.to_out = nn.Linear(inner, width)
        self.block = ResBlock(width, width_out, time_width)

    def keys_values(self, prompts: Tensor) -> tuple[Tensor, Tensor]:
        """Of the visual prompts (N, M, C_v): two of (N, M, h d). They are the same for every picture."""
        prompts = self.norm_prompts(prompts)
        return self.to_k(prompts), self.to_v(prompts)

    def mix(self, features: Tensor, prompts: tuple[Tensor, Tensor], probabilities: Tensor) -> Tensor:
        """sum_i p_i MHCA(f, V_i, V_i): (B, C, H, W), ``keys_values`` of the prompts, (B, N) -> (B, C, H, W)."""
        b, c, h, w = features.shape
        n, m, _ = prompts[0].shape
        q = self.to_q(self.norm_features(features.flatten(2).transpose(1, 2)))  # (B, HW, h d)
        q = q.unflatten(-1, (self.heads, -1)).permute(0, 2, 3, 1)  # (B, h, d, HW)
        k, v = prompts[0].flatten(0, 1), (prompts[1] * probabilities[:, :, None, None]).flatten(1, 2)
        k = k.unflatten(-1, (self.heads, -1)).transpose(0, 1) * q.shape[2] ** -0.5  # (h, N M, d)
        v = v.unflatten(-1, (self.heads, -1)).permute(0, 2, 3, 1)  # p_i V_i: (B, h, d, N M)
        # Positions stand last: the softmax over the M tokens of each prompt then runs vectorised over them, and the
        # weights of so many positions stay in the cache. benchmarks/prompt_mixing.py compares it with other layouts.
        mixed = [
            v @ (k @ some).unflatten(2, (n, m)).softmax(3, dtype=torch.float32).flatten(2, 3)
            for some in q.split(POSITIONS, dim=-1)
        ]
        mixed = torch.cat(mixed, dim=-1).flatten(1, 2).transpose(1, 2)  # (B, HW, h d)
        return self.to_out(mixed).transpose(1, 2).reshape(b, c, h, w)

    def forward(
        self,
        features: Tensor,
        prompts: tuple[Tensor, Tensor] | None,
        probabilities: Tensor,
        time: Tensor | None = None,
    ) -> Tensor:
        """``prompts``: their ``keys_values``, None without a VP pool."""
        if self.attend:
            features = features + self.mix(features, prompts, probabilities)
        return self.block(features, time)


class IRAdapter(nn.Module):
    """Features f_1..f_4 of the degraded latent at four scales, conditioned on time and modulated by the visual prompts.

    53,937,152 parameters at the paper's width. With ``checkpointing`` a block's insides are computed again for the gradient
    instead of being kept.
    """

    checkpointing = False

    def __init__(self, latent_channels: int, count: int, spec: ModelConfig) -> None:
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
        if spec.vp_pool:
            self.vp_pool = nn.Parameter(torch.randn(len(widths), count, spec.vp_tokens, spec.vp_width) * 0.02)
        self.modulators = nn.ModuleList(
            VPModulator(
                width, spec.vp_width, spec.vp_heads, spec.vp_head_width, spec.ir_feature_width, time_width, spec.vp_pool
            )
            for width in widths
        )

    def forward(self, latent: Tensor, t: Tensor, probabilities: Tensor) -> list[Tensor]:
        """z_lq (B, 4, H, W), t (B,), P (B, N) -> [(B, C_f, H / 2^k, W / 2^k) for k = 0..3]."""
        return self.features(self.start(latent), self.prompts(), t, probabilities)

    def start(self, latent: Tensor) -> tuple[Tensor, Tensor]:
        """What of the latent does not depend on t: up to where the first block adds time."""
        return self.blocks[0][0].begin(self.stem(latent))

    def prompts(self) -> list[tuple[Tensor, Tensor] | None]:
        """Keys and values of the visual prompts at each scale; of the model alone."""
        if not hasattr(self, "vp_pool"):
            return [None] * len(self.modulators)
        return [modulator.keys_values(pool) for modulator, pool in zip(self.modulators, self.vp_pool, strict=True)]

    def features(
        self,
        start: tuple[Tensor, Tensor],
        prompts: list[tuple[Tensor, Tensor] | None],
        t: Tensor,
        probabilities: Tensor,
    ) -> list[Tensor]:
        """f_1..f_4 from ``start`` and ``prompts``."""
        time = self.time(sinusoidal(t, self.time_in))
        x, taps = None, []
        for k, blocks in enumerate(self.blocks):
            for i, block in enumerate(blocks):
                x = self._run(block.finish, *start, time) if x is None else self._run(block, x, time)
                if k < len(self.attentions):
                    x = self._run(self.attentions[k][i], x)
            if k < len(self.downs):
                taps.append(x)
                x = self.downs[k](x)
        first, attention, second = self.middle
        x = self._run(attention, self._run(first, x, time))
        taps.append(self._run(second, x, time))
        return [
            self._run(modulator, tap, known, probabilities, time)
            for modulator, tap, known in zip(self.modulators, taps, prompts, strict=True)
        ]

    def _run(self, part: Callable[..., Tensor], *arguments: Any) -> Tensor:
        if self.checkpointing and torch.is_grad_enabled():
            return checkpoint(part, *arguments, use_reentrant=False)
        return part(*arguments)
