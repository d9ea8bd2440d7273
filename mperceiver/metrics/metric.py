"""What a metric is: the functions that compute it, and what a table must know of it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from mperceiver.config.protocols import Protocol
from mperceiver.metrics.pictures import Pictures

Values = Sequence[float | None]  # of a batch; None where the metric cannot be computed
Features = list[np.ndarray]  # what a network computes of one picture


@dataclass(frozen=True)
class Metric:
    """A metric of single pictures has ``score``; a metric of whole sets of pictures (FID) has ``features`` and ``distance``."""

    label: str
    decimals: int  # printed in tables
    higher_is_better: bool
    needs_target: bool  # ground truth
    unit: str = ""
    # (restored, gt or None, protocol) -> values; a metric with `features` also takes `gt_features`, those of the ground truths.
    score: Callable[..., Values] | None = None
    # Features of pictures; None for a picture too small for them. Those of ground truths are kept for the next method.
    features: Callable[[Pictures, Protocol], list[Features | None]] | None = None
    # Features of n restored and m ground-truth pictures, (n, C) and (m, C) -> the distance of the two sets; None for too few.
    distance: Callable[[np.ndarray, np.ndarray], float | None] | None = None
