"""Pairs of 16 bits: prepared, restored and scored without a rounding to 8."""

import zipfile
from pathlib import Path

import numpy as np
import pytest
import tifffile
from support.pairs import write_config

from mperceiver import commits, images, lineage
from mperceiver.config import ConfigError
from mperceiver.data import DataError
from mperceiver.data.prepare.dataset import prepare_dataset
from mperceiver.data.raw.download import download_dataset
from mperceiver.data.read.loader import PreparedDataset
from mperceiver.images import PictureError
from mperceiver.restoring.commands import run_command
from mperceiver.restoring.datasets import restore_dataset
from mperceiver.scoring.datasets import score_dataset

SIDE = 64
ERROR = 40 / 65_535  # of each value of the degraded picture: a sixth of a level of 8 bits
PAIRS = "title: P\nlicence: none\nfrom: [raw]\nprotocol: %s\npairs: {task: defocus, lq: lq/*.*, match: 'lq/(.*)', gt: {rule: 'gt/\\1'}%s}\n"


def png_16(values: np.ndarray) -> bytes:
    """By OpenCV, which the code under test does not write with."""
    import cv2

    return cv2.imencode(".png", values[..., ::-1])[1].tobytes()


@pytest.fixture
def world(tmp_path, monkeypatch):
    """One pair of 16 bits in a zip, which differs by less than 8 bits show; returns its ground truth."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(commits, "current", lambda: ("0" * 40, False))
    gt = np.random.default_rng(0).integers(0, 255, (SIDE, SIDE, 3)).astype(np.uint16) * 257  # 8 bits hold it
    write_zip({"gt/one.png": png_16(gt), "lq/one.png": png_16(gt + 40)})
    write_config(
        {
            "datasets/deep": PAIRS % ("float", ", bits: 16"),
            "datasets/rounded": PAIRS % ("float", ""),
            "datasets/quantised": PAIRS % ("whole", ", bits: 16"),
            "protocols/float": "title: float\nmetrics: [psnr]\nquantised: false\n",
            "protocols/whole": "title: whole\nmetrics: [psnr]\n",
            "methods/input": "title: input\nkind: identity\n",
            "methods/program": "title: P\nkind: command\ncommand: {run: 'cp {input}/* {output}'}\n",
            "methods/theirs": "title: T\nkind: results\nresults: {folder: theirs}\n",
            "methods/module": "title: M\nkind: python\npython: {entry: 'halves:make'}\ntile_px: 64\n",
        }
    )
    return gt


def write_zip(members: dict[str, bytes]) -> None:
    Path("data/manual/raw").mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile("data/manual/raw/pairs.zip", "w") as file:
        for name, data in members.items():
            file.writestr(name, data)
    source = "{source: manual, page: 'https://example.org', terms: none, files: [{name: pairs.zip}]}"
    write_config({"datasets/raw": f"title: R\nlicence: none\nsources: [{source}]\n"})
    download_dataset("raw", [], force=True, force_digest=True)


def psnr(method: str, dataset: str) -> float:
    restore_dataset(method, dataset)
    score_dataset(method, dataset)
    return lineage.read_card(f"results/scores/{method}/{dataset}.json")["result"]["means"]["psnr"]


def test_what_8_bits_do_not_show_is_scored(world):
    for name in ("deep", "rounded", "quantised"):
        prepare_dataset(name, workers=1)
    assert psnr("input", "deep") == pytest.approx(-20 * np.log10(ERROR), abs=1e-3)  # 64.3 dB
    assert psnr("input", "rounded") == psnr("input", "quantised") == 100  # as if nothing was wrong with it


def test_pairs_hold_16_bits(world):
    prepare_dataset("deep", workers=1)
    pairs = PreparedDataset("deep")
    assert pairs.bits == 16 and pairs.in_float and not pairs.unclipped
    assert np.array_equal(np.round(pairs.gt_float(0) * 65_535), world)
    assert np.array_equal(np.round(pairs.stacked(("lq", "gt"), 0) * 65_535), np.concatenate([world + 40, world], 2))
    assert pairs.lq(0).dtype == np.uint8 and np.array_equal(pairs.gt(0), (world // 257).astype(np.uint8))
    assert pairs.size(0) == (SIDE, SIDE)


def test_what_is_degraded_further_has_8_bits(world):
    degraded = "title: D\nlicence: none\nfrom: [deep]\nprotocol: float\ndegradations: {jpeg: {jpeg: {quality: 50}}}\n"
    write_config({"datasets/degraded": degraded})
    prepare_dataset("deep", workers=1)
    prepare_dataset("degraded", workers=1)
    pairs = PreparedDataset("degraded")
    assert pairs.bits == 8 and not pairs.in_float
    assert np.array_equal(pairs.gt(0), (world // 257).astype(np.uint8))


def test_every_kind_of_method_keeps_them(world, monkeypatch):
    Path("halves.py").write_text(
        "from torch import nn\nclass Halves(nn.Module):\n    def forward(self, x):\n        return x / 2\ndef make():\n    return Halves()\n",
        encoding="utf-8",
    )
    monkeypatch.syspath_prepend(str(Path.cwd()))
    theirs = Path("theirs/deep")
    theirs.mkdir(parents=True)
    (theirs / "one.png").write_bytes(png_16(world + 7))
    Path("theirs/manifest.yaml").write_text(
        "method: T\nsource: here\ntrained_on: [theirs]\ndate: 2026-01-01\n", encoding="utf-8"
    )
    prepare_dataset("deep", workers=1)
    run_command("program", "deep")
    lq = world.astype(np.int64) + 40
    expected = {"input": lq, "program": lq, "theirs": world.astype(np.int64) + 7, "module": lq / 2}
    for method, values in expected.items():
        restore_dataset(method, "deep")
        restored = images.decode_deep(f"results/restored/{method}/deep/one.png")
        assert np.abs(restored - values).max() <= 0.5, method


def test_what_cannot_keep_them_is_refused(world):
    tifffile.imwrite("deep.tif", world + 40, photometric="rgb")
    with pytest.raises(PictureError, match="more than 8 bits, which are kept of upright PNG"):
        images.decode_deep("deep.tif")
    write_zip({"gt/one.tif": Path("deep.tif").read_bytes(), "lq/one.tif": Path("deep.tif").read_bytes()})
    with pytest.raises(DataError, match="more than 8 bits, which are kept of upright PNG"):
        prepare_dataset("deep", workers=1)
    write_config({"datasets/odd": PAIRS % ("float", ", bits: 16, resize_px: 32")})
    with pytest.raises(ConfigError, match="`bits: 16` is for files of 16 bits that are not resized"):
        prepare_dataset("odd", workers=1)


def test_values_of_8_bits_stay_what_they_are(world):
    eight = (world // 257).astype(np.uint8)
    assert np.array_equal(images.decode_deep(images.encode(eight)), world)
    exact, deep = images.decode_exact(images.encode(eight)), images.decode_exact(png_16(world))
    assert exact.dtype == np.uint8 and np.array_equal(exact, eight)
    assert deep.dtype == np.uint16 and np.array_equal(deep, world)
    grey = images.decode_deep(_grey(world[..., 0] + 40))
    assert np.array_equal(grey, np.repeat(world[..., :1] + 40, 3, 2))


def _grey(values: np.ndarray) -> bytes:
    import cv2

    return cv2.imencode(".png", values)[1].tobytes()
