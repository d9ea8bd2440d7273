"""Conventions of scoring: a number computed by one of them is traced back to it."""

import json
import shutil
import time

import numpy as np
import pytest
from support import PROJECT
from typer.testing import CliRunner

from mperceiver import cli, images, metrics
from mperceiver.config.protocols import Protocol
from mperceiver.scoring import explain
from mperceiver.scoring.explain import POOLS, ReportedNumber


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
    best = explain.explain_numbers(*folders, {metric: ReportedNumber(value(pairs(folders)))}, workers=1)[0]
    assert abs(best.difference) < 1e-6, best
    assert all(any(word in said for said in best.words) for word in words), best
    assert (protocol in best.protocols) if protocol else not best.protocols, best


def test_every_convention_gives_another_number(folders, monkeypatch):
    monkeypatch.chdir(PROJECT)
    conventions = explain.explain_numbers(
        *folders, {"psnr": ReportedNumber(30.0), "ssim": ReportedNumber(0.9)}, workers=2
    )
    assert len({c.words for c in conventions if c.metric == "psnr"}) == 3 * 7 * 2 * 2
    differences = [abs(c.difference) for c in conventions if c.metric == "psnr"]
    assert differences == sorted(differences)


def test_folders_that_do_not_fit_are_told(folders, tmp_path):
    with pytest.raises(explain.ExplainError, match="no such folder"):
        explain.explain_numbers(folders[0], tmp_path / "no", {"psnr": ReportedNumber(1)}, 1)
    (tmp_path / "p0.png").write_bytes((folders[1] / "p0.png").read_bytes())
    with pytest.raises(explain.ExplainError, match="3 pictures and .* 1.*p1, p2"):
        explain.explain_numbers(folders[0], tmp_path, {"psnr": ReportedNumber(1)}, 1)
    for name in ("p1", "p2"):
        (tmp_path / f"{name}.png").write_bytes((folders[1] / "p0.png").read_bytes())
    with pytest.raises(images.PictureError, match=r"p1.*is 83x70 px, its ground truth 66x75 px"):
        explain.explain_numbers(folders[0], tmp_path, {"psnr": ReportedNumber(1)}, 1)


def test_the_command_says_it_in_words(folders, monkeypatch):
    monkeypatch.chdir(PROJECT)
    run = CliRunner().invoke
    value = cases()["y"][1](pairs(folders))
    done = run(
        cli.app, ["explain", *map(str, folders), "--psnr", f"{value:.2f}", "--workers", "1"], env={"COLUMNS": "160"}
    )
    assert done.exit_code == 0 and "Y (BT.601), whole picture" in done.stdout and "No convention" not in done.stdout
    done = run(cli.app, ["explain", *map(str, folders), "--psnr", "70", "--workers", "1"])
    assert "No convention of scoring gives 70 on" in done.stdout
    done = run(cli.app, ["explain", *map(str, folders), "--psnr", "20", "--json", "--workers", "1"])
    assert len(json.loads(done.stdout)) == 84
    assert run(cli.app, ["explain", *map(str, folders)]).exit_code == 1


