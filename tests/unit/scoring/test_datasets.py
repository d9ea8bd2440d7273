"""Scores of a dataset: whether the restored pictures are those of their card, and how many pictures a mean is over."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from support import reports
from support.pairs import write_rows

from mperceiver import commits, images, lineage
from mperceiver.files import MANIFEST, ChecksumError, write_manifest
from mperceiver.scoring import datasets

FOLDER, CARD = Path("results/restored/one/pair"), Path("results/restored/one/pair.json")
PREPARED = SimpleNamespace(ids=["p-0", "p-1"])


@pytest.fixture
def restored(tmp_path, monkeypatch):
    """A method's two restored pictures and their card, as `restore` writes it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(commits, "current", lambda: reports.COMMIT)
    lineage.begin("prepare", {}).write_card("data/prepared/pair.json")
    FOLDER.mkdir(parents=True)
    for name in PREPARED.ids:
        (FOLDER / f"{name}.png").write_bytes(images.encode(np.zeros((8, 8, 3), np.uint8)))
    lineage.begin("restore", {}, ["data/prepared/pair.json"]).write_card(CARD, outputs=[FOLDER])


@pytest.mark.parametrize("manifest", ["kept", "lost", "changed"])
def test_a_changed_picture_is_refused_whatever_became_of_the_manifest(restored, manifest):
    if manifest == "lost":
        (FOLDER / MANIFEST).unlink()
    elif manifest == "changed":
        (FOLDER / MANIFEST).write_text("of another folder\n", encoding="utf-8")
    assert datasets._restored_folder("one", "pair", PREPARED) == FOLDER
    (FOLDER / "p-1.png").write_bytes(images.encode(np.ones((8, 8, 3), np.uint8)))
    with pytest.raises(ChecksumError, match=r"results/restored/one/pair.*mperceiver restore one pair"):
        datasets._restored_folder("one", "pair", PREPARED)


def test_a_manifest_that_fits_changed_pictures_does_not_help_them(restored):
    (FOLDER / "p-1.png").write_bytes(images.encode(np.ones((8, 8, 3), np.uint8)))
    write_manifest(FOLDER)
    with pytest.raises(ChecksumError, match=r"results/restored/one/pair\.json says"):
        datasets._restored_folder("one", "pair", PREPARED)


def test_the_card_says_over_how_many_pictures_each_mean_is(restored, monkeypatch):
    """A metric that one picture does not have, over two tasks: the mean is of the other two."""
    names = ["p-0", "p-1", "p-2"]
    png = images.encode(np.zeros((8, 8, 3), np.uint8))
    write_rows("pair", [(name, task, png, png) for name, task in zip(names, ("haze", "haze", "rain"), strict=True)])
    (FOLDER / "p-2.png").write_bytes(png)
    lineage.begin("restore", {}, ["data/prepared/pair.json"]).write_card(CARD, outputs=[FOLDER])
    source = {"source": "local", "folder": "none"}
    reports.dump("datasets", "pair", {"title": "P", "licence": "none", "sources": [source], "protocol": "rgb"})
    reports.dump("protocols", "rgb", {"title": "P", "metrics": ["psnr", "ssim"]})
    reports.dump("methods", "one", {"title": "One", "kind": "identity"})
    rows = [{"psnr": 20.0, "ssim": ssim} for ssim in (0.25, None, 0.75)]
    monkeypatch.setattr(datasets, "_score_pictures", lambda *_: rows)
    scored = lineage.read_card(datasets.score_dataset("one", "pair"))["result"]
    assert (scored["n"], scored["means"]["ssim"], scored["counts"]) == (3, 0.5, {"psnr": 3, "ssim": 2})
