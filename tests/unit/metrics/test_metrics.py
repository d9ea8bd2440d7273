"""Metrics against published numbers, the original packages and brute force; scoring of a whole dataset.

The golden pairs are five of TID2013 that pyiqa installs (site-packages/ResultsCalibra). LPIPS and NIQE: published in
pyiqa's ResultsCalibra/calibration_summary.csv, row "niqe(ours)". PSNR and SSIM: BasicSR 1.4.2 run on the same pairs.
"""

import csv
import importlib.util
import json
import pickle
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from support import PROJECT
from support.pairs import write_rows
from support.weights import link_weights

from mperceiver import commits, config, files, images, lineage, metrics
from mperceiver.config.protocols import Protocol
from mperceiver.data.raw.folder import pictures_in
from mperceiver.data.read.loader import PreparedDataset
from mperceiver.metrics import blind, fid, fidelity, lpips, perceptual, weights
from mperceiver.scoring import datasets

PAIRS = Path(importlib.util.find_spec("pyiqa").origin).parents[1] / "ResultsCalibra"
NAMES = ["I03", "I04", "I06", "I08", "I19"]
GOLDEN = {
    ("rgb", "psnr"): ([21.1136, 20.9872, 27.0139, 23.3003, 21.6187], 1e-4),
    ("rgb", "ssim"): ([0.67317, 0.93252, 0.98963, 0.96743, 0.63073], 1e-5),
    ("y", "psnr"): ([23.592, 57.339, 57.878, 25.065, 24.337], 1e-3),
    ("y", "ssim"): ([0.73529, 0.99887, 0.99953, 0.96762, 0.67962], 1e-5),
    ("rgb", "lpips"): ([0.7237, 0.2572, 0.0508, 0.0521, 0.4253], 6e-5),
    # float32 sums differ by machine; I03 has blocks without texture, where the fit is least sure
    ("rgb", "brisque"): ([94.644, -0.107, 1.073, 5.145, 66.842], 2e-2),
    ("rgb", "niqe"): ([15.6538, 3.6549, 3.2342, 3.1921, 9.0722], 5e-3),
}


GOLDEN_REALBLUR = (24.25494, 0.783244)  # PSNR, SSIM


@pytest.fixture(autouse=True)
def staged(metric_weights, monkeypatch):
    """Metrics look for their weights below the working directory."""
    monkeypatch.chdir(metric_weights)


def protocol(**changes) -> Protocol:
    return Protocol(title="test", **changes)


@pytest.fixture(scope="module")
def pairs() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    return {
        name: (images.decode(PAIRS / "dist_dir" / f"{name}.bmp"), images.decode(PAIRS / "ref_dir" / f"{name}.bmp"))
        for name in NAMES
    }


def score_pair(restored: np.ndarray, gt: np.ndarray | None, protocol: Protocol) -> dict[str, float | None]:
    """The protocol's metrics of one picture, uint8 (H, W, 3), with its ground truth or None."""
    return metrics.score_batch(restored[None], None if gt is None else gt[None], protocol)[0]


