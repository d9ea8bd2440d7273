"""Textual branch: CM-Adapter (Eq. 2), textual prompt pool, and their splice into the frozen text encoder (Eq. 3)."""

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from mperceiver.config.runs import ModelConfig
from mperceiver.models.towers import Towers


class CMAdapter(nn.Module):
    """Eq. 2: e_cm_i = Attn_i(LN(FC(e_img))), tokens for each of the N degradations.

    FC makes ``tokens`` tokens of the embedding; Attn_i is self-attention over them, no residual. The N attentions stand in
    grouped weights and run as one batch. 54,553,600 parameters at width 1024, 16 tokens, N = 9.
    """

    def __init__(self, embedding_width: int, width: int, tokens: int, heads: int, count: int) -> None:
        super().__init__()
        self.tokens, self.heads = tokens, heads
        self.fc = nn.Linear(embedding_width, tokens * width)
        self.norm = nn.LayerNorm(width)
        self.qkv = nn.Parameter(torch.empty(3, count, width, width))
        self.out_weight = nn.Parameter(torch.empty(count, width, width))
        self.out_bias = nn.Parameter(torch.zeros(count, width))
        bound = width**-0.5  # nn.Linear's own
        for weight in (self.qkv, self.out_weight, self.out_bias):
            nn.init.uniform_(weight, -bound, bound)

    def forward(self, embedding: Tensor) -> Tensor:
        """(B, C_clip) -> (B, N, tokens, width)."""
        b = embedding.shape[0]
        x = self.norm(self.fc(embedding).view(b, self.tokens, -1))  # (B, T, C)
        q, k, v = (
            torch.einsum("btc,sndc->sbntd", x, self.qkv).unflatten(-1, (self.heads, -1)).transpose(-2, -3)
        )  # (B, N, h, T, d)
        mixed = F.scaled_dot_product_attention(q, k, v).transpose(-2, -3).flatten(-2)  # (B, N, T, C)
        return torch.einsum("bntc,ndc->bntd", mixed, self.out_weight) + self.out_bias[:, None]


class TextualBranch(nn.Module):
    """e_img and P -> the U-Net's text context: the P-weighted mean of the N encoded prompts (Eq. 3).

    With ``checkpointing`` the text encoder's insides are computed again for the gradient instead of being kept.
    """

    checkpointing = False

    def __init__(self, embedding_width: int, width: int, count: int, spec: ModelConfig) -> None:
        super().__init__()
        self.spec = spec
        self.cm_adapter = CMAdapter(embedding_width, width, spec.cm_tokens, spec.cm_heads, count)
        if spec.tp_pool:
            self.tp_pool = nn.Parameter(torch.randn(count, spec.tp_tokens, width) * 0.02)

    def forward(self, embedding: Tensor, probabilities: Tensor, foundation: Towers) -> Tensor:
        """(B, C_clip), (B, N) -> (B, T, C). The N encodings of a picture are one batch of the text encoder."""
        image = self.cm_adapter(embedding)  # (B, N, T_cm, C)
        b, n = image.shape[:2]
        parts = [image]
        textual = 0
        if self.spec.tp_pool:
            textual = self.spec.tp_tokens
            learned = self.tp_pool.expand(b, -1, -1, -1)
            parts = [learned, image] if self.spec.prompt_order == "tp_first" else [image, learned]
        base = foundation.embed_tokens(foundation.token_ids(textual, self.spec.cm_tokens))  # (T, C)
        used = textual + self.spec.cm_tokens
        head, tail = base[:1].expand(b, n, -1, -1), base[1 + used :].expand(b, n, -1, -1)
        spliced = torch.cat([head, *parts, tail], dim=2)  # start, prompts, end, padding
        encode = foundation.encode_text
        if self.checkpointing and torch.is_grad_enabled():
            encode = partial(checkpoint, encode, use_reentrant=False)
        encoded = encode(spliced.flatten(0, 1)).unflatten(0, (b, n))
        return torch.einsum("bn,bntc->btc", probabilities, encoded)


def empty_prompt(foundation: Towers, batch: int) -> Tensor:
    """The encoding of an empty text, for models without the textual branch: (B, T, C)."""
    return foundation.encode_text(foundation.embed_tokens(foundation.token_ids(0, 0))[None]).expand(batch, -1, -1)
