"""Restoring with a trained baseline."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mperceiver.models.predictor import DegradationPredictor, estimate_degradations
from mperceiver.models.restorer import OnShare, unheard
from mperceiver.models.tiling import Tiles
from mperceiver.models.towers import Towers


class Network:
    """A trained baseline, ready to restore. It takes nothing from the whole picture and draws no random numbers."""

    batch = 8
    sees = ("lq",)
    tasks: Sequence[str] = ()

    def __init__(self, network: nn.Module, multiple: int, device: torch.device | str, minimum: int = 1) -> None:
        self.network, self.device = network.to(device), device
        self.multiple, self.minimum = multiple, minimum
        self.on_share: OnShare = unheard

    def look(self, whole: Tensor, tasks: Sequence[str] = ()) -> None:
        return None

    @torch.no_grad()
    def restore(self, whole: Tensor, seen: None, seeds: list[int], tiles: Tiles) -> Tensor:
        """Padded pictures (B, 3, H, W) in [0, 1] on the CPU -> restored pictures of the same shape and range, on the CPU."""
        restored = (self.network(part).clamp(0, 1) for part in tiles.cut(whole))
        return tiles.blend(restored, len(whole), whole.device, self.on_share)

    def modules(self) -> list[nn.Module]:
        return [self.network]

    @torch.no_grad()
    def probe(self, pictures: Tensor) -> None:
        """Run the network once on tiles (n, 3, h, w), so that the memory it takes can be counted."""
        self.network(pictures.to(self.device))


def plain(network: nn.Module, multiple: int, device: torch.device | str, minimum: int, tasks: Sequence[str]) -> Network:
    """The restorer of a network that knows no tasks."""
    return Network(network, multiple, device, minimum)


@dataclass
class Told:
    """The task of whole pictures, as it was given or predicted."""

    # Of the restorer's tasks (B, N): predicted; or 1 for the given task, and zeros if the run was not trained on it.
    probabilities: Tensor
    numbers: list[int | None]  # the index of each picture's task among the network's; None for the general weights
    clean: Tensor | None = None  # probability that nothing is wrong (B,), where a predictor tells it


class TaskNetwork:
    """A trained baseline that has weights for each task: ``network`` gets a flag (N,) for the given or the predicted task."""

    batch = 8
    sees = ("lq",)

    def __init__(
        self,
        network: nn.Module,
        multiple: int,
        device: torch.device | str,
        minimum: int,
        own_tasks: Sequence[str],
        predictor: tuple[Towers, DegradationPredictor, Sequence[str]] | None = None,
        clip_crop_px: int | None = None,
    ) -> None:
        """
        Args:
            own_tasks: the tasks that the network has weights for, in order.
            predictor: what estimates the task: a foundation, a predictor on its embeddings, and the predictor's tasks; None: the
                task is given with each picture.
            clip_crop_px: side of the crops that CLIP sees; None for the whole picture.
        """
        self.network, self.device, self.multiple, self.minimum = network.to(device), device, multiple, minimum
        self.own_tasks, self.predictor, self.clip_crop_px = list(own_tasks), predictor, clip_crop_px
        self.on_share: OnShare = unheard
        self.tasks = list(predictor[2]) if predictor else self.own_tasks

    @torch.no_grad()
    def look(self, whole: Tensor, tasks: Sequence[str] = ()) -> Told:
        """The task of each padded picture (B, 3, H, W); ``tasks``: where they are given, one for each picture."""
        if self.predictor:
            foundation, predictor, names = self.predictor
            estimate = estimate_degradations(foundation, predictor, whole, self.clip_crop_px)
            likeliest = [names[number] for number in estimate.probabilities.argmax(1).tolist()]
            return Told(estimate.probabilities, self._numbers(likeliest), estimate.clean)
        numbers = self._numbers(list(tasks) or [""] * len(whole))
        return Told(torch.stack([self._flag(number) for number in numbers]), numbers)

    def _numbers(self, tasks: Sequence[str]) -> list[int | None]:
        return [self.own_tasks.index(task) if task in self.own_tasks else None for task in tasks]

    def _flag(self, number: int | None) -> Tensor:
        flag = torch.zeros(len(self.own_tasks), device=self.device)
        if number is not None:
            flag[number] = 1
        return flag

    def _restored(self, part: Tensor, numbers: list[int | None]) -> Tensor:
        """A batch of tiles (n, 3, h, w), each with the weights of its task."""
        restored = torch.empty_like(part)
        for number in set(numbers):
            rows = [row for row, other in enumerate(numbers) if other == number]
            restored[rows] = self.network(part[rows], self._flag(number)).to(part.dtype)
        return restored.clamp(0, 1)

    @torch.no_grad()
    def restore(self, whole: Tensor, seen: Told, seeds: list[int], tiles: Tiles) -> Tensor:
        """Padded pictures (B, 3, H, W) in [0, 1] on the CPU -> restored pictures of the same shape and range, on the CPU."""
        batches = zip(tiles.cut(whole), tiles.owners(len(whole)), strict=True)
        restored = (self._restored(part, [seen.numbers[picture] for picture in pictures]) for part, pictures in batches)
        return tiles.blend(restored, len(whole), whole.device, self.on_share)

    def modules(self) -> list[nn.Module]:
        return [self.network, *((self.predictor[0].clip, self.predictor[1]) if self.predictor else ())]

    @torch.no_grad()
    def probe(self, pictures: Tensor) -> None:
        """Run the network once on tiles (n, 3, h, w), so that the memory it takes can be counted."""
        if self.predictor:
            foundation, predictor, _ = self.predictor
            estimate_degradations(foundation, predictor, pictures, self.clip_crop_px)
        self._restored(pictures.to(self.device), [0] * len(pictures))
