"""Published checkpoints as runs: what is stripped and sized, and what is refused with nothing left behind."""

import json
import pickle
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from support.by_name import fill

from mperceiver import commits, config, lineage
from mperceiver.models.baselines.airnet import AirNet
from mperceiver.models.baselines.promptir import PromptIR
from mperceiver.models.baselines.restormer import Restormer
from mperceiver.models.baselines.wgws import WGWSNet
from mperceiver.training.published import CheckpointError, convert
from mperceiver.training.stages import train

AIRNET = {"width": 8, "groups": 1, "blocks": 1}
PROMPTIR = {
    "width": 8,
    "blocks": (1, 1, 1, 1),
    "refinement_blocks": 1,
    "prompt_channels": (8, 8, 8),
    "prompt_px": (4, 4, 4),
}


@pytest.fixture
def world(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(commits, "current", lambda: ("0" * 40, False))
    for folder in ("runs", "methods"):
        Path("config", folder).mkdir(parents=True)
    return tmp_path


def weights(run: str) -> dict[str, torch.Tensor]:
    return load_file(f"results/runs/{run}/network.safetensors")


def left() -> list[str]:
    """Whatever lies in the world but for the checkpoint."""
    return [str(path) for path in Path().rglob("*") if path.is_file() and not path.name.startswith("checkpoint")]


def test_lightnings_wrapper_and_prefix_are_stripped(world):
    """As in PromptIR's model.ckpt."""
    state = fill(PromptIR(**PROMPTIR)).float().state_dict()
    content = {
        "epoch": 3,
        "state_dict": {f"net.{name}": tensor for name, tensor in state.items()},
        "hyper_parameters": {},
    }
    torch.save(content, "checkpoint.ckpt")
    card = lineage.read_card(convert(Path("checkpoint.ckpt"), "published", "promptir", PROMPTIR))
    found = weights("published")
    assert found.keys() == state.keys() and all(torch.equal(found[name], state[name]) for name in state)
    assert card["verb"] == "convert" and "checkpoint: checkpoint.ckpt" in card["inputs"]
    assert lineage.verify("results/runs/published/network.json") == []


def test_params_and_module_are_stripped_and_half_precision_is_widened(world):
    state = fill(Restormer(width=8, blocks=(1, 1, 1, 1), refinement_blocks=1)).state_dict()
    torch.save({"params": {f"module.{name}": tensor.half() for name, tensor in state.items()}}, "checkpoint.pth")
    convert(
        Path("checkpoint.pth"), "published", "restormer", {"width": 8, "blocks": [1, 1, 1, 1], "refinement_blocks": 1}
    )
    assert {tensor.dtype for tensor in weights("published").values()} == {torch.float32}


def test_airnets_queue_is_as_long_as_the_files(world):
    save_file({k: v.contiguous() for k, v in AirNet(**AIRNET, queue=24).state_dict().items()}, "checkpoint.safetensors")
    convert(Path("checkpoint.safetensors"), "published", "airnet", AIRNET)
    assert config.load("runs", "published").network.arguments["queue"] == 24
    Path("config/methods/published.yaml").write_text("title: t\nkind: network\nrun: published\n", encoding="utf-8")
    from mperceiver.restoring.restorers import load_restorer

    assert load_restorer("published").network.E.E.queue.shape == (32, 24)


def test_wgws_has_the_banks_of_the_file(world):
    """Two 3x3 banks; their tasks must be named, as the file tells none."""
    state = WGWSNet(width=4, blocks=1, banks=2, bank_kernel=3).state_dict()
    torch.save(state, "checkpoint.pth")
    with pytest.raises(config.ConfigError, match="has weights for 2 tasks; name them"):
        convert(Path("checkpoint.pth"), "published", "wgws", {"width": 4, "blocks": 1})
    convert(Path("checkpoint.pth"), "published", "wgws", {"width": 4, "blocks": 1}, ["snow", "rain"])
    run = config.load("runs", "published")
    assert run.tasks == ["snow", "rain"] and run.network.arguments["bank_kernel"] == 3


class Code:
    def __reduce__(self):
        return print, ("this code was run",)


def wide() -> dict:
    return Restormer(width=16, blocks=(1, 1, 1, 1), refinement_blocks=1).state_dict()


def without_one() -> dict:
    state = Restormer(width=8, blocks=(1, 1, 1, 1), refinement_blocks=1).state_dict()
    return {name: tensor for name, tensor in state.items() if name != "output.weight"}


def not_finite() -> dict:
    state = Restormer(width=8, blocks=(1, 1, 1, 1), refinement_blocks=1).state_dict()
    return state | {"output.weight": torch.full_like(state["output.weight"], float("nan"))}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (wide, r"does not fit restormer; \d+ of \d+ tensors differ:\n  .*: \(.*\) in the file, \(.*\) in the network"),
        (
            without_one,
            r"1 of \d+ tensors differ:\n  output.weight: missing in the file, \(3, 16, 3, 3\) in the network",
        ),
        (lambda: PromptIR(**PROMPTIR).state_dict(), r"does not fit restormer \(its names are those of promptir\)"),
        (not_finite, "output.weight has values that are not numbers"),
        (lambda: {"state_dict": {}}, "no tensors by name"),
        (lambda: {"weights": 3}, "weights is no tensor"),
        (lambda: [1, 2], "no tensors by name in it, but list"),
    ],
)
def test_what_does_not_fit_is_refused_and_nothing_is_left(world, content, message):
    torch.save(content(), "checkpoint.pth")
    size = {"width": 8, "blocks": [1, 1, 1, 1], "refinement_blocks": 1}
    with pytest.raises(CheckpointError, match=message):
        convert(Path("checkpoint.pth"), "published", "restormer", size)
    assert left() == []


