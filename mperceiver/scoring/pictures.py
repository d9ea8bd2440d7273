"""A dataset's pictures as they are scored: with all the bits of its pairs, and with the noise of `clip: false` as it was drawn."""

from typing import Any

import numpy as np

from mperceiver.config.protocols import Protocol
from mperceiver.data import DataError
from mperceiver.data.read.loader import PreparedDataset
from mperceiver.metrics import fidelity, score_batch


def as_scored(restored: np.ndarray) -> np.ndarray:
    """A restored picture, uint8 or uint16 (H, W, 3): uint8 as it is, uint16 as float32 in [0, 1]."""
    return restored.astype(np.float32) / np.float32(65_535) if restored.dtype == np.uint16 else restored


def ground_truth(prepared: PreparedDataset, i: int) -> np.ndarray | None:
    """Ground truth of row i, (H, W, 3): uint8, float32 in [0, 1] of a dataset of 16 bits; None for a real picture that has none."""
    try:
        return prepared.gt_float(i) if prepared.bits == 16 else prepared.gt(i)
    except DataError:
        return None


def put_unclipped(
    rows: list[dict[str, Any]], prepared: PreparedDataset, batch: range, gt: np.ndarray, protocol: Protocol
) -> None:
    """Put PSNR and SSIM of the unclipped noise into the rows of degraded pictures, whose files hold clipped copies.

    Args:
        rows: a row a picture of ``batch``: metric -> value.
        gt: their ground truths, (B, H, W, 3).
    """
    given = np.stack([prepared.lq_float(i) for i in batch])
    for metric in fidelity.METRICS.keys() & set(protocol.metrics):
        score = fidelity.METRICS[metric].score
        assert score is not None
        for row, value in zip(rows, score(given, gt, protocol, unclipped=True), strict=True):
            row[metric] = value


def score_given(prepared: PreparedDataset, i: int, gt: np.ndarray, protocol: Protocol) -> dict[str, float | None]:
    """The protocol's metrics of the degraded picture of row i: those of the method that copies it. ``gt``: what ``ground_truth`` gives."""
    picture = prepared.lq_float(i) if prepared.bits == 16 else prepared.lq(i)
    rows = score_batch(picture[None], gt[None], protocol)
    if prepared.unclipped:
        put_unclipped(rows, prepared, range(i, i + 1), gt[None], protocol)
    return rows[0]
