"""Scores of one pair for the page: PSNR, SSIM and LPIPS, as far as the protocol has them."""

from collections.abc import Callable, Mapping

from mperceiver.config.protocols import Protocol
from mperceiver.images import PictureError
from mperceiver.metrics import METRICS
from mperceiver.metrics.weights import WeightsError

SHOWN = ("psnr", "ssim", "lpips")
Scores = dict[str, dict[str, float | str | None]]  # "input", "restored" -> metric -> value, or why there is none
Scorer = Callable[[Protocol], Mapping[str, float | None]]  # a picture's value of each metric of a protocol


def scores(protocol: Protocol, pictures: dict[str, Scorer]) -> Scores:
    """Each picture's scores, a metric at a time, so that one whose weights are missing hides no other."""
    table: Scores = {key: {} for key in pictures}
    for metric in (name for name in SHOWN if name in protocol.metrics):
        one = protocol.model_copy(update={"metrics": [metric]})
        for key, scored in pictures.items():
            try:
                table[key][METRICS[metric].label] = scored(one)[metric]
            except (PictureError, WeightsError) as error:
                table[key][METRICS[metric].label] = str(error)
    return table
