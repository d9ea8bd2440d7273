"""LPIPS (Zhang et al., CVPR 2018; version 0.1), the network of the metric and of the perceptual loss of training.

Its weights are the foundations lpips-alex and lpips-vgg: the trunk, ImageNet's AlexNet or VGG16, as pickled NumPy arrays,
and the linear heads. Every weight is loaded strictly, since LPIPS with another trunk still gives small, plausible numbers.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from mperceiver import images
from mperceiver.config import lpips_foundation
from mperceiver.metrics.weights import WeightsError, read_arrays, read_tensors, weights_file


class Trunk(NamedTuple):
    """A classification network whose activations LPIPS compares."""

    groups: list[list[tuple[int, int, int, int]]]  # convolutions (channels, kernel, stride, padding) between two taps
    pooled: list[int]  # groups that follow a pooling
    pool: tuple[int, int]  # its kernel and stride
    side: int  # px, of the smallest picture
    key: str  # of the arrays in the trunk's file


TRUNKS = {
    "alex": Trunk(
        groups=[[(64, 11, 4, 2)], [(192, 5, 1, 2)], [(384, 3, 1, 1)], [(256, 3, 1, 1)], [(256, 3, 1, 1)]],
        pooled=[1, 2],
        pool=(3, 2),
        side=31,
        key="AlexNet_0",
    ),
    "vgg": Trunk(
        groups=[[(64, 3, 1, 1)] * 2, [(128, 3, 1, 1)] * 2, *[[(width, 3, 1, 1)] * 3 for width in (256, 512, 512)]],
        pooled=[1, 2, 3, 4],
        pool=(2, 2),
        side=16,
        key="VGG16_0",
    ),
}
TRUNK, HEADS = "trunk.ckpt", "heads.pth"  # files of the foundation
SHIFT, SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)  # of a picture in [-1, 1]


class Lpips(nn.Module):
    """LPIPS distance: two pictures (B, 3, H, W) in [0, 1], up to a restorer's overshoot -> (B,), float32, 0 for equal ones.

    Sides of at least 31 px (alex) or 16 px (vgg). Frozen; gradients flow to the pictures. The range is not checked: to read it
    from a GPU, a training would wait for the GPU at each step.
    """

    shift: Tensor
    scale: Tensor

    def __init__(self, net: str):
        super().__init__()
        trunk = TRUNKS[net]
        self.net, self.side = net, trunk.side
        self.groups, width = nn.ModuleList(), 3
        for number, convolutions in enumerate(trunk.groups):
            layers: list[nn.Module] = [nn.MaxPool2d(*trunk.pool)] if number in trunk.pooled else []
            for channels, kernel, stride, padding in convolutions:
                layers += [nn.Conv2d(width, channels, kernel, stride, padding), nn.ReLU(inplace=True)]
                width = channels
            self.groups.append(nn.Sequential(*layers))
        self.heads = nn.ParameterList(torch.empty(group[-1][0]) for group in trunk.groups)
        # x in [0, 1] -> (2x - 1 - shift) / scale
        self.register_buffer("shift", (1 + torch.tensor(SHIFT)).view(1, 3, 1, 1) / 2)
        self.register_buffer("scale", torch.tensor(SCALE).view(1, 3, 1, 1) / 2)

    def forward(self, restored: Tensor, target: Tensor) -> Tensor:
        """See the class. Raises PictureError for pictures of different or too small sizes."""
        if restored.shape != target.shape or min(target.shape[-2:]) < self.side:
            raise images.PictureError(
                f"LPIPS ({self.net}) needs two pictures of one size, {self.side} px or more a side; "
                f"got {tuple(restored.shape)} and {tuple(target.shape)}"
            )
        return self.compare(self.taps(restored), self.reference(target))

    def reference(self, target: Tensor) -> list[Tensor]:
        """What ``compare`` needs of a target (B, 3, H, W): unit activations (B, C, h, w) of each group."""
        return [_unit(tap) for tap in self.taps(target)]

    def compare(self, taps: list[Tensor], reference: list[Tensor]) -> Tensor:
        """LPIPS, (B,), of the activations of ``taps`` and a target's ``reference``."""
        total = taps[0].new_zeros(len(taps[0]))
        for first, second, head in zip(taps, reference, self.heads, strict=True):
            difference = (_unit(first) - second).square()  # (B, C, h, w)
            # Not a matrix product, which autocast would take in half precision.
            total = total + (difference * head[:, None, None]).sum(1).mean((1, 2))
        return total

    def taps(self, picture: Tensor) -> list[Tensor]:
        """Activations (B, C, h, w) of a picture (B, 3, H, W) after each group of convolutions."""
        hidden, activations = (picture - self.shift) / self.scale, []
        for group in self.groups:
            hidden = group(hidden)
            activations.append(hidden)
        return activations


def _unit(features: Tensor) -> Tensor:
    """Unit length over the channels. The clamp matters only where all are zero: the root's gradient would be NaN."""
    features = features.float()
    return features / (features.square().sum(1, keepdim=True).clamp_min(1e-20).sqrt() + 1e-10)


def load(net: str) -> Lpips:
    """LPIPS with the trunk ``net`` ("alex" or "vgg") and its published weights, frozen, on the CPU, new at each call.

    Raises WeightsError if the weights are not staged or a file does not hold exactly the expected arrays.
    """
    if net not in TRUNKS:
        raise WeightsError(f"no LPIPS network {net!r}; there are {', '.join(TRUNKS)}")
    trunk_file, head_file = (weights_file(lpips_foundation(net), name) for name in (TRUNK, HEADS))
    arrays = dict(read_arrays(trunk_file).get(TRUNKS[net].key, {}))
    model = Lpips(net)
    names = [name for name, layer in model.named_modules() if isinstance(layer, nn.Conv2d)]
    state = {"shift": model.shift, "scale": model.scale}
    for number, name in enumerate(names):
        convolution = arrays.pop(f"Conv_{number}", {})
        if sorted(convolution) != ["bias", "kernel"]:
            raise WeightsError(f"{trunk_file}: no kernel and bias of convolution {number}")
        state[f"{name}.weight"] = torch.from_numpy(convolution["kernel"].transpose(3, 2, 0, 1).copy())
        state[f"{name}.bias"] = torch.from_numpy(convolution["bias"].copy())
    heads = read_tensors(head_file)  # named lin<k>.model.1.weight
    state |= {f"heads.{name[3:].split('.')[0]}": head.flatten() for name, head in heads.items()}
    if arrays:
        raise WeightsError(f"{trunk_file}: unexpected {', '.join(arrays)}")
    try:
        model.load_state_dict(state, strict=True)
    except RuntimeError as error:
        raise WeightsError(f"{trunk_file}, {head_file}: not the weights of LPIPS ({error})") from None
    return model.eval().requires_grad_(False)
