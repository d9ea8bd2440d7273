"""The baselines' networks beside the official code: names, shapes, parameters, and values filled in by rule.

tests/golden/baselines/ holds what the official code gave, in float64, with the weights and the picture of
tests/support/by_name.py; the code itself was run outside this repository.
"""

import hashlib
import json

import pytest
import torch
from support import PROJECT
from support.by_name import fill, observed, picture

from mperceiver.models.baselines import ARCHITECTURES
from mperceiver.models.baselines.da_clip import DaClip, DiffusionRestorer, Steering
from mperceiver.models.baselines.da_clip_unet import ConditionalUNet
from mperceiver.models.baselines.ir_sde import MeanRevertingDiffusion
from mperceiver.models.baselines.wgws import WGWSNet
from mperceiver.models.image_tower import ImageTower
from mperceiver.models.tiling import Tiles

GOLDEN = PROJECT / "tests/golden/baselines"
FULL_SIZE = json.loads((GOLDEN / "full-size.json").read_text(encoding="utf-8"))
BUILDERS = {name: architecture.build for name, architecture in ARCHITECTURES.items()} | {"da-clip": ConditionalUNet}
VALUES = ["airnet", "promptir", "restormer", "restormer-bias-free", "restormer-dual-pixel", "transweather"]
VALUES += ["wgws-general", "wgws-k1", "wgws-k3"]


@pytest.mark.parametrize("variant", FULL_SIZE)
def test_names_and_shapes_are_the_published_ones(variant):
    """So a published checkpoint loads strictly."""
    official = FULL_SIZE[variant]
    with torch.device("meta"):
        network = BUILDERS[official["architecture"]](**official["arguments"])
    state = {name: list(tensor.shape) for name, tensor in network.state_dict().items()}
    assert len(state) == official["entries"]
    lines = "".join(f"{name} {shape}\n" for name, shape in sorted(state.items()))
    assert hashlib.sha256(lines.encode()).hexdigest() == official["names_and_shapes"]
    assert sum(parameter.numel() for parameter in network.parameters()) == official["parameters"]


@pytest.mark.parametrize("variant", VALUES)
def test_equals_the_official_code(variant):
    """Every block's output, to rounding in float64."""
    official = json.loads((GOLDEN / f"{variant}.json").read_text(encoding="utf-8"))
    network = fill(ARCHITECTURES[official["architecture"]].build(**official["arguments"]), official.get("scale"))
    height, width = official["size"]
    lq = picture(height, width)
    if official["channels"] == 6:
        lq = torch.cat([lq, lq.flip(-1)], 1)
    flags = [torch.tensor([official["flag"]], dtype=lq.dtype)] if official.get("flag") else []
    assert_equal(
        observed(network, [name for name in official["blocks"] if name != "output"], lq, *flags), official["blocks"]
    )


def assert_equal(blocks: dict, official: dict) -> None:
    """Statistics of each block's output, to rounding."""
    for name, golden in official.items():
        assert blocks[name]["shape"] == golden["shape"], name
        tolerance = 1e-9 * golden["std"]
        for key in ("mean", "std", "samples"):
            assert blocks[name][key] == pytest.approx(golden[key], rel=1e-9, abs=tolerance), (name, key)


def test_da_clip_equals_the_official_unet():
    """Two pictures at two times, sides that are no multiple of its own; norms' epsilon as in float32."""
    official = json.loads((GOLDEN / "da-clip-unet.json").read_text(encoding="utf-8"))
    network = fill(ConditionalUNet(**official["arguments"]))
    state, time = picture(24, 40, 2), torch.tensor([7.0, 93.0], dtype=torch.float64)
    degradation = torch.linspace(-1, 1, 48, dtype=torch.float64).reshape(2, 24)
    inputs = state, state.flip(-1), time, degradation, degradation.flip(0)
    assert_equal(
        observed(network, [name for name in official["blocks"] if name != "output"], *inputs), official["blocks"]
    )


def test_the_diffusion_of_da_clip_has_the_official_schedule():
    official = json.loads((GOLDEN / "ir-sde.json").read_text(encoding="utf-8"))
    diffusion, at = MeanRevertingDiffusion(), torch.tensor([1, 10, 50, 99, 100])
    assert diffusion.dt == pytest.approx(official["dt"], rel=1e-6)  # the official tables are in float32
    assert diffusion.theta[at].tolist() == pytest.approx(official["theta"], rel=1e-3)
    assert diffusion.sigma[at].tolist() == pytest.approx(official["sigma"], rel=1e-3)
    assert diffusion.spread(at).tolist() == pytest.approx(official["spread"], rel=1e-3, abs=1e-9)


def test_the_diffusion_of_da_clip_goes_there_and_back():
    """Noised and cleaned again it is the same picture; with the clean picture known, the steps lead to it."""
    diffusion, gt = MeanRevertingDiffusion(), picture(8, 8, 2)
    lq, noise = gt.flip(-1), gt.flip(-2) - 0.5
    time = torch.tensor([3, 77])
    state = diffusion.noised(gt, lq, time, noise)
    assert (diffusion.clean(state, lq, time, noise) - gt).abs().max() < 1e-12
    for step in range(diffusion.steps, 0, -1):
        state = diffusion.before(state, gt, lq, torch.tensor([step, step]))
    assert (state - gt).abs().max() < 1e-9


