"""A prepared dataset to look at, and as plain folders."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.pairs import write_rows

from mperceiver import files, images
from mperceiver.data import DataError
from mperceiver.data.look.export import export_pairs
from mperceiver.data.look.show import _cell, _fit_into_cell, draw_contact_sheet
from mperceiver.data.read.loader import PreparedDataset


def picture(seed: int, height: int = 24, width: int = 32) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def jpeg(array: np.ndarray) -> bytes:
    Image.fromarray(array).save(buffer := io.BytesIO(), "jpeg")
    return buffer.getvalue()


@pytest.fixture
def world(tmp_path, monkeypatch):
    """A working directory with a prepared dataset `d`: two rainy pairs, a mixed one, one without a truth, and a clean one."""

    monkeypatch.chdir(tmp_path)
    png = images.encode
    rows = [
        ("a", "rain", png(picture(0)), png(picture(1))),
        ("b", "rain", jpeg(picture(2)), jpeg(picture(3))),
        ("c", "haze", png(picture(4)), jpeg(picture(5))),
        ("d", "snow", png(picture(6, 600, 800)), None),
        ("e", "clean", None, png(picture(7, 900, 300))),
    ]
    Path("config/datasets").mkdir(parents=True)
    Path("config/datasets/d.yaml").write_text(
        "title: t\nlicence: l\nsources: [{source: local, folder: d}]\n", encoding="utf-8"
    )
    write_rows("d", [(*row, f"of {row[0]}") for row in rows])
    return tmp_path


def test_a_sheet_has_the_pictures_in_their_cells(world):
    path = draw_contact_sheet("d")
    assert path == Path("results/shown/d.png")
    sheet = images.decode(path)
    rows, columns = np.arange(180) * 24 // 180, np.arange(240) * 32 // 240  # the cell has the shape of most pictures
    first, second = (picture(seed)[rows][:, columns] for seed in (0, 1))
    assert np.array_equal(sheet[8 : 8 + first.shape[0], 8 : 8 + first.shape[1]], first)
    left = 8 + 240 + 4
    assert np.array_equal(sheet[8 : 8 + second.shape[0], left : left + second.shape[1]], second)
    assert (sheet[8 + 180 : 8 + 180 + 16, 8:200] < 128).any(), "a caption"
    again = path.read_bytes()
    draw_contact_sheet("d")
    assert path.read_bytes() == again
    one = images.decode(draw_contact_sheet("d", Path("x/one.png"), count=1, task="haze"))
    assert one.shape[1] < sheet.shape[1] and np.array_equal(one[8:188, 8:248], picture(4)[rows][:, columns])
    with pytest.raises(images.PictureError, match="d: has no pictures of task fog, but clean, haze, rain, snow"):
        draw_contact_sheet("d", task="fog")
    with pytest.raises(DataError, match="mperceiver prepare e"):
        draw_contact_sheet("e")


@pytest.mark.parametrize(
    ("target", "says"), [("x.jpg", "x.jpg: .* ends in .png"), ("dir.png", "dir.png: is a folder; name a file in it")]
)
def test_a_sheet_is_png_and_nothing_else(world, monkeypatch, target, says):
    Path("dir.png").mkdir()
    monkeypatch.setattr("mperceiver.data.look.show.PreparedDataset", lambda name: pytest.fail("the work began"))
    with pytest.raises(images.PictureError, match=says):
        draw_contact_sheet("d", Path(target))
    assert not Path("x.jpg").exists()


@pytest.mark.parametrize(
    "size", [(96, 96), (128, 128), (64, 64), (100, 150), (321, 481), (481, 321), (1200, 900), (17, 23)]
)
def test_pictures_of_one_shape_fill_their_cells(size):
    one = picture(0, *size)
    cell = _cell([one, one])
    assert max(cell) == 240 and abs(cell[0] / cell[1] - size[0] / size[1]) < 0.01
    fitted = _fit_into_cell(one, cell)
    assert all(abs(a - b) <= 1 for a, b in zip(fitted.shape[:2], cell, strict=True))


def test_a_picture_of_another_shape_touches_two_sides_of_its_cell():
    cell = _cell([picture(0, 100, 150), picture(1, 100, 150), picture(2, 30, 300)])
    assert cell == (160, 240)
    assert _fit_into_cell(picture(2, 30, 300), cell).shape == (24, 240, 3)
    assert _fit_into_cell(picture(3, 90, 30), cell).shape == (160, 53, 3)


def test_exported_folders_hold_the_pairs_under_equal_names(world):
    assert export_pairs("d", Path("out")) == Path("out")
    assert sorted(p.relative_to("out").as_posix() for p in Path("out").rglob("*.*")) == [
        "gt/a.png", "gt/b.jpg", "gt/c.png", "gt/e.png", "lq/a.png", "lq/b.jpg", "lq/c.png", "lq/d.png", "pairs.jsonl",
    ]  # fmt: skip
    listed = [json.loads(line) for line in Path("out/pairs.jsonl").read_text(encoding="utf-8").splitlines()]
    assert listed[1] == {
        "id": "b",
        "task": "rain",
        "lq": "lq/b.jpg",
        "gt": "gt/b.jpg",
        "source": "of b",
        "recipe": None,
    }
    rows = PreparedDataset("d")
    for i, row in enumerate(listed):
        for column in ("lq", "gt"):
            assert (column in row) == rows.has(column, i)
            if column in row:
                assert np.array_equal(images.decode(Path("out") / row[column]), getattr(rows, column)(i))
    assert Path("out/lq/b.jpg").read_bytes() == jpeg(picture(2)), "not encoded again"


def test_an_export_takes_nothing_away_and_leaves_nothing_half(world, monkeypatch):
    Path("mine").mkdir()
    Path("mine/thesis.txt").write_text("x", encoding="utf-8")
    with pytest.raises(DataError, match="mine: exists and is not empty"):
        export_pairs("d", Path("mine"))
    assert Path("mine/thesis.txt").read_text(encoding="utf-8") == "x"

    def full(self, data):
        raise OSError(28, "no space left")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError):
        export_pairs("d", Path("out"))
    assert sorted(p.name for p in world.iterdir()) == ["config", "data", "mine"]


def test_verbs(world):
    from typer.testing import CliRunner

    from mperceiver import cli

    run = CliRunner().invoke
    assert run(cli.app, ["show", "d", "sheet.png", "--count", "2"]).stdout.strip() == "sheet.png"
    assert run(cli.app, ["export", "d", "plain"]).stdout.strip() == "plain"
    assert run(cli.app, ["export", "d", "plain"]).exit_code == 1
    assert files.sha256("plain")
