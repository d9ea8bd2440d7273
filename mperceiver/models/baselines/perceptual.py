"""Smooth L1 and VGG16's features, as the losses of published baselines take them."""

from functools import cache

import torch
import torch.nn.functional as F
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


def smooth_l1_and_vgg(restored: Tensor, gt: Tensor) -> tuple[Tensor, Tensor]:
    """Smooth L1 of two pictures (B, 3, H, W), and the mean over the three taps of the squared error of their features."""
    taps = zip(vgg_features(restored), vgg_features(gt), strict=True)
    return F.smooth_l1_loss(restored, gt), torch.stack([F.mse_loss(ours, theirs) for ours, theirs in taps]).mean()
