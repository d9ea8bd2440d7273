"""What the page does, without a page: the tables' scores, a folder for each tab, uploads that are removed, errors in words."""

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms
from support.pairs import write_config

from mperceiver import commits, images
from mperceiver.app import work
from mperceiver.app.uploads import Uploads
from mperceiver.app.work import PictureError, Progress, Result, Workshop
from mperceiver.data.prepare.dataset import prepare_dataset
from mperceiver.data.raw.download import download_dataset
from mperceiver.restoring.console import restore_photographs
from mperceiver.restoring.datasets import restore_dataset
from mperceiver.restoring.photographs import method_for_photographs
from mperceiver.restoring.restorers import Identity, load_restorer
from mperceiver.scoring.datasets import score_dataset

SIDE = 64
MODULE = """
from torch import nn
class Less(nn.Module):
    def forward(self, x):
        return x * 0.97
def make():
    return Less()
"""


def png_16(values: np.ndarray) -> bytes:
    return images.encode(values.astype(np.uint16))


@pytest.fixture
def world(tmp_path, monkeypatch):
    """A working directory with a pair of 16 bits, one of noise that was not clipped, and two methods without weights."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(commits, "current", lambda: ("0" * 40, False))
    monkeypatch.syspath_prepend(str(tmp_path))
    Path("less.py").write_text(MODULE, encoding="utf-8")
    rng = np.random.default_rng(0)
    levels = rng.integers(0, 65_000, (SIDE, SIDE, 3))
    levels[:20], levels[20:40] = 0, 65_000
    for folder, values in {"deep/gt": levels, "deep/lq": levels + rng.integers(0, 500, levels.shape)}.items():
        Path(folder).mkdir(parents=True)
        Path(folder, "one.png").write_bytes(png_16(values))
    Path("flat").mkdir()
    Path("flat/one.png").write_bytes(images.encode((levels // 257).astype(np.uint8)))
    noise = "{gaussian-noise: {gaussian-noise: {sigma_255: 50, clip: false}}}"
    deep = "{task: defocus, lq: 'lq/*.png', match: 'lq/(.*)', gt: {rule: 'gt/\\1'}, bits: 16}"
    local = "title: L\nlicence: none\nsources: [{source: local, folder: %s}]\n"
    write_config(
        {
            "datasets/flat": local % (tmp_path / "flat"),
            "datasets/files": local % f"{tmp_path / 'deep'}, keep_folders: true",
            "datasets/noisy": f"title: N\nlicence: none\nfrom: [flat]\nprotocol: float\ndegradations: {noise}\n",
            "datasets/deep": f"title: D\nlicence: none\nfrom: [files]\nprotocol: float\npairs: {deep}\n",
            "protocols/float": "title: float\nmetrics: [psnr, ssim]\nquantised: false\n",
            "protocols/rgb": "title: rgb\nmetrics: [psnr]\n",
            "methods/input": "title: input\nkind: identity\n",
            "methods/less": "title: L\nkind: python\npython: {entry: 'less:make'}\ntile_px: 64\n",
        }
    )
    return tmp_path


def result(events) -> Result:
    *_, last = events
    assert isinstance(last, Result), last
    return last


def photograph(name: str, width: int = 32, height: int = 24) -> Path:
    path = Path("uploads", name[0], name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(images.encode(np.full((height, width, 3), 99, np.uint8)))
    return path


@pytest.mark.parametrize("dataset", ["noisy", "deep"])
def test_a_pairs_scores_and_picture_are_the_tables(world, dataset):
    download_dataset("files" if dataset == "deep" else "flat", [])
    prepare_dataset(dataset, workers=1)
    table = {}
    for method in ("input", "less"):
        restore_dataset(method, dataset)
        score_dataset(method, dataset)
        (row,) = csv.DictReader(Path(f"results/scores/{method}/{dataset}.csv").read_text("utf-8").splitlines())
        table[method] = {"PSNR": float(row["psnr"]), "SSIM": float(row["ssim"])}
    shown = result(Workshop(world / "page").pair("me", dataset, 0, "less", 1))
    assert shown.error is None and shown.scores is not None
    assert shown.scores["input"] == pytest.approx(table["input"], abs=1e-6)
    assert shown.scores["restored"] == pytest.approx(table["less"], abs=1e-6)
    (file,) = Path(f"results/restored/less/{dataset}").glob("*.png")
    assert np.array_equal(images.decode_deep(shown.after), images.decode_deep(file))
    copied = result(Workshop(world / "page").pair("me", dataset, 0, "input", 1))
    assert copied.scores["restored"] == pytest.approx(table["input"], abs=1e-6)


def test_a_tab_leaves_the_files_of_the_others(world):
    download_dataset("flat", [])
    prepare_dataset("noisy", workers=1)
    shop, haze = Workshop(world / "page"), {"haze": {"beta": 1.5, "airlight": 0.75}}
    works = {
        "photograph": lambda: shop.photographs("me", [photograph("a.png")], "input", 1),
        "pair": lambda: shop.pair("me", "noisy", 0, "input", 1),
        "degraded": lambda: shop.degraded("me", photograph("b.png"), haze, 0, "input", 1),
    }
    shown = {name: result(work()) for name, work in works.items()}
    files = {name: [one.before, one.after, *filter(None, [one.target])] for name, one in shown.items()}
    assert [len(of) for of in files.values()] == [2, 3, 3]
    assert all(file.is_file() for of in files.values() for file in of)
    assert result(shop.photographs("me", [photograph("c.png")], "input", 1)).error is None
    assert not shown["photograph"].after.is_file()
    assert all(file.is_file() for file in files["pair"] + files["degraded"])
    shop.forget("me")
    assert list((world / "page").iterdir()) == []


def test_what_a_session_uploaded_goes_with_it(world):
    shop = Workshop(world / "page")
    mine, ours = photograph("mine.png"), photograph("ours.png")
    shop.uploads.remember("me", [mine])
    shop.uploads.remember("me", [mine, ours])
    shop.uploads.remember("you", [ours])  # the same bytes of the same name: Gradio keeps one file
    shop.forget("me")
    assert not mine.exists() and not mine.parent.exists() and ours.exists()
    assert result(shop.photographs("you", [ours], "input", 1)).error is None
    shop.forget("you")
    assert not ours.exists() and not ours.parent.exists()
    shop.forget("nobody")


def test_what_lies_beside_an_upload_stays(world):
    uploads, file = Uploads(), photograph("one.png")
    other = file.with_name("other.png")
    other.write_bytes(b"")
    uploads.remember("me", [file, file.with_name("gone.png")])
    uploads.forget("me")
    assert not file.exists() and other.exists()


def test_an_upload_that_is_gone_is_asked_for_again(world):
    file = photograph("holiday.png")
    file.unlink()
    shop, words = Workshop(world / "page"), "holiday.png: the file is not here any more; upload it again"
    assert result(shop.photographs("me", [file], "input", 1)).error == words
    with pytest.raises(PictureError, match=words):
        list(shop.degraded("me", file, {"haze": {}}, 0, "input", 1))


def test_what_cannot_be_degraded_is_told_by_its_name_and_after_a_first_sign(world):
    text = photograph("holiday.txt")
    small = photograph("small.png", width=40, height=15)
    shop = Workshop(world / "page")
    for file, words in {
        text: "^holiday.txt: a picture's name ends in",
        small: "^small.png: is 40x15 px; .* 16 px",
    }.items():
        events = shop.degraded("me", file, {"haze": {}}, 0, "input", 1)
        assert next(events) == Progress(1, 1, 0.0, file.name, "reading and degrading it")
        with pytest.raises(PictureError, match=words):
            next(events)
    done = result(shop.degraded("me", photograph("fits.png", 16, 16), {"haze": {}}, 0, "input", 1))
    assert done.error is None and done.size == (16, 16)


def test_the_picture_is_the_file_that_the_command_writes(world):
    file = photograph("a.png")
    for method in ("input", "less"):
        shown = result(Workshop(world / "page").photographs("me", [file], method, 1))
        restore_photographs(method, file, Path("by-command.png"), {})
        assert shown.error is None and shown.after.read_bytes() == Path("by-command.png").read_bytes()


def test_a_method_that_has_changed_is_loaded_again(world, monkeypatch):
    loaded = []
    monkeypatch.setattr(
        work, "load_restorer", lambda method, on_share: loaded.append(method) or load_restorer(method, on_share)
    )
    shop = Workshop(world / "page")
    for _ in range(2):
        assert result(shop.photographs("me", [photograph("a.png")], "less", 1)).error is None
    assert loaded == ["less"]
    file = Path("config/methods/less.yaml")
    file.write_text(file.read_text("utf-8").replace("tile_px: 64", "tile_px: 32"), encoding="utf-8")
    assert result(shop.photographs("me", [photograph("a.png")], "less", 1)).error is None
    assert loaded == ["less", "less"]


def test_the_weights_are_told_of_when_they_are_read(world):
    """Not before the second photograph: they are in memory then."""
    shop = Workshop(world / "page")
    events = list(shop.photographs("me", [photograph("a.png"), photograph("b.png")], "less", 1))
    told = [(event.number, event.before) for event in events if isinstance(event, Progress) and event.share == 0]
    assert told == [(1, ""), (1, "reading the weights"), (2, "")]


def test_a_file_that_is_refused_does_not_wait_for_the_weights(world):
    broken, sound = photograph("broken.png"), photograph("sound.png")
    broken.write_bytes(sound.read_bytes()[:-30])
    events = list(Workshop(world / "page").photographs("me", [broken, sound], "less", 1))
    told = [event.before if isinstance(event, Progress) else event.error for event in events]
    first, second = (number for number, event in enumerate(events) if isinstance(event, Result))
    assert told[first].startswith("broken.png: cannot be decoded") and told[second] is None
    assert "reading the weights" not in told[:first] and "reading the weights" in told[first:]


def test_other_steps_of_the_sampler_load_nothing_again(world, monkeypatch):
    """The page sets them in the model that it has."""
    seen = []
    monkeypatch.setattr(work, "load_restorer", lambda method, on_share: seen.append(method) or Identity())
    shop, spec = Workshop(world / "page"), method_for_photographs("less")
    for steps in (1, 9):
        shop._restorer("less", spec.model_copy(update={"sampler": spec.sampler.model_copy(update={"steps": steps})}))
    assert seen == ["less"]


def test_what_is_degraded_has_the_colours_and_the_notes_of_the_photograph(world):
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    file = photograph("a.png")
    Image.new("RGBA", (32, 24), (90, 80, 70, 9)).save(file, icc_profile=profile)
    done = result(Workshop(world / "page").degraded("me", file, {"haze": {}}, 0, "less", 1))
    assert done.notes == ["transparency dropped", "degraded by haze"]
    for picture in (done.before, done.after, done.target):
        assert images.read_photograph(picture).metadata == {"icc_profile": profile}


def test_a_value_that_does_not_fit_the_picture_is_told_as_such(world, monkeypatch):
    def refuse(*arguments):
        raise ValueError("raindrop: count is 11693, allowed is [1, 10000]")

    monkeypatch.setattr(work, "degrade", refuse)
    words = r"^a\.png: cannot be degraded: raindrop: count is 11693, allowed is \[1, 10000\]; choose other values"
    with pytest.raises(PictureError, match=words):
        list(Workshop(world / "page").degraded("me", photograph("a.png"), {"raindrop": {}}, 0, "input", 1))


def test_a_stopped_work_is_not_in_the_way_of_the_next_one(tmp_path):
    """Its last photograph may still be restored when the next work begins."""
    from mperceiver.app.work import Workshop

    workshop = Workshop(tmp_path)
    stopped = workshop._emptied("me", "photographs")
    (stopped / "2").mkdir()
    folder = workshop._emptied("me", "photographs")
    stopped.mkdir(exist_ok=True)
    (stopped / "2").mkdir(exist_ok=True)
    (folder / "2").mkdir()
    assert folder != stopped and not list((folder / "2").iterdir())