@pytest.mark.parametrize("predicts", ["noise", "residual"])
def test_da_clip_restores_exactly_what_its_unet_knows(foundation, predicts):
    """With a U-Net that finds the true noise, or the true residual, the diffusion ends at the ground truth."""
    network = DaClip(
        ImageTower(foundation.clip, foundation.clip_px), 2, 32, (1, 1), steps=4, predicts=predicts
    ).double()
    gt = picture(32, 32, 2)
    lq, diffusion = gt.flip(-1), network.diffusion

    class Knowing(torch.nn.Module):
        multiple = 4

        def forward(self, state, lq, time, degradation, content):
            decay, sigma = (table[time.long()][:, None, None, None] for table in (diffusion.decay, diffusion.sigma))
            return gt - lq if predicts == "residual" else (state - lq - (gt - lq) * decay) / sigma

    network.unet = Knowing()
    restorer = DiffusionRestorer(network, 4, "cpu", 8, ["haze", "rain"])
    seen = Steering(*(torch.zeros(2, width) for width in (4, 4, 2)))
    shares = []
    restorer.on_share = shares.append
    restored = restorer.restore(lq, seen, [0, 1], Tiles((32, 32), [0], [0], (32, 32), batch=2))
    assert (restored - gt).abs().max() < 1e-6
    assert shares == [0.25] * 4  # one batch in each of four steps


def test_a_batch_of_several_flags_is_each_picture_with_its_own():
    network, pictures = fill(WGWSNet(width=6, blocks=1, banks=2)), picture(16, 16, 3)
    flags = torch.tensor([[1, 0], [0, 1], [1, 0]], dtype=torch.float64)
    with torch.no_grad():
        together = network(pictures, flags)
        alone = [network(pictures[i : i + 1], flags[i : i + 1])[0] for i in range(3)]
    assert torch.equal(together, torch.stack(alone))
    assert not torch.allclose(together[0], network(pictures[:1], flags[1:2])[0])


def test_a_bank_below_its_threshold_is_off_and_still_learns():
    network, lq = fill(WGWSNet(width=6, blocks=1, banks=1)), picture(16, 16)
    on = torch.ones(1, 1, dtype=torch.float64)
    for indicator in network.indicators():
        indicator.data.fill_(0.05)
    assert torch.equal(network(lq, on), network(lq))
    network(lq, on).square().mean().backward()
    assert all(indicator.grad.abs() > 0 for indicator in network.indicators())


@pytest.mark.parametrize(
    ("architecture", "arguments", "unused"),
    [
        ("airnet", {"width": 8, "groups": 1, "blocks": 1, "queue": 8}, ()),
        (
            "transweather",
            {"channels": (8, 16, 24, 32), "depths": (1, 1, 1, 1), "decoder_depth": 1, "decoder_heads": 4},
            ("Tenc.mini_patch_embed4", "convtail.conv_output"),
        ),
        (
            "promptir",
            {"width": 8, "blocks": (1, 1, 1, 1), "refinement_blocks": 1, "prompt_channels": (8, 8, 8)},
            ("chnl_reduce", "reduce_noise_channel"),
        ),
        ("wgws-general", {"width": 6, "blocks": 1}, ()),
        ("wgws", {"width": 6, "blocks": 1, "banks": 2}, ()),
    ],
)
def test_its_own_loss_reaches_what_it_trains(architecture, arguments, unused):
    """With a batch of what the architecture says it needs; tensors that take part in nothing get no gradient."""
    torch.manual_seed(0)
    entry, gt = ARCHITECTURES[architecture], picture(64, 64, 2).float()
    network = entry.build(**arguments)
    needed = {"task": torch.tensor([0, 1]), "second_view": gt.flip(-1)}
    batch = {"lq": 0.5 * gt, "gt": gt} | {name: needed[name] for name in entry.needs & needed.keys()}
    losses = entry.losses(
        network, batch, lambda x, y, step: {"loss": (x - y).abs().mean()}, 0, torch.Generator().manual_seed(0)
    )
    losses["loss"].backward()
    for name, parameter in network.named_parameters():
        if parameter.requires_grad:
            assert (parameter.grad is None) == (bool(unused) and name.startswith(unused)), name


def test_a_batch_of_one_task_leaves_the_other_banks_alone():
    """Neither the picture losses nor the sparsity of the indicators move them."""
    network, gt = WGWSNet(width=6, blocks=1, banks=2), picture(16, 16, 2).float()
    batch = {"lq": 0.5 * gt, "gt": gt, "task": torch.tensor([1, 1])}
    losses = ARCHITECTURES["wgws"].losses(
        network, batch, lambda x, y, step: {"loss": (x - y).abs().mean()}, 0, torch.Generator()
    )
    convolutions = sum(name.endswith(".B2_indicator") for name, _ in network.named_parameters())
    assert losses["loss_sparsity"].item() == pytest.approx(0.15 * convolutions, rel=1e-5)
    losses["loss"].backward()
    moved = {name for name, p in network.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}
    assert any("B2_" in name for name in moved) and not any("B1_" in name for name in moved)


def test_stage_2_starts_from_the_weights_of_stage_1_without_their_biases():
    """And a network with one bank more from one with fewer: the new bank is as it was."""
    entry, one, two = ARCHITECTURES["wgws"], WGWSNet(width=6, blocks=1), WGWSNet(width=6, blocks=1, banks=1)
    state = entry.adopt(two, one.state_dict())
    two.load_state_dict(state, strict=True)
    name = "Encoder.0.layer1.conv0.conv.layer"
    assert torch.equal(state[f"{name}.weight"], one.state_dict()[f"{name}.weight"]) and f"{name}.bias" not in state
    assert torch.equal(state["feat_extract.3.layer.bias"], one.state_dict()["feat_extract.3.layer.bias"])
    for parameter in two.parameters():
        parameter.data.fill_(3)
    three = WGWSNet(width=6, blocks=1, banks=2)
    three.load_state_dict(entry.adopt(three, two.state_dict()), strict=True)
    assert three.state_dict()[f"{name}.B1_indicator"].item() == 3
    assert three.state_dict()[f"{name}.B2_indicator"].item() == pytest.approx(0.15)
