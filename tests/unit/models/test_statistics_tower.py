"""The tower of features' statistics beside timm's EfficientNet-Lite0, and the shipped foundation that has it."""

import json

import pytest
import timm
import torch
from safetensors.torch import save_file
from skimage import data
from support import PROJECT

from mperceiver import config, images, lineage
from mperceiver.models import image_tower, towers
from mperceiver.models.statistics_tower import EMBEDDING, SameConv, StatisticsTower
from tools import statistics_tower as tool

BLOCKS = 11  # of the five stages: 1 + 2 + 2 + 3 + 3


def published_names() -> list[str]:
    """The names of the published weights, in their order, as far as the fifth stage."""
    norm = ["weight", "bias", "running_mean", "running_var", "num_batches_tracked"]
    names = ["_conv_stem.weight", *(f"_bn0.{key}" for key in norm)]
    for block in range(BLOCKS):
        parts = [("_expand_conv", "_bn0")] if block else []
        for convolution, after in [*parts, ("_depthwise_conv", "_bn1"), ("_project_conv", "_bn2")]:
            names += [f"_blocks.{block}.{convolution}.weight"]
            names += [f"_blocks.{block}.{after}.{key}" for key in norm]
    return names


@pytest.fixture(scope="module")
def network():
    """timm's network with weights that no initialisation has, in double precision."""
    torch.manual_seed(3)
    model = timm.create_model("tf_efficientnet_lite0", pretrained=False).double().eval()
    for name, value in model.state_dict().items():
        if name.endswith("running_var"):
            value.uniform_(0.5, 2)
        elif "bn" in name and value.is_floating_point():
            value.copy_(torch.rand_like(value) * 0.6 + (0.7 if name.endswith("weight") else -0.3))
    return model


@pytest.mark.parametrize("side", [64, 50])
def test_it_gives_the_means_and_deviations_of_timms_features(network, side):
    state = dict(zip(published_names(), network.state_dict().values(), strict=False))
    tower = tool.converted(state).double()
    picture = torch.rand(2, 3, side, side, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    # as the network was trained: ImageNet's standardisation
    mean, std = (
        torch.tensor(v, dtype=torch.float64).view(3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    )
    with torch.no_grad():
        features = network.bn1(network.conv_stem((picture - mean) / std))
        wanted = []
        for stage in [torch.nn.Identity(), *network.blocks[:5]]:
            features = stage(features)
            wanted += [features.mean((2, 3)), features.flatten(2).std(2)]
        clip_mean, clip_std = (
            torch.tensor(v, dtype=torch.float64).view(3, 1, 1) for v in (image_tower.CLIP_MEAN, image_tower.CLIP_STD)
        )
        found = tower.statistics((picture - clip_mean) / clip_std)
    torch.testing.assert_close(found, torch.cat(wanted, 1), rtol=1e-5, atol=1e-5)  # CLIP's constants are float32


def test_same_padding_is_on_the_right_and_below():
    conv = SameConv(1, 1, 3, 2, bias=False)
    torch.nn.init.ones_(conv.weight)
    out = conv(torch.ones(1, 1, 4, 5))
    # 4 rows need one row of zeros, below; 5 columns one on each side
    assert out[0, 0].tolist() == [[6, 9, 6], [4, 6, 4]]


def test_the_embedding_is_standardised():
    tower = StatisticsTower(64).eval()
    tower.centre.fill_(2.0), tower.spread.fill_(4.0)
    picture = torch.rand(3, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(tower(picture) * 4 + 2, tower.statistics(picture))
    assert tower(picture).shape == (3, EMBEDDING) == (3, 608)


def test_it_is_loaded_from_a_foundations_folder_and_missing_weights_are_refused(tmp_path):
    tower = StatisticsTower(64)
    state = {f"visual.{name}": value for name, value in tower.state_dict().items()}
    (tmp_path / "open_clip_config.json").write_text(
        json.dumps({"model_cfg": {"embed_dim": 608, "statistics_tower": {"image_size": 64}}}), encoding="utf-8"
    )
    save_file(state, tmp_path / "open_clip_model.safetensors")
    loaded, px = image_tower.load_clip(tmp_path)
    assert px == 64 and isinstance(loaded, StatisticsTower) and loaded.output_dim == 608
    picture = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(loaded.eval()(picture), tower.eval()(picture))
    del state["visual.centre"]
    save_file(state, tmp_path / "open_clip_model.safetensors")
    with pytest.raises(lineage.LineageError, match="do not fill the image tower"):
        image_tower.load_clip(tmp_path)


def test_the_shipped_tower_tells_a_blurred_photograph_from_a_noisy_one(tmp_path, monkeypatch):
    """By the embedding alone: noise raises the deviation after the stem, blur lowers it."""
    monkeypatch.chdir(tmp_path)
    config.or_shipped()
    tower = towers.load_image_tower("mini-lite")
    photograph = images.to_tensor(data.astronaut())[..., 100:164, 200:264]
    noise = torch.randn(photograph.shape, generator=torch.Generator().manual_seed(0)) * 0.1
    blurred = torch.nn.functional.avg_pool2d(photograph, 5, 1, 2, count_include_pad=False)
    with torch.no_grad():
        noisy, sound, soft = (
            tower.tower(tower.view(p.clamp(0, 1)))[0, 32:64].mean() for p in (photograph + noise, photograph, blurred)
        )
    assert noisy > sound > soft
    monkeypatch.chdir(PROJECT)
    config.or_shipped()
