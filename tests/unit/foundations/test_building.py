"""Building a foundation; its pre-training is a stand-in here."""

from pathlib import Path

import pytest

from mperceiver import commits, files, lineage, paths, shipped
from mperceiver.foundations import building, pretrain

CONFIG = Path(shipped.PACKAGE).parent / "config/foundations/mini.yaml"


@pytest.fixture
def world(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(commits, "current", lambda: ("0" * 40, False))
    files.write_text("config/foundations/mini.yaml", CONFIG.read_text(encoding="utf-8"))
    return tmp_path


def test_the_card_lies_in_the_folder_and_names_its_files(world, monkeypatch):
    read = []

    def stand_in(name, spec, target, work):
        read.extend([*spec.build.pictures, spec.build.degradations])
        (target / "unet").mkdir()
        (target / "unet/config.json").write_text("{}", encoding="utf-8")
        return {"parameters": 3}

    for dataset in ("dead-leaves", "bsds500-train", "demo-train"):
        files.write_text(paths.prepared_card(dataset), "{}")
    monkeypatch.setattr(pretrain, "build", stand_in)
    paths.resume_folder("foundation-mini").mkdir(parents=True)
    path = building.build("mini")
    card = lineage.read_card(path)
    assert path.parent.is_dir() and path.name == shipped.CARD
    assert card["outputs"] == {"unet/config.json": files.sha256(path.parent / "unet/config.json")}
    inputs = ["config/foundations/mini.yaml", *(str(paths.prepared_card(dataset)) for dataset in read)]
    assert card["inputs"] == {f"at-build:{file}": files.sha256(file) for file in inputs}
    assert (card["verb"], card["result"]) == ("foundation --build", {"parameters": 3}) and card["seed"] is not None
    assert not paths.resume_folder("foundation-mini").exists()