def noisy(shape: tuple[int, ...], seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    gt = rng.integers(0, 256, shape, dtype=np.uint8)
    return np.clip(gt + rng.normal(0, 20, shape), 0, 255).astype(np.uint8), gt


# ---------------------------------------------------------------- published numbers


@pytest.mark.parametrize(("channel", "metric"), GOLDEN)
def test_equals_the_published_numbers(pairs, channel, metric):
    expected, tolerance = GOLDEN[channel, metric]
    how = protocol(channel=channel, metrics=[metric])
    found = [score_pair(*pairs[name], how)[metric] for name in NAMES]
    assert found == pytest.approx(expected, abs=tolerance)


@pytest.mark.filterwarnings("ignore:.*pretrained", "ignore:Arguments other than a weight enum")
@pytest.mark.parametrize("net", ["alex", "vgg"])
def test_lpips_is_that_of_the_original_package(pairs, net):
    """The package's own network and code, its trunk filled with the weights that it would download."""
    import lpips as original_lpips
    import torch

    original = original_lpips.LPIPS(net=net, pnet_rand=True, verbose=False).eval()
    ours = lpips.load(net)
    trunk = [layer for layer in original.net.modules() if isinstance(layer, torch.nn.Conv2d)]
    mine = [layer for layer in ours.groups.modules() if isinstance(layer, torch.nn.Conv2d)]
    assert len(trunk) == len(mine)
    for layer, own in zip(trunk, mine, strict=True):
        layer.load_state_dict(own.state_dict())
    restored, gt = (images.to_tensor(picture[:120, :150]) for picture in pairs["I19"])
    with torch.inference_mode():
        assert ours(restored, gt).item() == pytest.approx(original(restored, gt, normalize=True).item(), abs=1e-6)


# ---------------------------------------------------------------- FID


@pytest.fixture(scope="module")
def inception():
    """FID's Inception with random weights: the real ones are 95 MB that no package has."""
    import torch

    torch.manual_seed(0)
    network = fid.build()
    for name, tensor in network.state_dict().items():
        if tensor.ndim > 1:
            torch.nn.init.kaiming_normal_(tensor)
        elif name.endswith("running_mean"):
            tensor.uniform_(-0.1, 0.1)
    return network.state_dict()


@pytest.mark.filterwarnings("ignore:.*pretrained", "ignore:Arguments other than a weight enum")
def test_fid_features_are_those_of_pytorch_fid(inception, pairs, monkeypatch):
    """pyiqa carries pytorch-fid's network; its own wrapper, filled with the same weights, is the reference."""
    import pyiqa.archs.inception as original
    import torch

    monkeypatch.setattr(original, "load_pretrained_network", lambda network, url: network.load_state_dict(inception))
    theirs = original.InceptionV3([3]).eval()
    monkeypatch.setattr(fid, "_network", lambda: fid.load(inception))
    pictures = np.stack([pairs["I19"][0][:200, :230], pairs["I04"][1][:200, :230]])
    with torch.inference_mode():
        tensor = torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 255
        expected = theirs(tensor, resize_input=True, normalize_input=True)[0][..., 0, 0].numpy()
    found = fid.inception_features(pictures.astype(np.float64))
    assert found.shape == (2, 2048)
    np.testing.assert_allclose(found, expected, rtol=2e-4, atol=2e-4 * np.abs(expected).max())


def test_fid_refuses_weights_of_another_network(inception):
    less = {name: tensor for name, tensor in inception.items() if name != "Mixed_7c.branch1x1.conv.weight"}
    with pytest.raises(weights.WeightsError, match="Mixed_7c"):
        fid.load(less)


@pytest.mark.filterwarnings("ignore:The `disp` argument")
@pytest.mark.parametrize(("n", "m", "width"), [(50, 40, 8), (6, 9, 12), (30, 5, 12)])
def test_frechet_distance_is_that_of_the_definition(n, m, width):
    from pyiqa.archs.fid_arch import frechet_distance

    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(n, width)), rng.normal(0.3, 1.2, (m, width))
    moments = [part for z in (x, y) for part in (z.mean(0), np.cov(z, rowvar=False))]
    found = fid.frechet_distance(x, y)
    if min(n, m) > width:  # theirs takes the root of a singular matrix otherwise
        assert found == pytest.approx(frechet_distance(*moments), rel=1e-6)
    roots = np.sqrt(np.maximum(np.linalg.eigvals(moments[1] @ moments[3]).real, 0)).sum()
    trace = np.trace(moments[1]) + np.trace(moments[3]) - 2 * roots
    assert found == pytest.approx(np.square(moments[0] - moments[2]).sum() + trace, rel=1e-6)
    assert fid.frechet_distance(x, x) == pytest.approx(0, abs=1e-9) and fid.frechet_distance(x[:1], y) is None


def test_frechet_distance_of_equal_sets_is_not_below_zero():
    """It is printed as 0.00, and not as -0.00."""
    sets = [np.random.default_rng(seed).normal(size=(50, 64)) for seed in range(8)]
    assert all(f"{fid.frechet_distance(x, x):.2f}" == "0.00" for x in sets)


# ---------------------------------------------------------------- definitions


def test_psnr_by_hand():
    gt = np.full((1, 16, 16, 3), 100, np.uint8)
    assert fidelity.psnr(gt + 1, gt, protocol()) == [pytest.approx(48.1308, abs=1e-4)]
    assert fidelity.psnr(gt, gt, protocol()) == [fidelity.EQUAL_DB]
    # BT.601: a grey picture's Y is 16 + 219/255 of it, so one level of grey is 219/255 of a level of Y
    assert fidelity.psnr(gt + 1, gt, protocol(channel="y")) == [pytest.approx(48.1308 + 1.3220, abs=1e-3)]


def test_ssim_by_brute_force():
    """The definition, window by window."""
    restored, gt = noisy((1, 14, 16, 3))
    g = np.exp(-((np.arange(11) - 5) ** 2) / (2 * 1.5**2))
    window = np.outer(g, g) / np.outer(g, g).sum()
    values = []
    for top, left, c in np.ndindex(4, 6, 3):
        x, y = (p[0, top : top + 11, left : left + 11, c].astype(float) for p in (restored, gt))
        mx, my = (window * x).sum(), (window * y).sum()
        vx, vy, cov = (
            (window * (x - mx) ** 2).sum(),
            (window * (y - my) ** 2).sum(),
            (window * (x - mx) * (y - my)).sum(),
        )
        c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
        values.append((2 * mx * my + c1) * (2 * cov + c2) / ((mx**2 + my**2 + c1) * (vx + vy + c2)))
    assert fidelity.ssim(restored, gt, protocol()) == [pytest.approx(np.mean(values), abs=1e-9)]


def test_uniform_ssim_is_skimages_default():
    from skimage.metrics import structural_similarity

    restored, gt = noisy((2, 20, 24, 3))
    expected = [structural_similarity(a, b, channel_axis=-1) for a, b in zip(restored, gt, strict=True)]
    assert fidelity.ssim(restored, gt, protocol(ssim="uniform")) == pytest.approx(expected, abs=1e-12)