def test_pictures_of_16_bits_are_scored_at_16_and_at_8(tmp_path, monkeypatch):
    """A pair of 16 bits, a ground truth of 8 beside 16, and a pair of 8: a picture of 8 bits has the same values in 16."""
    monkeypatch.chdir(PROJECT)
    rng = np.random.default_rng(1)
    deep = {}
    for i in range(3):
        gt = rng.integers(20_000, 20_300, (40, 44, 3)).astype(np.uint16)  # within a level of 8 bits or two
        gt = (gt + 128) // 257 * 257 if i else gt
        noise = 257 * rng.integers(-1, 2, gt.shape) if i == 2 else rng.integers(-200, 201, gt.shape)
        restored = (gt + noise).astype(np.uint16)
        for side, picture in (("gt", gt), ("restored", restored)):
            (tmp_path / side).mkdir(exist_ok=True)
            stored = (picture // 257).astype(np.uint8) if i == 2 or (side == "gt" and i) else picture
            (tmp_path / side / f"p{i}.png").write_bytes(images.encode(stored))
        deep[i] = restored.astype(float), gt.astype(float)
    sixteen = np.mean([10 * np.log10(65_535**2 / np.square(a - b).mean()) for a, b in deep.values()])
    eight = np.mean(
        [10 * np.log10(255**2 / np.square(np.round(a / 257) - np.round(b / 257)).mean()) for a, b in deep.values()]
    )
    assert sixteen - eight > 1
    for value, words, protocol in ((sixteen, "16 bits", "rgb-float"), (eight, "rounded to 8 bits", "rgb")):
        best = explain.explain_numbers(tmp_path / "restored", tmp_path / "gt", {"psnr": ReportedNumber(value)}, 1)[0]
        assert abs(best.difference) < 1e-6 and words in best.words and protocol in best.protocols


def test_bits_that_would_be_lost_are_refused_by_name(tmp_path):
    import tifffile

    for side in ("restored", "gt"):
        (tmp_path / side).mkdir()
        tifffile.imwrite(tmp_path / side / "p.tif", np.full((20, 20, 3), 300, np.uint16), photometric="rgb")
    with pytest.raises(images.PictureError, match=r"p\.tif: its values have more than 8 bits"):
        explain.explain_numbers(tmp_path / "restored", tmp_path / "gt", {"psnr": ReportedNumber(30.0)}, 1)


@pytest.mark.parametrize(
    ("text", "value", "decimals"),
    [("27.30", 27.3, 2), ("27.3", 27.3, 1), ("27", 27.0, 0), ("0.9120", 0.912, 4), ("3e1", 30.0, 0)],
)
def test_the_zeros_at_the_end_of_a_number_count(text, value, decimals):
    number = ReportedNumber.of(text)
    assert (number.value, number.decimals) == (value, decimals)
    half = 0.5 * 10**-decimals
    assert number.is_fit_by(half) and number.is_fit_by(-0.99 * half) and not number.is_fit_by(1.01 * half)


@pytest.mark.parametrize("text", ["nan", "inf", "-inf", "27,3", "x", ""])
def test_what_is_no_number_is_refused(text):
    with pytest.raises(explain.ExplainError, match="is not a number"):
        ReportedNumber.of(text)


@pytest.mark.parametrize(
    ("case", "decimals"), [("rgb", 1), ("y", 1), ("gaussian", 2), ("3-D", 2), ("matlab's luma", 2)]
)
def test_of_what_prints_alike_the_plain_one_comes_first(folders, case, decimals, monkeypatch):
    """The order is checked by the words alone: protocols, then whole pictures, then oddities; then what does not fit."""
    monkeypatch.chdir(PROJECT)
    metric, value, _, protocol = cases()[case]
    printed = f"{value(pairs(folders)):.{decimals}f}"
    ways = explain.explain_numbers(*folders, {metric: ReportedNumber.of(printed)}, workers=1)
    fitting = [way for way in ways if way.fits]
    assert ways[: len(fitting)] == fitting
    assert [f"{way.value:.{decimals}f}" == printed for way in ways] == [True] * len(fitting) + [False] * (
        len(ways) - len(fitting)
    )
    assert protocol in [name for way in fitting for name in way.protocols]
    named = [bool(way.protocols) for way in fitting]
    assert named == sorted(named, reverse=True)
    whole = ["whole picture" in way.words for way in fitting if not way.protocols]
    assert whole == sorted(whole, reverse=True)
    distances = [abs(way.difference) for way in ways[len(fitting) :]]
    assert distances == sorted(distances)


def test_it_is_said_how_many_fit(folders, monkeypatch):
    monkeypatch.chdir(PROJECT)
    value = cases()["rgb"][1](pairs(folders))
    words = ["explain", *map(str, folders), "--workers", "1", "--psnr"]
    wide = {"COLUMNS": "200"}
    many = CliRunner().invoke(cli.app, [*words, f"{value:.0f}"], env=wide).stdout
    count = int(many.split(" of 84 conventions give")[0].split()[-1])
    assert count > 6 and many.count(" yes ") == count and " no " not in many  # all that fit are shown
    three = CliRunner().invoke(cli.app, [*words, f"{value:.0f}", "--shown", "3"], env=wide).stdout
    assert three.count(" yes ") == 3 and f"the 3 plainest are shown (--shown {count} shows all)" in three
    few = CliRunner().invoke(cli.app, [*words, f"{value:.6f}"], env=wide).stdout
    assert few.count(" yes ") == 1 and few.count(" no ") == 5 and "1 of 84 conventions give" in few
    for wrong in ("nan", "27,3"):
        assert CliRunner().invoke(cli.app, [*words, wrong]).exit_code == 1


def test_what_is_not_compared_is_named(folders, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(PROJECT)
    sides = [tmp_path / "r", tmp_path / "g"]
    for side, source in zip(sides, folders, strict=True):
        shutil.copytree(source, side)
    (sides[0] / "more").mkdir()
    shutil.copy(sides[0] / "p0.png", sides[0] / "more/q.png")
    (sides[1] / "p9.gif").write_bytes(b"GIF89a" + bytes(20))
    explain.explain_numbers(*sides, {"psnr": ReportedNumber(30)}, 1)
    said = capsys.readouterr().err
    assert f"{sides[0]}: not compared: more/" in said and f"{sides[1]}: not compared: p9.gif" in said
    shutil.copy(sides[0] / "p0.png", sides[0] / "p0.jpg")
    with pytest.raises(explain.ExplainError, match=r"p0\.jpg and p0\.png have one name"):
        explain.explain_numbers(*sides, {"psnr": ReportedNumber(30)}, 1)


def test_what_reading_changed_is_said(folders, tmp_path, capsys, monkeypatch):
    """A dropped transparency is a likely cause of a number that nothing explains."""
    from PIL import Image

    monkeypatch.chdir(PROJECT)
    shutil.copytree(folders[0], tmp_path / "restored")
    for i in range(2):
        path = tmp_path / f"restored/p{i}.png"
        with Image.open(path) as picture:
            picture.convert("RGBA").save(path)
    explain.explain_numbers(tmp_path / "restored", folders[1], {"psnr": ReportedNumber.of("20.00")}, workers=1)
    told = capsys.readouterr().err
    assert f"{tmp_path}/restored: 2 of 3 pictures: " in told and "transparency" in told and str(folders[1]) not in told


def test_three_small_pictures_take_no_time(folders, monkeypatch):
    monkeypatch.chdir(PROJECT)
    reported = {"psnr": ReportedNumber(30), "ssim": ReportedNumber(0.9)}
    explain.explain_numbers(*folders, reported, 1)  # imports
    start = time.process_time()
    explain.explain_numbers(*folders, reported, 1)
    assert time.process_time() - start < 1
