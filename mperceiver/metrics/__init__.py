"""Metrics: what a table must know of each, and how each is computed under a protocol (config/protocols/).

Every metric takes a batch of pictures of one size, (B, H, W, 3) RGB, uint8 or float in [0, 1], and the protocol, and returns
B numbers, or None where it cannot be computed. The values equal those of BasicSR, skimage and MATLAB (PSNR, SSIM), of the
package lpips (LPIPS), of pyiqa (NIQE, BRISQUE) and of pytorch-fid (FID); tests/unit/metrics holds published ones. Weights are
foundations (config/foundations/); nothing is downloaded while scoring.
"""

from collections.abc import Sequence

import numpy as np

from mperceiver.config.base import METRIC_FOUNDATIONS, ConfigError
from mperceiver.config.protocols import Protocol
from mperceiver.metrics import blind, fid, fidelity, perceptual
from mperceiver.metrics.metric import Features, Metric
from mperceiver.metrics.pictures import Pictures

# In order of importance: where there is room for one number of a picture, it is that of the first metric.
METRICS: dict[str, Metric] = fidelity.METRICS | perceptual.METRICS | blind.METRICS | fid.METRICS

if METRICS.keys() != METRIC_FOUNDATIONS.keys():
    raise ConfigError(
        "METRICS of mperceiver/metrics/ and METRIC_FOUNDATIONS of mperceiver/config/base.py must name the same metrics; only one of them "
        f"has {', '.join(sorted(METRICS.keys() ^ METRIC_FOUNDATIONS.keys()))} (docs/add-a-metric.md)"
    )


def score_pair(restored: np.ndarray, gt: np.ndarray | None, protocol: Protocol) -> dict[str, float | None]:
    """The protocol's metrics of one picture, (H, W, 3), with its ground truth or None."""
    return score_batch(restored[None], None if gt is None else gt[None], protocol)[0]


def score_batch(
    restored: Pictures,
    gt: Pictures | None,
    protocol: Protocol,
    gt_features: dict[str, list[Features | None]] | None = None,
) -> list[dict[str, float | None]]:
    """The protocol's metrics of each of B pictures of one size, those of whole sets left out.

    A metric that needs a ground truth is None where ``gt`` is.

    Args:
        restored, gt: (B, H, W, 3) RGB, uint8 or float in [0, 1].
        gt_features: metric -> the features of each ground truth, where they are known already.

    Raises PictureError for another shape, type or range, and for pictures that a metric cannot be computed of.
    """
    columns: dict[str, Sequence[float | None]] = {}
    for name in protocol.metrics:
        metric = METRICS[name]
        if metric.score is None:
            continue
        if gt is None and metric.needs_target:
            columns[name] = [None] * len(restored)
            continue
        known = {"gt_features": gt_features[name]} if gt_features and name in gt_features else {}
        columns[name] = metric.score(restored, gt, protocol, **known)
    return [{name: column[i] for name, column in columns.items()} for i in range(len(restored))]
