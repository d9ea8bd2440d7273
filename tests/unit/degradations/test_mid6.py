"""MID6: mixes on clean pictures and on ready-made pairs, and recipes that render them again."""

import json
import random
import shutil
from pathlib import Path

import numpy as np
import pytest
from support import PROJECT
from support.pairs import write_rows
from typer.testing import CliRunner

from mperceiver import commits, config, files, images, lineage, paths
from mperceiver.cli import app
from mperceiver.data import DataError
from mperceiver.data.look.export import export_pairs
from mperceiver.data.look.replay import load_recipe, render_again, render_pair
from mperceiver.data.prepare.dataset import prepare_dataset
from mperceiver.data.raw.download import download_dataset
from mperceiver.data.read.loader import PreparedDataset
from mperceiver.degradations import DEGRADATIONS, PLACES
from mperceiver.degradations.mix import draw_recipe
from mperceiver.seeds import picture_seed

HEAD = "title: t\nlicence: l\n"
MIXES = [  # Table 2 of the paper, from left to right
    "haze-noise-blur",
    "low-light-noise-blur",
    "rain-noise-blur",
    "rain-raindrop-noise",
    "raindrop-noise-blur",
    "snow-noise-blur",
]
SCENES = ["haze", "low-light", "rain", "raindrop", "snow"]
NOISE = "degradations:\n  dark:\n    gaussian-noise: {sigma_255: 15}\n"


