"""Methods of kind checkpoint: files that the test makes, read as published ones are."""

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from support.checkpoints import dncnn, state_of
from support.pairs import write_config, write_pairs

from mperceiver import commits, config, images, lineage, paths
from mperceiver.config import ConfigError
from mperceiver.files import ChecksumError
from mperceiver.foundations import staging
from mperceiver.models import checkpoints
from mperceiver.models.baselines.promptir import PromptIR
from mperceiver.models.baselines.restormer import Restormer
from mperceiver.models.checkpoint_files import CheckpointError, read
from mperceiver.models.layout import lay_out
from mperceiver.restoring.datasets import restore_dataset

SMALL = {"width": 8, "blocks": [1, 1, 1, 1], "heads": [1, 1, 1, 1], "refinement_blocks": 1}
SMALL_PROMPT = SMALL | {"prompt_channels": [4, 4, 4], "prompt_px": [8, 4, 4]}


@pytest.fixture
def world(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(commits, "current", lambda: ("0" * 40, False))
    text = "title: noise\nlicence: none\nsources: [{source: local, folder: none}]\n"
    write_config({"datasets/noise": text, "datasets/other": text})
    Path("published").mkdir()
    return write_pairs("noise", [(20, 24), (17, 31)])


def publish(
    content, keys: str = "architecture: DnCNN, file: net.pth", name: str = "net.pth", mirrors: str = ""
) -> None:
    """A file in a folder that is a mirror, staged; and the method `published` with these keys of its checkpoint."""
    path = Path("published") / name
    path.write_bytes(content) if isinstance(content, bytes) else torch.save(content, path)
    mirrors = mirrors or "{folder: published}"
    text = f"title: F\nlicence: none\nparts: [{{mirrors: [{mirrors}], files: {{{name}: {{tensors_only: true}}}}}}]\n"
    method = f"title: M\nkind: checkpoint\nfoundation: published\ncheckpoint: {{{keys}}}\n"
    write_config({"foundations/published": text, "methods/published": method})
    for old in (paths.foundation_card("published"), paths.foundation_folder("published") / name):
        old.unlink(missing_ok=True)
    cache = paths.foundation_folder("published") / ".hashed.json"
    cache.unlink(missing_ok=True)
    staging.stage("published")


def restored(pictures: torch.Tensor, dataset: str | None = "noise", side: int = 512) -> torch.Tensor:
    restorer = checkpoints.load_restorer("published", dataset, "cpu")
    padded = images.pad(pictures, restorer.multiple, restorer.minimum)
    tiles = lay_out(restorer, tuple(padded.shape[-2:]), side, 8, 2)
    return restorer.restore(padded, None, [0] * len(pictures), tiles)[..., : pictures.shape[-2], : pictures.shape[-1]]


def noise(*shape: int) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(1))


def test_a_dataset_is_restored_with_published_weights(world):
    net = dncnn(3)
    publish(state_of(net))
    card = lineage.read_card(restore_dataset("published", "noise"))
    assert "data/foundations/published.json" in card["inputs"]
    for i, (lq, _) in enumerate(world):
        picture = images.to_tensor(lq)
        with torch.no_grad():
            by_hand = images.to_picture(picture - net(picture))
        assert np.array_equal(images.decode(paths.restored_picture("published", "noise", f"p-{i}")), by_hand)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: {"params": state},
        lambda state: {"params_ema": state, "params": {}},
        lambda state: {
            "state_dict": {f"net.{k}": v for k, v in state.items()},
            "epoch": 3,
            "hyper_parameters": {"lr": 1},
        },
        lambda state: {f"module.{k}": v for k, v in state.items()},
        lambda state: {"state_dict": {f"module.{k}": v.half() for k, v in state.items()}},
    ],
)
def test_what_trainers_wrap_weights_in_is_taken_off(world, wrap):
    net = dncnn(3)
    publish(wrap(state_of(net)))
    picture = noise(1, 3, 20, 24)
    with torch.no_grad():
        assert (
            restored(picture) - (picture - net(picture)).clamp(0, 1)
        ).abs().max() < 2e-3  # half precision in one of them


