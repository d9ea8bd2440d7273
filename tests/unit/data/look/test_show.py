"""A prepared dataset to look at, and as plain folders."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mperceiver import files, images, paths
from mperceiver.data import DataError
from mperceiver.data.look.export import export_pairs
from mperceiver.data.look.show import CELL_PX, draw_contact_sheet
from mperceiver.data.read.loader import PreparedDataset


def picture(seed: int, height: int = 24, width: int = 32) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def jpeg(array: np.ndarray) -> bytes:
    Image.fromarray(array).save(buffer := io.BytesIO(), "jpeg")
    return buffer.getvalue()


@pytest.fixture
def world(tmp_path, monkeypatch):
    """A working directory with a prepared dataset `d`: two rainy pairs, a mixed one, one without a truth, and a clean one."""
    import pyarrow as pa

    monkeypatch.chdir(tmp_path)
    png = images.encode
    rows = [
        ("a", "rain", png(picture(0)), png(picture(1))),
        ("b", "rain", jpeg(picture(2)), jpeg(picture(3))),
        ("c", "haze", png(picture(4)), jpeg(picture(5))),
        ("d", "snow", png(picture(6, 600, 800)), None),
        ("e", "clean", None, png(picture(7, 900, 300))),
    ]
    kinds = {"id": pa.string(), "task": pa.string(), "lq": pa.binary(), "gt": pa.binary(), "source": pa.string()}
    schema = pa.schema(kinds | {"recipe": pa.string()})
    table = [{"id": i, "task": t, "lq": lq, "gt": gt, "source": f"of {i}", "recipe": ""} for i, t, lq, gt in rows]
    paths.prepared_file("d").parent.mkdir(parents=True)
    Path("config/datasets").mkdir(parents=True)
    Path("config/datasets/d.yaml").write_text(
        "title: t\nlicence: l\nsources: [{source: local, folder: d}]\n", encoding="utf-8"
    )
    with pa.OSFile(str(paths.prepared_file("d")), "wb") as file, pa.ipc.new_file(file, schema) as writer:
        writer.write_batch(pa.RecordBatch.from_pylist(table, schema))
    return tmp_path


def test_a_sheet_has_the_pictures_in_their_cells(world):
    path = draw_contact_sheet("d")
    assert path == Path("results/shown/d.png")
    sheet = images.decode(path)
    first = picture(0).repeat(CELL_PX[1] // 32, 0).repeat(CELL_PX[1] // 32, 1)  # enlarged a whole number of times
    second = picture(1).repeat(CELL_PX[1] // 32, 0).repeat(CELL_PX[1] // 32, 1)
    assert np.array_equal(sheet[8 : 8 + first.shape[0], 8 : 8 + first.shape[1]], first)
    left = 8 + CELL_PX[1] + 4
    assert np.array_equal(sheet[8 : 8 + second.shape[0], left : left + second.shape[1]], second)
    assert (sheet[8 + CELL_PX[0] : 8 + CELL_PX[0] + 16, 8:200] < 128).any(), "a caption"
    again = path.read_bytes()
    draw_contact_sheet("d")
    assert path.read_bytes() == again
    one = images.decode(draw_contact_sheet("d", Path("x/one.png"), count=1, task="haze"))
    assert one.shape[1] < sheet.shape[1] and np.array_equal(
        one[8:20, 8:20], picture(4).repeat(7, 0).repeat(7, 1)[:12, :12]
    )
    with pytest.raises(images.PictureError, match="d: has no pictures of task fog, but clean, haze, rain, snow"):
        draw_contact_sheet("d", task="fog")
    with pytest.raises(DataError, match="mperceiver prepare e"):
        draw_contact_sheet("e")


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