def test_code_in_a_pickle_is_not_run(world, capsys):
    torch.save({"state_dict": {"a": torch.zeros(1)}, "hook": Code()}, "checkpoint.ckpt")
    Path("checkpoint.pkl").write_bytes(pickle.dumps(Code()))
    for name in ("checkpoint.ckpt", "checkpoint.pkl"):
        with pytest.raises(CheckpointError, match=f"{name}: (holds more than tensors|damaged)"):
            convert(Path(name), "published", "restormer", {})
    assert "this code was run" not in capsys.readouterr().out and left() == []


def test_a_damaged_file_is_refused(world):
    torch.save({"a": torch.zeros(100)}, "checkpoint.pth")
    Path("checkpoint.pth").write_bytes(Path("checkpoint.pth").read_bytes()[:300])
    Path("checkpoint.safetensors").write_bytes(b"\x08\0\0\0\0\0\0\0nonsense")
    for name in ("checkpoint.pth", "checkpoint.safetensors"):
        with pytest.raises(CheckpointError, match=f"{name}: damaged"):
            convert(Path(name), "published", "restormer", {})
    assert left() == []


def test_a_run_that_is_described_is_left_alone(world):
    Path("config/runs/mine.yaml").write_text("title: mine\n", encoding="utf-8")
    with pytest.raises(config.ConfigError, match=r"config/runs/mine.yaml: is there already"):
        convert(Path("checkpoint.pth"), "mine", "restormer", {})
    assert Path("config/runs/mine.yaml").read_text(encoding="utf-8") == "title: mine\n"


def test_published_weights_are_not_trained(world):
    save_file({k: v.contiguous() for k, v in AirNet(**AIRNET, queue=8).state_dict().items()}, "checkpoint.safetensors")
    convert(Path("checkpoint.safetensors"), "published", "airnet", AIRNET)
    with pytest.raises(config.ConfigError, match=r"are those of checkpoint.safetensors, which are not trained"):
        train("published", "network")


def test_the_verb_says_what_is_wrong(world, capsys):
    from mperceiver.cli import app

    shutil.copy(__file__, "checkpoint.pth")
    for words in (["--arguments", "{width: 8}"], ["--arguments", "[1]"], []):
        with pytest.raises(SystemExit):
            app(["convert", "checkpoint.pth", "published", "--architecture", "restormer", *words])
    told = capsys.readouterr().err
    assert "no JSON" in told and json.dumps({"width": 20})[:8] in told and "checkpoint.pth: " in told and left() == []