def test_a_grey_network_restores_luma_or_each_channel(world):
    net, picture = dncnn(1), noise(2, 3, 20, 24)
    publish(state_of(net), "architecture: DnCNN, file: net.pth, colour: channels")
    with torch.no_grad():
        each = torch.cat([picture[:, k : k + 1] - net(picture[:, k : k + 1]) for k in range(3)], 1).clamp(0, 1)
    assert (restored(picture) - each).abs().max() < 1e-6
    publish(state_of(net), "architecture: DnCNN, file: net.pth, colour: luma")
    found = restored(picture * 0.5 + 0.25)
    weights = torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)
    luma = ((picture * 0.5 + 0.25) * weights).sum(1, keepdim=True)
    with torch.no_grad():
        expected = luma - net(luma)
    assert ((found * weights).sum(1, keepdim=True) - expected).abs().max() < 1e-5
    before, after = picture * 0.5 + 0.25 - luma, found - expected  # the chroma stays
    assert (before - after).abs().max() < 1e-5
    grey = noise(1, 1, 20, 24).expand(1, 3, 20, 24).contiguous()
    with torch.no_grad():
        assert (restored(grey) - (grey[:, :1] - net(grey[:, :1])).clamp(0, 1)).abs().max() < 1e-6
    publish(state_of(net))
    with pytest.raises(
        CheckpointError, match="a network of 1 to 1 channels, but checkpoint.colour .* is rgb; set it to luma"
    ):
        restored(picture)


def test_noise_levels_are_told_to_networks_that_want_one(world):
    from spandrel.architectures.DRUNet import DRUNet

    torch.manual_seed(0)
    net = DRUNet(
        in_nc=4,
        out_nc=3,
        nc=[8, 8, 8, 8],
        nb=4,
        act_mode="R",
        downsample_mode="strideconv",
        upsample_mode="convtranspose",
    )
    publish(net.state_dict(), "architecture: DRUNet, file: net.pth, sigma_255: 50")
    picture = noise(2, 3, 16, 24)
    with torch.no_grad():
        expected = net(torch.cat([picture, torch.full((2, 1, 16, 24), 50 / 255)], 1)).clamp(0, 1)
    assert (restored(picture) - expected).abs().max() < 1e-6
    assert checkpoints.load_restorer("published", "noise", "cpu").multiple == 8
    publish(net.state_dict(), "architecture: DRUNet, file: net.pth")
    with pytest.raises(CheckpointError, match="is told a noise level; give checkpoint.sigma_255"):
        restored(picture)
    publish(state_of(dncnn(3)), "architecture: DnCNN, file: net.pth, sigma_255: 25")
    with pytest.raises(CheckpointError, match="is told no noise level"):
        restored(picture)


def test_a_file_for_each_dataset(world):
    publish(state_of(dncnn(3)), "architecture: DnCNN, files: {other: net.pth}")
    with pytest.raises(ConfigError, match=r"checkpoint.files has no weights for noise, only for other"):
        restored(noise(1, 3, 16, 16))
    assert restored(noise(1, 3, 16, 16), "other").shape == (1, 3, 16, 16)
    publish(state_of(dncnn(3)), "architecture: DnCNN, file: another.pth")
    with pytest.raises(ConfigError, match="has no file another.pth, only net.pth"):
        restored(noise(1, 3, 16, 16))


@pytest.mark.parametrize("name", ["PromptIR", "Restormer"])
def test_promptir_and_restormer_are_told_apart(world, name):
    networks = {"PromptIR": PromptIR(**SMALL_PROMPT), "Restormer": Restormer(**SMALL)}
    arguments = {"PromptIR": SMALL_PROMPT, "Restormer": SMALL}
    network, other = networks[name], next(key for key in networks if key != name)
    lightning = {"state_dict": {f"net.{k}": v for k, v in network.state_dict().items()}, "epoch": 1}
    publish(lightning, f"architecture: {name}, file: net.ckpt, arguments: {arguments[name]}", "net.ckpt")
    picture = noise(1, 3, 16, 24)
    with torch.no_grad():
        assert (restored(picture) - network(picture).clamp(0, 1)).abs().max() < 1e-6
    publish(lightning, f"architecture: {other}, file: net.ckpt, arguments: {arguments[other]}", "net.ckpt")
    with pytest.raises(
        CheckpointError, match=f"is no checkpoint of {other}" + ("; .* PromptIR" if name == "PromptIR" else "")
    ):
        restored(picture)
    publish(lightning, f"architecture: {name}, file: net.ckpt", "net.ckpt")
    with pytest.raises(CheckpointError, match=f"does not fit {name}, .* tensors differ: "):
        restored(picture)


def test_another_architecture_is_refused_by_name(world):
    state = state_of(dncnn(3))
    publish(state, "architecture: SwinIR, file: net.pth")
    with pytest.raises(
        CheckpointError, match=r"net.pth: is no whole checkpoint of SwinIR; its tensors look like those of DnCNN"
    ):
        restored(noise(1, 3, 16, 16))
    publish({"a": torch.zeros(1)}, "architecture: SwinIR, file: net.pth")
    with pytest.raises(CheckpointError, match=r"SwinIR; it has 1 tensors, such as a"):
        restored(noise(1, 3, 16, 16))
    publish(state, "architecture: SwinIr, file: net.pth")
    with pytest.raises(ConfigError, match="SwinIr is none that spandrel knows: .*SwinIR"):
        restored(noise(1, 3, 16, 16))


