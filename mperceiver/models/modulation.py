"""AdaIN modulation of the frozen U-Net's residual blocks by the IR-Adapter's features (Eq. 5, Fig. 3)."""

import torch
from torch import Tensor, nn

from mperceiver.config.runs import ModelConfig
from mperceiver.models.given import Given


class Modulator(nn.Module):
    """gamma * Norm(f) + beta on the output of one residual block's second convolution, before its shortcut is added.

    Modes: ``release`` (the authors' code: Conv-ReLU, then the gamma and beta convolutions, Norm(f)(1 + gamma) + beta);
    ``release_zero`` (Fig. 3: the first convolution starts at zero and no activation follows it, since a ReLU behind a zero
    convolution never learns); ``identity_gate`` (ours, for small budgets: a gate that starts at zero leaves the U-Net as
    it is).
    """

    def __init__(self, width: int, feature_width: int, hidden: int, groups: int, mode: str) -> None:
        super().__init__()
        self.mode = mode
        self.norm = nn.GroupNorm(groups, width, eps=1e-5)
        self.shared = nn.Conv2d(feature_width, hidden, 3, padding=1)
        self.gamma = nn.Conv2d(hidden, width, 3, padding=1)
        self.beta = nn.Conv2d(hidden, width, 3, padding=1)
        if mode == "release_zero":
            for tensor in (self.shared.weight, self.shared.bias, self.gamma.bias, self.beta.bias):
                nn.init.zeros_(tensor)
        if mode == "identity_gate":
            self.gate = nn.Parameter(torch.zeros(width, 1, 1))

    def forward(self, x: Tensor, feature: Tensor) -> Tensor:
        """(B, C, H, W), (B, C_f, H, W) -> (B, C, H, W)."""
        h = self.shared(feature)
        if self.mode != "release_zero":
            h = h.relu()
        with torch.autocast(x.device.type, enabled=False):  # norms in single precision
            normed = self.norm(x.float())
        out = (normed * (1 + self.gamma(h)) + self.beta(h)).to(x.dtype)
        return x + self.gate * (out - x) if self.mode == "identity_gate" else out


class Modulation(nn.Module):
    """One modulator for each residual block of a U-Net, found by scale (not by width): 22 in SD 2.1, split 5/5/5/7."""

    def __init__(self, unet: nn.Module, spec: ModelConfig) -> None:
        super().__init__()
        self.scales = residual_blocks(unet)
        self.modulators = nn.ModuleDict(
            {
                name.replace(".", "_"): Modulator(
                    unet.get_submodule(name).conv2.out_channels,
                    spec.ir_feature_width,
                    spec.modulator_hidden,
                    unet.config.norm_num_groups,
                    spec.modulation,
                )
                for name in self.scales
            }
        )
        self.given = Given()  # the features

    def attach(self, unet: nn.Module) -> None:
        """Hook the modulators into ``unet``; they act while features are given."""
        for name, scale in self.scales.items():
            unet.get_submodule(name).conv2.register_forward_hook(self._hook(name.replace(".", "_"), scale))

    def _hook(self, key: str, scale: int):
        def modulate(module: nn.Module, inputs: tuple, output: Tensor) -> Tensor:
            features = self.given.value
            return output if features is None else self.modulators[key](output, features[scale])

        return modulate

    def forward(self, unet: nn.Module, features: list[Tensor], *arguments: Tensor) -> Tensor:
        """Run ``unet(*arguments)`` modulated by ``features``, finest first; afterwards it is the stock U-Net again."""
        with self.given(features):
            return unet(*arguments).sample


def residual_blocks(unet: nn.Module) -> dict[str, int]:
    """Name of each residual block of a UNet2DConditionModel -> its scale, 0 = the latent's own resolution."""
    last = len(unet.config.block_out_channels) - 1
    found = {}
    for i, block in enumerate(unet.down_blocks):
        found |= {f"down_blocks.{i}.resnets.{j}": i for j in range(len(block.resnets))}
    found |= {f"mid_block.resnets.{j}": last for j in range(len(unet.mid_block.resnets))}
    for i, block in enumerate(unet.up_blocks):
        found |= {f"up_blocks.{i}.resnets.{j}": last - i for j in range(len(block.resnets))}
    return found
