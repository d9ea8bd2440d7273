"""LPIPS as a metric: functions that import torch only when they are called (the network itself: lpips.py)."""

from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from mperceiver.config.protocols import Protocol
from mperceiver.metrics.metric import Features, Metric, Values
from mperceiver.metrics.pictures import Pictures, as_tensor, levels, same_size

if TYPE_CHECKING:
    from mperceiver.metrics.lpips import Lpips


def lpips_distance(
    restored: Pictures, gt: Pictures, protocol: Protocol, gt_features: list[Features | None] | None = None
) -> Values:
    """Learned perceptual distance, with the protocol's trunk; None for pictures too small for the trunk."""
    import torch

    tensor = as_tensor(levels(restored, protocol))
    same_size(restored, gt)
    features = [parts for parts in gt_features or lpips_features(gt, protocol) if parts is not None]
    if not features:
        return [None] * len(restored)
    targets = [torch.from_numpy(np.stack(parts)) for parts in zip(*features, strict=True)]
    network = _frozen_lpips(protocol.lpips)
    with torch.inference_mode():
        return network.compare(network.taps(tensor), targets).tolist()


def lpips_features(gt: Pictures, protocol: Protocol) -> list[Features | None]:
    """LPIPS's unit activations of ground truths, an array for each group of convolutions; None for pictures too small."""
    import torch

    network, tensor = _frozen_lpips(protocol.lpips), as_tensor(levels(gt, protocol))
    if min(tensor.shape[2:]) < network.side:
        return [None] * len(gt)
    with torch.inference_mode():
        return [list(parts) for parts in zip(*(tap.numpy() for tap in network.reference(tensor)), strict=True)]


METRICS = {
    "lpips": Metric(
        "LPIPS", 3, higher_is_better=False, needs_target=True, score=lpips_distance, features=lpips_features
    ),
}


@cache
def _frozen_lpips(network: str) -> "Lpips":
    from mperceiver.metrics.lpips import load

    return load(network)
