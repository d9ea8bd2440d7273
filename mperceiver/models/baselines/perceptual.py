"""VGG16's features, as the perceptual losses of published baselines take them."""

from functools import cache

import torch
from torch import Tensor, nn

GROUPS = 3  # up to relu1_2, relu2_2 and relu3_3


@cache
def _trunk(device: torch.device) -> nn.ModuleList:
    from mperceiver.metrics.lpips import load

    return load("vgg").groups[:GROUPS].to(device)


def vgg_features(pictures: Tensor) -> list[Tensor]:
    """Pictures (B, 3, H, W) in [0, 1], sides of at least 4 px -> features at relu1_2, relu2_2 and relu3_3.

    The pictures are not normalised by ImageNet's mean, since the published losses do not. Gradients flow to the pictures.
    """
    features, x = [], pictures
    for group in _trunk(pictures.device):
        x = group(x)
        features.append(x)
    return features
