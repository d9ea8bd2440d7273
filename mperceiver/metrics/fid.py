"""FID (Heusel et al., arXiv:1706.08500) as pytorch-fid computes it: 2,048 features of the 2015 Inception-v3, bilinear to 299 px.

The distance is that of all pictures of a task; over few pictures it says little, and a table prints their number.
"""

from functools import cache
from typing import cast

import numpy as np

from mperceiver.config.protocols import Protocol
from mperceiver.metrics import noncommercial
from mperceiver.metrics.metric import Features, Metric
from mperceiver.metrics.pictures import Pictures, levels
from mperceiver.metrics.weights import WeightsError, read_tensors, weights_file

WEIGHTS = "pt_inception-2015-12-05-6726825d.pth"
SIDE = 299
WIDTH = 2048


def fid_features(pictures: Pictures, protocol: Protocol) -> list[Features | None]:
    """One array (2048,) for each picture, restored or ground truth."""
    return [[row] for row in inception_features(levels(pictures, protocol))]


def inception_features(pictures: np.ndarray) -> np.ndarray:
    """Pool3 features: (B, H, W, 3) RGB, 0 to 255 -> float64 (B, 2048)."""
    import torch
    import torch.nn.functional as F

    with torch.inference_mode():
        x = torch.from_numpy(np.ascontiguousarray(pictures)).permute(0, 3, 1, 2).float() / 255
        x = F.interpolate(x, (SIDE, SIDE), mode="bilinear", align_corners=False)
        return _network()(2 * x - 1).double().numpy()


def frechet_distance(restored: np.ndarray, target: np.ndarray) -> float | None:
    """Frechet distance of two sets of features (n, C), (m, C); None where either has fewer than two.

    |mu_1 - mu_2|^2 + Tr(S_1 + S_2 - 2 (S_1 S_2)^(1/2)). With S_i = A_i^T A_i, the trace of the root is the sum of the singular
    values of A_1 A_2^T: the same number without the root of a 2,048 x 2,048 matrix, which is singular for fewer pictures.
    """
    if min(len(restored), len(target)) < 2:
        return None
    moments = [(x.mean(0), _factor(x)) for x in (restored, target)]
    (mean, first), (other, second) = moments
    shared = np.linalg.svd(first @ second.T, compute_uv=False).sum()
    distance = np.square(mean - other).sum() + np.square(first).sum() + np.square(second).sum() - 2 * shared
    # Rounding makes the distance of equal sets a little negative, which a table would print as -0.00.
    return max(float(distance), 0.0)


METRICS = {
    "fid": Metric(
        "FID", 2, higher_is_better=False, needs_target=True, features=fid_features, distance=frechet_distance
    ),
}


def _factor(x: np.ndarray) -> np.ndarray:
    """A with A^T A the covariance of the rows of ``x``, with as few rows as possible."""
    centred = (x - x.mean(0)) / np.sqrt(len(x) - 1)
    return centred if len(x) <= x.shape[1] else cast(np.ndarray, np.linalg.qr(centred, mode="r"))


@cache
def _network():
    return load(read_tensors(weights_file("inception-fid", WEIGHTS)))


def load(state: dict):
    """The network with the tensors of ``state``, which must fit strictly: (B, 3, 299, 299) in [-1, 1] -> (B, 2048).

    Raises WeightsError for the tensors of another network.
    """
    import torch
    from torch import nn

    network = build()
    own = network.state_dict()
    try:
        # The counters of batch norms did not exist yet when the file was written.
        network.load_state_dict(
            {k: v for k, v in own.items() if k.endswith("num_batches_tracked")} | state, strict=True
        )
    except (RuntimeError, AttributeError, TypeError) as error:
        raise WeightsError(f"not the weights of FID's Inception: {str(error)[:300]}") from None
    network.fc = nn.Identity()
    return network.eval().requires_grad_(False).to(memory_format=torch.channels_last)


def build():
    """FID's variant of torchvision's Inception-v3, without weights: 1,008 classes, average pooling without the padding."""
    from torchvision.models import Inception3

    inception = noncommercial.inception_module()
    network = Inception3(num_classes=1008, aux_logits=False, init_weights=False)
    network.Mixed_5b = inception.FIDInceptionA(192, pool_features=32)
    network.Mixed_5c = inception.FIDInceptionA(256, pool_features=64)
    network.Mixed_5d = inception.FIDInceptionA(288, pool_features=64)
    network.Mixed_6b = inception.FIDInceptionC(768, channels_7x7=128)
    network.Mixed_6c = inception.FIDInceptionC(768, channels_7x7=160)
    network.Mixed_6d = inception.FIDInceptionC(768, channels_7x7=160)
    network.Mixed_6e = inception.FIDInceptionC(768, channels_7x7=192)
    network.Mixed_7b = inception.FIDInceptionE_1(1280)
    network.Mixed_7c = inception.FIDInceptionE_2(2048)
    network.transform_input = False
    return network