def test_matlab_ssim_by_brute_force():
    """imgaussfilt3 as one dense convolution over rows, columns and channels, the borders repeated."""
    import torch
    import torch.nn.functional as F

    restored, gt = noisy((1, 9, 12, 3))
    g = np.exp(-((np.arange(11) - 5) ** 2) / (2 * 1.5**2))
    window = torch.from_numpy(np.einsum("i,j,k->ijk", g, g, g) / g.sum() ** 3)[None, None]

    def blur(x):
        return F.conv3d(F.pad(torch.from_numpy(x)[None, None], (5,) * 6, mode="replicate"), window)[0, 0].numpy()

    x, y = restored[0].astype(float), gt[0].astype(float)
    mx, my, c1, c2 = blur(x), blur(y), (0.01 * 255) ** 2, (0.03 * 255) ** 2
    vx, vy, cov = blur(x * x) - mx**2, blur(y * y) - my**2, blur(x * y) - mx * my
    expected = ((2 * mx * my + c1) * (2 * cov + c2) / ((mx**2 + my**2 + c1) * (vx + vy + c2))).mean()
    assert fidelity.ssim(restored, gt, protocol(ssim="matlab-3d")) == [pytest.approx(expected, abs=1e-10)]


def test_matlabs_luma_is_rounded():
    gt = np.full((1, 16, 16, 3), 100, np.uint8)
    assert fidelity.psnr(gt + 1, gt, protocol(channel="y", luma_rounded=True)) == [pytest.approx(48.1308, abs=1e-4)]


@pytest.fixture(scope="module")
def moved() -> tuple[np.ndarray, np.ndarray]:
    """A photograph, blurred, darkened and taken from slightly elsewhere; and the photograph."""
    from scipy.ndimage import gaussian_filter, shift

    gt = images.decode(PAIRS / "ref_dir" / "I19.bmp")[40:340, 40:440]
    blurred = gaussian_filter(gt.astype(float), (1, 1, 0))
    return np.clip(0.8 * shift(blurred, (1.5, -1, 0), mode="reflect"), 0, 255).round().astype(np.uint8), gt


def test_realblur_alignment_equals_its_evaluation_script(moved):
    """Golden: Restormer's evaluate_realblur.py, run on this pair outside the project (OpenCV 5.0)."""
    restored, gt = (picture[None] for picture in moved)
    how = protocol(align="realblur")
    assert fidelity.psnr(restored, gt, how)[0] == pytest.approx(GOLDEN_REALBLUR[0], abs=1e-3)
    assert fidelity.ssim(restored, gt, how)[0] == pytest.approx(GOLDEN_REALBLUR[1], abs=1e-4)
    assert fidelity.psnr(restored, gt, protocol())[0] < GOLDEN_REALBLUR[0] - 5


@pytest.mark.parametrize("kind", ["gaussian", "uniform", "matlab-3d"])
def test_pixels_that_the_warp_does_not_cover_do_not_count(monkeypatch, moved, kind):
    """Half of the picture is covered, by another part of the scene. The other half is black in both: counted, it would have SSIM 1."""
    import cv2

    restored, gt = (picture[None] for picture in moved)
    right = gt.shape[2] // 2
    half = np.float32([[1, 0, right], [0, 1, 0], [0, 0, 1]])
    monkeypatch.setattr(cv2, "findTransformECC", lambda *_, **__: (1.0, half))
    assert fidelity.ssim(restored, gt, protocol(align="realblur", ssim=kind))[0] < 0.4


def test_what_cannot_be_aligned_is_told():
    flat = np.full((1, 40, 40, 3), 128, np.uint8)
    with pytest.raises(images.PictureError, match="same scene"):
        fidelity.psnr(flat, flat, protocol(align="realblur"))


def test_an_alignment_that_covers_nothing_is_told(monkeypatch, moved):
    """Without the check the mean over no pixels would be scored as two equal pictures."""
    import cv2

    away = np.float32([[1, 0, 5000], [0, 1, 0], [0, 0, 1]])
    monkeypatch.setattr(cv2, "findTransformECC", lambda *_, **__: (1.0, away))
    with pytest.raises(images.PictureError, match="covers no pixel"):
        fidelity.psnr(*(picture[None] for picture in moved), protocol(align="realblur"))


def test_border_is_cropped_from_each_side():
    restored, gt = noisy((1, 48, 40, 3))
    inner = (slice(None), slice(4, -4), slice(4, -4))
    for metric in ("psnr", "ssim", "lpips"):
        function = metrics.METRICS[metric].score
        assert function(restored, gt, protocol(border_px=4)) == function(restored[inner], gt[inner], protocol())


def test_quantised_rounds_floats():
    gt = np.full((1, 16, 16, 3), 0.5, np.float32)  # 127.5 levels, rounds to 128
    restored = np.full((1, 16, 16, 3), 129.3 / 255, np.float32)
    assert fidelity.psnr(restored, gt, protocol()) == [pytest.approx(48.1308, abs=1e-3)]
    assert fidelity.psnr(restored, gt, protocol(quantised=False)) == [pytest.approx(20 * np.log10(255 / 1.8), abs=1e-3)]


