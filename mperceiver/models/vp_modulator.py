"""VP modulator: features attend to the visual prompts, weighted by the probabilities of the degradations (Eq. 4)."""

import torch
from torch import Tensor, nn

from mperceiver.models.blocks import ResBlock

POSITIONS = 512  # number of positions whose attention to the visual prompts is computed at once

KeysValues = tuple[Tensor, Tensor]  # of the visual prompts, (N, M, h d) each


class VPModulator(nn.Module):
    """Eq. 4: f <- RB(f + sum_i p_i MHCA(f, V_i, V_i)), with one MHCA for all N visual prompts V_i.

    The sum is computed as one attention over all N * M prompt tokens: the softmax runs within each prompt, and the values are
    multiplied by p_i. This equals N attentions, since the projections are linear and sum_i p_i = 1.
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
        """``attend``: False for a modulator without a pool of visual prompts, which is RB(f) alone."""
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

    def keys_values(self, prompts: Tensor) -> KeysValues:
        """Keys and values of the visual prompts (N, M, C_v), (N, M, h d) each. They are the same for every picture."""
        prompts = self.norm_prompts(prompts)
        return self.to_k(prompts), self.to_v(prompts)

    def mix(self, features: Tensor, prompts: KeysValues, probabilities: Tensor) -> Tensor:
        """sum_i p_i MHCA(f, V_i, V_i): (B, C, H, W), the prompts' keys and values, P (B, N) -> (B, C, H, W)."""
        b, c, h, w = features.shape
        n, m, _ = prompts[0].shape
        q = self.to_q(self.norm_features(features.flatten(2).transpose(1, 2)))  # (B, HW, h d)
        q = q.unflatten(-1, (self.heads, -1)).permute(0, 2, 3, 1)  # (B, h, d, HW)
        k, v = prompts[0].flatten(0, 1), (prompts[1] * probabilities[:, :, None, None]).flatten(1, 2)
        k = k.unflatten(-1, (self.heads, -1)).transpose(0, 1) * q.shape[2] ** -0.5  # (h, N M, d)
        v = v.unflatten(-1, (self.heads, -1)).permute(0, 2, 3, 1)  # p_i V_i: (B, h, d, N M)
        # Positions are the last dimension, so that the softmax over the M tokens of a prompt is vectorised over the positions,
        # and the weights of POSITIONS positions fit into the cache. benchmarks/prompt_mixing.py compares other layouts.
        mixed = [
            v @ (k @ some).unflatten(2, (n, m)).softmax(3, dtype=torch.float32).flatten(2, 3)
            for some in q.split(POSITIONS, dim=-1)
        ]
        joined = torch.cat(mixed, dim=-1).flatten(1, 2).transpose(1, 2)  # (B, HW, h d)
        return self.to_out(joined).transpose(1, 2).reshape(b, c, h, w)

    def forward(
        self, features: Tensor, prompts: KeysValues | None, probabilities: Tensor, time: Tensor | None = None
    ) -> Tensor:
        """f (B, C, H, W), the prompts' keys and values, P (B, N), time (B, C_t) -> (B, C_out, H, W).

        ``prompts`` is None for a modulator without a pool.
        """
        if self.attend:
            assert prompts is not None
            features = features + self.mix(features, prompts, probabilities)
        return self.block(features, time)
