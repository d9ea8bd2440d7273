"""Conventions of scoring: a number computed by one of them is traced back to it."""

import json

import numpy as np
import pytest
from support import PROJECT
from typer.testing import CliRunner

from mperceiver import cli, images, metrics
from mperceiver.config.protocols import Protocol
from mperceiver.scoring import explain
from mperceiver.scoring.explain import POOLS


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Three pairs of pictures of different sizes and errors, dark and too flat in colour, so that the ways part."""
    from skimage import data

    root = tmp_path_factory.mktemp("explain")
    rng = np.random.default_rng(0)
    whole = data.astronaut()
    for i, (height, width, sigma) in enumerate([(75, 66, 4), (70, 83, 15), (64, 71, 40)]):
        gt = whole[60 * i : 60 * i + height, 90 : 90 + width]
        noise = rng.normal(0, sigma, gt.shape) + np.array([6, -3, 0]) + 12 * (np.indices(gt.shape)[0] < 4)
        for side, picture in (("gt", gt), ("restored", 0.85 * gt + noise)):
            (root / side).mkdir(exist_ok=True)
            (root / side / f"p{i}.png").write_bytes(images.encode(np.clip(picture, 0, 255).round().astype(np.uint8)))
    return root / "restored", root / "gt"


def pairs(folders):
    return [[images.decode(side / f"p{i}.png") for side in folders] for i in range(3)]


def cases():
    def plain(metric, **how):
        protocol = Protocol(title="", **how)
        return lambda ps: float(np.mean([metrics.METRICS[metric].score(a[None], b[None], protocol)[0] for a, b in ps]))

    def pooled(ps):
        return float(10 * np.log10(255**2 / np.mean([np.square(a.astype(float) - b).mean() for a, b in ps])))

    def gt_mean(ps):
        values = []
        for a, b in ps:
            grey = [(x @ explain.GREY).mean() for x in (a, b)]
            error = np.square(np.clip(a * (grey[1] / grey[0]), 0, 255) - b).mean()
            values.append(10 * np.log10(255**2 / error))
        return float(np.mean(values))

    def doubled(ps):
        from skimage.metrics import structural_similarity

        return float(np.mean([structural_similarity(a / 255, b / 255, channel_axis=-1, data_range=2) for a, b in ps]))

    return {
        "rgb": ("psnr", plain("psnr"), ("RGB", "whole picture"), "rgb"),
        "y": ("psnr", plain("psnr", channel="y"), ("Y (BT.601)", "whole picture"), "y"),
        "y, border": (
            "psnr",
            plain("psnr", channel="y", border_px=4),
            ("Y (BT.601)", "4 px cropped from each side"),
            None,
        ),
        "matlab's luma": ("psnr", plain("psnr", channel="y", luma_rounded=True), ("MATLAB",), "y-matlab"),
        "pooled": ("psnr", pooled, ("RGB", POOLS[1]), None),
        "gt mean": ("psnr", gt_mean, ("RGB", "mean grey"), None),
        "gaussian": ("ssim", plain("ssim"), ("Gaussian", "RGB"), "rgb"),
        "uniform": ("ssim", plain("ssim", ssim="uniform"), ("flat 7x7", "RGB"), "rgb-uniform"),
        "3-D": ("ssim", plain("ssim", ssim="matlab-3d"), ("3-D", "RGB"), "rgb-matlab"),
        "wrong range": ("ssim", doubled, ("flat 7x7, data range of 2", "RGB"), None),
    }


@pytest.mark.parametrize("case", cases())
def test_a_planted_number_is_explained(folders, case, monkeypatch):
    monkeypatch.chdir(PROJECT)
    metric, value, words, protocol = cases()[case]
    best = explain.explain_numbers(*folders, {metric: value(pairs(folders))}, workers=1)[0]
    assert abs(best.difference) < 1e-6, best
    assert all(any(word in said for said in best.words) for word in words), best
    assert (protocol in best.protocols) if protocol else not best.protocols, best


def test_every_convention_gives_another_number(folders, monkeypatch):
    monkeypatch.chdir(PROJECT)
    conventions = explain.explain_numbers(*folders, {"psnr": 30.0, "ssim": 0.9}, workers=2)
    assert len({c.words for c in conventions if c.metric == "psnr"}) == 3 * 7 * 2 * 2
    differences = [abs(c.difference) for c in conventions if c.metric == "psnr"]
    assert differences == sorted(differences)


def test_folders_that_do_not_fit_are_told(folders, tmp_path):
    with pytest.raises(explain.ExplainError, match="no such folder"):
        explain.explain_numbers(folders[0], tmp_path / "no", {"psnr": 1}, 1)
    (tmp_path / "p0.png").write_bytes((folders[1] / "p0.png").read_bytes())
    with pytest.raises(explain.ExplainError, match="3 pictures and .* 1.*p1, p2"):
        explain.explain_numbers(folders[0], tmp_path, {"psnr": 1}, 1)
    for name in ("p1", "p2"):
        (tmp_path / f"{name}.png").write_bytes((folders[1] / "p0.png").read_bytes())
    with pytest.raises(images.PictureError, match=r"p1.*is 83x70 px, its ground truth 66x75 px"):
        explain.explain_numbers(folders[0], tmp_path, {"psnr": 1}, 1)


def test_the_command_says_it_in_words(folders, monkeypatch):
    monkeypatch.chdir(PROJECT)
    run = CliRunner().invoke
    value = cases()["y"][1](pairs(folders))
    done = run(
        cli.app, ["explain", *map(str, folders), "--psnr", f"{value:.2f}", "--workers", "1"], env={"COLUMNS": "160"}
    )
    assert done.exit_code == 0 and "Y (BT.601), whole picture" in done.stdout and "No convention" not in done.stdout
    done = run(cli.app, ["explain", *map(str, folders), "--psnr", "70", "--workers", "1"])
    assert "No convention of scoring gives 70.00" in done.stdout
    done = run(cli.app, ["explain", *map(str, folders), "--psnr", "20", "--json", "--workers", "1"])
    assert len(json.loads(done.stdout)) == 84
    assert run(cli.app, ["explain", *map(str, folders)]).exit_code == 1
