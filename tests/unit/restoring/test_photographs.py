"""Restored photographs: what goes along, what is told, and what is there already."""

import errno
import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms
from support.photographs import photo, pixels

from mperceiver import files, images
from mperceiver.config import ConfigError
from mperceiver.images import PictureError
from mperceiver.models.baselines.network import Network
from mperceiver.restoring import finding, photographs
from mperceiver.restoring.stream import RestoreRequest, restore_all


@pytest.fixture
def world(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("config/methods").mkdir(parents=True)
    Path("config/methods/input.yaml").write_text("title: input\nkind: identity\n", encoding="utf-8")
    Path("config/methods/ceiling.yaml").write_text("title: ceiling\nkind: vae\nfoundation: tiny\n", encoding="utf-8")
    Path("config/methods/net.yaml").write_text("title: net\nkind: network\nrun: net\n", encoding="utf-8")
    Path("config/runs").mkdir()
    stage = "{architecture: nafnet, steps: 1, phases: [{batch: 1, crop_px: 8}]}"
    Path("config/runs/net.yaml").write_text(f"title: net\ntrain: [d]\nnetwork: {stage}\n", encoding="utf-8")
    return tmp_path


@pytest.fixture
def network(monkeypatch):
    """What `net` is restored with: a blur that remembers the tiles it was given."""
    blur = torch.nn.Conv2d(3, 3, 3, padding=1, groups=3, bias=False).requires_grad_(False)
    blur.weight.fill_(1 / 9)
    restorer = Network(blur, 8, "cpu")
    restorer.given = []
    blur.register_forward_pre_hook(lambda module, inputs: restorer.given.append(tuple(inputs[0].shape)))
    monkeypatch.setattr(photographs, "load_restorer", lambda name, on_share: restorer)
    return restorer


def restored(method: str, found: list, **changes) -> list[photographs.PhotographResult]:
    return list(photographs.restore_each(method, photographs.method_for_photographs(method, **changes), found))


# ---------------------------------------------------------------- a file


@pytest.mark.parametrize("name", ["a.png", "A.JPG", "b.bmp"])
def test_a_file(world, name):
    before = photo(name)
    [result] = restored("input", finding.in_file(Path(name), Path("out/restored.png")))
    assert result.error is None and np.array_equal(images.decode("out/restored.png"), before)
    assert [p.name for p in Path("out").iterdir()] == ["restored.png"]


def test_tiles_of_a_side_that_is_told(world, network):
    photo("a.png")
    found = finding.in_file("a.png", "b.png")
    [result] = restored("net", found, tile_px=32, overlap_px=8)
    assert result.outcome.tiles.count > 1 and max(max(shape[-2:]) for shape in network.given) <= 32
    with pytest.raises(ConfigError, match="overlap_px is 64, too much for tiles of 32 px"):
        restored("net", found, tile_px=32)


def test_a_method_that_needs_the_ground_truth_is_refused(world):
    photo("a.png")
    with pytest.raises(PictureError, match="ground truth"):
        restored("ceiling", finding.in_file("a.png", "b.png"))
    assert not Path("b.png").exists()


def test_weights_that_diverged(world, network):
    """Nothing is left behind, and the picture is named."""
    photo("a.png")
    network.network.weight.fill_(float("nan"))
    [result] = restored("net", finding.in_file("a.png", "out/b.png"))
    assert result.error.startswith("a.png: the model returned values that are not numbers")
    assert not Path("out").exists() or list(Path("out").iterdir()) == []


# ---------------------------------------------------------------- a folder


def test_a_folder_of_mixed_pictures(world, network, monkeypatch):
    """All that the issue names: converted with a note, or refused with the reason while the rest is restored."""
    colour = Image.fromarray(pixels())
    photo("in/grey.png", colour.convert("L"))
    photo("in/rgba.png", colour.convert("RGBA"))
    photo("in/palette.png", colour.quantize(16))
    photo("in/cmyk.jpg", colour.convert("CMYK"))
    photo("in/sixteen.png", Image.fromarray(np.full((9, 8), 40_000, np.uint16)))
    photo("in/small.png", colour.resize((1, 1)))
    photo("in/wide.jpg", colour.resize((70, 2)))
    photo("in/float.tif", Image.new("F", (4, 4)))
    Path("in/cut.png").write_bytes(Path("in/rgba.png").read_bytes()[:300])
    Path("in/zero.png").write_bytes(b"")
    Path("in/text.png").write_text("not a picture", encoding="utf-8")
    Path("in/readme.txt").write_text("left alone", encoding="utf-8")
    photo("in/bomb.png", Image.new("1", (400, 400)))
    monkeypatch.setattr(images.limits, "MAX_PIXELS", 100_000)
    found = finding.in_folder(Path("in"), Path("out"))
    results = {result.photograph.source.name: result for result in restored("net", found)}
    errors = {name: result.error for name, result in results.items() if result.error}
    assert set(errors) == {"float.tif", "cut.png", "zero.png", "text.png", "bomb.png"}
    assert "32 bits a value" in errors["float.tif"] and "400x400 is more than" in errors["bomb.png"]
    assert all(f"in/{name}: " in error for name, error in errors.items())
    notes = {name: " ".join(result.photograph.notes) for name, result in results.items()}
    for name, note in (("grey.png", "grey"), ("rgba.png", "transparency"), ("palette.png", "palette"), ("cmyk.jpg", "CMYK"),
                       ("sixteen.png", "16 bit rounded to 8"), ("small.png", ""), ("wide.jpg", "")):  # fmt: skip
        assert note in notes[name] and bool(note) == bool(notes[name])
        width, height = results[name].photograph.size
        assert images.decode(f"out/{Path(name).stem}.png").shape == (height, width, 3)
    assert len(list(Path("out").iterdir())) == 7


def test_a_folder_is_restored_as_its_pictures_alone(world, network):
    """One by one: in a batch, sums are added up in another order, and a value can differ by a level."""
    for i in range(11):
        photo(f"in/{i}.png", Image.fromarray(pixels(24, 32 if i % 3 else 40, seed=i)))
    results = restored("net", finding.in_folder("in", "out"), tile_px=64)
    assert len(results) == 11 and {shape[0] for shape in network.given} == {1}
    for i in range(11):
        restored("net", finding.in_file(Path(f"in/{i}.png"), Path("alone.png")), tile_px=64)
        assert Path("alone.png").read_bytes() == Path(f"out/{i}.png").read_bytes()


def test_one_bad_picture_of_a_batch_does_not_take_the_others(world, network):
    network.network.register_forward_hook(lambda m, inputs, out: out / (inputs[0].amax((1, 2, 3), keepdim=True) > 0))
    pictures, written = [pixels(24, 24, seed=1), np.zeros((24, 24, 3), np.uint8), pixels(24, 24, seed=2)], []
    requests = [RestoreRequest(str(i), lambda p=p: p, written.append, 0) for i, p in enumerate(pictures)]
    spec = photographs.method_for_photographs("net", tile_px=64)
    outcomes = list(restore_all(network, spec, requests))
    assert [bool(outcome.error) for outcome in outcomes] == [False, True, False] and len(written) == 2
    assert network.given[0][0] == 3


def test_one_bad_picture_of_a_folder_does_not_take_the_others(world, network):
    for i in range(4):
        photo(f"in/{i}.png", Image.fromarray(pixels(24, 24, seed=i)))
    black = photo("in/bad.png", Image.new("RGB", (24, 24)))
    network.network.register_forward_hook(lambda m, inputs, out: out / (inputs[0].amax((1, 2, 3), keepdim=True) > 0))
    results = restored("net", finding.in_folder("in", "out"), tile_px=64)
    assert [r.photograph.source.name for r in results if r.error] == ["bad.png"] and black.max() == 0
    assert len(list(Path("out").iterdir())) == 4


def test_the_model_is_loaded_when_a_photograph_was_read(world, network, monkeypatch):
    """What cannot be read is told before; where nothing can be, no model is loaded. The first picture is read once."""
    loaded, reads = [], []
    read = photographs.Photograph.read
    monkeypatch.setattr(photographs, "load_restorer", lambda name, on_share: loaded.append(name) or network)
    monkeypatch.setattr(photographs.Photograph, "read", lambda photo: reads.append(photo.source.name) or read(photo))
    for name in ("a.png", "b.png", "d.png"):
        photo(f"in/{name}")
        Path("in", name).write_text("no picture", encoding="utf-8")
    spec = photographs.method_for_photographs("net", tile_px=64)
    assert all(result.error for result in photographs.restore_each("net", spec, finding.in_folder("in", "out")))
    assert loaded == []
    before = {name: photo(f"in/{name}") for name in ("c.png", "e.png")}
    reads.clear()
    results = photographs.restore_each("net", spec, finding.in_folder("in", "out"))
    seen = [(result.photograph.source.name, bool(result.error), len(loaded)) for result in results]
    assert seen[:2] == [("a.png", True, 0), ("b.png", True, 0)] and {loads for *_, loads in seen[2:]} == {1}
    assert sorted(seen[2:]) == [("c.png", False, 1), ("d.png", True, 1), ("e.png", False, 1)]
    assert reads == ["a.png", "b.png", "c.png", "d.png", "e.png"]
    assert all(images.decode(f"out/{name}").shape == pixels.shape for name, pixels in before.items())


def test_a_long_name_is_restored(world):
    """Up to the 255 bytes of a disk, also of characters of several."""
    for name in ("a" * 251, "雪" * 83):
        photo(f"in/{name}.png")
    results = restored("input", finding.to_restore(Path("in"), Path("out"), compare=True))
    assert [result.error for result in results] == [None, None] and len(list(Path("out").glob("*.png"))) == 2


@pytest.mark.parametrize("method", ["input", "net"])
def test_a_name_that_the_disk_does_not_take_is_an_error_of_its_picture(world, network, monkeypatch, method):
    for name in ("a", "b" * 50, "c"):
        photo(f"in/{name}.png")
    lstat = Path.lstat

    def short_names(path):
        if len(path.name) > 40:
            raise OSError(errno.ENAMETOOLONG, "File name too long", str(path))
        return lstat(path)

    monkeypatch.setattr(Path, "lstat", short_names)
    results = restored(method, finding.to_restore(Path("in"), Path("out")))
    errors = {result.photograph.source.name[0]: result.error for result in results if result.error}
    assert list(errors) == ["b"] and "the name is too long for this disk; rename the photograph" in errors["b"]
    assert sorted(path.name for path in Path("out").iterdir()) == ["a.png", "c.png"]


# ---------------------------------------------------------------- what is there already


def waiting(compare: bool = False, **changes) -> list[str]:
    """The pictures of in/ that `restore input in out --skip-existing` restores."""
    spec = photographs.method_for_photographs("input", **changes)
    found = finding.to_restore(Path("in"), Path("out"), compare)
    now = photographs.definition("input", spec)
    return [photograph.source.name for photograph in found if not photograph.is_restored("input", now)]


def test_what_another_definition_of_the_method_restored_is_not_there(world):
    photo("in/a.png")
    restored("input", finding.to_restore(Path("in"), Path("out")))
    assert waiting() == [] and waiting(memory_gib=2.0) == []
    assert waiting(tile_px=64) == ["a.png"]
    Path("config/methods/input.yaml").write_text("title: i\nkind: identity\noverlap_px: 32\n", encoding="utf-8")
    assert waiting() == ["a.png"]


def test_what_lacks_its_comparison_is_not_there(world):
    photo("in/a.png")
    restored("input", finding.to_restore(Path("in"), Path("out")))
    assert waiting() == [] and waiting(compare=True) == ["a.png"]
    restored("input", finding.to_restore(Path("in"), Path("out"), compare=True))
    assert waiting(compare=True) == []
    restored("input", finding.to_restore(Path("in"), Path("out")), tile_px=64)
    assert waiting(compare=True, tile_px=64) == ["a.png"], "its comparison is of other tiles"


def test_a_png_of_a_version_without_digests_is_not_there(world):
    photo("in/a.png")
    [photograph] = finding.to_restore(Path("in"), Path("out"))
    text = {photographs.SOURCE_SHA256: files.sha256("in/a.png"), photographs.METHOD: "input"}
    Path("out").mkdir()
    photograph.target.write_bytes(images.encode(pixels(), text))
    assert waiting() == ["a.png"]


def test_a_pipe_is_not_waited_for(world, monkeypatch):
    photo("in/a.png")
    Path("out").mkdir()
    os.mkfifo("out/a.png")
    monkeypatch.setattr(Path, "read_bytes", lambda path: pytest.fail(f"{path} would be opened"))
    assert waiting() == ["a.png"]


# ---------------------------------------------------------------- what goes along, what is told


def test_turned_upright_with_its_exif_and_profile(world):
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "A maker"
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    before = photo("a.png", exif=exif, icc_profile=profile)
    assert before.shape == (53, 37, 3)
    [result] = restored("input", finding.in_file("a.png", "b.png"))
    with Image.open("b.png") as found:
        assert found.info["icc_profile"] == profile
        assert dict(found.getexif()) == {0x010F: "A maker"}
    assert np.array_equal(images.decode("b.png"), before) and result.photograph.notes == []


def test_cmyk_is_converted_by_its_profile_and_grey_profiles_are_left_out(world):
    grey = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    grey[16:20] = b"GRAY"
    photo("grey.png", Image.fromarray(pixels()).convert("L"), icc_profile=bytes(grey))
    photo("cmyk.tif", Image.fromarray(pixels()).convert("CMYK"), icc_profile=b"no profile")
    for name, note in (("grey.png", "not for RGB"), ("cmyk.tif", "colour profile dropped, since it is damaged")):
        found = images.read_photograph(name)
        assert note in " ".join(found.notes) and "icc_profile" not in found.metadata


def test_a_damaged_exif_is_no_damaged_picture(world):
    photo("a.jpg", Image.fromarray(pixels()), exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff damaged")
    assert images.read_photograph("a.jpg").pixels.shape == (37, 53, 3)


def test_the_record_is_json(world, network):
    photo("a.png", Image.fromarray(pixels()).convert("L"))
    [result] = restored("net", finding.in_file("a.png", "b.png"), tile_px=32, overlap_px=8)
    record = json.loads(json.dumps(result.record()))
    assert record.pop("seconds") >= 0
    assert record == {
        "source": "a.png", "path": "b.png", "size": [53, 37], "probabilities": None, "clean": None, "seed": 42, "error": None,
        "tiles": {"count": 4, "px": [32, 24], "batch": 8}, "notes": ["grey repeated in three channels"],
    }  # fmt: skip


# ---------------------------------------------------------------- before and after


def test_a_comparison_has_the_picture_before_and_after(world, network):
    before = photo("in/a.png")
    photo("in/b.jpg")
    found = finding.in_folder(Path("in"), Path("out"))
    finding.compare_in(found, Path("out"))
    assert not any(result.error for result in restored("net", found, tile_px=64))
    assert sorted(path.as_posix() for path in Path("out").rglob("*.png")) == [
        "out/a.png", "out/b.png", "out/compare/a.png", "out/compare/b.png",
    ]  # fmt: skip
    both, after = images.decode("out/compare/a.png"), images.decode("out/a.png")
    gap = both.shape[1] - 2 * before.shape[1]
    assert gap > 0 and (both[:, before.shape[1] : -before.shape[1]] == 255).all()
    assert np.array_equal(both[:, : before.shape[1]], before) and np.array_equal(both[:, -before.shape[1] :], after)
    single = finding.in_file(Path("in/a.png"), Path("one.png"))
    finding.compare_in(single, Path("one.png"))
    restored("net", single)
    assert np.array_equal(images.decode("one-compare.png")[:, : before.shape[1]], before)
