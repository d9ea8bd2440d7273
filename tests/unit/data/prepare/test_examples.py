"""Every dataset of ready-made pairs: its `example`, made of tiny pictures in the true layout, gives the pairs it names."""

import hashlib
import io
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image
from support import PROJECT, examples
from support.shipped import shipped_files

from mperceiver import commits, config, lineage, paths
from mperceiver.config.datasets import Dataset
from mperceiver.config.pairs import Example
from mperceiver.data.prepare.dataset import prepare_dataset
from mperceiver.data.raw.download import download_dataset
from mperceiver.data.read.loader import PreparedDataset

DATASETS = {path.stem: config.parse(path, Dataset) for path in sorted((PROJECT / "config/datasets").glob("*.yaml"))}
SHIPPED = {Path(path).stem for path in shipped_files("config/datasets")}
# Pairs of one's own (docs/add-a-dataset.md) may have no example.
PAIRED = [name for name, dataset in DATASETS.items() if dataset.pairs and (name in SHIPPED or dataset.example)]


@pytest.fixture
def world(tmp_path, monkeypatch):
    """A working directory with the project's datasets; its commit is made up."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(commits, "current", lambda: ("0" * 40, False))
    shutil.copytree(PROJECT / "config/datasets", "config/datasets")
    return tmp_path


def example_of(name: str) -> Example:
    example = DATASETS[name].example
    assert example, f"config/datasets/{name}.yaml has `pairs` and no `example` (docs/add-a-dataset.md says what it is)"
    return example


def random_picture(member: str, shape: tuple[int, ...]) -> np.ndarray:
    seed = int.from_bytes(hashlib.sha256(member.encode()).digest()[:4], "big")
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def content(example: Example, member: str) -> bytes:
    """The bytes of a member: an array of pictures, or one picture."""
    if array := example.arrays.get(member):
        return examples.matlab_file(array.key, random_picture(member, tuple(array.shape)))
    height, width = example.sizes.get(member, (8, 8))
    return examples.encoded(member, random_picture(member, (height, width, 3)))


def decoded(example: Example, member: str) -> np.ndarray:
    return np.array(Image.open(io.BytesIO(content(example, member))))


def raw_files(example: Example) -> dict[str, examples.Files]:
    return examples.raw_files(example, lambda member: content(example, member))


def download_by_hand(example: Example) -> None:
    """Write what a download leaves in data/raw/."""
    for origin, files in raw_files(example).items():
        folder = paths.raw_folder(origin)
        examples.write(folder, files)
        lineage.begin("download", {}).write_card(paths.raw_card(origin), outputs=[folder])


def prepared(name: str) -> PreparedDataset:
    """The dataset prepared without its numbers of pictures, which a miniature cannot have."""
    sample = "pairs: {sample: null}\n" if DATASETS[name].pairs.sample else ""
    Path("config/datasets/tiny.yaml").write_text(f"like: {name}\nexpected: null\n{sample}", encoding="utf-8")
    prepare_dataset("tiny", workers=1)
    return PreparedDataset("tiny")


@pytest.mark.parametrize("name", PAIRED)
def test_an_example_gives_the_pairs_it_names(world, name):
    example, spec = example_of(name), DATASETS[name].pairs
    download_by_hand(example)
    rows = prepared(name)
    if example.arrays:
        members = list(example.arrays)
        lq, gt = (random_picture(member, tuple(example.arrays[member].shape)) for member in members)
        lq, gt = (array.reshape(-1, *array.shape[-3:]) for array in (lq, gt))
        assert rows.ids == [f"{i:04d}" for i in range(len(lq))]
        assert all(np.array_equal(rows.lq(i), lq[i]) and np.array_equal(rows.gt(i), gt[i]) for i in range(len(rows)))
        return
    wanted = {pair.id: pair for pair in example.pairs}
    assert set(rows.ids) == set(wanted) and len(rows) == len(example.pairs)
    for i, id_ in enumerate(rows.ids):
        pair = wanted[id_]
        assert rows.tasks[i] == (pair.task or spec.task) and rows.tasks[i] in DATASETS[name].tasks
        if spec.resize_px:
            assert spec.cut_border_part == 6 and rows.lq(i).shape == rows.gt(i).shape == (256, 256, 3)
            middle = Image.fromarray(decoded(example, pair.lq)[1:6, 1:6])
            assert np.array_equal(rows.lq(i), np.array(middle.resize((256, 256), Image.Resampling.BILINEAR)))
            continue
        assert np.array_equal(rows.lq(i), decoded(example, pair.lq))
        assert rows.has("gt", i) == (pair.gt is not None)
        if pair.gt:
            whole = decoded(example, pair.gt)
            border = (whole.shape[0] - 8) // 2
            assert np.array_equal(rows.gt(i), whole[border : border + 8, border : border + 8])


@pytest.mark.parametrize("name", PAIRED)
def test_an_example_comes_from_a_server(world, server, name):
    """The dataset with its sources on loopback: download, cut off once and resumed, then prepare."""
    example = example_of(name)
    for origin, files in raw_files(example).items():
        examples.write(Path("served"), files)
        listed = []
        for path in sorted(p for p in Path("served").rglob("*") if p.is_file()):
            place, data = path.relative_to("served").as_posix(), path.read_bytes()
            listed.append({"url": server.put(f"/{len(server.files)}", data, cuts=[len(data) // 2]), "name": place})
        shutil.rmtree("served")
        file = Path(f"config/datasets/{origin}.yaml")
        described = yaml.safe_load(file.read_text(encoding="utf-8")) | {"expected": None, "like": None}
        described["sources"] = [{"source": "http", "files": listed}]
        file.write_text(
            yaml.safe_dump({key: value for key, value in described.items() if value is not None}), encoding="utf-8"
        )
        card = lineage.read_card(download_dataset(origin, []))
        assert card["result"]["source"] == "http" and not list(Path("data/raw").rglob("*.part"))
    count = len(example.pairs)
    for array in example.arrays.values():
        count = int(np.prod(array.shape[:-3]))
    assert len(prepared(name)) == count
    assert any("Range" in headers for _, _, headers in server.asked)  # a transfer was resumed


def test_the_expected_number_of_pairs_is_checked(world):
    download_by_hand(example_of("rain1400-test"))
    with pytest.raises(RuntimeError, match="rain1400-test: 2 pairs, expected 1400"):
        prepare_dataset("rain1400-test", workers=1)


def test_an_example_is_no_part_of_a_card(world):
    """So that a change of an example changes no card."""
    assert "example" not in DATASETS["rain1400-test"].model_dump(mode="json", by_alias=True)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("files: {rain1400: {a.zip: [a.png]}}", "give either `pairs` or `arrays`"),
        (
            "files: {rain1400: {a.zip: [a.png]}}, pairs: [{id: a, lq: b.png}]",
            "b.png is not among the members in `files`",
        ),
        ("files: {gopro: {a.zip: [a.png]}}, pairs: [{id: a, lq: a.png}]", "`example.files`: gopro is not in `from`"),
    ],
)
def test_a_wrong_example_is_refused(world, text, message):
    whole = yaml.safe_load(Path("config/datasets/rain1400-train.yaml").read_text(encoding="utf-8"))
    whole["example"] = yaml.safe_load(f"{{{text}}}")
    Path("config/datasets/bad.yaml").write_text(yaml.safe_dump(whole), encoding="utf-8")
    with pytest.raises(config.ConfigError, match=message):
        config.load("datasets", "bad")


@pytest.mark.parametrize("form", ["huggingface", "lfs"])
def test_other_layouts_of_rain1400(world, form):
    """The mirror's folders, and the copy that has all pictures in two folders."""
    if form == "huggingface":
        pairs = (("rainy_image", "901_3"), ("ground_truth", "901"), ("rainy_image", "902_1"), ("ground_truth", "902"))
        names = [f"test/{side}/{n}.jpg" for side, n in pairs]
    else:
        names = ["rainy image/901_3.jpg", "rainy image/902_1.jpg", "rainy image/12_1.jpg"]
        names += [f"ground truth/{n}.jpg" for n in (901, 902, 12)]
    other = example_of("rain1400-test").model_copy(update={"files": {"rain1400": {".": names}}})
    download_by_hand(other)
    assert prepared("rain1400-test").ids == ["901_3", "902_1"]
