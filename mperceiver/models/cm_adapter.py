"""CM-Adapter: cross-modal tokens for the text encoder, made of the CLIP embedding of the degraded picture (Eq. 2)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class CMAdapter(nn.Module):
    """Eq. 2: e_cm_i = Attn_i(LN(FC(e_img))), tokens for each of the N degradations.

    FC turns the embedding into ``tokens`` tokens; Attn_i is self-attention over these tokens, without a residual. The weights
    of the N attentions are stacked, and the attentions run as one batch. 54,553,600 parameters at width 1024, 16 tokens, N = 9.
    """

    def __init__(self, embedding_width: int, width: int, tokens: int, heads: int, count: int) -> None:
        """``count``: N, the number of degradations."""
        super().__init__()
        self.tokens, self.heads = tokens, heads
        self.fc = nn.Linear(embedding_width, tokens * width)
        self.norm = nn.LayerNorm(width)
        self.qkv = nn.Parameter(torch.empty(3, count, width, width))
        self.out_weight = nn.Parameter(torch.empty(count, width, width))
        self.out_bias = nn.Parameter(torch.zeros(count, width))
        bound = width**-0.5  # as nn.Linear draws its weights
        for weight in (self.qkv, self.out_weight, self.out_bias):
            nn.init.uniform_(weight, -bound, bound)

    def forward(self, embedding: Tensor) -> Tensor:
        """e_img (B, C_clip) -> e_cm (B, N, tokens, width)."""
        b = embedding.shape[0]
        x = self.norm(self.fc(embedding).view(b, self.tokens, -1))  # (B, T, C)
        qkv = torch.einsum("btc,sndc->sbntd", x, self.qkv)  # (3, B, N, T, C)
        q, k, v = qkv.unflatten(-1, (self.heads, -1)).transpose(-2, -3)  # (B, N, h, T, d) each
        mixed = F.scaled_dot_product_attention(q, k, v).transpose(-2, -3).flatten(-2)  # (B, N, T, C)
        return torch.einsum("bntc,ndc->bntd", mixed, self.out_weight) + self.out_bias[:, None]
