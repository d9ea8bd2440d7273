"""DA-CLIP (Luo et al., ICLR 2024, arXiv:2310.01018): a controller makes a frozen CLIP tell content and degradation apart, and
both steer a U-Net that reverses the diffusion of IR-SDE.

Written from the paper, with one difference, because the pictures here have no captions: the embedding of the content learns to
equal the frozen CLIP's embedding of the ground truth, and the embedding of the degradation learns to be near a learned one of its task.
"""

import contextlib
import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mperceiver.models.baselines.architecture import LossesOfPictures
from mperceiver.models.baselines.da_clip_unet import ConditionalUNet
from mperceiver.models.baselines.ir_sde import MeanRevertingDiffusion
from mperceiver.models.blocks import start_at_zero
from mperceiver.models.image_tower import ImageTower
from mperceiver.models.restorer import OnShare, unheard
from mperceiver.models.tiling import Tiles

TEMPERATURE = 0.07  # of both contrastive losses


class ZeroLinear(nn.Module):
    """A linear map over the channels that is zero before training: of tokens (B, N, C), or of a map (B, C, H, W)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.map = nn.Conv2d(channels, channels, 1)
        start_at_zero(self.map)

    def forward(self, x: Tensor) -> Tensor:
        if x.ndim == 4:
            return self.map(x)
        return F.linear(x, self.map.weight[:, :, 0, 0], self.map.bias)


def stages_of(tower: nn.Module) -> list[nn.Module]:
    """The parts of a CLIP's image tower that follow each other: a ViT's blocks, or the four stages of a ResNet."""
    if hasattr(tower, "transformer"):
        return list(cast(Any, tower).transformer.resblocks)
    return [cast(nn.Module, getattr(tower, f"layer{number}")) for number in range(1, 5)]


class Controller(nn.Module):
    """A trained copy of the frozen image tower. It returns the degradation's embedding, and adds to the frozen tower's features."""

    def __init__(self, clip: ImageTower) -> None:
        super().__init__()
        self.tower = copy.deepcopy(clip.tower).requires_grad_(True)
        view = torch.zeros(1, 3, clip.px, clip.px)
        with torch.no_grad(), outputs_of(stages_of(clip.tower)) as features:
            clip.tower(view)
        maps = [feature.ndim == 4 for feature in features]
        self.zero = nn.ModuleList(
            ZeroLinear(feature.shape[1 if is_map else -1]) for feature, is_map in zip(features, maps, strict=True)
        )
        # The last of the equal blocks of a ViT steers the first, as published. A ResNet's stages differ in size.
        self.reverse = not any(maps)

    def train(self, mode: bool = True) -> "Controller":
        """Set the mode. The tower's norms keep the statistics of its pre-training, since a batch has few pictures."""
        super().train(mode)
        self.tower.eval()
        return self

    def forward(self, clip: nn.Module, view: Tensor) -> tuple[Tensor, Tensor]:
        """CLIP's view of degraded pictures (B, 3, s, s) -> embeddings of content and degradation, (B, C) each."""
        with outputs_of(stages_of(self.tower)) as features:
            degradation = self.tower(view)
        controls = [zero(feature) for zero, feature in zip(self.zero, features, strict=True)]
        with added_to(stages_of(clip), controls[::-1] if self.reverse else controls):
            return clip(view), degradation


@contextlib.contextmanager
def outputs_of(modules: Sequence[nn.Module]) -> Iterator[list[Tensor]]:
    """Yield a list to which the modules' outputs are appended while the block runs."""
    outputs: list[Tensor] = []
    handles = [module.register_forward_hook(lambda _, __, output: outputs.append(output)) for module in modules]
    try:
        yield outputs
    finally:
        for handle in handles:
            handle.remove()


