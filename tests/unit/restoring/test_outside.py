"""Methods that were not trained here: pictures restored elsewhere, published weights, a module, a program."""

import math
import os
from pathlib import Path

import numpy as np
import pytest
from support.pairs import write_config, write_pairs

from mperceiver import commits, config, images, lineage, paths
from mperceiver.config import ConfigError
from mperceiver.images import PictureError
from mperceiver.report.overlap import training_overlap
from mperceiver.restoring import photographs
from mperceiver.restoring.datasets import restore_dataset
from mperceiver.scoring.datasets import score_dataset

SIZES = [(20, 24), (17, 31), (20, 24)]
MANIFEST = """method: Theirs
source: https://example.org/results.zip
trained_on: [noise, DIV2K]
date: 2024-05-01
"""


@pytest.fixture
def world(tmp_path, monkeypatch):
    """Pairs of noise, and a protocol without weights; returns the (lq, gt) of each."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(commits, "current", lambda: ("0" * 40, False))
    write_config(
        {
            "datasets/noise": "title: noise\nlicence: none\nsources: [{source: local, folder: none}]\nprotocol: plain\n",
            "datasets/other": "title: other\nlicence: none\nsources: [{source: local, folder: none}]\nprotocol: plain\n",
            "protocols/plain": "title: plain\nmetrics: [psnr, ssim]\n",
            "methods/theirs": "title: Theirs\nkind: results\nresults: {folder: theirs}\n",
        }
    )
    return write_pairs("noise", SIZES)


def psnr(one: np.ndarray, other: np.ndarray) -> float:
    return 10 * math.log10(255**2 / np.mean((one.astype(float) - other.astype(float)) ** 2))


def left(method: str) -> list[str]:
    """What is below results/ of a method, hidden files too."""
    return [str(p) for p in Path("results").rglob("*") if method in p.parts and p.is_file() and p.suffix != ".lock"]


# ---------------------------------------------------------------- results


@pytest.fixture
def theirs(world):
    """A folder of restored pictures: half way between the degraded picture and the ground truth."""
    halves = [((lq.astype(int) + gt) // 2).astype(np.uint8) for lq, gt in world]
    folder = Path("theirs/noise")
    folder.mkdir(parents=True)
    for i, half in enumerate(halves):
        (folder / f"p-{i}.png").write_bytes(images.encode(half))
    Path("theirs/manifest.yaml").write_text(MANIFEST, encoding="utf-8")
    return halves


def test_pictures_from_elsewhere_are_scored_like_any(world, theirs):
    card = lineage.read_card(restore_dataset("theirs", "noise"))
    for i, half in enumerate(theirs):
        assert np.array_equal(images.decode(paths.restored_picture("theirs", "noise", f"p-{i}")), half)
    assert card["result"]["manifest"]["source"] == "https://example.org/results.zip"
    assert card["result"]["taken_from"] == "theirs/noise" and card["result"]["count"] == 3
    assert set(card["inputs"]) == {
        "config/methods/theirs.yaml#restore",
        "data/prepared/noise.json",
        "theirs/manifest.yaml",
        "theirs/noise#pictures",
    }
    scores = lineage.read_card(score_dataset("theirs", "noise"))["result"]
    by_hand = np.mean([psnr(half, gt) for half, (_, gt) in zip(theirs, world, strict=True)])
    assert scores["means"]["psnr"] == pytest.approx(by_hand, abs=1e-4)


def test_what_they_trained_on_is_compared_with_the_test_set(theirs):
    assert config.learned_from("theirs") == ["noise", "DIV2K"]
    assert training_overlap("theirs", "noise").absent == ("DIV2K",)  # it is no file of config/datasets/


def test_pictures_of_16_bit_are_rounded(theirs):
    import tifffile

    values = np.full((20, 24, 3), 257 * 100 + 140, np.uint16)  # 100.54 of 255
    tifffile.imwrite("theirs/noise/p-0.tif", values, photometric="rgb")
    os.remove("theirs/noise/p-0.png")
    restore_dataset("theirs", "noise")
    assert (images.decode(paths.restored_picture("theirs", "noise", "p-0")) == 101).all()


def test_a_changed_picture_makes_the_restored_ones_stale(theirs):
    card = restore_dataset("theirs", "noise")
    assert config.changes(card, config.inputs_of(str(card))) == []
    os.replace("theirs/noise/p-1.png", "theirs/noise/spare.png")
    picture = images.decode("theirs/noise/spare.png")
    os.remove("theirs/noise/spare.png")
    picture[0, 0] ^= 1
    Path("theirs/noise/p-1.png").write_bytes(images.encode(picture))
    (change,) = config.changes(card, config.inputs_of(str(card)))
    assert change.name == "theirs/noise#pictures"
    assert any(
        "theirs/noise#pictures" in problem
        for problem in lineage.verify_card(str(card), lineage.read_card(card), config.digest_of_label, lineage.sha256)
    )


def remove_one():
    os.remove("theirs/noise/p-1.png")


def add_one():
    Path("theirs/noise/p-9.png").write_bytes(images.encode(np.zeros((20, 24, 3), np.uint8)))


def resize_one():
    Path("theirs/noise/p-1.png").write_bytes(images.encode(np.zeros((16, 32, 3), np.uint8)))


def turn_one_to_jpeg():
    from PIL import Image

    Image.fromarray(images.decode("theirs/noise/p-1.png")).save("theirs/noise/p-1.jpg")
    remove_one()


def twice():
    Path("theirs/noise/p-1.bmp").write_bytes(Path("theirs/noise/p-1.png").read_bytes())


def break_one():
    Path("theirs/noise/p-1.png").write_bytes(Path("theirs/noise/p-1.png").read_bytes()[:200])


@pytest.mark.parametrize(
    "spoil, message",
    [
        (remove_one, "1 of 3 pictures are missing: p-1"),
        (add_one, r"1 file\(s\) are no pictures of noise .*: p-9.png"),
        (resize_one, r"p-1.png is 32x16 px, not 31x17.*Nothing is resized"),
        (turn_one_to_jpeg, r"1 of 3 pictures are missing: p-1; 1 file\(s\) are no pictures of noise .*: p-1.jpg"),
        (twice, "1 picture.s. are there twice: p-1.png"),
        (break_one, "p-1.png: cannot be decoded"),
    ],
)
def test_another_set_of_pictures_is_refused_by_name(theirs, spoil, message):
    spoil()
    with pytest.raises(PictureError, match=message):
        restore_dataset("theirs", "noise")
    assert left("theirs") == []


def test_a_folder_without_a_manifest_or_a_dataset_is_refused(theirs):
    write_pairs("other", SIZES)
    with pytest.raises(PictureError, match="theirs/other: no such folder"):
        restore_dataset("theirs", "other")
    Path("theirs/manifest.yaml").write_text(MANIFEST.replace("trained_on", "trained"), encoding="utf-8")
    with pytest.raises(ConfigError, match=r"manifest.yaml(?s:.*)trained.*did you mean trained_on"):
        restore_dataset("theirs", "noise")
    os.remove("theirs/manifest.yaml")
    with pytest.raises((ConfigError, lineage.LineageError), match=r"theirs/manifest.yaml"):
        restore_dataset("theirs", "noise")
    assert left("theirs") == []


def test_photographs_and_costs_are_refused(theirs):
    from mperceiver.restoring.cost import measure

    with pytest.raises(PictureError, match="of kind results: another program"):
        photographs.method_for_photographs("theirs")
    with pytest.raises(ConfigError, match="kind results has no costs"):
        measure("theirs")


def test_datasets_that_a_method_leaves_out(world):
    write_config({"methods/theirs": "title: T\nkind: results\nresults: {folder: theirs}\ndatasets: [other]\n"})
    assert not config.covers("theirs", "noise") and config.covers("theirs", "other")
    with pytest.raises(ConfigError, match="`datasets`, or `checkpoint.files`, leaves out noise"):
        restore_dataset("theirs", "noise")


@pytest.mark.parametrize(
    "text, message",
    [
        ("kind: results", "a method of kind results needs it"),
        ("kind: identity\nresults: {folder: a}", "`results` belongs to kind results"),
        ("kind: identity\ndatasets: [noise]", "`datasets` belongs to kinds results, checkpoint, python and command"),
        ("kind: checkpoint\ncheckpoint: {architecture: DnCNN, file: a.pth}", "needs a `foundation`"),
        ("kind: checkpoint\nfoundation: f\ncheckpoint: {architecture: DnCNN}", "needs a `file`"),
        ("kind: command\ncommand: {run: 'cp {input}/* out'}", "lacks {output}"),
        ("kind: command\ncommand: {run: 'a {input} {output}', container: a.sif, conda: b}", "either `container` or"),
        ("kind: python\npython: {entry: 'a b'}", "python.entry"),
    ],
)
def test_keys_that_do_not_fit(world, text, message):
    write_config({"methods/odd": f"title: odd\n{text}\n"})
    with pytest.raises(ConfigError, match=message):
        config.load("methods", "odd")
