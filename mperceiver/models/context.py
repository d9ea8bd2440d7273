"""Cross-attention of the U-Net to its text context, whose keys and values may be made once and used at every step."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch.nn.functional as F
from torch import Tensor, nn


class ContextAttention:
    """Attention processor of a cross-attention layer; while ``made`` is set, these are its keys and values.

    Else they are computed from the context, which is what training does. There is no mask: the whole context is seen.
    """

    def __init__(self) -> None:
        self.made: tuple[Tensor, Tensor] | None = None

    def __call__(
        self,
        attn: nn.Module,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: None = None,
    ) -> Tensor:
        q = _heads(attn.to_q(hidden_states), attn.heads)
        k, v = self.made or keys_values(attn, encoder_hidden_states)
        mixed = F.scaled_dot_product_attention(q, k.to(q.dtype), v.to(q.dtype))
        return attn.to_out[1](attn.to_out[0](mixed.transpose(1, 2).flatten(2)))


def keys_values(attn: nn.Module, context: Tensor) -> tuple[Tensor, Tensor]:
    """Of a context (B, T, C): two of (B, heads, T, d)."""
    return _heads(attn.to_k(context), attn.heads), _heads(attn.to_v(context), attn.heads)


def _heads(x: Tensor, heads: int) -> Tensor:
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)


def cross_attentions(unet: nn.Module) -> dict[str, nn.Module]:
    """Name -> cross-attention layer of a UNet2DConditionModel, each with a ContextAttention put in."""
    from diffusers.models.attention_processor import Attention

    found = {
        name: module
        for name, module in unet.named_modules()
        if isinstance(module, Attention) and module.is_cross_attention
    }
    for module in found.values():
        if not isinstance(module.processor, ContextAttention):
            module.set_processor(ContextAttention())
    return found


@contextmanager
def attending(layers: dict[str, nn.Module], made: dict[str, tuple[Tensor, Tensor]]) -> Iterator[None]:
    """Inside, the layers named in ``made`` use its keys and values; afterwards they have forgotten them."""
    try:
        for name, pair in made.items():
            layers[name].processor.made = pair
        yield
    finally:
        for name in made:
            layers[name].processor.made = None