def test_a_batch_is_its_pictures():
    restored, gt = noisy((3, 40, 48, 3))
    how = protocol()
    rows = metrics.score_batch(restored, gt, how)
    for i, row in enumerate(rows):
        assert score_pair(restored[i], gt[i], how) == pytest.approx(row, abs=1e-6)


def test_without_ground_truth_only_blind_metrics():
    restored, _ = noisy((1, 192, 192, 3))
    row = score_pair(restored[0], None, protocol(metrics=["psnr", "niqe"]))
    assert row["psnr"] is None and row["niqe"] > 0


@pytest.mark.parametrize("metric", [blind.niqe, blind.brisque])
def test_a_picture_has_one_value_whatever_stands_beside_it(metric):
    """Of several pictures at once, pyiqa's BRISQUE differs in the third digit."""
    restored, _ = noisy((3, 200, 208, 3))
    together = metric(restored, None, protocol())
    assert together == [metric(picture[None], None, protocol())[0] for picture in restored]
    assert together == metric(restored[::-1], None, protocol())[::-1]


@pytest.mark.filterwarnings("ignore:cov.*degrees of freedom")
def test_too_small_for_a_metric_is_none():
    restored, gt = noisy((2, 30, 191, 3))
    assert blind.niqe(restored, None, protocol()) == [None, None]
    assert perceptual.lpips_distance(restored, gt, protocol()) == [None, None]
    assert blind.niqe(np.full((1, 192, 192, 3), 7, np.uint8), None, protocol()) == [None]  # nothing but flat


@pytest.mark.parametrize(
    ("restored", "gt", "says"),
    [
        (np.zeros((1, 16, 16, 3), np.float32), np.full((1, 16, 16, 3), 255.0), r"\[255, 255\]"),
        (np.full((1, 16, 16, 3), -0.1), np.zeros((1, 16, 16, 3)), r"\[-0.1, -0.1\]"),
        (np.full((1, 16, 16, 3), np.nan), np.zeros((1, 16, 16, 3)), "nan"),
        (np.zeros((1, 16, 16, 3), np.int64), np.zeros((1, 16, 16, 3)), "int64"),
        (np.zeros((1, 16, 17, 3)), np.zeros((1, 16, 16, 3)), "17x16 px .* 16x16 px"),
        (np.zeros((16, 16, 3), np.uint8), np.zeros((16, 16, 3), np.uint8), r"\(16, 16, 3\)"),
    ],
)
def test_wrong_range_or_size_says_what_was_found(restored, gt, says):
    for metric in ("psnr", "ssim", "lpips"):
        with pytest.raises(images.PictureError, match=says):
            metrics.METRICS[metric].score(restored, gt, protocol())


@pytest.mark.parametrize(
    ("name", "higher_is_better", "needs_target"),
    [
        ("psnr", True, True),
        ("ssim", True, True),
        ("lpips", False, True),
        ("niqe", False, False),
        ("brisque", False, False),
        ("fid", False, True),
    ],
)
def test_what_tables_need_of_a_metric(name, higher_is_better, needs_target):
    metric = metrics.METRICS[name]
    assert (metric.higher_is_better, metric.needs_target) == (higher_is_better, needs_target)


def test_import_is_light():
    """report.tables imports METRICS; a table must not wait for torch."""
    heavy = ["torch", "torchvision", "lpips", "pyiqa", "skimage", "scipy", "PIL"]
    code = f"import sys, mperceiver.metrics; print([m for m in {heavy} if m in sys.modules])"
    root = PROJECT
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root)
    assert done.stdout.strip() == "[]"


def test_committed_protocols_say_what_they_are():
    root = PROJECT / "config/protocols"
    # By name: a protocol that somebody adds may have another title.
    shipped = "rgb rgb-fid rgb-float rgb-float-fid rgb-matlab rgb-matlab-fid rgb-realblur rgb-uniform y y-fid y-matlab"
    protocols = {name: config.parse(root / f"{name}.yaml", Protocol) for name in shipped.split()}
    assert protocols["rgb"].channel == "rgb" and protocols["y"].channel == "y"
    for name, protocol in protocols.items():
        said = protocol.title
        assert ("8-bit" in said or "8 bit" in said or "RealBlur" in said) == protocol.quantised, name
        assert ("luma Y" in said) == (protocol.channel == "y") and protocol.border_px == 0, name
        assert ("MATLAB" in said) == (protocol.ssim == "matlab-3d") and ("7×7" in said) == (
            protocol.ssim == "uniform"
        ), name
        assert ("FID" in said) == ("fid" in protocol.metrics) and ("homography" in said) == (
            protocol.align == "realblur"
        ), name


