"""Restoration networks that are trained as baselines, by the same loop and on the same pairs as MPerceiver.

To add a baseline: write its network in a file of its own, name it in ARCHITECTURES, and add a test. Everything else is the
same for all: a run of kind `network` trains it, a method of kind `network` restores with it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from mperceiver import config, paths
from mperceiver.config.runs import NetworkStage
from mperceiver.models.baselines import airnet, transweather, wgws
from mperceiver.models.baselines.nafnet import nafnet
from mperceiver.models.baselines.promptir import PromptIR
from mperceiver.models.baselines.restormer import Restormer
from mperceiver.models.tiling import Tiles
from mperceiver.models.towers import freeze
from mperceiver.models.weights import load_weights

# The run's weighted picture losses: (restored, ground truth, step) -> scalars by name, "loss" the one to minimise.
PictureLosses = Callable[[Tensor, Tensor, int], dict[str, Tensor]]


def picture_losses_alone(
    network: nn.Module, batch: dict[str, Any], picture_losses: PictureLosses, step: int
) -> dict[str, Tensor]:
    """The picture losses of the restored batch: the losses of a network that has no loss of its own."""
    return picture_losses(network(batch["lq"]), batch["gt"], step)


@dataclass(frozen=True)
class Architecture:
    """What training and restoring have to know of a network."""

    # (**arguments of the run) -> untrained network, which maps (B, 3, H, W) in [0, 1] to the same shape.
    build: Callable[..., nn.Module]
    # Pixels. Each side of the network's input must be a multiple of this number; pictures are padded to it.
    multiple: int
    # Pixels. Each side of the network's input must be at least this long.
    minimum: int = 1
    # (network, batch, the run's picture losses, step) -> scalars by name, "loss" the one to minimise. It must call the network
    # that it is given. A batch has "lq" and "gt", (B, 3, h, w) in [0, 1], and what ``needs`` names.
    losses: Callable[[nn.Module, dict[str, Any], PictureLosses, int], dict[str, Tensor]] = picture_losses_alone
    # What ``losses`` needs of a batch beside "lq" and "gt". "task": the index of each picture's degradation, int64 (B,).
    # "second_view": another random crop of each degraded picture, (B, 3, h, w).
    needs: frozenset[Literal["task", "second_view"]] = frozenset()


ARCHITECTURES: dict[str, Architecture] = {
    "airnet": Architecture(airnet.AirNet, multiple=1, losses=airnet.losses, needs=frozenset({"second_view"})),
    "nafnet": Architecture(nafnet, multiple=16),
    "promptir": Architecture(PromptIR, multiple=8),
    "restormer": Architecture(Restormer, multiple=8),
    "transweather": Architecture(transweather.TransWeather, multiple=16, minimum=48, losses=transweather.losses),
    "wgws": Architecture(wgws.WGWSNet, multiple=4, losses=wgws.losses, needs=frozenset({"task"})),
}


def architecture_of(spec: NetworkStage) -> Architecture:
    """The architecture that a run's stage names. Raises ConfigError if it is unknown."""
    if spec.architecture not in ARCHITECTURES:
        raise config.ConfigError(f"architecture {spec.architecture!r}: known ones are {', '.join(ARCHITECTURES)}")
    return ARCHITECTURES[spec.architecture]


class Network:
    """A trained baseline, ready to restore. It takes nothing from the whole picture and draws no random numbers."""

    batch = 8
    sees = ("lq",)
    tasks = ()

    def __init__(self, network: nn.Module, multiple: int, device: torch.device | str, minimum: int = 1) -> None:
        self.network, self.device = network.to(device), device
        self.multiple, self.minimum = multiple, minimum

    def look(self, whole: Tensor) -> None:
        return None

    @torch.no_grad()
    def restore(self, whole: Tensor, seen: None, seeds: list[int], tiles: Tiles) -> Tensor:
        """Padded pictures (B, 3, H, W) in [0, 1] on the CPU -> restored pictures of the same shape and range, on the CPU."""
        restored = (self.network(part).clamp(0, 1) for part in tiles.cut(whole))
        return tiles.blend(restored, len(whole), whole.device)

    def modules(self) -> list[nn.Module]:
        return [self.network]

    @torch.no_grad()
    def probe(self, pictures: Tensor) -> None:
        """Run the network once on tiles (n, 3, h, w), so that the memory it takes can be counted."""
        self.network(pictures.to(self.device))


def load_restorer(method_name: str, device: torch.device | str = "cpu") -> Network:
    """The restorer of a method of kind `network`, with the weights of its run."""
    owner = config.method_weights(method_name)["network"]
    spec = config.load("runs", owner).network
    assert spec is not None
    architecture = architecture_of(spec)
    network = architecture.build(**spec.arguments)
    load_weights(paths.weights_file(owner, "network"), network)
    return Network(freeze(network), architecture.multiple, device, architecture.minimum)
