"""What ships with the package, and the package as a library."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from support import PROJECT
from support.weights import write_stirred_weights, write_training_cards

import mperceiver
from mperceiver import commits, config, images, lineage, paths, shipped
from mperceiver.models import mperceiver as model
from mperceiver.models import towers
from tools.ship import ship

METHOD = "small"  # whose weights are in assets/


def pixels(height: int = 40, width: int = 56) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.fixture
def trained_world(tiny_world, tiny_run, foundation, monkeypatch):
    """The tiny world with the cards of a training from a clean tree."""
    monkeypatch.setattr(commits, "current", lambda: ("0" * 40, False))
    write_stirred_weights("tiny", tiny_run, foundation)
    write_training_cards("tiny")
    return tiny_world


@pytest.fixture
def shipped_world(trained_world):
    """The tiny world with its weights in assets/ alone."""
    before = model.load_restorer("tiny")
    ship("tiny")
    shutil.rmtree("results/runs/tiny")
    Path("config/methods/sent.yaml").write_text("like: tiny\nweights: assets/runs/tiny\n", encoding="utf-8")
    return before


def test_a_method_with_shipped_weights_restores_as_the_trained_one(shipped_world):
    after = model.load_restorer("sent")
    for one, other in zip(shipped_world.modules(), after.modules(), strict=True):
        assert all(
            torch.equal(a, b) for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True)
        )
    with pytest.raises(lineage.LineageError, match="train them first"):
        model.load_restorer("tiny")


def test_its_chain_names_the_shipped_cards_which_name_the_training(shipped_world):
    dataset = config.names("datasets")[0]
    cards = [path for path in config.restore_inputs("sent", dataset) if path.startswith("assets/")]
    assert cards == [f"assets/runs/tiny/{stage}.json" for stage in ("predictor", "branches", "drm")]
    card = lineage.read_card(cards[-1])
    assert card["verb"] == "train_drm" and list(card["inputs"]) == ["at-build:config/runs/tiny.yaml"]
    assert lineage.verify(cards[-1]) == []
    of_part = {"at-build:config/runs/tiny.yaml#train_drm": "0" * 64}  # what a training's verb records of the run's file
    assert lineage.verify_card(cards[-1], card | {"inputs": of_part}, lambda _: None) == []
    file = Path("assets/runs/tiny/drm.safetensors")
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    assert any("drm.safetensors" in problem for problem in lineage.verify(cards[-1]))
    with pytest.raises(lineage.LineageError, match=r"assets/runs/tiny/drm\.safetensors"):
        model.load_restorer("sent")


def test_only_sound_trainings_of_commits_ship(trained_world):
    card = paths.weights_card("tiny", "predictor")
    text = card.read_text(encoding="utf-8")
    card.write_text(text.replace('"dirty": false', '"dirty": true'), encoding="utf-8")
    with pytest.raises(lineage.LineageError, match="no commit has"):
        ship("tiny")
    card.write_text(text.replace('"dirty": true', '"dirty": false'), encoding="utf-8")
    paths.weights_file("tiny", "predictor").write_bytes(b"other")
    with pytest.raises(lineage.LineageError, match="is not what its card describes"):
        ship("tiny")
    assert not Path("assets/runs/tiny/predictor.json").exists()


def test_a_foundation_that_ships_is_used_where_none_is_staged(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config.or_shipped()
    assert towers.load("mini").factor == 4
    assert list(tmp_path.iterdir()) == []  # nothing is staged by it
    monkeypatch.chdir(PROJECT)
    config.or_shipped()


def test_a_checkouts_own_files_come_first(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config.or_shipped()
    assert config.path_of("methods", "small").is_file()
    Path("config").mkdir()
    Path("config/app.yaml").write_text("method: smal\n", encoding="utf-8")
    config.or_shipped()  # a folder config/ of something else than this project
    assert config.path_of("methods", "small").is_file()
    with pytest.raises(config.ConfigError, match=r"methods/smal\.yaml: no such file\. The nearest methods: .*small"):
        config.load("methods", "smal")
    Path("config/methods").mkdir()
    Path("config/methods/own.yaml").write_text("title: own\nkind: identity\n", encoding="utf-8")
    config.or_shipped()
    assert config.names("methods") == ["own"] and config.path_of("methods", "small") == Path(
        "config/methods/small.yaml"
    )
    Path("assets/runs").mkdir(parents=True)
    assert (
        shipped.find("assets/runs") == Path("assets/runs") and shipped.find("Snakefile") == shipped.root() / "Snakefile"
    )


# ---------------------------------------------------------------- the package as a library


@pytest.fixture
def sent(shipped_world):
    return mperceiver.load("sent")


def test_three_kinds_of_picture_give_the_same_values(sent):
    array = pixels()
    restored = sent.restore(array)
    assert restored.dtype == np.uint8 and restored.shape == array.shape and not np.array_equal(restored, array)
    assert np.array_equal(array, pixels())  # the argument is not changed
    picture = sent.restore(Image.fromarray(array))
    assert picture.mode == "RGB" and np.array_equal(np.asarray(picture), restored)
    batch = torch.cat([images.to_tensor(array), images.to_tensor(array[::-1].copy())])
    both = sent.restore(batch)
    assert both.shape == batch.shape and both.dtype == torch.float32
    assert np.array_equal(images.to_picture(both[:1]), restored)
    assert len(sent.degradations) == 2 and sum(sent.degradations[0].values()) == pytest.approx(1)


@pytest.mark.parametrize(
    ("picture", "says"),
    [
        (np.zeros((4, 4)), r"expected an array \(H, W, 3\), uint8; got \(4, 4\), float64"),
        (torch.full((1, 3, 20, 20), 2.0), r"in \[0, 1\], got .* in \[2, 2\]"),
        (torch.zeros(3, 20, 20), r"\(B, 3, H, W\)"),
        ("photo.jpg", r"expected a PIL picture, a tensor or an array; got str"),
        (Image.new("L", (20, 20)), r"expected a picture of mode RGB, got L; convert it"),
    ],
)
def test_another_picture_is_refused_by_name(sent, picture, says):
    with pytest.raises(images.PictureError, match=says):
        sent.restore(picture)


def test_a_pil_picture_keeps_its_profile_and_must_be_upright(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("config/methods").mkdir(parents=True)
    Path("config/methods/input.yaml").write_text("title: input\nkind: identity\n", encoding="utf-8")
    exif, profile = Image.Exif(), b"a profile"
    exif[0x0112] = 6
    for name, options in {"side.jpg": {"exif": exif}, "upright.jpg": {}}.items():
        Image.fromarray(pixels()).save(name, icc_profile=profile, **options)
    method = mperceiver.load("input")
    with Image.open("side.jpg") as picture:
        with pytest.raises(images.PictureError, match=r"got EXIF orientation 6; turn it first: PIL\.ImageOps\.exif_tr"):
            method.restore(picture)
        upright = method.restore(ImageOps.exif_transpose(picture))
        assert upright.size == (40, 56) and upright.info["icc_profile"] == profile
    with Image.open("upright.jpg") as picture:
        assert method.restore(picture).info == {"icc_profile": profile}
    monkeypatch.chdir(PROJECT)
    config.or_shipped()


def test_a_result_shares_no_memory_with_its_argument(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("config/methods").mkdir(parents=True)
    Path("config/methods/input.yaml").write_text("title: input\nkind: identity\n", encoding="utf-8")
    array = pixels()
    restored = mperceiver.load("input").restore(array)
    assert np.array_equal(restored, array) and not np.shares_memory(restored, array)
    monkeypatch.chdir(PROJECT)
    config.or_shipped()


def test_import_is_light():
    code = "import sys, mperceiver; print(sorted({m.split('.')[0] for m in sys.modules} & {'torch', 'numpy', 'pydantic', 'PIL', 'diffusers'}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=PROJECT)
    assert done.stdout.strip() == "[]"


# ---------------------------------------------------------------- the wheel


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The folder of a wheel that was built and unpacked beside nothing else of the project."""
    folder = tmp_path_factory.mktemp("wheel")
    uv = shutil.which("uv") or str(Path(sys.executable).with_name("uv"))
    subprocess.run([uv, "build", "--wheel", "--quiet", "--out-dir", str(folder), "."], check=True, cwd=PROJECT)
    [wheel] = folder.glob("*.whl")
    shutil.unpack_archive(wheel, folder / "site", "zip")
    return folder / "site"


