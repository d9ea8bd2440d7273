"""AdaIN modulation of the frozen U-Net's residual blocks by the features of the IR-Adapter (Eq. 5, Fig. 3)."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal, cast

import torch
from torch import Tensor, nn

from mperceiver.config.modules import ModelConfig
from mperceiver.models.blocks import start_at_zero
from mperceiver.models.hooks import HookValue

if TYPE_CHECKING:
    from diffusers import UNet2DConditionModel

Mode = Literal["release", "release_zero", "identity_gate"]


class Modulator(nn.Module):
    """gamma * Norm(f) + beta on the output of a residual block's second convolution, before the shortcut is added (Eq. 5).

    Modes:
        release: as in the authors' code. Conv-ReLU, then a convolution each for gamma and beta; Norm(f) (1 + gamma) + beta.
        release_zero: as in Fig. 3. The first convolution is zero before training, and no ReLU follows it, because a ReLU
            behind a zero convolution gets no gradient.
        identity_gate: ours, for small budgets. The modulation passes through a gate that is zero before training, so that the
            U-Net begins as it was pre-trained.
    """

    def __init__(self, width: int, feature_width: int, hidden: int, groups: int, mode: Mode) -> None:
        super().__init__()
        self.mode = mode
        self.norm = nn.GroupNorm(groups, width, eps=1e-5)
        self.shared = nn.Conv2d(feature_width, hidden, 3, padding=1)
        self.gamma = nn.Conv2d(hidden, width, 3, padding=1)
        self.beta = nn.Conv2d(hidden, width, 3, padding=1)
        if mode == "release_zero":
            start_at_zero(self.shared)
            for layer in (self.gamma, self.beta):
                nn.init.zeros_(cast(Tensor, layer.bias))
        if mode == "identity_gate":
            self.gate = nn.Parameter(torch.zeros(width, 1, 1))

    def forward(self, x: Tensor, feature: Tensor) -> Tensor:
        """The convolution's output (B, C, H, W), f_k (B, C_f, H, W) -> (B, C, H, W)."""
        h = self.shared(feature)
        if self.mode != "release_zero":
            h = h.relu()
        with torch.autocast(x.device.type, enabled=False):  # the norm in single precision
            normed = self.norm(x.float())
        out = (normed * (1 + self.gamma(h)) + self.beta(h)).to(x.dtype)
        return x + self.gate * (out - x) if self.mode == "identity_gate" else out


class Modulation(nn.Module):
    """A modulator for each residual block of a U-Net: 22 in SD 2.1, of which the four scales have 5, 5, 5 and 7."""

    def __init__(self, unet: "UNet2DConditionModel", spec: ModelConfig) -> None:
        super().__init__()
        self.scales = residual_blocks(unet)
        self.modulators = nn.ModuleDict(
            {
                _key(name): Modulator(
                    _second_convolution(unet, name).out_channels,
                    spec.ir_feature_width,
                    spec.modulator_hidden,
                    unet.config["norm_num_groups"],
                    spec.modulation,
                )
                for name in self.scales
            }
        )
        self.steering: HookValue[list[Tensor]] = HookValue()  # f_1..f_4

    def attach(self, unet: "UNet2DConditionModel") -> None:
        """Hook the modulators into ``unet``. They act while ``steering`` is set."""
        for name, scale in self.scales.items():
            _second_convolution(unet, name).register_forward_hook(self._hook(_key(name), scale))

    def _hook(self, key: str, scale: int) -> Callable[[nn.Module, tuple, Tensor], Tensor]:
        def modulate(module: nn.Module, inputs: tuple, output: Tensor) -> Tensor:
            features = self.steering.value
            return output if features is None else self.modulators[key](output, features[scale])

        return modulate

    def forward(self, unet: "UNet2DConditionModel", features: list[Tensor], *arguments: Tensor) -> Tensor:
        """Run ``unet(*arguments)``, modulated by ``features`` (finest scale first). Afterwards it is the stock U-Net again."""
        with self.steering.set_to(features):
            return unet(*arguments).sample


def residual_blocks(unet: "UNet2DConditionModel") -> dict[str, int]:
    """Name of each residual block of ``unet`` -> its scale, 0 = the latent's own resolution."""
    last = len(unet.config["block_out_channels"]) - 1
    scales: dict[str, int] = {}
    for i, block in enumerate(unet.down_blocks):
        scales |= {f"down_blocks.{i}.{name}": i for name in _resnets(block)}
    scales |= {f"mid_block.{name}": last for name in _resnets(cast(nn.Module, unet.mid_block))}
    for i, block in enumerate(unet.up_blocks):
        scales |= {f"up_blocks.{i}.{name}": last - i for name in _resnets(block)}
    return scales


def _resnets(block: nn.Module) -> list[str]:
    return [f"resnets.{j}" for j in range(len(cast(nn.ModuleList, block.resnets)))]


def _second_convolution(unet: "UNet2DConditionModel", name: str) -> nn.Conv2d:
    return cast(nn.Conv2d, unet.get_submodule(name).conv2)


def _key(name: str) -> str:
    """The key of a residual block's modulator: a ModuleDict takes no dots."""
    return name.replace(".", "_")
