"""FID (Heusel et al., arXiv:1706.08500) as pytorch-fid computes it: 2,048 features of the 2015 Inception-v3, bilinear to 299 px.

The network's weights are a foundation like any other (config/foundations/inception-fid.yaml): staged once, never fetched
while scoring. The distance is that of all pictures of a task; with few pictures it says little, and a table shows how many.
"""

from functools import cache
from pathlib import Path

import numpy as np

from mperceiver import config
from mperceiver.lineage import LineageError

WEIGHTS = Path("data/foundations") / config.FID_FOUNDATION / "pt_inception-2015-12-05-6726825d.pth"
SIDE = 299


def features(pictures: np.ndarray) -> np.ndarray:
    """Pool3 features: (B, H, W, 3) RGB, 0 to 255 -> float64 (B, 2048)."""
    import torch
    import torch.nn.functional as F

    with torch.inference_mode():
        x = torch.from_numpy(np.ascontiguousarray(pictures)).permute(0, 3, 1, 2).float() / 255
        x = F.interpolate(x, (SIDE, SIDE), mode="bilinear", align_corners=False)
        return _network()(2 * x - 1).double().numpy()


def distance(restored: np.ndarray, target: np.ndarray) -> float | None:
    """Frechet distance of two sets of features (n, C), (m, C); None with fewer than two of either.

    |mu_1 - mu_2|^2 + Tr(S_1 + S_2 - 2 (S_1 S_2)^(1/2)). With S_i = A_i^T A_i, the trace of the root is the sum of the singular
    values of A_1 A_2^T: the same number without the root of a 2,048 x 2,048 matrix, singular for fewer pictures than that.
    """
    if min(len(restored), len(target)) < 2:
        return None
    moments = [(x.mean(0), _factor(x)) for x in (restored, target)]
    (mean, first), (other, second) = moments
    shared = np.linalg.svd(first @ second.T, compute_uv=False).sum()
    return float(np.square(mean - other).sum() + np.square(first).sum() + np.square(second).sum() - 2 * shared)


def _factor(x: np.ndarray) -> np.ndarray:
    """A with A^T A the covariance of the rows of ``x``, of the fewest rows."""
    centred = (x - x.mean(0)) / np.sqrt(len(x) - 1)
    return centred if len(x) <= x.shape[1] else np.linalg.qr(centred, mode="r")


@cache
def _network():
    import torch

    if not WEIGHTS.is_file():
        raise LineageError(
            f"{WEIGHTS}: FID's Inception is not here; stage it once: mperceiver foundation {config.FID_FOUNDATION}"
        )
    return load(torch.load(WEIGHTS, map_location="cpu", weights_only=True))


def load(state: dict):
    """The network with a state dictionary, which must fit it strictly: (B, 3, 299, 299) in [-1, 1] -> (B, 2048)."""
    import torch
    from torch import nn

    network = build()
    own = network.state_dict()
    try:
        # Counters of batch norms came after the file was made.
        network.load_state_dict(
            {k: v for k, v in own.items() if k.endswith("num_batches_tracked")} | state, strict=True
        )
    except (RuntimeError, AttributeError, TypeError) as error:
        raise LineageError(f"not the weights of FID's Inception: {str(error)[:300]}") from None
    network.fc = nn.Identity()
    return network.eval().requires_grad_(False).to(memory_format=torch.channels_last)


def build():
    """FID's variant of torchvision's Inception-v3, without weights: 1,008 classes, average pooling without the padding."""
    from pyiqa.archs import inception as fid
    from torchvision.models import Inception3

    network = Inception3(num_classes=1008, aux_logits=False, init_weights=False)
    network.Mixed_5b = fid.FIDInceptionA(192, pool_features=32)
    network.Mixed_5c = fid.FIDInceptionA(256, pool_features=64)
    network.Mixed_5d = fid.FIDInceptionA(288, pool_features=64)
    network.Mixed_6b = fid.FIDInceptionC(768, channels_7x7=128)
    network.Mixed_6c = fid.FIDInceptionC(768, channels_7x7=160)
    network.Mixed_6d = fid.FIDInceptionC(768, channels_7x7=160)
    network.Mixed_6e = fid.FIDInceptionC(768, channels_7x7=192)
    network.Mixed_7b = fid.FIDInceptionE_1(1280)
    network.Mixed_7c = fid.FIDInceptionE_2(2048)
    network.transform_input = False
    return network
