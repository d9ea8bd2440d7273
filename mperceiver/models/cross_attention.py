"""Cross-attention of the U-Net to its text context, whose keys and values can be computed once and used at every step."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, cast

import torch.nn.functional as F
from torch import Tensor

if TYPE_CHECKING:
    from diffusers import UNet2DConditionModel
    from diffusers.models.attention_processor import Attention, AttnProcessor


class ContextAttention:
    """Attention processor of a cross-attention layer. It uses the keys and values in ``cached`` while they are set.

    Otherwise, as in training, it computes them from the context. There is no mask: every query sees the whole context.
    """

    def __init__(self) -> None:
        self.cached: tuple[Tensor, Tensor] | None = None

    def __call__(
        self,
        attn: "Attention",
        hidden_states: Tensor,
        encoder_hidden_states: Tensor,
        attention_mask: None = None,
    ) -> Tensor:
        q = _heads(attn.to_q(hidden_states), attn.heads)
        k, v = self.cached or keys_values(attn, encoder_hidden_states)
        mixed = F.scaled_dot_product_attention(q, k.to(q.dtype), v.to(q.dtype))
        return attn.to_out[1](attn.to_out[0](mixed.transpose(1, 2).flatten(2)))


def keys_values(attn: "Attention", context: Tensor) -> tuple[Tensor, Tensor]:
    """Keys and values of a context (B, T, C): (B, heads, T, d) each."""
    return _heads(attn.to_k(context), attn.heads), _heads(attn.to_v(context), attn.heads)


def _heads(x: Tensor, heads: int) -> Tensor:
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)


def cross_attentions(unet: "UNet2DConditionModel") -> "dict[str, Attention]":
    """Name -> cross-attention layer of ``unet``. Each layer gets a ContextAttention as its processor, if it has none."""
    from diffusers.models.attention_processor import Attention

    layers = {
        name: module
        for name, module in unet.named_modules()
        if isinstance(module, Attention) and module.is_cross_attention
    }
    for layer in layers.values():
        if not isinstance(layer.processor, ContextAttention):
            layer.set_processor(cast("AttnProcessor", ContextAttention()))
    return layers


@contextmanager
def attending(layers: "dict[str, Attention]", cached: dict[str, tuple[Tensor, Tensor]]) -> Iterator[None]:
    """Inside, the layers named in ``cached`` use its keys and values; afterwards they compute their own again."""
    try:
        for name, pair in cached.items():
            _processor(layers[name]).cached = pair
        yield
    finally:
        for name in cached:
            _processor(layers[name]).cached = None


def _processor(layer: "Attention") -> ContextAttention:
    return cast(ContextAttention, layer.processor)
