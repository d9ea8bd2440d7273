"""A picture restored by a restorer."""

from torch import Tensor

from mperceiver.config.methods import Method
from mperceiver.models.restorer import Restorer
from mperceiver.restoring.ensemble import restore_pictures
from mperceiver.restoring.memory import TilePlanner


def restore_picture(restorer: Restorer, picture: Tensor, method: Method, seed: int) -> Tensor:
    """One picture, float (1, 3, H, W) in [0, 1] on the CPU, restored: the same, not rounded."""
    return restore_pictures(TilePlanner(restorer, method), picture, [seed])[0]