def run_installed(site: Path, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Python with the wheel's package, in a folder that has nothing of the project."""
    environment = dict(os.environ, PYTHONPATH=str(site), PYTHONSAFEPATH="1", OMP_NUM_THREADS="1")
    return subprocess.run([sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, text=True)


def test_a_wheel_holds_all_that_restoring_needs(site, tmp_path):
    Image.fromarray(pixels(64, 80)).save(tmp_path / "photo.png")
    done = run_installed(site, tmp_path, "-m", "mperceiver.cli", "restore", METHOD, "photo.png", "restored.png")
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["photo.png", "restored.png"]
    assert images.decode(tmp_path / "restored.png").shape == (64, 80, 3)


@pytest.mark.parametrize("name", sorted(path.parent.name for path in PROJECT.glob("assets/foundations/*/card.json")))
def test_a_wheel_holds_each_file_of_a_shipped_foundation(site, name):
    """Those that are links in a checkout, too."""
    folder = site / "mperceiver/shipped_files/assets/foundations" / name
    outputs = json.loads((folder / "card.json").read_text(encoding="utf-8"))["outputs"]
    assert {Path(file).parts[0] for file in outputs} == {"image_encoder", "scheduler", "text_encoder", "unet", "vae"}
    for file, digest in outputs.items():
        assert hashlib.sha256((folder / file).read_bytes()).hexdigest() == digest, file


LOAD_BEFORE_AND_AFTER_A_CHANGE = """
from mperceiver import config, shipped
from mperceiver.models import towers
config.or_shipped()
print(towers.load("mini-lite").clip_px)
file = shipped.root() / "assets/foundations/mini-lite/vae/diffusion_pytorch_model.safetensors"
content = bytearray(file.read_bytes())
content[-1] ^= 1
file.write_bytes(content)
towers.load("mini-lite")
"""


def test_a_foundation_out_of_a_wheel_loads_and_a_changed_file_of_it_is_refused(site, tmp_path):
    changed = shutil.copytree(site, tmp_path / "site")
    (folder := tmp_path / "empty").mkdir()
    done = run_installed(changed, folder, "-c", LOAD_BEFORE_AND_AFTER_A_CHANGE)
    assert done.stdout == "64\n", done.stderr
    last = done.stderr.splitlines()[-1]
    assert "ChecksumError" in last and "mini-lite/vae/diffusion_pytorch_model.safetensors: its SHA-256 is" in last
    assert not list(folder.iterdir())
