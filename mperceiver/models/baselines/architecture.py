"""What training and restoring have to know of a baseline's network."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import torch
from torch import Tensor, nn

from mperceiver.config import ConfigError
from mperceiver.models.baselines.network import plain
from mperceiver.models.restorer import Restorer
from mperceiver.models.weights import Adopt

# The run's weighted picture losses: (restored, ground truth, step) -> scalars by name, "loss" the one to minimise.
LossesOfPictures = Callable[[Tensor, Tensor, int], dict[str, Tensor]]


class LossesOfBatch(Protocol):
    """The losses of a batch: scalars by name, "loss" the one to minimise.

    It must call the network that it is given. A batch has "lq" and "gt", (B, 3, h, w) in [0, 1], and what ``needs`` names. All
    random numbers come from the generator.
    """

    def __call__(
        self,
        network: nn.Module,
        batch: dict[str, Any],
        picture_losses: LossesOfPictures,
        step: int,
        generator: torch.Generator,
    ) -> dict[str, Tensor]: ...


def picture_losses_alone(
    network: nn.Module, batch: dict[str, Any], picture_losses: LossesOfPictures, step: int, generator: torch.Generator
) -> dict[str, Tensor]:
    """The picture losses of the restored batch: the losses of a network that has no loss of its own.

    Raises ConfigError for a network that returns anything but pictures of the size that it was given.
    """
    restored, wanted = network(batch["lq"]), batch["gt"].shape
    if not isinstance(restored, Tensor) or restored.shape != wanted:
        returned = tuple(restored.shape) if isinstance(restored, Tensor) else type(restored).__name__
        raise ConfigError(
            f"{type(network).__name__} returned {returned} for pictures {tuple(batch['lq'].shape)}; a network named in ARCHITECTURES in "
            f"mperceiver/models/baselines/__init__.py returns pictures of the same size, {tuple(wanted)}"
        )
    return picture_losses(restored, batch["gt"], step)


def unchanged(network: nn.Module, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of another run of the same architecture, as they are."""
    return state


@dataclass(frozen=True)
class Architecture:
    """A baseline's entry in ARCHITECTURES."""

    # (**arguments of the run) -> untrained network, which maps (B, 3, H, W) in [0, 1] to the same shape.
    build: Callable[..., nn.Module]
    # Pixels. Each side of the network's input must be a multiple of this number; pictures are padded to it.
    multiple: int
    # Pixels. Each side of the network's input must be at least this long.
    minimum: int = 1
    losses: LossesOfBatch = picture_losses_alone
    # What ``losses`` needs of a batch beside "lq" and "gt". "task": the index of each picture's degradation among the run's
    # tasks, int64 (B,). "one_task": that all pictures of a batch are of one task. "second_view": another random crop of each
    # degraded picture, (B, 3, h, w). "clip_view": lq and gt as the foundation's CLIP wants them, "clip_view" and
    # "clip_view_gt", (B, 3, s, s).
    needs: frozenset[Literal["task", "one_task", "second_view", "clip_view"]] = frozenset()
    # Name of the argument of ``build`` that is the number of the run's tasks.
    count: str | None = None
    # Makes this network's tensors from those of the run that `start_from` names.
    adopt: Adopt = unchanged
    # (network, multiple, device, minimum, the run's tasks) -> what restores with the trained network.
    restorer: Callable[[Any, int, torch.device | str, int, Sequence[str]], Restorer] = plain
