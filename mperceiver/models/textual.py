"""Textual branch: CM-Adapter and textual prompt pool, spliced into the prompt of the frozen text encoder (Eq. 3)."""

from functools import partial

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from mperceiver.config.modules import ModelConfig
from mperceiver.models.cm_adapter import CMAdapter
from mperceiver.models.towers import Towers


class TextualBranch(nn.Module):
    """e_img and P -> the U-Net's text context: the mean of the N encoded prompts, weighted by P (Eq. 3).

    With ``checkpointing``, the activations of the text encoder are computed again for the gradient instead of being stored.
    """

    checkpointing = False

    def __init__(self, embedding_width: int, width: int, count: int, spec: ModelConfig) -> None:
        """``count``: N, the number of degradations."""
        super().__init__()
        self.spec = spec
        self.cm_adapter = CMAdapter(embedding_width, width, spec.cm_tokens, spec.cm_heads, count)
        self.tp_pool: nn.Parameter | None = None  # (N, L, C)
        if spec.tp_pool:
            self.tp_pool = nn.Parameter(torch.randn(count, spec.tp_tokens, width) * 0.02)

    def forward(self, embedding: Tensor, probabilities: Tensor, foundation: Towers) -> Tensor:
        """e_img (B, C_clip), P (B, N) -> (B, T, C). The text encoder gets the N prompts of all pictures as one batch."""
        image_tokens = self.cm_adapter(embedding)  # (B, N, T_cm, C)
        b, n = image_tokens.shape[:2]
        prompt = [image_tokens]
        text_count = 0
        if self.tp_pool is not None:
            text_count = self.spec.tp_tokens
            text_tokens = self.tp_pool.expand(b, -1, -1, -1)
            tp_first = self.spec.prompt_order == "tp_first"
            prompt = [text_tokens, image_tokens] if tp_first else [image_tokens, text_tokens]
        placeholders = foundation.embed_tokens(foundation.token_ids(text_count, self.spec.cm_tokens))  # (T, C)
        prompt_end = 1 + text_count + self.spec.cm_tokens
        start, rest = (part.expand(b, n, -1, -1) for part in (placeholders[:1], placeholders[prompt_end:]))
        spliced = torch.cat([start, *prompt, rest], dim=2)  # start token, prompts, end token and padding
        encode = foundation.encode_text
        if self.checkpointing and torch.is_grad_enabled():
            encode = partial(checkpoint, encode, use_reentrant=False)
        encoded = encode(spliced.flatten(0, 1)).unflatten(0, (b, n))
        return torch.einsum("bn,bntc->btc", probabilities, encoded)


def empty_prompt(foundation: Towers, batch: int) -> Tensor:
    """The encoding of an empty text, for models without the textual branch: (B, T, C)."""
    return foundation.encode_text(foundation.embed_tokens(foundation.token_ids(0, 0))[None]).expand(batch, -1, -1)
