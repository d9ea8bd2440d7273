"""The layers from which the IR-Adapter and the VP modulator are built."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def group_count(width: int) -> int:
    """Groups of a GroupNorm over ``width`` channels: 32 as in Stable Diffusion and the authors' release.

    Below a width of 128 they are 8 at most, since a group of one or two channels would lose what these channels tell apart.
    """
    return math.gcd(32, width) if width >= 128 else math.gcd(8, width)


def use_channels_last(*modules: nn.Module) -> None:
    """Store the convolutions' weights in PyTorch's channels-last format; what they return is in that format, too."""
    for module in modules:
        for layer in module.modules():
            if isinstance(layer, nn.Conv2d):
                layer.to(memory_format=torch.channels_last)


def start_at_zero(*layers: nn.Conv2d) -> None:
    """Set weights and biases to zero, so that the layers' outputs are zero before training."""
    for layer in layers:
        for parameter in layer.parameters():
            nn.init.zeros_(parameter)


def time_embedding(t: Tensor, width: int) -> Tensor:
    """Timesteps (B,) -> sinusoidal embedding (B, width): cosines, then sines, with a largest period of 10,000."""
    from diffusers.models.embeddings import get_timestep_embedding

    return get_timestep_embedding(t, width, flip_sin_to_cos=True, downscale_freq_shift=0)


class ResBlock(nn.Module):
    """GroupNorm-SiLU-Conv, plus the time, GroupNorm-SiLU-Conv (zero before training), plus the shortcut.

    (B, width_in, H, W) and, with a ``time_width``, (B, time_width) -> (B, width, H, W).
    """

    def __init__(self, width_in: int, width: int, time_width: int | None) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(group_count(width_in), width_in)
        self.conv1 = nn.Conv2d(width_in, width, 3, padding=1)
        self.time = nn.Linear(time_width, width) if time_width else None
        self.norm2 = nn.GroupNorm(group_count(width), width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)
        self.skip = nn.Conv2d(width_in, width, 1) if width != width_in else nn.Identity()
        start_at_zero(self.conv2)

    def before_time(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The part that does not depend on the time: (features, shortcut), (B, width, H, W) each."""
        return self.conv1(F.silu(self.norm1(x))), self.skip(x)

    def after_time(self, features: Tensor, shortcut: Tensor, time: Tensor | None) -> Tensor:
        """The rest of the block, from what ``before_time`` returned."""
        if self.time is not None:
            assert time is not None
            features = features + self.time(F.silu(time))[:, :, None, None]
        return shortcut + self.conv2(F.silu(self.norm2(features)))

    def forward(self, x: Tensor, time: Tensor | None = None) -> Tensor:
        return self.after_time(*self.before_time(x), time)


class SelfAttention(nn.Module):
    """Self-attention over the positions of (B, C, H, W), added to its input; zero before training."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.GroupNorm(group_count(width), width)
        self.qkv = nn.Conv2d(width, 3 * width, 1)
        self.out = nn.Conv2d(width, width, 1)
        start_at_zero(self.out)

    def forward(self, x: Tensor) -> Tensor:
        b, c, h, w = x.shape
        qkv = self.qkv(self.norm(x)).view(b, 3, self.heads, c // self.heads, h * w)
        # Contiguous, because torch has no fused attention for strided heads: it would store (h w)^2 scores for each head.
        q, k, v = qkv.transpose(-1, -2).contiguous().unbind(1)
        mixed = F.scaled_dot_product_attention(q, k, v).transpose(-1, -2).reshape(b, c, h, w)
        return x + self.out(mixed)
