"""AirNet (Li et al., CVPR 2022, doi:10.1109/CVPR52688.2022.01693): a contrastive degradation encoder guides a restorer.

Written from the paper. Parameter names and shapes are those of the published checkpoints, so that one loads strictly. The
length of the encoder's queue depends on the batch it was trained with; ``training.published.convert`` reads it from the checkpoint.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, distributed, nn
from torchvision.ops import deform_conv2d

from mperceiver.models.baselines.architecture import LossesOfPictures
from mperceiver.models.blocks import start_at_zero

SLOPE = 0.1  # of every leaky ReLU
MOMENTUM = 0.999  # of the key encoder
TEMPERATURE = 0.07  # of the contrastive loss
ENCODER_SHARE = 0.1  # weight of the contrastive loss beside the picture losses


class ResidualBlock(nn.Module):
    """Two convolutions with batch norms beside a 1x1 shortcut: (B, C_in, H, W) -> (B, C, H / stride, W / stride)."""

    def __init__(self, channels_in: int, channels: int, stride: int) -> None:
        super().__init__()
        self.backbone = nn.Sequential(
            nn.Conv2d(channels_in, channels, 3, stride, 1, bias=False),
            nn.BatchNorm2d(channels),
            nn.LeakyReLU(SLOPE, inplace=True),
            nn.Conv2d(channels, channels, 3, 1, 1, bias=False),
            nn.BatchNorm2d(channels),
        )
        self.shortcut = nn.Sequential(nn.Conv2d(channels_in, channels, 1, stride, bias=False), nn.BatchNorm2d(channels))

    def forward(self, x: Tensor) -> Tensor:
        return F.leaky_relu(self.backbone(x) + self.shortcut(x), SLOPE)


class DegradationEncoder(nn.Module):
    """(B, 3, H, W) -> the degradation map (B, C, H, W) and the embedding (B, 4 C) that the contrastive loss compares."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.E_pre = ResidualBlock(3, channels, 1)
        self.E = nn.Sequential(
            ResidualBlock(channels, 2 * channels, 2),
            ResidualBlock(2 * channels, 4 * channels, 2),
            nn.AdaptiveAvgPool2d(1),
        )
        self.mlp = nn.Sequential(
            nn.Linear(4 * channels, 4 * channels), nn.LeakyReLU(SLOPE), nn.Linear(4 * channels, 4 * channels)
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        degradation = self.E_pre(x)
        return degradation, F.normalize(self.mlp(self.E(degradation).flatten(1)), dim=1)


class MomentumContrast(nn.Module):
    """MoCo (He et al., CVPR 2020) of the degradation encoder: embeddings of two views of a picture agree, those of earlier pictures differ."""

    queue: Tensor
    queue_ptr: Tensor

    def __init__(self, channels: int, queue: int) -> None:
        super().__init__()
        self.encoder_q, self.encoder_k = DegradationEncoder(channels), DegradationEncoder(channels)
        self.encoder_k.load_state_dict(self.encoder_q.state_dict())
        self.encoder_k.requires_grad_(False)
        self.register_buffer("queue", F.normalize(torch.randn(4 * channels, queue), dim=0))
        self.register_buffer("queue_ptr", torch.zeros(1, dtype=torch.long))

    def forward(self, query: Tensor, key: Tensor) -> tuple[Tensor, Tensor]:
        """Two views (B, 3, H, W) of each picture -> the query's degradation map, and logits (B, 1 + queue) whose class 0 is the right one."""
        degradation, embedding = self.encoder_q(query)
        with torch.no_grad():
            self._follow()
            positive = self.encoder_k(key)[1]
        negatives = embedding @ self.queue.clone()
        logits = torch.cat([(embedding * positive).sum(1, keepdim=True), negatives], 1) / TEMPERATURE
        self._remember(positive)
        return degradation, logits

    @torch.no_grad()
    def _follow(self) -> None:
        """The key encoder moves a little towards the query encoder, before it is used."""
        for own, other in zip(self.encoder_k.parameters(), self.encoder_q.parameters(), strict=True):
            own.lerp_(other, 1 - MOMENTUM)

    @torch.no_grad()
    def _remember(self, keys: Tensor) -> None:
        """Put the keys (B, 4 C) of all processes into the queue, in place of the oldest ones."""
        if distributed.is_available() and distributed.is_initialized():
            gathered = [torch.empty_like(keys) for _ in range(distributed.get_world_size())]
            distributed.all_gather(gathered, keys.contiguous())
            keys = torch.cat(gathered)
        length = self.queue.shape[1]
        at = (self.queue_ptr + torch.arange(len(keys), device=keys.device)) % length
        self.queue[:, at] = keys.T.to(self.queue.dtype)
        self.queue_ptr.copy_((self.queue_ptr + len(keys)) % length)


class Encoder(nn.Module):
    """Contrastive-based degraded encoder (CBDE, section 3.2)."""

    def __init__(self, channels: int, queue: int) -> None:
        super().__init__()
        self.E = MomentumContrast(channels, queue)


class GuidedDeformableConv(nn.Module):
    """Modulated deformable 3x3 convolution whose offsets and mask come from features and degradation map together."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(channels, channels, 3, 3))
        nn.init.kaiming_uniform_(self.weight, a=5**0.5)
        self.conv_offset_mask = nn.Conv2d(2 * channels, 27, 3, padding=1)
        start_at_zero(self.conv_offset_mask)

    def forward(self, x: Tensor, degradation: Tensor) -> Tensor:
        offset, mask = self.conv_offset_mask(torch.cat([x, degradation], 1)).split((18, 9), dim=1)
        return deform_conv2d(x, offset.contiguous(), self.weight, padding=1, mask=mask.sigmoid())


class FeatureTransform(nn.Module):
    """Spatial feature transform: the degradation map gives a scale and a shift for each pixel of the features."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv_gamma, self.conv_beta = (
            nn.Sequential(
                nn.Conv2d(channels, channels, 1, bias=False),
                nn.LeakyReLU(SLOPE),
                nn.Conv2d(channels, channels, 1, bias=False),
            )
            for _ in range(2)
        )

    def forward(self, x: Tensor, degradation: Tensor) -> Tensor:
        return x * self.conv_gamma(degradation) + self.conv_beta(degradation)


