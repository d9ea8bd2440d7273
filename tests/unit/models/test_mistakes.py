"""Typing mistakes in a baseline's run, and networks and degradations that return something else than a picture: each is told in words."""

import numpy as np
import pytest
import torch
from support.configs import describe
from torch import nn

from mperceiver import config
from mperceiver.config import ConfigError
from mperceiver.config.runs import Run
from mperceiver.degradations import DEGRADATIONS, Degradation
from mperceiver.degradations.mix import check_layers
from mperceiver.models import baselines
from mperceiver.models.baselines.architecture import Architecture, picture_losses_alone

SMALL = "{width: -8, middle_blocks: 1, encoder_blocks: [1], decoder_blocks: [1]}"


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty working directory."""
    monkeypatch.chdir(tmp_path)


def run(network: str) -> Run:
    describe("runs", "net", f"title: t\ntrain: [d]\nnetwork: {{steps: 1, {network}}}\n")
    return config.load("runs", "net")


@pytest.mark.parametrize(
    ("network", "words"),
    [
        ("architecture: nafnt, phases: [{batch: 1, crop_px: 16}]", r"runs/net.yaml: network.architecture: nafnt is unknown \(did you mean nafnet\?\)"),
        ("architecture: nafnet, phases: [{batch: 1, crop_px: 24}]", "network.phases: crop_px: 24: nafnet takes .* multiples of 16 px"),
        ("architecture: transweather, phases: [{batch: 1, crop_px: 32}]", "multiples of 16 px, at least 48"),
        ("architecture: nafnet, phases: [{batch: 1, crop_px: 16}], arguments: {widht: 8}", r"network.arguments: no argument widht \(did you mean width\?\)"),
        (f"architecture: nafnet, phases: [{{batch: 1, crop_px: 16}}], arguments: {SMALL}", "network.arguments: nafnet cannot be built with"),
    ],
)  # fmt: skip
def test_a_network_that_cannot_be_built(here, network, words):
    with pytest.raises(ConfigError, match=words):
        baselines.build("net", run(network))


def test_an_argument_without_a_default_is_asked_for(here, monkeypatch):
    def conv(width: int) -> nn.Module:
        return nn.Conv2d(3, width, 1)

    monkeypatch.setitem(baselines.ARCHITECTURES, "mine", Architecture(conv, multiple=1))
    with pytest.raises(ConfigError, match=r"network.arguments: width is missing"):
        baselines.build("net", run("architecture: mine, phases: [{batch: 1, crop_px: 16}]"))


@pytest.mark.parametrize("network", [nn.Upsample(scale_factor=2), nn.Conv2d(3, 4, 1)])
def test_a_network_of_another_output_size(network):
    batch = {"lq": torch.zeros(2, 3, 16, 16), "gt": torch.zeros(2, 3, 16, 16)}
    with pytest.raises(ConfigError, match=r"returned \(2, \d, \d\d, \d\d\) for pictures \(2, 3, 16, 16\)"):
        picture_losses_alone(network, batch, lambda *_: {}, 0, torch.Generator())


def test_a_parameter_that_a_degradation_does_not_have():
    with pytest.raises(ValueError, match=r"haze has no parameter betta \(did you mean beta\?\); it has airlight, beta"):
        check_layers([("haze", {"betta": [1.0, 2.0]})])
    with pytest.raises(
        ValueError, match="haze has no parameter depth"
    ):  # it is a picture's, named by the dataset's `depth`
        check_layers([("haze", {"depth": 0.5})])
    with pytest.raises(ValueError, match=r"jpeg has no parameter qualty"):
        check_layers([("blur", {"one_of": {"defocus": {}, "jpeg": {"qualty": 10}}})])


@pytest.mark.parametrize(
    ("layer", "parameters", "words"),
    [
        (
            "gaussian-blur",
            {"sigma_px": 1.0, "kernel_px": [3, 9]},
            r"kernel_px is 4, allowed is an odd number; kernel_px: \[3, 9\] may draw it: .* kernel_px: {choices: \[3, ...\]}",
        ),
        ("gaussian-blur", {"sigma_px": 1.0, "kernel_px": {"choices": [3, 6, 9]}}, "kernel_px is 6, allowed is an odd number$"),
        ("demosaic", {"pattern": {"choices": ["RGGB", "RGBG", "BGGR"]}}, "pattern is 'RGBG', allowed is one of"),
        ("raindrop", {"cover": 0.2, "count": [3, 5]}, "raindrop: cover does nothing beside count; remove one of the two"),
        ("drops", {"one_of": {"rain": {}, "raindrop": {"cover": 0.2, "count": 3}}}, "cover does nothing beside count"),
        ("blur", {"one_of": {"defocus": {}, "gaussian-blur": {"sigma_px": 1, "kernel_px": [3, 9]}}}, "kernel_px is 4"),
    ],
)  # fmt: skip
def test_a_value_that_may_be_drawn_and_does_not_fit(layer, parameters, words):
    with pytest.raises(ValueError, match=words):
        check_layers([(layer, parameters)])


def test_values_that_fit():
    check_layers([("gaussian-blur", {"sigma_px": [0.5, 2], "kernel_px": {"choices": [3, 5, 7, 9]}})])
    check_layers([("raindrop", {"count": [3, 6]}), ("demosaic", {"pattern": {"choices": ["RGGB", "BGGR", "GRBG"]}})])
    check_layers([("jpeg", {"quality": [10, 11]})])


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (lambda image, rng: None, "returned None"),
        (lambda image, rng: image[:, :, 0], r"returned an array \(32, 48\) for a picture \(32, 48, 3\)"),
        (lambda image, rng: np.transpose(image, (1, 0, 2)), r"returned an array \(48, 32, 3\)"),
    ],
)
def test_a_degradation_that_returns_no_picture(monkeypatch, function, words):
    monkeypatch.setitem(DEGRADATIONS, "mine", Degradation(function, "scene"))
    with pytest.raises(ValueError, match=f"the function of mine {words}"):
        check_layers([("mine", {})])