def test_a_protocols_digest_is_of_all_that_decides_a_number(tmp_path, monkeypatch):
    """Whichever file of those it is `like` says it; the words are not."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "config/protocols"
    folder.mkdir(parents=True)

    def digest(**files: str) -> str:
        for name, text in files.items():
            (folder / f"{name}.yaml").write_text(text, encoding="utf-8")
        return datasets._digest(config.load("protocols", "mine"))

    first = digest(base="title: Base\nchannel: y\n", mine="title: Mine\nlike: base\n")
    assert digest(mine="title: In other words\nlike: base\n") == first
    assert digest(base="title: Base\nchannel: y\nborder_px: 0\n") == first
    assert digest(base="title: Base\nchannel: y\nborder_px: 4\n") != first


# ---------------------------------------------------------------- LPIPS as a loss


def test_lpips_network_is_frozen_and_passes_gradients():
    import torch

    network = lpips.load("alex")
    picture, target = torch.rand(2, 3, 32, 40, generator=torch.Generator().manual_seed(0)), torch.rand(2, 3, 32, 40)
    restored = (picture * 1.2 - 0.1).requires_grad_()  # a restorer in training overshoots [0, 1]
    network(restored, target).sum().backward()
    assert restored.grad.abs().sum() > 0 and restored.grad.isfinite().all()
    assert all(p.grad is None and not p.requires_grad for p in network.parameters())
    assert network(target, target).abs().max() == 0


def test_lpips_gradient_of_a_black_picture_is_finite():
    import torch

    network = lpips.load("alex")
    for layer in network.groups.modules():
        if isinstance(layer, torch.nn.Conv2d):
            layer.bias.data.fill_(-10)  # every feature dead: the norm over the channels is zero
    restored = torch.zeros(1, 3, 32, 32, requires_grad=True)
    network(restored, torch.ones(1, 3, 32, 32)).sum().backward()
    assert restored.grad.isfinite().all()


def test_lpips_network_reads_no_number(monkeypatch):
    """A training on a GPU would wait for it at each step."""
    import torch

    network, pictures = lpips.load("alex"), torch.rand(2, 1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with monkeypatch.context() as patch:
        patch.setattr(torch.Tensor, "item", lambda _: pytest.fail("a number is read from the device"))
        distance = network(*pictures)
    assert distance.item() > 0


def test_lpips_network_refuses_a_wrong_size():
    import torch

    network = lpips.load("alex")
    with pytest.raises(images.PictureError, match="31 px"):
        network(torch.zeros(1, 3, 32, 30), torch.zeros(1, 3, 32, 30))
    with pytest.raises(lpips.WeightsError, match="alex, vgg"):
        lpips.load("squeeze")


class Evil:
    def __reduce__(self):
        return print, ("it ran",)


def test_weights_are_read_as_arrays_only(tmp_path, capsys, monkeypatch):
    file = tmp_path / "trunk.ckpt"
    file.write_bytes(pickle.dumps({"AlexNet_0": Evil()}))
    monkeypatch.setattr(lpips, "weights_file", lambda foundation, name: file)
    with pytest.raises(lpips.WeightsError, match="print"):
        lpips.load("alex")
    assert "it ran" not in capsys.readouterr().out


def test_weights_with_a_layer_missing_are_refused(tmp_path, monkeypatch):
    arrays = weights.read_arrays(weights.weights_file("lpips-alex", lpips.TRUNK))
    heads = weights.weights_file("lpips-alex", lpips.HEADS)
    file = tmp_path / "trunk.ckpt"
    monkeypatch.setattr(lpips, "weights_file", lambda foundation, name: file if name == lpips.TRUNK else heads)
    convolution = arrays["AlexNet_0"].pop("Conv_4")
    file.write_bytes(pickle.dumps(arrays))
    with pytest.raises(lpips.WeightsError, match="convolution 4"):
        lpips.load("alex")
    arrays["AlexNet_0"] |= {"Conv_4": convolution, "Conv_5": convolution}
    file.write_bytes(pickle.dumps(arrays))
    with pytest.raises(lpips.WeightsError, match="unexpected Conv_5"):
        lpips.load("alex")
    arrays["AlexNet_0"] = {
        **arrays["AlexNet_0"],
        "Conv_4": {"kernel": convolution["kernel"][:1], "bias": convolution["bias"]},
    }
    del arrays["AlexNet_0"]["Conv_5"]
    file.write_bytes(pickle.dumps(arrays))
    with pytest.raises(lpips.WeightsError, match="size mismatch"):
        lpips.load("alex")


# ---------------------------------------------------------------- a dataset


SIZES = [(40, 48)] * 11 + [(33, 50)] * 4 + [(40, 48)] * 3


@pytest.fixture
def world(tmp_path, monkeypatch, metric_weights):
    """A prepared dataset of two tasks and a method's restored pictures, in a working directory of their own."""

    monkeypatch.chdir(tmp_path)
    link_weights(tmp_path, metric_weights)
    monkeypatch.setattr(commits, "current", lambda: ("0" * 40, False))
    texts = {
        "datasets/pair": "title: pairs\nlicence: none\nsources: [{source: local, folder: none}]\nprotocol: rgb\n",
        "methods/input": "title: input\nkind: identity\n",
        "protocols/rgb": "title: test\n",
    }
    for name, text in texts.items():
        (Path("config") / f"{name}.yaml").parent.mkdir(parents=True, exist_ok=True)
        (Path("config") / f"{name}.yaml").write_text(text, encoding="utf-8")
    rows = []
    folder = Path("results/restored/input/pair")
    folder.mkdir(parents=True)
    for i, size in enumerate(SIZES):
        restored, gt = noisy((*size, 3), seed=i)
        png = images.encode(restored)
        rows.append((f"p-{i}", "rain" if i % 3 else "haze", png, images.encode(gt)))
        (folder / f"p-{i}.png").write_bytes(png)
    write_rows("pair", rows, batch=5)
    restored_card()
    return tmp_path


