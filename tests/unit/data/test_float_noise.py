"""Noise that is neither clipped nor rounded: it is drawn again from its seed when a pair is read."""

import math
from pathlib import Path

import numpy as np
import pytest
from support.pairs import write_config

from mperceiver import commits, config, images, lineage
from mperceiver.config import ConfigError
from mperceiver.data.prepare.dataset import prepare_dataset
from mperceiver.data.raw.download import download_dataset
from mperceiver.data.read.loader import PreparedDataset
from mperceiver.images import PictureError
from mperceiver.restoring.commands import run_command
from mperceiver.restoring.datasets import restore_dataset
from mperceiver.scoring.datasets import score_dataset

THEORY = 20 * math.log10(255 / 50)  # dB: 14.15
SIDE = 512


@pytest.fixture
def world(tmp_path, monkeypatch):
    """A picture of all levels, black and white among them, and three noisy sets of it; returns the picture."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(commits, "current", lambda: ("0" * 40, False))
    picture = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    picture[:100], picture[100:200] = 0, 255
    Path("pictures").mkdir()
    Path("pictures/one.png").write_bytes(images.encode(picture))
    noisy = "title: N\nlicence: none\nfrom: [clean]\nprotocol: plain\ndegradations: {gaussian-noise: {gaussian-noise: {sigma_255: 50%s}}}\n"
    write_config(
        {
            "datasets/clean": f"title: C\nlicence: none\nsources: [{{source: local, folder: {tmp_path}/pictures}}]\n",
            "datasets/float": noisy % ", clip: false",
            "datasets/restormers": noisy % ", clip: false, common_seed: 0",
            "datasets/clipped": noisy % "",
            "protocols/plain": "title: plain\nmetrics: [psnr, ssim]\n",
            "methods/input": "title: input\nkind: identity\n",
        }
    )
    download_dataset("clean", [])
    return picture


def test_the_degraded_pictures_have_the_psnr_of_theory(world):
    for name in ("float", "restormers", "clipped"):
        prepare_dataset(name, workers=1)
        restore_dataset("input", name)
        score_dataset("input", name)
    means = {
        name: lineage.read_card(f"results/scores/input/{name}.json")["result"]["means"]["psnr"]
        for name in ("float", "restormers", "clipped")
    }
    assert means["float"] == pytest.approx(THEORY, abs=0.02)
    assert means["restormers"] == pytest.approx(THEORY, abs=0.02)
    assert means["clipped"] > THEORY + 0.5  # what clipping takes away is no error any more


def test_restormers_noise_is_numpys_of_seed_0(world):
    prepare_dataset("restormers", workers=1)
    pairs = PreparedDataset("restormers")
    given = pairs.lq_float(0)
    by_hand = world / 255 + np.random.RandomState(0).normal(0, 50 / 255, world.shape)
    assert given.dtype == np.float32 and np.abs(given - by_hand).max() < 1e-6
    assert given.min() < -0.3 and given.max() > 1.3
    assert np.array_equal(pairs.stacked(("lq",), 0), given)
    stored = pairs.lq(0)  # a copy to look at
    assert np.array_equal(stored, np.round(np.clip(given, 0, 1) * 255).astype(np.uint8))


def test_a_network_is_given_what_was_not_clipped(world, monkeypatch):
    """A module that returns its input's mean square, which clipping would change."""
    Path("squares.py").write_text(
        "import torch\nfrom torch import nn\nclass Squares(nn.Module):\n    def forward(self, x):\n"
        "        return torch.full_like(x, float((x ** 2).mean() / 2))\ndef make():\n    return Squares()\n",
        encoding="utf-8",
    )
    monkeypatch.syspath_prepend(str(Path.cwd()))
    write_config({"methods/squares": "title: S\nkind: python\npython: {entry: 'squares:make'}\ntile_px: 512\n"})
    prepare_dataset("float", workers=1)
    restore_dataset("squares", "float")
    (file,) = Path("results/restored/squares/float").glob("*.png")
    given = PreparedDataset("float").lq_float(0)
    assert images.decode(file)[0, 0, 0] == round(float((given.astype(float) ** 2).mean() / 2) * 255)


def test_what_cannot_hold_such_noise_is_refused(world):
    prepare_dataset("float", workers=1)
    write_config({"methods/program": "title: P\nkind: command\ncommand: {run: 'cp {input}/* {output}'}\n"})
    with pytest.raises(PictureError, match="float: its noise is not clipped"):
        run_command("program", "float")
    start = "title: N\nlicence: none\nfrom: [clean]\nprotocol: plain\n"
    for keys in ("onto: lq", "on_the_fly: true", "depth: clean"):
        write_config({"datasets/odd": start + keys + "\ndegradations: {n: {gaussian-noise: {clip: false}}}\n"})
        with pytest.raises(ConfigError, match="`clip: false` noise is drawn again"):
            config.load("datasets", "odd")
    write_config({"datasets/odd": start + "degradations: {n: {gaussian-noise: {clip: false}, jpeg: {quality: 10}}}\n"})
    with pytest.raises((ConfigError, RuntimeError), match="only the last one may be unclipped"):
        prepare_dataset("odd", workers=1)
    write_config({"datasets/odd": start + "degradations: {n: {gaussian-noise: {clip: 1}}}\n"})
    with pytest.raises((ConfigError, RuntimeError), match="clip is 1, allowed is true or false"):
        prepare_dataset("odd", workers=1)
