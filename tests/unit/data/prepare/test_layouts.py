"""Every dataset of ready-made pairs: a tiny archive in its true layout goes through prepare and gives the right pairs."""

# ruff: noqa: E501 - names of members stand in lines

import hashlib
import io
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image
from support import PROJECT, layouts

from mperceiver import config, lineage, paths
from mperceiver.config.datasets import Dataset
from mperceiver.data.prepare.dataset import prepare_dataset
from mperceiver.data.raw.download import download_dataset
from mperceiver.data.read.loader import PreparedDataset

DATASETS = PROJECT / "config/datasets"
Layout, LAYOUTS, ARRAYS = layouts.Layout, layouts.LAYOUTS, layouts.ARRAYS
RESIZED = {"tip2018-train", "tip2018-test", "tip2018-5-percent"}


@pytest.fixture
def world(tmp_path, monkeypatch):
    """A working directory with the project's datasets; its commit is made up."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(lineage, "commit", lambda: ("0" * 40, False))
    shutil.copytree(DATASETS, "config/datasets")
    return tmp_path


def encoded(name: str, layout: Layout) -> bytes:
    height, width = (layout.sizes or {}).get(name, (8, 8))
    seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big")
    picture = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return layouts.encoded(name, picture)


def decoded(name: str, layout: Layout) -> np.ndarray:
    return np.array(Image.open(io.BytesIO(encoded(name, layout))))


def bring(origin: str, files: dict[str, dict[str, bytes]]) -> None:
    """Lay what a download brings into data/raw/: {archive or "": {member: bytes}}."""
    folder = paths.raw_folder(origin)
    layouts.write(folder, files)
    lineage.write_card(paths.raw_card(origin), verb="download", spec={}, outputs=[folder])


def bring_all(name: str, layout: Layout) -> None:
    for origin, files in layouts.raw_files(name, layout, lambda member: encoded(member, layout)).items():
        bring(origin, files)


def unlimited(name: str) -> str:
    """The dataset without its numbers, which a miniature cannot have."""
    sample = "pairs: {sample: null}\n" if config.load("datasets", name).pairs.sample else ""
    Path("config/datasets/tiny.yaml").write_text(f"like: {name}\nexpected: null\n{sample}")
    return "tiny"


def test_every_dataset_of_pairs_has_its_layout_here():
    parsed = {path.stem: config.parse(path, Dataset) for path in DATASETS.glob("*.yaml")}
    assert {name for name, dataset in parsed.items() if dataset.pairs} == set(LAYOUTS) | set(ARRAYS)


@pytest.mark.parametrize("name", LAYOUTS)
def test_pairs_in_their_true_layout(world, name):
    layout = LAYOUTS[name]
    bring_all(name, layout)
    prepare_dataset(unlimited(name), workers=1)
    rows = PreparedDataset("tiny")
    assert set(rows.ids) == set(layout.pairs) and len(rows) == len(layout.pairs)
    assert set(rows.tasks) == layout.tasks <= set(config.load("datasets", name).tasks)
    for i, id_ in enumerate(rows.ids):
        lq, gt = layout.pairs[id_]
        if name in RESIZED:
            assert rows.lq(i).shape == rows.gt(i).shape == (256, 256, 3)
            lq_middle = np.array(
                Image.fromarray(decoded(lq, layout)[1:6, 1:6]).resize((256, 256), Image.Resampling.BILINEAR)
            )
            assert np.array_equal(rows.lq(i), lq_middle)
            continue
        assert np.array_equal(rows.lq(i), decoded(lq, layout))
        if gt is None:
            assert rows._table["gt"][i].as_py() is None
        else:
            whole = decoded(gt, layout)
            border = (whole.shape[0] - 8) // 2
            assert np.array_equal(rows.gt(i), whole[border : border + 8, border : border + 8])


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_true_layout_comes_from_a_server(world, server, name):
    """The descriptor with its sources on loopback: download, cut off once and gone on with, then prepare."""
    layout = LAYOUTS[name]
    for origin, files in layouts.raw_files(name, layout, lambda member: encoded(member, layout)).items():
        layouts.write(Path("served"), files)
        listed = []
        for path in sorted(p for p in Path("served").rglob("*") if p.is_file()):
            place, data = path.relative_to("served").as_posix(), path.read_bytes()
            listed.append({"url": server.put(f"/{len(server.files)}", data, cuts=[len(data) // 2]), "name": place})
        shutil.rmtree("served")
        file = Path(f"config/datasets/{origin}.yaml")
        described = yaml.safe_load(file.read_text()) | {"expected": None, "like": None}
        described["sources"] = [{"source": "http", "files": listed}]
        file.write_text(yaml.safe_dump({key: value for key, value in described.items() if value is not None}))
        card = lineage.read_card(download_dataset(origin, []))
        assert card["result"]["source"] == "http" and not list(Path("data/raw").rglob("*.part"))
    prepare_dataset(unlimited(name), workers=1)
    assert set(PreparedDataset("tiny").ids) == set(layout.pairs)
    assert len([asked for asked in server.asked if "Range" in asked[2]]) >= 1  # gone on with


@pytest.mark.parametrize("name", ARRAYS)
def test_arrays_in_their_true_layout(world, name):
    shape = (2, 3, 8, 8, 3) if name == "sidd-val" else (3, 8, 16, 3)
    arrays = [np.random.default_rng(i).integers(0, 256, shape, dtype=np.uint8) for i in range(2)]
    bring(config.load("datasets", name).from_[0], layouts.array_files(name, arrays))
    prepare_dataset(unlimited(name), workers=1)
    rows = PreparedDataset("tiny")
    flat = [array.reshape(-1, *shape[-3:]) for array in arrays]
    assert rows.ids == [f"{i:04d}" for i in range(len(flat[0]))]
    assert all(
        np.array_equal(rows.lq(i), flat[0][i]) and np.array_equal(rows.gt(i), flat[1][i]) for i in range(len(rows))
    )


def test_what_the_numbers_say_is_held_to(world):
    layout = LAYOUTS["rain1400-test"]
    bring_all("rain1400-test", layout)
    with pytest.raises(RuntimeError, match="rain1400-test: 2 pairs, expected 1400"):
        prepare_dataset("rain1400-test", workers=1)


@pytest.mark.parametrize("form", ["huggingface", "lfs"])
def test_other_layouts_of_rain1400(world, form):
    """The mirror's folders, and the copy that has all in two."""
    if form == "huggingface":
        names = [f"test/{side}/{n}.jpg" for side, n in (("rainy_image", "901_3"), ("ground_truth", "901"), ("rainy_image", "902_1"), ("ground_truth", "902"))]  # fmt: skip
    else:
        names = ["rainy image/901_3.jpg", "rainy image/902_1.jpg", "rainy image/12_1.jpg", *(f"ground truth/{n}.jpg" for n in (901, 902, 12))]  # fmt: skip
    bring_all("rain1400-test", Layout({"": names}, {}, set()))
    prepare_dataset(unlimited("rain1400-test"), workers=1)
    assert PreparedDataset("tiny").ids == ["901_3", "902_1"]
