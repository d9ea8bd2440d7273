"""An image tower whose embedding is the statistics of a network's features: what a picture's textures are, not what it shows.

The network is the first five stages of EfficientNet-Lite0 (Tan & Le, ICML 2019, arXiv:1905.11946; the Lite variant has no squeeze-and-excitation,
and ReLU6 for swish), pre-trained on ImageNet. Its batch norms are part of the convolutions before them. Mean and standard deviation of each channel
tell blur from noise at every scale, where the last layer of a classifier has learnt to ignore both.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

STEM = 32  # channels of the first convolution
STAGES = (  # (channels, blocks, side of the kernel, stride, expansion)
    (16, 1, 3, 1, 1),
    (24, 2, 3, 2, 6),
    (40, 2, 5, 2, 6),
    (80, 3, 3, 2, 6),
    (112, 3, 5, 1, 6),
)
EMBEDDING = 2 * (STEM + sum(stage[0] for stage in STAGES))  # 608: a mean and a deviation for each channel


class SameConv(nn.Conv2d):
    """A convolution padded as TensorFlow's SAME: the output has ceil(side / stride) px, and an odd rest is padded right and below."""

    def forward(self, features: Tensor) -> Tensor:
        pads = []
        for side, kernel, stride in zip(
            reversed(features.shape[-2:]), reversed(self.kernel_size), reversed(self.stride), strict=True
        ):
            total = max((-(-side // stride) - 1) * stride + kernel - side, 0)
            pads += [total // 2, total - total // 2]
        return super().forward(F.pad(features, pads))


class InvertedResidual(nn.Module):
    """Expansion to more channels (if any), a depthwise convolution, a projection; added to its input where the shapes are equal."""

    def __init__(self, before: int, after: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        inside = before * expansion
        self.expand = nn.Conv2d(before, inside, 1) if expansion > 1 else None
        self.depthwise = SameConv(inside, inside, kernel, stride, groups=inside)
        self.project = nn.Conv2d(inside, after, 1)
        self.skips = stride == 1 and before == after

    def forward(self, features: Tensor) -> Tensor:
        inside = features if self.expand is None else F.relu6(self.expand(features))
        out = self.project(F.relu6(self.depthwise(inside)))
        return out + features if self.skips else out


class StatisticsTower(nn.Module):
    """(B, 3, H, W), standardised as a CLIP wants it -> (B, 608): the mean and the deviation of each channel after the stem and after each stage.

    ``centre`` and ``spread``, (608,) each, standardise the embedding; they were measured on training pictures. ``gain`` and ``shift``, (3, 1, 1)
    each, turn CLIP's standardisation into that of the network's own training.
    """

    centre: Tensor
    spread: Tensor
    gain: Tensor
    shift: Tensor

    def __init__(self, image_size: int) -> None:
        """``image_size``: side of the square input in px."""
        super().__init__()
        self.image_size, self.output_dim = image_size, EMBEDDING
        self.stem, self.stages = SameConv(3, STEM, 3, 2), nn.ModuleList()
        before = STEM
        for after, blocks, kernel, stride, expansion in STAGES:
            stage = nn.Sequential()
            for block in range(blocks):
                stage.append(InvertedResidual(before, after, kernel, 1 if block else stride, expansion))
                before = after
            self.stages.append(stage)
        self.register_buffer("centre", torch.zeros(EMBEDDING))
        self.register_buffer("spread", torch.ones(EMBEDDING))
        self.register_buffer("gain", torch.ones(3, 1, 1))
        self.register_buffer("shift", torch.zeros(3, 1, 1))

    def statistics(self, pictures: Tensor) -> Tensor:
        """The embedding before it is standardised: (B, 3, H, W) as in ``forward`` -> (B, 608)."""
        # Depthwise convolutions on a CPU take two thirds of the time in this memory format.
        pictures = (pictures * self.gain + self.shift).contiguous(memory_format=torch.channels_last)
        features = F.relu6(self.stem(pictures))
        scales = [features]
        for stage in self.stages:
            features = stage(features)
            scales.append(features)
        parts = []
        for features in scales:
            deviation, mean = torch.std_mean(features, dim=(2, 3))
            parts += [mean, deviation]
        return torch.cat(parts, dim=1)

    def forward(self, pictures: Tensor) -> Tensor:
        return (self.statistics(pictures) - self.centre) / self.spread
