"""LPIPS as a metric and as a loss: the functions, which import torch only when they are called (the network: lpips.py)."""

from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from mperceiver.config.protocols import Protocol
from mperceiver.metrics.pictures import Pictures, Reference, Values, levels, same_size

if TYPE_CHECKING:
    import torch

    from mperceiver.metrics.lpips import Lpips


def lpips_distance(
    restored: Pictures, gt: Pictures, protocol: Protocol, references: list[Reference | None] | None = None
) -> Values:
    """Learned perceptual distance, with the protocol's trunk; None for pictures smaller than the trunk's pyramid."""
    import torch

    tensor = _tensor(restored, protocol)
    same_size(restored, gt)
    references = references or lpips_references(gt, protocol)
    if references[0] is None:
        return [None] * len(restored)
    known = [torch.from_numpy(np.stack(parts)) for parts in zip(*references, strict=True)]
    network = _frozen_lpips(protocol.lpips)
    with torch.inference_mode():
        return network.compare(network.taps(tensor), known).tolist()


def lpips_references(gt: Pictures, protocol: Protocol) -> list[Reference | None]:
    """What LPIPS makes of ground truths, a list of arrays a picture; None for one too small."""
    import torch

    network, tensor = _frozen_lpips(protocol.lpips), _tensor(gt, protocol)
    if min(tensor.shape[2:]) < network.side:
        return [None] * len(gt)
    with torch.inference_mode():
        return [list(parts) for parts in zip(*(tap.numpy() for tap in network.reference(tensor)), strict=True)]


def lpips_network(net: str) -> "Lpips":
    """LPIPS ("alex" or "vgg") as a frozen module, new at each call: (B, 3, H, W) in [0, 1], twice -> (B,).

    Gradients flow to the pictures, so it is the perceptual loss of training too (section 3.3).
    """
    from mperceiver.metrics.lpips import load

    return load(net)


_frozen_lpips = cache(lpips_network)


def _tensor(pictures: Pictures, protocol: Protocol) -> "torch.Tensor":
    """Float32 (B, 3, h, w) in [0, 1], by the protocol."""
    import torch

    return torch.from_numpy(levels(pictures, protocol) / 255).permute(0, 3, 1, 2).float()