def test_missing_or_added_tensors_are_named(world):
    state = state_of(dncnn(3))
    publish({k: v for k, v in state.items() if k != "model.10.weight"})
    with pytest.raises(CheckpointError, match="is no whole checkpoint of DnCNN|does not fit DnCNN"):
        restored(noise(1, 3, 16, 16))
    publish(state | {"extra.weight": torch.zeros(1)})
    with pytest.raises(CheckpointError, match=r"does not fit DnCNN: .*extra.weight"):
        restored(noise(1, 3, 16, 16))
    publish(state | {"model.0.weight": torch.full((8, 3, 3, 3), torch.nan)})
    with pytest.raises(CheckpointError, match="model.0.weight has values that are not numbers"):
        restored(noise(1, 3, 16, 16))
    publish(state | {"model.18.bias": torch.zeros(5)})
    with pytest.raises(CheckpointError, match=r"does not fit DnCNN"):
        restored(noise(1, 3, 16, 16))


def test_restricted_architectures_are_an_extra(world, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "spandrel_extra_arches", None)
    publish(state_of(dncnn(3)), "architecture: MPRNet, file: net.pth")
    with pytest.raises(
        ConfigError, match="forbid commercial use; if that suits you: uv sync --extra restrictive-archs"
    ):
        restored(noise(1, 3, 16, 16))


class Code:
    def __reduce__(self):
        return print, ("this code was run",)


def test_code_in_a_file_is_not_run(world, capsys):
    with pytest.raises(
        lineage.LineageError, match="no file of weights: holds more than tensors, and nothing of it was run"
    ):
        publish({"state_dict": state_of(dncnn(3)), "hook": Code()})
    with pytest.raises(lineage.LineageError, match=r"no file of weights: (holds more|damaged)"):
        publish(pickle.dumps(Code()))
    assert not paths.foundation_card("published").exists()
    torch.save({"hook": Code()}, "code.pth")
    with pytest.raises(
        CheckpointError, match="code.pth: holds more than tensors, and nothing of it was run: print. Save"
    ):
        read(Path("code.pth"))
    assert "this code was run" not in capsys.readouterr().out


@pytest.mark.parametrize(
    "content, message",
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"a" * 64 + b"\nsize 12\n", "pointer of git-lfs"),
        (b"<!DOCTYPE html><html><body>Quota exceeded</body></html>", "is a web page"),
        (b"", "is empty"),
        (b"PK\x03\x04" + bytes(500), "no file of weights: damaged, cut short"),
    ],
)
def test_what_stands_in_for_a_file_is_refused_when_it_is_staged(world, content, message):
    with pytest.raises(lineage.LineageError, match=message):
        publish(content)
    assert not paths.foundation_card("published").exists()


@pytest.mark.parametrize("part", [0.1, 0.5, 0.9, 0.99])
def test_half_a_file_is_refused_when_it_is_staged(world, part):
    torch.save(state_of(dncnn(3)), "whole.pth")
    data = Path("whole.pth").read_bytes()
    with pytest.raises(lineage.LineageError, match="no file of weights: damaged, cut short"):
        publish(data[: int(part * len(data))])


def test_a_changed_file_is_refused(world):
    publish(state_of(dncnn(3)))
    torch.save(state_of(dncnn(3)) | {"model.0.bias": torch.ones(8)}, paths.foundation_folder("published") / "net.pth")
    with pytest.raises(ChecksumError, match="mperceiver foundation published"):
        restored(noise(1, 3, 16, 16))


def test_a_file_that_a_person_downloads(world):
    mirrors = "{manual: 'https://example.org/weights', terms: research only}"
    with pytest.raises(
        lineage.LineageError,
        match=r"net.pth from https://example.org/weights \(terms: research only\)(?s:.*)data/manual/published/",
    ):
        publish(state_of(dncnn(3)), mirrors=mirrors)
    paths.manual_folder("published").mkdir(parents=True)
    torch.save(state_of(dncnn(3)), paths.manual_folder("published") / "net.pth")
    publish(state_of(dncnn(3)), mirrors=mirrors)
    assert restored(noise(1, 3, 16, 16)).shape == (1, 3, 16, 16)
    write_config(
        {
            "foundations/bad": "title: b\nlicence: n\nparts: [{mirrors: [{manual: 'https://a.b/c'}], files: {a.json: {}}}]\n"
        }
    )
    with pytest.raises(ConfigError, match="`terms` and `manual` belong together"):
        config.load("foundations", "bad")
