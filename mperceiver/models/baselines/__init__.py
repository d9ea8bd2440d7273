"""Restoration networks trained as baselines by the same loop on the same pairs.

To add one: a function ``(**arguments) -> nn.Module`` with (B, 3, H, W) in [0, 1] in and out, in a file of its own, named
in ARCHITECTURES together with the multiple its input's sides must have.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from mperceiver import config, paths
from mperceiver.config.runs import NetworkStage
from mperceiver.models.baselines.nafnet import nafnet
from mperceiver.models.tiling import Tiles

ARCHITECTURES: dict[str, tuple[Callable[..., nn.Module], int]] = {"nafnet": (nafnet, 16)}


def build(spec: NetworkStage) -> nn.Module:
    """Build a network untrained. Raises ConfigError for an unknown architecture."""
    if spec.architecture not in ARCHITECTURES:
        raise config.ConfigError(f"architecture {spec.architecture!r}: known ones are {', '.join(ARCHITECTURES)}")
    return ARCHITECTURES[spec.architecture][0](**spec.arguments)


class Network:
    """A trained baseline, ready to restore; it needs nothing of the whole picture and no seed."""

    batch = 8
    sees = ("lq",)
    tasks = ()

    def __init__(self, network: nn.Module, multiple: int, device: torch.device | str) -> None:
        self.network, self.device = network.to(device), device
        self.multiple = self.minimum = multiple

    def look(self, whole: Tensor) -> None:
        return None

    @torch.no_grad()
    def restore(self, whole: Tensor, seen: None, seeds: list[int], tiles: Tiles) -> Tensor:
        """Padded pictures (B, 3, H, W) in [0, 1] on the CPU -> restored, the same."""
        parts = (self.network(part).clamp(0, 1) for part in tiles.cut(whole))
        return tiles.blend(parts, len(whole), whole.device)

    def modules(self) -> list[nn.Module]:
        return [self.network]

    @torch.no_grad()
    def probe(self, pictures: Tensor) -> None:
        """The work on tiles (n, 3, h, w) once, for what it takes of the memory."""
        self.network(pictures.to(self.device))


def load_restorer(method_name: str, device: torch.device | str = "cpu") -> Network:
    """The restorer of a method of kind network, with the weights of its run."""
    from mperceiver.models.towers import freeze
    from mperceiver.models.weights import load_weights

    owner = config.method_weights(method_name)["network"]
    spec = config.load("runs", owner).network
    network = build(spec)
    load_weights(paths.weights_file(owner, "network"), network)
    return Network(freeze(network), ARCHITECTURES[spec.architecture][1], device)
