"""Metrics: what a table must know of each, and how it is computed under a protocol (config/protocols/).

Every function takes a batch of pictures of one size, (B, H, W, 3) RGB, uint8 or float in [0, 1], and the protocol, and
returns B numbers, or None where the metric cannot be had. Values equal those of BasicSR, skimage and MATLAB (PSNR, SSIM), the
package lpips (LPIPS) and pyiqa (NIQE, BRISQUE); tests/unit/metrics holds the published ones. Nothing is ever downloaded.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from mperceiver.config.protocols import Protocol
from mperceiver.metrics.blind import brisque, niqe
from mperceiver.metrics.fidelity import psnr, ssim
from mperceiver.metrics.perceptual import lpips_distance, lpips_references
from mperceiver.metrics.pictures import Pictures, Reference, Values, levels


def fid_references(pictures: Pictures, protocol: Protocol) -> list[Reference | None]:
    """FID's features of pictures, restored or ground truth: one array (2048,) a picture."""
    from mperceiver.metrics import fid

    return [[row] for row in fid.features(levels(pictures, protocol))]


class Metric(NamedTuple):
    """A metric, and what a table must know of it.

    ``reference`` is what it makes of ground truths, which can be kept for the next method. A metric without a function is
    of a whole set, from the references of both sides (FID).
    """

    function: Callable[..., Values] | None
    higher_is_better: bool
    decimals: int
    needs_target: bool
    label: str
    reference: Callable[[Pictures, Protocol], list[Reference | None]] | None = None
    unit: str = ""


# In order of importance: where there is room for one number a picture, it is that of the first metric.
METRICS: dict[str, Metric] = {
    "psnr": Metric(psnr, True, 2, True, "PSNR", unit="dB"),
    "ssim": Metric(ssim, True, 3, True, "SSIM"),
    "lpips": Metric(lpips_distance, False, 3, True, "LPIPS", lpips_references),
    "niqe": Metric(niqe, False, 2, False, "NIQE"),
    "brisque": Metric(brisque, False, 2, False, "BRISQUE"),
    "fid": Metric(None, False, 2, True, "FID", fid_references),
}


def score_batch(
    restored: Pictures, gt: Pictures | None, protocol: Protocol, references: dict[str, list] | None = None
) -> list[dict[str, float | None]]:
    """The protocol's metrics a picture, of B pictures of one size; None for what needs a ground truth where there is none.

    ``references``: {metric: what it makes of each ground truth}, where that is known already.
    """
    columns = {}
    for name in protocol.metrics:
        metric = METRICS[name]
        if metric.function is None:
            continue
        blind = gt is None and metric.needs_target
        known = {"references": references[name]} if references and name in references else {}
        columns[name] = [None] * len(restored) if blind else metric.function(restored, gt, protocol, **known)
    return [{name: column[i] for name, column in columns.items()} for i in range(len(restored))]