@contextlib.contextmanager
def added_to(modules: Sequence[nn.Module], controls: list[Tensor]) -> Iterator[None]:
    """While the block runs, add to each module's output its control, a tensor of the same shape."""
    handles = [
        module.register_forward_hook(lambda _, __, output, control=control: output + control)
        for module, control in zip(modules, controls, strict=True)
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


class DaClip(nn.Module):
    """Controller and U-Net around a frozen image tower, which is no part of its weights.

    Args:
        clip: the foundation's image tower.
        tasks: number of degradations that the controller learns to tell apart.
        width, multipliers: of the U-Net, see ConditionalUNet.
        steps: of the diffusion.
        predicts: what the U-Net predicts: noise, as published, or residual, the clean picture minus the degraded one. Both give the state one step
            before. An error in the noise is divided by the share of the clean picture that is left, 1/200 at the end of the diffusion.
        controller_steps: training steps at the start in which the controller learns alone; afterwards the U-Net does.
    """

    def __init__(
        self,
        clip: ImageTower,
        tasks: int,
        width: int = 64,
        multipliers: Sequence[int] = (1, 2, 4, 8),
        steps: int = 100,
        predicts: Literal["noise", "residual"] = "noise",
        controller_steps: int = 0,
    ) -> None:
        super().__init__()
        self.clip = [clip]  # in a list, because the frozen tower is no part of this module
        if predicts not in ("noise", "residual"):
            raise ValueError(f"predicts is {predicts!r}, allowed are 'noise' and 'residual'")
        self.predicts = predicts
        self.controller_steps = controller_steps
        self.diffusion = MeanRevertingDiffusion(steps)
        self.controller = Controller(clip)
        self.degradations = nn.Parameter(torch.randn(tasks, clip.width))
        self.unet = ConditionalUNet(width, multipliers, clip.width)

    def embeddings(self, view: Tensor) -> tuple[Tensor, Tensor]:
        """CLIP's view (B, 3, s, s) -> embeddings of content and degradation, (B, C) each."""
        return self.controller(self.clip[0].to(view.device).tower, view)

    def likeness(self, degradation: Tensor) -> Tensor:
        """Logits of the tasks (B, N) by an embedding of the degradation (B, C)."""
        return F.normalize(degradation, dim=1) @ F.normalize(self.degradations, dim=1).T / TEMPERATURE

    def forward(self, batch: dict[str, Tensor], step: int, generator: torch.Generator) -> dict[str, Tensor]:
        """The losses of a batch, by the names that the curve shows."""
        if step < self.controller_steps:
            return self._of_controller(batch)
        with torch.no_grad():
            content, degradation = self.embeddings(batch["clip_view"])
        gt, lq, diffusion = batch["gt"], batch["lq"], self.diffusion
        time = torch.randint(1, diffusion.steps + 1, (len(gt),), generator=generator, device=gt.device)
        noise = torch.randn(gt.shape, generator=generator, device=gt.device)
        time_on_cpu = time.cpu()
        state = diffusion.noised(gt, lq, time_on_cpu, noise)
        predicted = self.unet(state, lq, time.float(), degradation, content).float()
        wanted = diffusion.before(state, gt, lq, time_on_cpu)
        if self.predicts == "residual":
            expected = diffusion.before(state, lq + predicted, lq, time_on_cpu)
        else:
            expected = diffusion.expected(state, lq, time_on_cpu, predicted)
        return {"loss": (expected - wanted).abs().mean()}

    def clean(self, state: Tensor, lq: Tensor, time: Tensor, predicted: Tensor) -> Tensor:
        """The clean picture (B, 3, H, W) that follows from what the U-Net ``predicted`` at ``time`` (B,)."""
        return lq + predicted if self.predicts == "residual" else self.diffusion.clean(state, lq, time, predicted)

    def _of_controller(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        content, degradation = self.embeddings(batch["clip_view"])
        with torch.no_grad():
            clean = self.clip[0].to(content.device).tower(batch["clip_view_gt"])
        logits = F.normalize(content, dim=1) @ F.normalize(clean, dim=1).T / TEMPERATURE
        own = torch.arange(len(logits), device=logits.device)
        of_content = (F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)) / 2
        of_degradation = F.cross_entropy(self.likeness(degradation), batch["task"])
        return {
            "loss": of_content + of_degradation,
            "loss_content": of_content.detach(),
            "loss_degradation": of_degradation.detach(),
        }


def losses(
    network: nn.Module, batch: dict[str, Any], picture_losses: LossesOfPictures, step: int, generator: torch.Generator
) -> dict[str, Tensor]:
    """First the controller's contrastive losses alone; then IR-SDE's L1 between the means of the state one step before.

    The run's own picture losses are not used.
    """
    return network({name: batch[name] for name in ("lq", "gt", "task", "clip_view", "clip_view_gt")}, step, generator)


@dataclass
class Steering:
    """What the controller says of whole pictures."""

    content: Tensor  # (B, C)
    degradation: Tensor  # (B, C)
    probabilities: Tensor  # of the degradations (B, N)
    clean: None = None  # DA-CLIP has no class for pictures without a degradation


class DiffusionRestorer:
    """A trained DA-CLIP, ready to restore: the diffusion runs backwards on the whole picture, and its U-Net on tiles of it."""

    batch = 8
    sees = ("lq",)

    def __init__(
        self, network: DaClip, multiple: int, device: torch.device | str, minimum: int, tasks: Sequence[str]
    ) -> None:
        """As ``Architecture.restorer``. The U-Net's levels decide what the sides are multiples of, not ``multiple`` and ``minimum``."""
        self.network, self.device, self.tasks = network.to(device), device, tasks
        self.multiple = network.unet.multiple
        self.minimum = 2 * self.multiple
        self.on_share: OnShare = unheard

    @torch.no_grad()
    def look(self, whole: Tensor, tasks: Sequence[str] = ()) -> Steering:
        """The embeddings of padded pictures (B, 3, H, W) in [0, 1]."""
        content, degradation = self.network.embeddings(self.network.clip[0].view(whole).to(self.device))
        return Steering(content, degradation, self.network.likeness(degradation).softmax(1))

    @torch.no_grad()
    def restore(self, whole: Tensor, seen: Steering, seeds: list[int], tiles: Tiles) -> Tensor:
        """Padded pictures (B, 3, H, W) in [0, 1] on the CPU -> restored pictures of the same shape and range, on the CPU."""
        generators = [torch.Generator().manual_seed(seed % 2**63) for seed in seeds]
        diffusion, size = self.network.diffusion, whole.shape[1:]

        def draw() -> Tensor:
            return torch.stack([torch.randn(size, generator=generator) for generator in generators])

        state = whole + diffusion.max_sigma * draw()
        for step in range(diffusion.steps, 0, -1):
            batches = zip(tiles.cut(state), tiles.cut(whole), tiles.owners(len(whole)), strict=True)
            of_tiles = (self._predict(part, lq, step, seen, pictures) for part, lq, pictures in batches)
            predicted = tiles.blend(
                of_tiles, len(whole), whole.device, lambda share: self.on_share(share / diffusion.steps)
            )
            time = torch.full((len(whole),), step)
            clean = self.network.clean(state, whole, time, predicted)
            state = diffusion.before(state, clean, whole, time)
            if step > 1:
                state = state + diffusion.spread(time).to(state)[:, None, None, None] * draw()
        return state.clamp(0, 1)

    def _predict(self, state: Tensor, lq: Tensor, step: int, seen: Steering, pictures: list[int]) -> Tensor:
        time = torch.full((len(state),), float(step), device=state.device)
        return self.network.unet(state, lq, time, seen.degradation[pictures], seen.content[pictures])

    def modules(self) -> list[nn.Module]:
        return [self.network, self.network.clip[0].tower]

    @torch.no_grad()
    def probe(self, pictures: Tensor) -> None:
        """Do every kind of work once on tiles (n, 3, h, w), so that the memory it takes can be counted."""
        seen = self.look(pictures)
        parts = pictures.to(self.device)
        self._predict(parts, parts, 1, seen, list(range(len(parts))))