def restored_card() -> None:
    inputs = ["data/prepared/pair.json"]
    lineage.begin("restore", {}, inputs).write_card("results/restored/input/pair.json")


def test_score_writes_a_row_a_picture_and_a_card(world):
    path = datasets.score_dataset("input", "pair", workers=2)
    assert path == Path("results/scores/input/pair.json")
    with path.with_suffix(".csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["id", "task", "psnr", "ssim", "lpips"]
    assert [row["id"] for row in rows] == [f"p-{i}" for i in range(len(SIZES))]
    restored, gt = noisy((*SIZES[12], 3), seed=12)
    expected = score_pair(restored, gt, protocol())
    assert {m: float(rows[12][m]) for m in expected} == pytest.approx(expected, abs=1e-6)

    card = lineage.read_card(path)
    result = card["result"]
    assert (result["n"], result["protocol"]) == (len(SIZES), "rgb")
    assert result["protocol_sha256"] == datasets._digest(config.load("protocols", "rgb"))
    of_haze = [float(row["psnr"]) for row in rows if row["task"] == "haze"]
    assert result["means"]["psnr"] == pytest.approx(np.mean([float(row["psnr"]) for row in rows]))
    assert result["tasks"]["haze"]["n"] == len(of_haze)
    haze = result["tasks"]["haze"]["psnr"]
    assert min(of_haze) <= haze["low"] < haze["mean"] < haze["high"] <= max(of_haze)
    assert haze["mean"] == pytest.approx(np.mean(of_haze))
    inputs = {"results/restored/input/pair.json", "data/prepared/pair.json", "config/protocols/rgb.yaml#score"}
    assert inputs < set(card["inputs"])
    trunk, staged_as = "data/foundations/lpips-alex/trunk.ckpt", "data/foundations/lpips-alex.json"
    assert card["inputs"][trunk] == lineage.read_card(staged_as)["result"]["files"]["trunk.ckpt"]["sha256"]
    assert card["inputs"][staged_as] == files.sha256(staged_as)
    assert lineage.verify(path) == []


def test_score_does_not_depend_on_the_number_of_workers(world):
    datasets.score_dataset("input", "pair", workers=1)
    files = [Path("results/scores/input/pair.csv"), Path("results/scores/input/pair.json")]
    first = [file.read_bytes() for file in files]
    datasets.score_dataset("input", "pair", workers=3)
    assert [file.read_bytes() for file in files] == first


def test_pictures_that_were_changed_after_they_were_restored_are_not_scored(world):
    """One of the same size would give a number, under a card that names the pictures before."""
    folder, card = "results/restored/input/pair", "results/restored/input/pair.json"
    lineage.begin("restore", {}, ["data/prepared/pair.json"]).write_card(card, outputs=[folder])
    first = datasets.score_dataset("input", "pair", workers=1).read_bytes()
    picture = Path(f"{folder}/p-7.png")
    content = picture.read_bytes()
    picture.write_bytes(images.encode(255 - images.decode(picture)))
    with pytest.raises(
        files.ChecksumError, match=r"p-7\.png: .*Restore the pictures again: mperceiver restore input pair"
    ):
        datasets.score_dataset("input", "pair", workers=1)
    picture.write_bytes(content)
    assert datasets.score_dataset("input", "pair", workers=1).read_bytes() == first


def test_score_names_a_missing_or_wrong_picture_and_writes_nothing(world):
    picture = Path("results/restored/input/pair/p-7.png")
    content = picture.read_bytes()
    picture.unlink()
    with pytest.raises(images.PictureError, match=r"p-7\.png.*1 of 18 are missing"):
        datasets.score_dataset("input", "pair", workers=2)
    picture.write_bytes(images.encode(np.zeros((48, 40, 3), np.uint8)))
    with pytest.raises(images.PictureError, match=r"p-7\.png: is 40x48 px, but 48x40 px"):
        datasets.score_dataset("input", "pair", workers=2)
    picture.write_bytes(content[:200])
    with pytest.raises(images.PictureError, match=r"p-7\.png.*damaged"):
        datasets.score_dataset("input", "pair", workers=2)
    assert not Path("results/scores").exists()


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (
            ValueError("mean of an empty slice"),
            r"its metrics \(psnr.*\) cannot be computed: ValueError: mean of an empty slice",
        ),
        (ZeroDivisionError("division"), "ZeroDivisionError: division"),
        (images.PictureError("has no texture"), "has no texture"),
        (float("nan"), "PSNR is nan, no finite number"),
        (float("-inf"), "PSNR is -inf, no finite number"),
    ],
)
def test_a_picture_that_cannot_be_scored_is_named_and_no_other(world, monkeypatch, answer, words):
    """Its neighbours, which are scored with it, have nothing wrong."""
    black = np.zeros((40, 48, 3), np.uint8)
    Path("results/restored/input/pair/p-7.png").write_bytes(images.encode(black))
    psnr = metrics.METRICS["psnr"].score

    def score(restored, gt, protocol):
        values = psnr(restored, gt, protocol)
        bad = ~restored.any((1, 2, 3))
        if bad.any() and isinstance(answer, Exception):
            raise answer
        return [answer if b else value for b, value in zip(bad, values, strict=True)]

    monkeypatch.setitem(metrics.METRICS, "psnr", replace(metrics.METRICS["psnr"], score=score))
    with pytest.raises(images.PictureError, match=rf"^results/restored/input/pair/p-7\.png: .*{words}") as caught:
        datasets.score_dataset("input", "pair", workers=2)
    assert not re.search(r"p-(?!7\.png)", str(caught.value))
    assert not Path("results/scores").exists()


