"""Loading the model of a method."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from mperceiver import config
from mperceiver.machine import importing, without_collection
from mperceiver.models.restorer import OnShare, Restorer, unheard

if TYPE_CHECKING:
    from torch import Tensor, nn

    from mperceiver.models.baselines.da_clip import Steering
    from mperceiver.models.baselines.network import Told
    from mperceiver.models.predictor import DegradationEstimate
    from mperceiver.models.tiling import Tiles

    # Named by what `look` of each kind of model returns, so that mypy compares it with what restoring reads of it.
    WithNetwork = Restorer[DegradationEstimate] | Restorer[Told] | Restorer[Steering] | Restorer[None]


class Identity:
    """Returns the degraded picture itself: what every method is measured against. It needs no torch."""

    multiple = minimum = 1
    batch = 16
    sees = ("lq",)
    device = "cpu"
    tasks = ()

    def __init__(self) -> None:
        self.on_share: OnShare = unheard

    def look(self, whole: "Tensor", tasks: Sequence[str] = ()) -> None:
        return None

    def restore(self, whole: "Tensor", seen: None, seeds: list[int], tiles: "Tiles") -> "Tensor":
        return whole

    def modules(self) -> "list[nn.Module]":
        return []

    def probe(self, pictures: "Tensor") -> None:
        return None


@without_collection()
def load_restorer(method: str, on_share: OnShare | None = None, dataset: str | None = None) -> Restorer:
    """The model of `config/methods/<method>.yaml` with its weights, on the GPU where there is one.

    Args:
        on_share: called with the share of a picture's work that was done, now and then; the shares of one call of the model
            add up to 1. Kind identity never calls it, and a module of kind python that restores by itself need not call it.
        dataset: what is to be restored; only a method with a file of weights for each dataset asks.

    Raises ConfigError, LineageError: the method is not described, or its weights are missing.
    """
    kind = config.load("methods", method).kind
    if kind == "identity":
        return Identity()
    restorer = _with_network(kind, method, dataset)
    if on_share:
        restorer.on_share = on_share
    return restorer


def _with_network(kind: str, method: str, dataset: str | None) -> "WithNetwork":
    with importing():
        import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    if kind == "network":
        from mperceiver.models import baselines

        return baselines.load_restorer(method, device)
    if kind == "checkpoint":
        from mperceiver.models import checkpoints

        return checkpoints.load_restorer(method, dataset, device)
    if kind == "python":
        from mperceiver.models import plugged

        return plugged.load_restorer(method, device)
    if kind == "vae":
        from mperceiver.models import ceiling

        return ceiling.load_restorer(method, device)
    from mperceiver.models import mperceiver

    return mperceiver.load_restorer(method, device)
