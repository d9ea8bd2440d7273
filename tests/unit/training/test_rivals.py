"""The other all-in-one methods in the one loop: resumed exactly, shared by processes, and restoring with what they learnt."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from support import loops, rivals
from support.loops import at, terminate

from mperceiver import commits, config, images, lineage, paths
from mperceiver.models import baselines, towers
from mperceiver.models.predictor import build_predictor
from mperceiver.training.loop import fit
from mperceiver.training.stages import train


@pytest.fixture(scope="module")
def rivals_root(tiny_root, tmp_path_factory) -> Path:
    """The tiny world with a run and a method for each, all trained once without a stop."""
    root = tmp_path_factory.mktemp("rivals") / "world"
    shutil.copytree(tiny_root, root)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        patch.setattr(commits, "current", lambda: ("0" * 40, False))
        describe()
        for name in sorted(rivals.NETWORKS, key=lambda name: name in rivals.STARTS):
            train(name, "network")
    return root


def describe() -> None:
    for name in rivals.NETWORKS:
        keys = {"train": "[tiny-train]"}
        keys |= {"foundation": "tiny"} if name == "da-clip" else {}
        keys |= {"start_from": rivals.STARTS[name]} if name in rivals.STARTS else {}
        Path(f"config/runs/{name}.yaml").write_text(rivals.run(name, **keys), encoding="utf-8")
        Path(f"config/methods/{name}.yaml").write_text(f"title: {name}\nkind: network\nrun: {name}\n", encoding="utf-8")


@pytest.fixture
def trained(rivals_root, tmp_path, monkeypatch) -> Path:
    root = tmp_path / "world"
    shutil.copytree(rivals_root, root)
    monkeypatch.chdir(root)
    monkeypatch.setattr(commits, "current", lambda: ("0" * 40, False))
    return root


@pytest.mark.parametrize("name", rivals.NETWORKS)
def test_stopped_and_resumed_is_the_same_bytes(trained, monkeypatch, name):
    """In the part where AirNet's encoder and DA-CLIP's controller learn alone; moving encoders, queues and norms go on, too."""
    weights = Path(f"results/runs/{name}/network.safetensors")
    first = weights.read_bytes()
    weights.unlink()
    with monkeypatch.context() as patch:
        stopping = lambda training, module, losses, **o: fit(training, module, at(1, terminate, losses), **o)  # noqa: E731
        patch.setattr("mperceiver.training.stages.network.fit", stopping)
        with pytest.raises(SystemExit):
            train(name, "network")
    assert not weights.exists()
    train(name, "network")
    assert weights.read_bytes() == first


def test_channels_last_learns_the_same(trained):
    from safetensors.torch import load_file

    Path("config/runs/last.yaml").write_text("like: restormer\nnetwork: {channels_last: true}\n", encoding="utf-8")
    train("last", "network")
    one, other = (load_file(paths.weights_file(run, "network")) for run in ("restormer", "last"))
    for key, tensor in one.items():
        assert torch.allclose(tensor, other[key], atol=1e-4), key


def restored(method: str, tasks=("",)) -> torch.Tensor:
    from mperceiver.restoring.ensemble import restore_pictures
    from mperceiver.restoring.memory import TilePlanner
    from mperceiver.restoring.restorers import load_restorer

    picture = torch.rand(1, 3, 50, 75, generator=torch.Generator().manual_seed(0))
    spec = config.load("methods", method)
    found, _ = restore_pictures(TilePlanner(load_restorer(method), spec), picture, [7], tasks)
    assert found.shape == picture.shape and torch.isfinite(found).all() and not torch.equal(found, picture)
    return found


@pytest.mark.parametrize("name", rivals.NETWORKS)
def test_trained_weights_restore(trained, name):
    assert torch.equal(restored(name), restored(name))


def test_a_given_or_predicted_task_chooses_the_bank(trained):
    """Each picture of a batch gets its own task's; one that was not trained the general weights."""
    from mperceiver.models.weights import load_weights, save_weights

    run = config.load("runs", "tiny")
    torch.manual_seed(0)
    save_weights(paths.weights_file("tiny", "predictor"), build_predictor(towers.load("tiny"), run), run)
    file = Path("results/runs/wgws/network.safetensors")
    network = baselines.build("wgws", config.load("runs", "wgws")).requires_grad_(True)
    load_weights(file, network)
    for name, parameter in network.named_parameters():
        if name.endswith("_residual"):
            torch.nn.init.normal_(
                parameter, std=0.2, generator=torch.Generator().manual_seed(len(name) + int(name[-10]))
            )
    save_weights(file, network, config.load("runs", "wgws"))
    Path("results/runs/wgws/network.json").unlink(missing_ok=True)
    for task, more in (("given", ""), ("predicted", "predictor: tiny\n")):
        text = f"like: wgws\ntask: {task}\n{more}"
        Path(f"config/methods/wgws-{task}.yaml").write_text(text, encoding="utf-8")
    general, haze, rain = restored("wgws"), restored("wgws-given", ["haze"]), restored("wgws-given", ["rain"])
    assert torch.equal(restored("wgws-given", ["moire"]), general) and torch.equal(restored("wgws-given"), general)
    assert not torch.equal(haze, rain) and not torch.equal(haze, general)
    flags = torch.zeros(1, 9)
    flags[0, config.load("runs", "wgws").tasks.index("rain")] = 1
    picture = torch.rand(1, 3, 50, 75, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        alone = network(images.pad(picture, 4, 4), flags)[..., :50, :75].clamp(0, 1)
    assert torch.equal(rain, alone)
    predicted = restored("wgws-predicted")
    assert any(torch.equal(predicted, restored("wgws-given", [task])) for task in config.load("runs", "tiny").tasks)


@pytest.mark.parametrize("name", rivals.NETWORKS)
def test_the_memory_and_the_work_of_a_picture_are_counted(trained, name, monkeypatch):
    """Nothing in restoring depends on what is in the tensors; work grows with the pixels."""
    from mperceiver.restoring import cost
    from mperceiver.restoring.memory import TilePlanner, estimate_peak
    from mperceiver.restoring.restorers import load_restorer

    if name == "wgws":
        Path("config/methods/wgws.yaml").write_text(
            "title: t\nkind: network\nrun: wgws\ntask: given\n", encoding="utf-8"
        )
    planner = TilePlanner(load_restorer(name), config.load("methods", name))
    small, large = (estimate_peak(planner.restorer, 1, side, side) for side in (64, 128))
    assert 3 < large / small < 5
    assert 3 < cost.count(planner, 128) / cost.count(planner, 64) < 5.5


def test_the_costs_of_a_method_are_a_card(trained, monkeypatch):
    from mperceiver.restoring import cost

    columns = ", ".join(f"{{dataset: input, label: l, kind: cost, px: {px}}}" for px in (96, 64))
    rows = "rows: [{title: t, methods: [airnet]}]"
    Path("config/tables").mkdir(exist_ok=True)
    table = Path("config/tables/costs.yaml")
    table.write_text(f"title: t\ncaption: c\n{rows}\ncolumns: [{columns}]\n", encoding="utf-8")
    assert config.cost_sizes("airnet") == [64, 96] and config.cost_sizes("promptir") == [256, 512, 1024]
    found = lineage.read_card(cost.measure("airnet"))
    assert found["verb"] == "measure" and sorted(found["inputs"]) == sorted(
        getattr(path, "label", path) for path in config.measure_inputs("airnet")
    )
    assert found["result"]["sizes"].keys() == {"64", "96"}
    small, large = found["result"]["sizes"]["64"], found["result"]["sizes"]["96"]
    assert 0 < small["gmac"] < large["gmac"] and small["seconds"] > 0 and 0 < small["gib"] <= large["gib"]
    with pytest.raises(config.ConfigError, match="identity has no costs"):
        cost.measure("input")


def test_two_processes_train_what_one_does(trained, tmp_path):
    """Parameters without a gradient, in some steps (encoders that learn alone) or in all (PromptIR's six), hang nothing.

    AirNet's norms and queue are of a process's own pictures, so of it only the run is compared with nothing.
    """
    from safetensors.torch import load_file

    for name in rivals.NETWORKS:
        text = f"like: {name}\nnetwork: {{accumulate: 2, steps: 3, lr: 1.0e-4}}\n"
        Path(f"config/runs/two-{name}.yaml").write_text(text, encoding="utf-8")
    other = tmp_path / "other"
    shutil.copytree(trained, other)
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    for command, world in (([sys.executable], trained), (launcher, other)):
        done = subprocess.run(
            [*command, loops.__file__, "networks", str(world)],
            env=os.environ | {"GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            timeout=400,
        )
        assert done.returncode == 0, done.stdout[-4000:]
    for name in rivals.NETWORKS:
        one, two = (load_file(world / f"results/runs/two-{name}/network.safetensors") for world in (trained, other))
        assert one.keys() == two.keys()
        if name != "airnet":
            far = {key: (one[key] - two[key]).abs().max().item() for key in one}
            assert {key: value for key, value in far.items() if value > 2e-5} == {}, name
