"""Replaying a recipe that a person has changed: what cannot be rendered is named, and nothing that was there is overwritten."""

import json
from pathlib import Path

import numpy as np
import pytest
from support.datasets import describe, generated

from mperceiver import commits, images, paths
from mperceiver.data import DataError
from mperceiver.data.look.replay import load_recipe, render_again, render_pair
from mperceiver.data.prepare.dataset import prepare_dataset
from mperceiver.data.raw.download import download_dataset
from mperceiver.data.read.loader import PreparedDataset


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """A working directory with a prepared dataset `d` of crops of 32 px; a test changes nothing but mine.json."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("world"))
        patch.setattr(commits, "current", lambda: ("0" * 40, False))
        Path("config/datasets").mkdir(parents=True)
        generated("leaves", count=1, size_px=48)
        describe(
            "d", "from: [leaves]\ncrop_px: 32\ncrops: 1\ndegradations: {noise: {gaussian-noise: {sigma_255: 25}}}\n"
        )
        download_dataset("leaves", []), prepare_dataset("d", workers=1)
        rows = PreparedDataset("d")
        folder = render_again("d", rows.ids[0])
        yield rows.recipe(0), folder / "lq.png"


def test_a_sound_recipe_renders_the_prepared_picture(prepared):
    recipe, lq = prepared
    Path("mine.json").write_text(json.dumps(recipe), encoding="utf-8")
    assert load_recipe("d", "mine.json") == recipe
    assert np.array_equal(images.decode(render_again("d", "mine.json") / "lq.png"), PreparedDataset("d").lq(0))
    assert lq.is_file()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": 2}, r"version: recipe has version 2, this code renders version 1"),
        ({"version": "1"}, r"version: .*valid integer, not '1'"),
        ({"layers": None}, r"layers: .*valid list, not None"),
        ({"layers": [{"name": "gaussian-noise"}]}, r"layers\.0\.numbers: Field required; layers\.0\.seed: Field required"),
        ({"layers": [{"name": "magic", "numbers": {}, "seed": 1}]}, "cannot be rendered: unknown degradation 'magic'"),
        ({"layers": [{"name": "gaussian-noise", "numbers": {"sigma": 1}, "seed": 1}]}, "cannot be rendered: .*sigma"),
        ({"layers": [{"name": "gaussian-noise", "numbers": {"sigma_255": [1]}, "seed": 1}]}, r"layers\.0\.numbers\.sigma_255"),
        ({"layers": [{"name": "gaussian-noise", "numbers": {}, "seed": -1}]}, r"layers\.0\.seed: .*greater than or equal to 0"),
        ({"layers": [{"name": "haze", "numbers": {}, "seed": 1, "depth": "given"}]}, "cannot be rendered: haze was rendered with a depth"),
        ({"cut": "abc"}, r"cut: .*valid list, not 'abc'"),
        ({"cut": [0, 0, 32]}, r"cut: List should have at least 4 items"),
        ({"cut": [0, 0, 4, 4]}, r"cut: \(y, x, height, width\) is \[0, 0, 4, 4\]; both sides .* 16 px"),
        ({"cut": [-20, 0, 32, 32]}, r"cut\.0: .*greater than or equal to 0, not -20"),
        ({"cut": [20, 0, 32, 32]}, r"`cut` .*reaches out of picture dead-leaves-0000 of leaves, 48x48 px"),
        ({"id": ".."}, "cannot be the id of a picture"),
        ({"id": ""}, "cannot be the id of a picture"),
        ({"id": "a\0b"}, "cannot be the id of a picture"),
        ({"id": 3}, r"id: .*valid string, not 3"),
        ({"source": {"dataset": "leaves", "picture": ["a"], "onto": "gt"}}, r"source\.picture: .*valid string"),
        ({"source": {"dataset": "leaves", "picture": "a", "onto": "both"}}, r"source\.onto: "),
    ],
)  # fmt: skip
def test_what_cannot_be_rendered_is_named_and_overwrites_nothing(prepared, change, message):
    recipe, lq = prepared
    before = {path: path.read_bytes() for path in Path("results").rglob("*") if path.is_file()}
    Path("mine.json").write_text(json.dumps(recipe | change), encoding="utf-8")
    with pytest.raises(DataError, match=message) as caught:
        render_again("d", "mine.json")
    assert "mine.json" in str(caught.value) or str(caught.value).startswith("d: picture")
    assert {path: path.read_bytes() for path in Path("results").rglob("*") if path.is_file()} == before and lq in before


@pytest.mark.parametrize("text", ["[" * 100_000, "{", "[]", "\ud800".encode("utf-8", "surrogatepass")])
def test_what_is_no_recipe_at_all_is_refused(prepared, text):
    Path("mine.json").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(DataError, match=r"mine\.json: not a recipe"):
        load_recipe("d", "mine.json")


def test_a_prepared_dataset_of_another_version_says_to_prepare_it_again(prepared, monkeypatch):
    recipe, _ = prepared
    monkeypatch.setattr(PreparedDataset, "recipe", lambda self, i: recipe | {"version": 0})
    with pytest.raises(DataError, match=r"d: picture .* recipe has version 0, .* mperceiver prepare d"):
        load_recipe("d", recipe["id"])
    with pytest.raises(DataError, match="its recipe cannot be rendered: recipe has version 0"):
        render_pair(recipe | {"version": 0})


def test_the_folder_of_a_replay_is_that_of_its_id(prepared):
    recipe, lq = prepared
    assert lq.parent == paths.replayed_folder("d", recipe["id"])
