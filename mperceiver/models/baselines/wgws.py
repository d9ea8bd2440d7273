"""WGWS-Net (Zhu et al., CVPR 2023): weights general to all kinds of weather, and banks of weights specific to one kind.

Written from the paper. Parameter names and shapes are those of the published checkpoints, so that one loads strictly. Stage 1
(``banks=0``) trains the general weights; stage 2 freezes them and trains the banks, one kind of degradation at a time.
"""

from dataclasses import dataclass
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mperceiver.models.baselines.architecture import LossesOfPictures

INDICATOR = 0.15  # a bank's indicator at the start
THRESHOLD = 0.1  # below it a bank is switched off
SPARSITY = 0.008 / 1000  # weight of the sum of the indicators' magnitudes


@dataclass(frozen=True)
class Banks:
    """How many banks a convolution has beside its general weights, and the side of their kernels in pixels."""

    number: int
    kernel: int


class BankedConv(nn.Conv2d):
    """A frozen convolution without bias, and the banks' residual kernels: B1_residual with B1_indicator, B2_residual, …

    The kernels that a flag switches on are added to the general one before the convolution; a smaller kernel is added at its centre.
    """

    def __init__(self, channels_in: int, channels: int, kernel: int, stride: int, banks: Banks) -> None:
        super().__init__(channels_in, channels, kernel, stride, kernel // 2, bias=False)
        side = min(kernel, banks.kernel)
        self.margin = (kernel - side) // 2
        self.weight.requires_grad_(False)
        for number in range(1, banks.number + 1):
            self.register_parameter(f"B{number}_residual", nn.Parameter(torch.zeros(channels, channels_in, side, side)))
            self.register_parameter(f"B{number}_indicator", nn.Parameter(torch.full((1,), INDICATOR)))

    def forward(self, x: Tensor, flag: Tensor | None = None) -> Tensor:
        """(B, C_in, H, W) -> (B, C, H / stride, W / stride). ``flag``: a weight for each bank (banks,); None: the general weights alone."""
        kernel = self.weight
        if flag is not None:
            for number, on in enumerate(flag, 1):
                indicator = self.get_parameter(f"B{number}_indicator")
                # 0 or 1 going forward; the gradient passes as if there were no threshold.
                switch = (indicator >= THRESHOLD).to(indicator.dtype) + indicator - indicator.detach()
                residual = self.get_parameter(f"B{number}_residual")
                kernel = kernel + on * switch * F.pad(residual, [self.margin] * 4)
        return F.conv2d(x, kernel, None, self.stride, self.padding)


class Conv(nn.Module):
    """A convolution, banked in stage 2 unless it is transposed, with or without GELU."""

    def __init__(
        self, channels_in: int, channels: int, kernel: int, banks: Banks, stride: int = 1, gelu: bool = True
    ) -> None:
        super().__init__()
        self.gelu = gelu
        self.layer: nn.Module = (
            BankedConv(channels_in, channels, kernel, stride, banks)
            if banks.number
            else nn.Conv2d(channels_in, channels, kernel, stride, kernel // 2)
        )

    def forward(self, x: Tensor, flag: Tensor | None) -> Tensor:
        x = self.layer(x, flag) if isinstance(self.layer, BankedConv) else self.layer(x)
        return F.gelu(x) if self.gelu else x


class UpConv(nn.Module):
    """A transposed convolution to twice the side, then GELU; it has no banks."""

    def __init__(self, channels_in: int, channels: int) -> None:
        super().__init__()
        self.layer = nn.ConvTranspose2d(channels_in, channels, 4, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        return F.gelu(self.layer(x))


class DenseConv(nn.Module):
    """(B, C_in, H, W) -> (B, C_in + C, H, W): the input and what a 3x3 convolution makes of it."""

    def __init__(self, channels_in: int, channels: int, banks: Banks) -> None:
        super().__init__()
        self.conv = Conv(channels_in, channels, 3, banks)

    def forward(self, x: Tensor, flag: Tensor | None) -> Tensor:
        return torch.cat([x, self.conv(x, flag)], 1)


class DenseBlock(nn.Module):
    """Residual dense block of three convolutions: (B, C, H, W) -> the same."""

    def __init__(self, channels: int, banks: Banks) -> None:
        super().__init__()
        self.conv0, self.conv1, self.conv2 = (DenseConv(channels * (1 + k), channels, banks) for k in range(3))
        self.LFF = Conv(4 * channels, channels, 1, banks, gelu=False)

    def forward(self, x: Tensor, flag: Tensor | None) -> Tensor:
        dense = self.conv2(self.conv1(self.conv0(x, flag), flag), flag)
        return x + self.LFF(dense, flag)


class Level(nn.Module):
    """Dense blocks in a row, at one resolution."""

    def __init__(self, channels: int, blocks: int, banks: Banks) -> None:
        super().__init__()
        self.names = [f"layer{number}" for number in range(1, blocks + 1)]
        for name in self.names:
            self.add_module(name, DenseBlock(channels, banks))

    def forward(self, x: Tensor, flag: Tensor | None) -> Tensor:
        for name in self.names:
            x = self.get_submodule(name)(x, flag)
        return x


class Fusion(nn.Module):
    """Asymmetric feature fusion: the three levels' features, at one resolution -> (B, C, H, W)."""

    def __init__(self, channels_in: int, channels: int, banks: Banks) -> None:
        super().__init__()
        self.conv1 = Conv(channels_in, channels, 1, banks)
        self.conv2 = Conv(channels, channels, 3, banks, gelu=False)

    def forward(self, *levels_and_flag: Tensor | None) -> Tensor:
        *levels, flag = levels_and_flag
        return self.conv2(self.conv1(torch.cat(cast("list[Tensor]", levels), 1), flag), flag)


class ShallowConvs(nn.Module):
    """Features of the picture at a smaller size: (B, 3, H, W) -> (B, C, H, W)."""

    def __init__(self, channels: int, banks: Banks) -> None:
        super().__init__()
        quarter, half = channels // 4, channels // 2
        self.layer1 = Conv(3, quarter, 3, banks)
        self.layer2 = Conv(quarter, half, 1, banks)
        self.layer3 = Conv(half, half, 3, banks)
        self.layer4 = Conv(half, channels - 3, 1, banks)
        self.conv = Conv(channels, channels, 1, banks, gelu=False)

    def forward(self, picture: Tensor, flag: Tensor | None) -> Tensor:
        x = picture
        for layer in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = layer(x, flag)
        return self.conv(torch.cat([picture, x], 1), flag)


class Attend(nn.Module):
    """Feature attention: a level's features, and those of the smaller picture."""

    def __init__(self, channels: int, banks: Banks) -> None:
        super().__init__()
        self.merge = Conv(channels, channels, 3, banks, gelu=False)

    def forward(self, x: Tensor, small: Tensor, flag: Tensor | None) -> Tensor:
        return x + self.merge(x * small, flag)


class WGWSNet(nn.Module):
    """(B, 3, H, W) in [0, 1], sides multiples of 4 -> the restored picture, the same shape, not clamped.

    Args:
        width: channels at full resolution; twice and four times as many at the two smaller ones.
        blocks: residual dense blocks of each level.
        banks: kinds of degradation with weights of their own; 0 for stage 1.
        bank_kernel: side of the banks' kernels, 1 (K1) or 3 (K3).
    """

    def __init__(self, width: int = 18, blocks: int = 6, banks: int = 0, bank_kernel: int = 1) -> None:
        super().__init__()
        self.banks = banks
        bank = Banks(banks, bank_kernel)
        one, two, four = width, 2 * width, 4 * width
        self.Encoder = nn.ModuleList(Level(channels, blocks, bank) for channels in (one, two, four))
        self.feat_extract = nn.ModuleList(
            [
                Conv(3, one, 3, bank),
                Conv(one, two, 3, bank, stride=2),
                Conv(two, four, 3, bank, stride=2),
                UpConv(four, two),
                UpConv(two, one),
                Conv(one, 3, 3, bank, gelu=False),
            ]
        )
        self.Decoder = nn.ModuleList(Level(channels, blocks, bank) for channels in (four, two, one))
        self.Convs = nn.ModuleList([Conv(four, two, 1, bank), Conv(two, one, 1, bank)])
        self.AFFs = nn.ModuleList(Fusion(7 * width, channels, bank) for channels in (one, two, four))
        self.FAM1, self.SCM1 = Attend(four, bank), ShallowConvs(four, bank)
        self.FAM2, self.SCM2 = Attend(two, bank), ShallowConvs(two, bank)

    def forward(self, picture: Tensor, flags: Tensor | None = None) -> Tensor:
        """Restore pictures with the weights of their banks.

        Args:
            picture: (B, 3, H, W).
            flags: the weight of each bank for each picture, (B, banks), or for all pictures, float (banks,); or the number of
                each picture's bank, int64 (B,); None for the general weights alone.
        """
        if flags is None or not self.banks:
            return self._restored(picture, None)
        if flags.ndim == 1 and flags.is_floating_point():
            return self._restored(picture, flags)
        if flags.ndim == 1:
            flags = F.one_hot(flags, self.banks).to(picture.dtype)
        kinds, kind_of = flags.unique(dim=0, return_inverse=True)
        if len(kinds) == 1:
            return self._restored(picture, kinds[0])
        restored = torch.empty_like(picture)
        for number, flag in enumerate(kinds):
            restored[kind_of == number] = self._restored(picture[kind_of == number], flag)
        return restored

    def _restored(self, picture: Tensor, flag: Tensor | None) -> Tensor:
        half = F.interpolate(picture, scale_factor=0.5)
        quarter = F.interpolate(half, scale_factor=0.5)
        level1 = self.Encoder[0](self.feat_extract[0](picture, flag), flag)
        level2 = self.FAM2(self.feat_extract[1](level1, flag), self.SCM2(half, flag), flag)
        level2 = self.Encoder[1](level2, flag)
        level4 = self.FAM1(self.feat_extract[2](level2, flag), self.SCM1(quarter, flag), flag)
        level4 = self.Encoder[2](level4, flag)

        level4_half = F.interpolate(level4, scale_factor=2)
        x = self.AFFs[2](
            F.interpolate(level1, scale_factor=0.25), F.interpolate(level2, scale_factor=0.5), level4, flag
        )
        skip2 = self.AFFs[1](F.interpolate(level1, scale_factor=0.5), level2, level4_half, flag)
        skip1 = self.AFFs[0](
            level1, F.interpolate(level2, scale_factor=2), F.interpolate(level4_half, scale_factor=2), flag
        )
        x = self.feat_extract[3](self.Decoder[0](x, flag))
        x = self.Decoder[1](self.Convs[0](torch.cat([x, skip2], 1), flag), flag)
        x = self.feat_extract[4](x)
        x = self.Decoder[2](self.Convs[1](torch.cat([x, skip1], 1), flag), flag)
        return picture + self.feat_extract[5](x, flag)

    def indicators(self) -> list[nn.Parameter]:
        """The banks' indicators, one of each bank of each convolution."""
        return [parameter for name, parameter in self.named_parameters() if name.endswith("_indicator")]


def general(width: int = 18, blocks: int = 6) -> WGWSNet:
    """The network of stage 1: the general weights alone, each convolution with a bias."""
    return WGWSNet(width, blocks)


def losses(
    network: nn.Module, batch: dict[str, Any], picture_losses: LossesOfPictures, step: int, generator: torch.Generator
) -> dict[str, Tensor]:
    """Stage 2: the run's picture losses + SPARSITY * the sum of |indicator| over the banks that the batch uses.

    The published loss has the indicators of all banks. Here a bank is left alone while another task is trained, so that a
    few-shot run of a new task does not switch the others off.
    """
    parts = picture_losses(network(batch["lq"], batch["task"]), batch["gt"], step)
    used = {f"B{number + 1}_indicator" for number in batch["task"].unique().tolist()}
    indicators: list[Tensor] = [p for name, p in network.named_parameters() if name.rpartition(".")[2] in used]
    sparsity = torch.cat(indicators).abs().sum()
    return parts | {"loss": parts["loss"] + SPARSITY * sparsity, "loss_sparsity": sparsity}


def adopt(network: nn.Module, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Stage 2's tensors, made from those of stage 1 or of a stage 2 with fewer banks. New banks are as they are in ``network``.

    The biases of stage 1's convolutions are dropped where the banked ones have none, as in the published training.
    """
    own = network.state_dict()
    new = {
        name: tensor for name, tensor in own.items() if name.rpartition(".")[2].startswith("B") and name not in state
    }
    dropped = {name for name in state if name.endswith(".layer.bias") and name not in own}
    return new | {name: tensor for name, tensor in state.items() if name not in dropped}
