"""What restoring costs, beside numbers worked out by hand."""

import pytest
import torch
from torch import nn
from torchvision.ops import deform_conv2d

from mperceiver.config.methods import Method
from mperceiver.models.baselines.network import Network
from mperceiver.restoring import cost
from mperceiver.restoring.memory import TilePlanner

METHOD = Method(title="t", kind="network", run="net")


def planner(network: nn.Module) -> TilePlanner:
    return TilePlanner(Network(network, 1, "cpu"), METHOD)


def test_a_convolution_is_its_multiplications():
    """3 x 5 channels, 3 x 3 taps, at each of 20 x 20 pixels; then 5 x 3 of a 1 x 1."""
    network = nn.Sequential(nn.Conv2d(3, 5, 3, padding=1), nn.ReLU(), nn.Conv2d(5, 3, 1))
    assert cost.count(planner(network), 20) * 1e9 == pytest.approx(20 * 20 * (3 * 5 * 9 + 5 * 3))


class Deformable(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(3, 3, 3, 3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return deform_conv2d(x, x.new_zeros(len(x), 18, *x.shape[2:]), self.weight, padding=1)


def test_a_deformable_convolution_is_counted_as_one_that_is_not():
    assert cost.count(planner(Deformable()), 16) * 1e9 == pytest.approx(16 * 16 * 3 * 3 * 9)


def test_a_run_is_timed():
    seconds, gib = cost.run(planner(nn.Conv2d(3, 3, 1)), 32)
    assert seconds > 0 and 0.05 < gib < 100
