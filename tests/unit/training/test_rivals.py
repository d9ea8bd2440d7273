"""The other all-in-one methods in the one loop: resumed exactly, shared by processes, and restoring with what they learnt."""

import shutil
from pathlib import Path

import pytest
import torch
from support import rivals
from support.loops import at, terminate

from mperceiver import config, lineage
from mperceiver.training.loop import fit
from mperceiver.training.stages import train


@pytest.fixture(scope="module")
def rivals_root(tiny_root, tmp_path_factory) -> Path:
    """The tiny world with a run and a method for each, all trained once without a stop."""
    root = tmp_path_factory.mktemp("rivals") / "world"
    shutil.copytree(tiny_root, root)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        patch.setattr(lineage, "commit", lambda: ("0" * 40, False))
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
    monkeypatch.setattr(lineage, "commit", lambda: ("0" * 40, False))
    return root


@pytest.mark.parametrize("name", rivals.NETWORKS)
def test_stopped_and_resumed_is_the_same_bytes(trained, monkeypatch, name):
    """In the part where AirNet's encoder and DA-CLIP's controller learn alone; moving encoders, queues and norms go on, too."""
    weights = Path(f"results/runs/{name}/network.safetensors")
    first = weights.read_bytes()
    weights.unlink()
    with monkeypatch.context() as patch:
        stopping = lambda title, module, losses, *a, **o: fit(title, module, at(1, terminate, losses), *a, **o)  # noqa: E731
        patch.setattr("mperceiver.training.stages.network.fit", stopping)
        with pytest.raises(SystemExit):
            train(name, "network")
    assert not weights.exists()
    train(name, "network")
    assert weights.read_bytes() == first


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