def test_a_flat_picture_under_realblurs_alignment_is_named(world):
    Path("config/protocols/rgb.yaml").write_text("title: test\nalign: realblur\nmetrics: [psnr]\n", encoding="utf-8")
    Path("results/restored/input/pair/p-3.png").write_bytes(images.encode(np.full((40, 48, 3), 90, np.uint8)))
    with pytest.raises(images.PictureError, match=r"^results/restored/input/pair/p-3\.png: .*same scene"):
        datasets.score_dataset("input", "pair", workers=2)


def test_score_refuses_pictures_of_another_dataset_state(world):
    lineage.begin("prepare", {"seed": 2}).write_card("data/prepared/pair.json")
    with pytest.raises(lineage.LineageError, match=r"another state of pair.*mperceiver restore input pair"):
        datasets.score_dataset("input", "pair")
    Path("results/restored/input/pair.json").unlink()
    with pytest.raises(lineage.LineageError, match=r"results/restored/input/pair\.json: no such card"):
        datasets.score_dataset("input", "pair")


def test_what_is_known_of_ground_truths_is_kept_and_changes_no_number(world, monkeypatch):
    first = lineage.read_card(datasets.score_dataset("input", "pair"))
    kept = Path("data/features/pair/rgb.safetensors")
    before = kept.stat().st_mtime_ns
    never = replace(metrics.METRICS["lpips"], features=lambda *_: pytest.fail("computed again"))
    monkeypatch.setitem(metrics.METRICS, "lpips", never)
    assert lineage.read_card(datasets.score_dataset("input", "pair")) == first and kept.stat().st_mtime_ns == before
    monkeypatch.undo()
    monkeypatch.setattr(commits, "current", lambda: ("0" * 40, False))
    monkeypatch.chdir(world)
    kept.write_bytes(kept.read_bytes()[:1000])  # cut short: made again
    assert lineage.read_card(datasets.score_dataset("input", "pair")) == first and kept.stat().st_size > 1000
    Path("config/protocols/rgb.yaml").write_text(
        "title: test\nborder_px: 2\n", encoding="utf-8"
    )  # of another protocol: not taken
    assert lineage.read_card(datasets.score_dataset("input", "pair"))["result"]["means"] != first["result"]["means"]