@pytest.fixture
def world(tmp_path, monkeypatch):
    """An empty working directory; its commit is made up, so that the tests run without a checkout."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(commits, "current", lambda: ("0" * 40, False))
    Path("config/datasets").mkdir(parents=True)
    Path("config/protocols").mkdir()
    Path("config/protocols/rgb.yaml").write_text("title: RGB\nmetrics: [psnr]\n", encoding="utf-8")
    return tmp_path


def describe(name: str, text: str) -> None:
    Path(f"config/datasets/{name}.yaml").write_text(HEAD + text, encoding="utf-8")


def generated(name: str, count: int, size_px: int) -> None:
    describe(
        name, f"sources: [{{source: generated, generator: dead-leaves, count: {count}, size_px: {size_px}}}]\nseed: 3\n"
    )
    download_dataset(name, [])


def picture(seed: int, height: int, width: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def ready_made(name: str, sizes: list[tuple[int, int]], odd: int | None = None) -> None:
    """A prepared dataset of pairs, as if out of archives; the ground truth of pair ``odd`` is smaller."""
    describe(name, f"from: [{name}-raw]\npairs:\n  task: rain\n  lq: '*'\n  gt: {{sorted: '*'}}\n")
    describe(f"{name}-raw", "sources: [{source: local, folder: nowhere}]\n")
    rows = []
    for i, (height, width) in enumerate(sizes):
        gt = picture(100 + i, height - 4 * (i == odd), width)
        png = [images.encode(p) for p in (picture(i, height, width), gt)]
        rows.append((f"p{i}", "rain", *png, f"s{i}"))
    write_rows(name, rows)


# ---------------------------------------------------------------- the six mixes


def test_the_mixes_are_the_papers_and_in_its_order(monkeypatch):
    monkeypatch.chdir(PROJECT)
    mid6 = config.load("datasets", "mid6")
    assert list(mid6.degradations) == MIXES
    for mix, layers in mid6.degradations.items():
        one = config.load("datasets", f"mid6-{mix}")
        assert one.degradations == {mix: layers} and one.from_ == mid6.from_ and one.tasks == [mix]
        wanted = [name for name in SCENES if f"-{name}-" in f"-{mix}-"]
        assert [name for name in layers if name in SCENES] == wanted
        assert ("blur" in layers) == mix.endswith("blur") and "gaussian-noise" in layers
        paired = config.load("datasets", f"mid6a-{mix}")
        assert paired.degradations == {mix: {name: way for name, way in layers.items() if name not in SCENES}}
        assert paired.onto == "lq" and not set(paired.from_) & set(mid6.from_) and paired.citation != mid6.citation
        assert config.prepare_inputs(f"mid6a-{mix}")[-1] == f"data/prepared/{paired.from_[0]}.json"
    train = config.load("datasets", "mid6-train")
    assert train.degradations == mid6.degradations and not set(train.from_) & set(mid6.from_)


@pytest.fixture
def small_mid6(world):
    """MID6 as the project describes it, of two pictures of its least size and a little more."""
    shutil.copy(PROJECT / "config/datasets/mid6.yaml", "config/datasets/mid6.yaml")
    generated("div2k-valid", count=2, size_px=517)
    return "mid6"


def test_mid6_is_rendered_again_from_recipes_alone(small_mid6, monkeypatch):
    prepare_dataset("mid6", workers=1)
    alone, card = paths.prepared_file("mid6").read_bytes(), paths.prepared_card("mid6").read_bytes()
    prepare_dataset("mid6", workers=2)
    assert paths.prepared_file("mid6").read_bytes() == alone and paths.prepared_card("mid6").read_bytes() == card

    rows = PreparedDataset("mid6")
    assert rows.tasks == MIXES * 2
    raw = images.decode(paths.raw_folder("div2k-valid") / "dead-leaves-0001.png")
    assert np.array_equal(rows.gt(11), raw[2:514, 2:514])  # about the centre, and untouched
    recipes = {i: rows.recipe(i) for i in range(len(rows))}
    assert all(recipe["dataset"] == "mid6" and recipe["cut"] == [2, 2, 512, 512] for recipe in recipes.values())
    sources = {recipe["source"]["picture"]: recipe["source"]["sha256"] for recipe in recipes.values()}
    assert sources == {path.stem: files.sha256(path) for path in paths.raw_folder("div2k-valid").glob("*.png")}
    pictures = {i: rows.lq(i) for i in range(len(rows))}
    shutil.rmtree("data/prepared")
    order = list(recipes)
    random.Random(1).shuffle(order)
    for i in order:
        text = json.dumps(recipes[i])
        assert json.loads(text) == recipes[i]
        again = render_pair(json.loads(text))
        assert np.array_equal(again.lq, pictures[i]) and again.gt.shape == (512, 512, 3), recipes[i]["id"]


def test_all_that_is_drawn_stays_within_its_ranges(monkeypatch):
    monkeypatch.chdir(PROJECT)
    drawn = set()
    for mix, layers in config.load("datasets", "mid6").degradations.items():
        for seed in range(30):
            recipe = json.loads(json.dumps(draw_recipe(list(layers.items()), picture_seed("mid6", f"{mix}{seed}", 0))))
            places = [PLACES.index(DEGRADATIONS[layer["name"]].place) for layer in recipe["layers"]]
            assert places == sorted(places) and recipe["layers"][-1]["name"] == "gaussian-noise"
            assert len({layer["seed"] for layer in recipe["layers"]}) == len(layers) == 3
            for layer, (name, numbers) in zip(recipe["layers"], layers.items(), strict=True):
                numbers = numbers["one_of"][layer["name"]] if name == "blur" else numbers
                drawn.add(layer["name"])
                assert layer.get("depth") == ("analytic" if name == "haze" else None)
                assert set(layer["numbers"]) == set(numbers)
                for key, value in layer["numbers"].items():
                    low, *_, high = sorted(allowed(numbers[key]))
                    assert low <= value <= high and (isinstance(numbers[key], list) or value in allowed(numbers[key]))
    assert drawn == {"haze", "low-light", "rain", "raindrop", "snow", "motion-blur", "gaussian-blur", "gaussian-noise"}


def allowed(numbers) -> list:
    """The ends of a range, the choices, or the number twice."""
    return numbers["choices"] if isinstance(numbers, dict) else numbers if isinstance(numbers, list) else [numbers] * 2


def test_replay_writes_the_pair_and_its_layers(small_mid6):
    prepare_dataset("mid6", workers=1)
    rows = PreparedDataset("mid6")
    folder = render_again("mid6", rows.ids[3])
    assert {"lq.png", "gt.png", "recipe.json", "layers.npz", "1-rain-streaks.png", "2-raindrop-mask.png"} == {
        path.name for path in folder.iterdir()
    }
    assert np.array_equal(images.decode(folder / "lq.png"), rows.lq(3))
    with np.load(folder / "layers.npz") as layers:
        assert layers["1-rain-streaks"].shape == (512, 512) and 0 < layers["2-raindrop-mask"].mean() < 0.9
    folder_of_pairs = export_pairs("mid6", Path("plain"), layers=True)
    lines = [json.loads(line) for line in (folder_of_pairs / "pairs.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [row["layers"] for row in lines] == [f"layers/{row['id']}.npz" for row in lines]
    with np.load(folder_of_pairs / lines[0]["layers"]) as layers:
        assert "1-haze-depth" in layers and layers["1-haze-depth"].shape == (512, 512)
    copy = Path("mine.json")
    shutil.copy(folder / "recipe.json", copy)
    shutil.rmtree("data/prepared")
    before = (folder / "lq.png").read_bytes()
    result = CliRunner().invoke(app, ["prepare", "mid6", "--replay", "mine.json"])
    assert result.exit_code == 0 and result.stdout.strip() == str(folder), result.output
    assert (folder / "lq.png").read_bytes() == before

    recipe = json.loads(copy.read_text(encoding="utf-8"))
    for fault, message in [
        ({"dataset": "other"}, "not a recipe of mid6"),
        ({"source": recipe["source"] | {"picture": "gone"}}, "div2k-valid has no picture gone"),
        ({"source": recipe["source"] | {"sha256": "0" * 64}}, "it was made of one with SHA-256 0000"),
        ({"id": "../../up"}, "cannot be the id of a picture"),
        ({"source": {"dataset": "div2k-valid"}}, r"lacks source\.picture, source\.onto"),
        ({"source": None}, r"lacks source\.dataset"),
        ({"version": 7}, "version 7"),
    ]:
        copy.write_text(json.dumps(recipe | fault), encoding="utf-8")
        with pytest.raises((DataError, ValueError), match=message):
            render_again("mid6", "mine.json")
    copy.write_text(
        json.dumps({key: value for key, value in recipe.items() if key not in ("id", "cut")}), encoding="utf-8"
    )
    with pytest.raises(DataError, match=r"mine\.json: not a whole recipe: it lacks id, cut"):
        render_again("mid6", "mine.json")
    with pytest.raises(DataError, match=r"none\.json: not a recipe"):
        render_again("mid6", "none.json")
    with pytest.raises(DataError, match="mperceiver prepare mid6"):
        render_again("mid6", rows.ids[3])


def test_small_pictures_and_pictures_without_recipes_are_refused(world):
    shutil.copy(PROJECT / "config/datasets/mid6.yaml", "config/datasets/mid6.yaml")
    generated("div2k-valid", count=1, size_px=505)
    with pytest.raises(
        DataError, match="mid6: picture dead-leaves-0000: the picture is 505x505 px, `short_side_px` is 512"
    ):
        prepare_dataset("mid6", workers=1)
    prepare_dataset("div2k-valid", workers=1)
    with pytest.raises(DataError, match="dead-leaves-0000 has no recipe"):
        load_recipe("div2k-valid", "dead-leaves-0000")
    with pytest.raises(DataError, match="no picture 'x'"):
        load_recipe("div2k-valid", "x")


def test_a_depth_map_can_be_given(world):
    generated("leaves", count=2, size_px=48)
    maps = Path("maps")
    maps.mkdir()
    for i, level in enumerate((0, 255)):
        (maps / f"dead-leaves-{i:04d}.png").write_bytes(images.encode(np.full((48, 48, 3), level, np.uint8)))
    describe("depths", f"sources: [{{source: local, folder: {maps.absolute()}}}]\n")
    haze = "degradations:\n  haze:\n    haze: {beta: 5, airlight: 0.8}\n"
    describe("d", "from: [leaves]\ndepth: depths\n" + haze)
    with pytest.raises(lineage.LineageError, match="mperceiver download depths"):
        prepare_dataset("d", workers=1)
    download_dataset("depths", []), prepare_dataset("d", workers=1)
    rows = PreparedDataset("d")
    assert np.array_equal(rows.lq(0), rows.gt(0)) and np.abs(rows.lq(1) - 0.8 * 255).max() < 3  # near, and far
    recipe = rows.recipe(1)
    assert recipe["layers"][0]["depth"] == "given" and recipe["source"]["depth"] == "depths"
    assert np.array_equal(render_pair(recipe).lq, rows.lq(1))
    with pytest.raises(DataError, match="or its depth map, has SHA-256"):
        render_pair(recipe | {"source": recipe["source"] | {"depth_sha256": "0" * 64}})

    (maps / "dead-leaves-0001.png").write_bytes(images.encode(np.zeros((40, 48, 3), np.uint8)))
    download_dataset("depths", [], force=True)
    with pytest.raises(
        DataError, match=r"picture dead-leaves-0001: its depth map in depths is \(40, 48\), the picture"
    ):
        prepare_dataset("d", workers=1)
    (maps / "dead-leaves-0001.png").unlink()
    download_dataset("depths", [], force=True)
    with pytest.raises(DataError, match="depths has no depth map dead-leaves-0001"):
        prepare_dataset("d", workers=1)


# ---------------------------------------------------------------- onto ready-made pairs


def test_the_degraded_picture_of_a_pair_is_degraded_further(world):
    ready_made("pairs", [(40, 50), (33, 71)])
    describe("d", "from: [pairs]\nonto: lq\nmultiple_px: 8\n" + NOISE)
    describe("e", "from: [pairs]\n" + NOISE)
    prepare_dataset("d", workers=2), prepare_dataset("e", workers=1)
    rows, over = PreparedDataset("d"), PreparedDataset("e")
    assert rows.ids == over.ids == ["p0-0-dark", "p1-0-dark"] and rows.tasks == ["dark"] * 2
    assert np.array_equal(rows.gt(1), picture(101, 33, 71)[0:32, 3:67])
    difference = rows.lq(1).astype(float) - picture(1, 33, 71)[0:32, 3:67]
    inside = (rows.lq(1) > 0) & (rows.lq(1) < 255)
    assert difference[inside].std() == pytest.approx(15, rel=0.1)
    assert (
        np.abs(over.lq(1).astype(float) - picture(101, 33, 71)).mean() < 20
    )  # the ground truth is degraded by default
    assert rows.source(1) == "s1" and render_pair(rows.recipe(0)).lq.tobytes() == rows.lq(0).tobytes()
    inputs = lineage.read_card(paths.prepared_card("d"))["inputs"]
    assert "data/prepared/pairs.json" in inputs and "config/datasets/d.yaml#prepare" in inputs


def test_pairs_must_be_there_whole_and_of_one_size(world):
    ready_made("pairs", [(40, 50), (40, 50)], odd=1)
    describe("d", "from: [pairs]\nonto: lq\n" + NOISE)
    with pytest.raises(
        DataError, match=r"d: picture p1: the pair's pictures differ in size, \(40, 50, 3\) and \(36, 50, 3\)"
    ):
        prepare_dataset("d", workers=1)
    paths.prepared_file("pairs").write_bytes(paths.prepared_file("pairs").read_bytes() + b"x")
    with pytest.raises(lineage.LineageError, match="someone changed it. Run: mperceiver prepare pairs"):
        prepare_dataset("d", workers=1)
    paths.prepared_file("pairs").unlink()
    with pytest.raises(lineage.LineageError, match="mperceiver prepare pairs"):
        prepare_dataset("d", workers=1)


def test_a_sample_is_the_same_for_all_mixes_of_a_dataset(world):
    generated("leaves", count=20, size_px=32)
    for name, more in [("d", ""), ("e", ""), ("f", "seed: 1\n")]:
        describe(name, f"from: [leaves]\nsample: {{count: 6}}\n{more}" + NOISE)
        prepare_dataset(name, workers=1)
    ids = [PreparedDataset(name).ids for name in "def"]
    assert len(ids[0]) == 6 and ids[0] == sorted(ids[0]) == ids[1] != ids[2]
    assert not np.array_equal(PreparedDataset("d").lq(0), PreparedDataset("e").lq(0))  # noise is each dataset's own
    describe("g", "from: [leaves]\nsample: {count: 21}\n" + NOISE)
    with pytest.raises(DataError, match="leaves has 20 pictures, `sample.count` wants 21"):
        prepare_dataset("g", workers=1)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("from: [d]\nonly: [rainy]\n" + NOISE, "`only`: rainy is not a task of `degradations`"),
        ("from: [d]\nmultiple_px: 8\ncrop_px: 16\ncrops: 2\n" + NOISE, "`multiple_px` is for whole pictures"),
        ("sources: [{source: local, folder: f}]\nsample: {count: 2}\n", "need `degradations`"),
    ],
)
def test_keys_that_do_not_go_together(world, text, message):
    describe("x", text)
    with pytest.raises(config.ConfigError, match=message):
        config.load("datasets", "x")


def test_all_that_may_be_drawn_is_tried_before_the_work(world):
    generated("leaves", count=1, size_px=32)
    either = (
        "degradations:\n  x:\n    blur: {one_of: {defocus: {radius_px: [1, 3]}, motion-blur: {length_px: [9, 101]}}}\n"
    )
    describe("d", "from: [leaves]\n" + either)
    with pytest.raises(config.ConfigError, match=r"degradations.x: motion-blur: length_px is 101"):
        prepare_dataset("d", workers=1)