class GuidedModule(nn.Module):
    """Degradation-guided module (DGM, section 3.3)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.dcn, self.sft = GuidedDeformableConv(channels), FeatureTransform(channels)

    def forward(self, x: Tensor, degradation: Tensor) -> Tensor:
        return x + self.dcn(x, degradation) + self.sft(x, degradation)


class GuidedBlock(nn.Module):
    """Degradation-guided block (DGB): two guided modules, each before a convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.dgm1, self.dgm2 = GuidedModule(channels), GuidedModule(channels)
        self.conv1, self.conv2 = (nn.Conv2d(channels, channels, 3, padding=1) for _ in range(2))

    def forward(self, x: Tensor, degradation: Tensor) -> Tensor:
        y = F.leaky_relu(self.dgm1(x, degradation), SLOPE)
        y = F.leaky_relu(self.conv1(y), SLOPE)
        y = F.leaky_relu(self.dgm2(y, degradation), SLOPE)
        return x + self.conv2(y)


class GuidedGroup(nn.Module):
    """Degradation-guided group (DGG): blocks, a convolution, and the group's input added."""

    def __init__(self, channels: int, blocks: int) -> None:
        super().__init__()
        self.body = nn.ModuleList(
            [*(GuidedBlock(channels) for _ in range(blocks)), nn.Conv2d(channels, channels, 3, padding=1)]
        )

    def forward(self, x: Tensor, degradation: Tensor) -> Tensor:
        y = x
        for block in self.body[:-1]:
            y = block(y, degradation)
        return x + self.body[-1](y)


class GuidedNetwork(nn.Module):
    """Degradation-guided restoration network (DGRN): (B, 3, H, W) and the degradation map -> (B, 3, H, W)."""

    def __init__(self, channels: int, groups: int, blocks: int) -> None:
        super().__init__()
        self.head = nn.Sequential(nn.Conv2d(3, channels, 3, padding=1))
        self.body = nn.ModuleList(
            [*(GuidedGroup(channels, blocks) for _ in range(groups)), nn.Conv2d(channels, channels, 3, padding=1)]
        )
        self.tail = nn.Sequential(nn.Conv2d(channels, 3, 3, padding=1))

    def forward(self, x: Tensor, degradation: Tensor) -> Tensor:
        first = self.head(x)
        y = first
        for group in self.body[:-1]:
            y = group(y, degradation)
        return self.tail(first + self.body[-1](y))


class AirNet(nn.Module):
    """(B, 3, H, W) in [0, 1], of any size -> the restored picture, the same shape, not clamped.

    Args:
        width: channels of the restorer and of the degradation map.
        groups, blocks: guided groups, and guided blocks in each.
        queue: embeddings of earlier pictures that the contrastive loss compares with.
        encoder_steps: training steps at the start in which the encoder learns alone.
    """

    def __init__(
        self, width: int = 64, groups: int = 5, blocks: int = 5, queue: int = 1280, encoder_steps: int = 0
    ) -> None:
        super().__init__()
        self.R = GuidedNetwork(width, groups, blocks)
        self.E = Encoder(width, queue)
        self.encoder_steps = encoder_steps

    def forward(self, x: Tensor, second_view: Tensor | None = None, step: int = 0) -> Any:
        """The restored picture; in training (with ``second_view``, another crop of each picture) also the encoder's logits.

        While the encoder learns alone, None stands in place of the restored picture.
        """
        if second_view is None:
            return self.R(x, self.E.E.encoder_q.E_pre(x))
        degradation, logits = self.E.E(x, second_view)
        return (None if step < self.encoder_steps else self.R(x, degradation)), logits


def losses(
    network: nn.Module, batch: dict[str, Any], picture_losses: LossesOfPictures, step: int, generator: torch.Generator
) -> dict[str, Tensor]:
    """The contrastive loss alone for ``encoder_steps`` steps; then the picture losses + ENCODER_SHARE * the contrastive loss (Eq. 8)."""
    restored, logits = network(batch["lq"], batch["second_view"], step)
    contrastive = F.cross_entropy(logits, torch.zeros(len(logits), dtype=torch.long, device=logits.device))
    if restored is None:
        return {"loss": contrastive, "loss_contrastive": contrastive}
    parts = picture_losses(restored, batch["gt"], step)
    return parts | {"loss": parts["loss"] + ENCODER_SHARE * contrastive, "loss_contrastive": contrastive}