def test_a_changed_byte_in_what_is_kept_of_ground_truths_is_noticed(world, capfd):
    """Wherever it is: in a number, a name, a shape, or the file's own description of itself."""
    first = lineage.read_card(datasets.score_dataset("input", "pair"))
    kept = Path("data/features/pair/rgb.safetensors")
    sound = kept.read_bytes()
    head = 8 + int.from_bytes(sound[:8], "little")
    places = [0, 9, *range(20, head, head // 12), *range(head, len(sound), len(sound) // 8), len(sound) - 1]
    for place in places:
        capfd.readouterr()
        kept.write_bytes(sound[:place] + bytes([sound[place] ^ 1]) + sound[place + 1 :])
        assert lineage.read_card(datasets.score_dataset("input", "pair")) == first, place
        assert kept.read_bytes() == sound, place
        if place >= head:
            assert f"{kept}: not as it was written" in capfd.readouterr().err
    assert datasets.score_dataset("input", "pair") and "not as it was written" not in capfd.readouterr().err


def test_where_nothing_can_be_kept_the_scores_are_the_same(world, capfd):
    first = lineage.read_card(datasets.score_dataset("input", "pair"))
    shutil.rmtree("data/features")
    Path("data/features").write_text("in the way", encoding="utf-8")
    assert lineage.read_card(datasets.score_dataset("input", "pair")) == first
    assert "data/features/pair/rgb.safetensors: not kept (" in capfd.readouterr().err


def test_fid_is_of_whole_tasks_and_in_no_pictures_row(world, inception, monkeypatch):
    monkeypatch.setattr(fid, "_network", lambda: fid.load(inception))
    Path("config/protocols/rgb.yaml").write_text("title: test\nmetrics: [psnr, fid]\n", encoding="utf-8")
    monkeypatch.setattr(datasets, "weights_digests", lambda foundation: {})
    lineage.begin("foundation", {}).write_card("data/foundations/inception-fid.json")
    card = lineage.read_card(datasets.score_dataset("input", "pair", workers=2))
    assert "data/foundations/inception-fid.json" in card["inputs"]
    summary = card["result"]["tasks"]["rain"]["fid"]
    assert summary["mean"] > 0 and (summary["low"], summary["high"]) == (None, None)
    rows = list(csv.DictReader(Path("results/scores/input/pair.csv").read_text(encoding="utf-8").splitlines()))
    assert list(rows[0]) == ["id", "task", "psnr"]
    prepared = PreparedDataset("pair")
    mine = [i for i, task in enumerate(prepared.tasks) if task == "rain"]
    sides = [[read(i) for i in mine] for read in (prepared.lq, prepared.gt)]
    features = [np.concatenate([fid.inception_features(p[None].astype(float)) for p in side]) for side in sides]
    assert summary["mean"] == pytest.approx(fid.frechet_distance(*features), rel=1e-4)


def test_fid_without_its_network_says_how_to_get_it(world):
    fid._network.cache_clear()
    Path("config/protocols/rgb.yaml").write_text("title: test\nmetrics: [fid]\n", encoding="utf-8")
    with pytest.raises(weights.WeightsError, match="mperceiver foundation inception-fid"):
        datasets.score_dataset("input", "pair")


def test_metrics_that_cannot_be_had_are_empty(world):
    Path("config/protocols/rgb.yaml").write_text("title: test\nmetrics: [psnr, niqe]\n", encoding="utf-8")
    path = datasets.score_dataset("input", "pair")
    assert path.with_suffix(".csv").read_text(encoding="utf-8").splitlines()[1].endswith(",")
    result = json.loads(path.read_text(encoding="utf-8"))["result"]
    assert result["means"]["niqe"] is None
    assert result["tasks"]["rain"]["niqe"] == {"mean": None, "low": None, "high": None}


def test_interval_covers_the_mean_of_a_known_law():
    rng = np.random.default_rng(0)
    inside, width = 0, []
    for _ in range(100):
        _, low, high = datasets.interval(list(rng.normal(30, 2, 60)))
        inside += low <= 30 <= high
        width.append(high - low)
    assert 88 <= inside <= 100
    assert np.mean(width) == pytest.approx(2 * 1.96 * 2 / np.sqrt(60), rel=0.1)
    assert datasets.interval([3.0]) == (3.0, 3.0, 3.0)


# ---------------------------------------------------------------- on photographs


def photographs() -> list[Path]:
    """The benchmark sets of the mirrors where there are any, else the photographs that skimage ships."""
    found = [
        p
        for mirror in config.mirrors()
        for name in ("cbsd68", "kodak24", "mcmaster")
        for p in pictures_in(mirror / name)
    ]
    shipped = Path(importlib.util.find_spec("skimage").origin).parent / "data"
    return found or [shipped / name for name in ("astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg")]


@pytest.mark.parametrize("sigma", [15, 25, 50])
def test_noise_on_photographs_has_the_psnr_of_theory(sigma):
    """20 log10(255 / sigma) before clipping; both sides at a quarter of the contrast, so that the noise fits into [0, 1]."""
    found = []
    for i, path in enumerate(photographs()):
        gt = images.decode(path)[:256, :256] / 255
        noisy = gt + np.random.default_rng(i).normal(0, sigma / 255, gt.shape)
        pair = (np.clip(0.375 + side / 4, 0, 1)[None] for side in (noisy, gt))
        found.append(fidelity.psnr(*pair, protocol(quantised=False))[0] - 20 * np.log10(4))
    assert np.mean(found) == pytest.approx(20 * np.log10(255 / sigma), abs=0.05)


@pytest.mark.parametrize("sigma", [15, 25, 50])
def test_scores_of_photographs_agree_with_a_recomputation(sigma):
    """BasicSR's rule by hand, with OpenCV's filter where ours is skimage's."""
    import cv2

    kernel = cv2.getGaussianKernel(11, 1.5)
    window = kernel @ kernel.T
    for i, path in enumerate(photographs()[:6]):
        gt = images.decode(path)[:128, :160]
        noise = np.random.default_rng(i).normal(0, sigma, gt.shape)
        restored = np.clip(gt + noise, 0, 255).round().astype(np.uint8)
        a, b = restored.astype(np.float64), gt.astype(np.float64)
        psnr = 10 * np.log10(255**2 / np.square(a - b).mean())
        mean = [cv2.filter2D(x, -1, window)[5:-5, 5:-5] for x in (a, b)]
        square = [cv2.filter2D(x * y, -1, window)[5:-5, 5:-5] for x, y in ((a, a), (b, b), (a, b))]
        c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
        similar = (2 * mean[0] * mean[1] + c1) * (2 * (square[2] - mean[0] * mean[1]) + c2)
        similar /= (mean[0] ** 2 + mean[1] ** 2 + c1) * (square[0] - mean[0] ** 2 + square[1] - mean[1] ** 2 + c2)
        found = score_pair(restored, gt, protocol(metrics=["psnr", "ssim"]))
        assert (found["psnr"], found["ssim"]) == (
            pytest.approx(psnr, abs=1e-4),
            pytest.approx(similar.mean(), abs=1e-4),
        )
