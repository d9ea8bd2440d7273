"""Padding, tiles and self-ensembles with small fake models, and the writing of datasets and files."""

import csv
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from support.pairs import write_rows
from support.restoring import restore_picture

from mperceiver import commits, config, images, lineage, paths
from mperceiver.config import ConfigError
from mperceiver.config.methods import Method
from mperceiver.data.read.loader import PreparedDataset
from mperceiver.images import PictureError
from mperceiver.models.predictor import DegradationEstimate
from mperceiver.report import predictions
from mperceiver.restoring import datasets, stream
from mperceiver.restoring.ensemble import VIEWS
from mperceiver.restoring.stream import RestoreRequest
from mperceiver.seeds import picture_seed


def method(**changes) -> Method:
    return Method(title="test", kind="network", run="net", **changes)


def picture(height: int, width: int, batch: int = 1, seed: int = 0) -> torch.Tensor:
    return torch.rand(batch, 3, height, width, generator=torch.Generator().manual_seed(seed))


class Fake:
    """A restorer that applies ``function(tiles, noise)`` and remembers what it was asked."""

    sees, device, tasks = ("lq",), "cpu", ()

    def __init__(self, function: Callable, multiple: int = 8, minimum: int = 16, batch: int = 1):
        self.function, self.multiple, self.minimum, self.batch = function, multiple, minimum, batch
        self.wholes, self.seeds, self.tiles, self.means, self.told = [], [], [], [], []

    def look(self, whole, tasks=()):
        self.wholes.append(tuple(whole.shape))
        self.means.append(whole.mean((1, 2, 3)))
        self.just_looked = True

    def restore(self, whole, seen, seeds, tiles):
        # It looked at these pictures last, as they are in the first view.
        assert not self.just_looked or torch.equal(self.means[-1], whole.mean((1, 2, 3)))
        self.just_looked = False
        self.seeds.append(seeds)
        self.tiles.append(tiles)
        self.told.append(seen)
        noise = [torch.rand(3, *whole.shape[-2:], generator=torch.Generator().manual_seed(seed)) for seed in seeds]
        work = zip(tiles.cut(whole), tiles.cut(torch.stack(noise)), strict=True)
        return tiles.blend((self.function(part, drawn) for part, drawn in work), len(whole), "cpu")

    def modules(self):
        return []

    def probe(self, pictures):
        pass


def same(tile, noise):
    return tile


def noisy(tile, noise):
    return 0.5 * tile + 0.5 * noise


# ---------------------------------------------------------------- any size

SIZES = [(64, 64), (17, 501), (501, 17), (1, 1), (5, 3), (64, 65), (129, 200), (128, 96)]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("ensemble", ["none", "flip2", "flip4", "geometric8"])
def test_nothing_changes_on_the_way(size, ensemble):
    """Through padding, tiles, blending and turning, the identity is exact."""
    source = picture(*size)
    how = method(tile_px=64, overlap_px=16, self_ensemble=ensemble)
    fake = Fake(same)
    restored = restore_picture(fake, source, how, seed=1)
    assert restored.shape == source.shape
    assert (restored - source).abs().max() < 1e-6
    assert all(h % 8 == w % 8 == 0 and h >= 16 and w >= 16 for *_, h, w in fake.wholes)
    for tiles in fake.tiles:
        assert not any(place % 8 for place in (*tiles.tops, *tiles.lefts, *tiles.tile)) and max(tiles.tile) <= 64
    assert len(fake.wholes) == 1 and len(fake.tiles) == len(VIEWS[ensemble])


@pytest.mark.parametrize("size", SIZES)
def test_a_pointwise_model_gives_the_same_in_tiles(size):
    source = picture(*size)
    once = restore_picture(Fake(noisy), source, method(tile_px=1024), seed=3)
    tiled = restore_picture(Fake(noisy), source, method(tile_px=48, overlap_px=8), seed=3)
    assert (once - tiled).abs().max() < 1e-6


def test_a_small_picture_is_one_tile_without_blending():
    fake = Fake(same)
    restore_picture(fake, picture(60, 64), method(tile_px=64, overlap_px=16), seed=0)
    assert (fake.tiles[0].count, fake.tiles[0].tile) == (1, (64, 64))


def test_tiles_too_small_for_the_model_are_refused():
    with pytest.raises(ConfigError, match=r"tiles of 24 px.*32 px or more"):
        restore_picture(Fake(same, minimum=32), picture(40, 40), method(tile_px=24, overlap_px=8), seed=0)
    with pytest.raises(ConfigError, match=r"overlap_px is 60.*64 px"):
        restore_picture(Fake(same), picture(40, 90), method(tile_px=64, overlap_px=60), seed=0)


# ---------------------------------------------------------------- self-ensemble


def test_views_are_four_flips_and_eight_symmetries():
    square = torch.arange(4.0).view(1, 1, 2, 2)
    for name, count in (("none", 1), ("flip2", 2), ("flip4", 4), ("geometric8", 8)):
        views = [square.rot90(turns, (-2, -1)) for turns, _ in VIEWS[name]]
        views = [v.flip(-1) if m else v for v, (_, m) in zip(views, VIEWS[name], strict=True)]
        assert len({tuple(v.flatten().tolist()) for v in views}) == count
    flips = [[0, 1, 2, 3], [1, 0, 3, 2], [3, 2, 1, 0], [2, 3, 0, 1]]  # as they are, mirrored, both, upside down
    views = [square.rot90(t, (-2, -1)) for t, _ in VIEWS["flip4"]]
    views = [v.flip(-1) if m else v for v, (_, m) in zip(views, VIEWS["flip4"], strict=True)]
    assert sorted(v.flatten().tolist() for v in views) == sorted(flips)


def test_ensemble_averages_before_clamping_and_rounding():
    """A model that overshoots in some views only; the mean of floats, clamped once."""
    calls = iter([1.75, 0.25, 0.25, 0.25])
    fake = Fake(lambda t, *_: torch.full_like(t, next(calls)))
    restored = restore_picture(fake, picture(16, 24), method(self_ensemble="flip4"), seed=0)
    assert restored.numpy() == pytest.approx(0.625)  # clamped before, it would be 0.4375


def test_ensemble_makes_a_directional_model_symmetric():
    def smear(tile, noise):
        return (tile + tile.roll(1, -1)) / 2

    source = picture(32, 32)
    how = method(self_ensemble="geometric8")
    plain = restore_picture(Fake(smear), source, how, seed=0)
    turned = restore_picture(Fake(smear), source.rot90(1, (-2, -1)), how, seed=0)
    assert (turned - plain.rot90(1, (-2, -1))).abs().max() < 1e-6


def test_each_view_starts_from_noise_of_its_own():
    fake = Fake(noisy)
    restore_picture(fake, picture(16, 16), method(self_ensemble="flip4"), seed=2**64 - 1)
    assert fake.seeds == [[2**64 - 1], [0], [1], [2]]


# ---------------------------------------------------------------- what comes in, what comes back


@pytest.mark.parametrize("bad", [picture(16, 16) + 1, picture(16, 16)[0], picture(16, 16)[:, :1]])
def test_refuses_what_is_no_picture(bad):
    with pytest.raises(PictureError, match="expected float RGB"):
        restore_picture(Fake(same), bad, method(), seed=0)


def test_refuses_what_a_broken_model_returns():
    with pytest.raises(PictureError, match="not numbers"):
        restore_picture(Fake(lambda t, *_: t / 0), picture(16, 16), method(), seed=0)
    with pytest.raises(PictureError, match=r"\(1, 3, 8, 16\)"):
        restore_picture(Fake(lambda t, *_: t[..., :8, :]), picture(16, 16), method(), seed=0)


# ---------------------------------------------------------------- a dataset


@pytest.fixture
def world(tmp_path, monkeypatch):
    """A dataset of pictures of several sizes, and methods for it, in a working directory of their own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(commits, "current", lambda: ("0" * 40, False))
    texts = {
        "datasets/odd": "title: odd\nlicence: none\nsources: [{source: local, folder: none}]\n",
        "methods/input": "title: input\nkind: identity\n",
        "methods/fake": "title: fake\nkind: network\nrun: net\ntile_px: 48\noverlap_px: 16\n",
        "methods/ceiling": "title: ceiling\nkind: vae\nfoundation: tiny\n",
        "foundations/tiny": "title: tiny\nlicence: none\n",
        "runs/net": "title: net\ntrain: [odd]\nnetwork: {architecture: nafnet, steps: 1, phases: [{batch: 1, crop_px: 16}]}\n",
    }
    for name, text in texts.items():
        (Path("config") / f"{name}.yaml").parent.mkdir(parents=True, exist_ok=True)
        (Path("config") / f"{name}.yaml").write_text(text, encoding="utf-8")
    for module in (config, config.depends):
        monkeypatch.setattr(module, "method_weights", lambda name: {"network": "net"} if name == "fake" else {})
    for module in (config, config.depends, config.shown):
        monkeypatch.setattr(module, "method_foundation", lambda name: "tiny" if name == "ceiling" else None)
    for card in ("results/runs/net/network.json", "data/foundations/tiny.json"):
        lineage.begin("made", {}).write_card(card)
    write_prepared([(32, 40)] * 7 + [(17, 101), (32, 40), (60, 70), (17, 101)])
    return tmp_path


def write_prepared(sizes: list[tuple[int, int]], order: list[int] | None = None) -> None:
    rows = []
    for i in order or range(len(sizes)):
        rng = np.random.default_rng(i)
        lq, gt = rng.integers(0, 256, (2, *sizes[i], 3), dtype=np.uint8)
        gt = images.encode(gt) if i else None  # the first has no ground truth
        rows.append((f"p-{i}", "rain", images.encode(lq), gt))
    write_rows("odd", rows)


def contents(folder: str) -> dict[str, bytes]:
    return {path.name: images.decode(path).tobytes() for path in Path(folder).glob("*.png")}


def test_identity_dataset_is_its_degraded_pictures(world):
    card = datasets.restore_dataset("input", "odd")
    assert card == Path("results/restored/input/odd.json")
    found = contents("results/restored/input/odd")
    assert sorted(found) == sorted(f"p-{i}.png" for i in range(11))
    lq = np.random.default_rng(7).integers(0, 256, (2, 17, 101, 3), dtype=np.uint8)[0]
    assert found["p-7.png"] == lq.tobytes()
    assert lineage.verify(card) == []


def test_dataset_card_names_what_it_stands_on(world, monkeypatch):
    monkeypatch.setattr(datasets, "load_restorer", lambda name, **_: Fake(noisy))
    card = lineage.read_card(datasets.restore_dataset("fake", "odd"))
    settings = ["config/methods/fake.yaml#restore", "config/runs/net.yaml#restore"]
    stands_on = ["data/prepared/odd.json", *settings, "results/runs/net/network.json"]
    assert sorted(card["inputs"]) == sorted(stands_on)
    assert list(card["outputs"]) == ["results/restored/fake/odd"]
    assert (card["verb"], card["result"], card["seed"]) == ("restore", {"count": 11, "tiled": 3}, 42)


def test_a_setting_that_is_edited_while_the_work_runs_is_not_in_its_card(world, monkeypatch):
    """The card names what made the pictures; the next plan sees the edit."""
    method = Path("config/methods/fake.yaml")

    class Edited(Fake):
        def restore(self, *arguments):
            method.write_text(method.read_text(encoding="utf-8").replace("48", "64"), encoding="utf-8")
            return super().restore(*arguments)

    monkeypatch.setattr(datasets, "load_restorer", lambda name, **_: Edited(noisy))
    path = datasets.restore_dataset("fake", "odd")
    assert lineage.read_card(path)["spec"]["method"]["tile_px"] == 48
    (change,) = config.changes(path, config.inputs_of(path))
    assert change.name == "config/methods/fake.yaml#restore"


def test_neither_batch_nor_order_matters(world, monkeypatch):
    sizes = [(32, 40)] * 7 + [(17, 101), (32, 40), (60, 70), (17, 101)]
    found = []
    for batch, order in ((1, None), (3, None), (16, None), (3, [9, 3, 8, 10, 0, 1, 2, 7, 4, 6, 5])):
        write_prepared(sizes, order)
        fake = Fake(noisy, batch=batch)
        monkeypatch.setattr(datasets, "load_restorer", lambda name, fake=fake, **_: fake)
        datasets.restore_dataset("fake", "odd")
        found.append(contents("results/restored/fake/odd"))
        assert max(shape[0] for shape in fake.wholes) == min(batch, 8)
        assert all(shape[0] == 1 for shape in fake.wholes if max(shape[-2:]) > 48)
    assert found[0] == found[1] == found[2] == found[3]


class Looking(Fake):
    """One that tells two degradations apart, by the mean of a picture."""

    tasks = ("dark", "bright")

    def look(self, whole, tasks=()):
        super().look(whole)
        return DegradationEstimate(self.means[-1], torch.stack([1 - self.means[-1], self.means[-1]], 1))

    def restore(self, whole, seen, seeds, tiles):
        assert torch.equal(seen.embedding, whole.mean((1, 2, 3)))
        return super().restore(whole, seen, seeds, tiles)


def test_all_views_are_told_what_is_seen_of_the_picture_as_it_is():
    class Once(Looking):
        def restore(self, whole, seen, seeds, tiles):
            return Fake.restore(self, whole, seen, seeds, tiles)

    fake = Once(same)
    source = picture(16, 24)
    restore_picture(fake, source, method(self_ensemble="geometric8"), seed=0)
    assert len(fake.means) == 1 and len(fake.told) == 8 and all(seen is fake.told[0] for seen in fake.told)
    assert torch.equal(fake.told[0].embedding, source.mean((1, 2, 3)))


def test_what_is_seen_of_a_dataset_is_written_down(world, monkeypatch):
    monkeypatch.setattr(datasets, "load_restorer", lambda name, **_: Looking(same, batch=4))
    datasets.restore_dataset("fake", "odd")
    with paths.probabilities_file("fake", "odd").open(newline="") as file:
        rows = list(csv.DictReader(file))
    prepared = PreparedDataset("odd")
    assert [row["id"] for row in rows] == prepared.ids and [row["task"] for row in rows] == prepared.tasks
    for i, row in enumerate(rows):
        assert float(row["dark"]) + float(row["bright"]) == pytest.approx(1, abs=1e-5)
        padded = images.pad(images.to_tensor(prepared.lq(i)), 8, 16)
        assert float(row["bright"]) == pytest.approx(padded.mean().item(), abs=1e-5)
    monkeypatch.setattr(datasets, "load_restorer", lambda name, **_: Fake(same))
    datasets.restore_dataset("fake", "odd")
    assert not paths.probabilities_file("fake", "odd").exists()


class Telling(Looking):
    """One that also tells how likely a picture is clean: half of its mean."""

    def look(self, whole, tasks=()):
        return replace(super().look(whole), clean=self.means[-1] / 2)


def test_how_likely_the_pictures_of_a_dataset_are_clean_is_written_down(world, monkeypatch):
    monkeypatch.setattr(datasets, "load_restorer", lambda name, **_: Telling(same, batch=4))
    datasets.restore_dataset("fake", "odd")
    found = predictions.read("fake", "odd")
    assert found["nothing wrong"].tolist() == pytest.approx((found["bright"] / 2).tolist(), abs=1e-5)


@pytest.mark.parametrize("told", [True, False])
def test_each_picture_is_told_how_likely_it_is_clean(told):
    pictures = {str(i): np.full((16, 24, 3), 50 * i, np.uint8) for i in range(3)}
    jobs = [RestoreRequest(name, lambda p=p: p, lambda restored: None, 0) for name, p in pictures.items()]
    outcomes = {
        o.request.name: o for o in stream.restore_all((Telling if told else Looking)(same, batch=4), method(), jobs)
    }
    for name, picture in pictures.items():
        assert outcomes[name].probabilities["bright"] == pytest.approx(picture[0, 0, 0] / 255, abs=1e-6)
        assert outcomes[name].clean == (pytest.approx(picture[0, 0, 0] / 510, abs=1e-6) if told else None)


def test_seed_of_a_picture_is_a_hash_of_its_names(world, monkeypatch):
    fake = Fake(same)
    monkeypatch.setattr(datasets, "load_restorer", lambda name, **_: fake)
    datasets.restore_dataset("fake", "odd")
    assert fake.seeds == [[picture_seed("odd", f"p-{i}", 42)] for i in range(11)]


def test_ceiling_is_fed_the_ground_truth(world, monkeypatch):
    fake = Fake(same, batch=4)
    fake.sees = ("gt",)
    monkeypatch.setattr(datasets, "load_restorer", lambda name, **_: fake)
    with pytest.raises(RuntimeError, match="p-0 has no ground truth"):
        datasets.restore_dataset("ceiling", "odd")
    write_prepared([(8, 8), (32, 40), (20, 24)], order=[1, 2])
    card = lineage.read_card(datasets.restore_dataset("ceiling", "odd"))
    assert "data/foundations/tiny.json" in card["inputs"]
    gt = np.random.default_rng(1).integers(0, 256, (2, 32, 40, 3), dtype=np.uint8)[1]
    assert contents("results/restored/ceiling/odd")["p-1.png"] == gt.tobytes()


def test_a_failure_in_the_middle_leaves_nothing_behind(world, monkeypatch):
    def dies(tile, noise):
        dies.calls += 1
        return tile / 0 if dies.calls == 6 else tile

    dies.calls = 0
    monkeypatch.setattr(datasets, "load_restorer", lambda name, **_: Fake(dies))
    with pytest.raises(PictureError, match="odd, p-5: the model returned"):
        datasets.restore_dataset("fake", "odd")
    assert list(Path("results/restored/fake").iterdir()) == []

    monkeypatch.setattr(datasets, "load_restorer", lambda name, **_: Fake(same))
    datasets.restore_dataset("fake", "odd")
    before = contents("results/restored/fake/odd")
    dies.calls = 0
    monkeypatch.setattr(datasets, "load_restorer", lambda name, **_: Fake(dies))
    with pytest.raises(PictureError):
        datasets.restore_dataset("fake", "odd")
    assert contents("results/restored/fake/odd") == before
    assert lineage.verify("results/restored/fake/odd.json") == []
    assert sorted(p.name for p in Path("results/restored/fake").iterdir()) == ["odd", "odd.json"]


def test_a_failing_disk_is_not_overlooked(world, monkeypatch):
    def full(path, picture):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(datasets, "load_restorer", lambda name, **_: Fake(same))
    monkeypatch.setattr(datasets, "_write", full)
    with pytest.raises(OSError, match="the disk is full"):
        datasets.restore_dataset("fake", "odd")
    assert list(Path("results/restored/fake").iterdir()) == []


def test_missing_weights_are_told_before_the_work(world, monkeypatch):
    monkeypatch.setattr(datasets, "load_restorer", lambda name, **_: pytest.fail("loaded"))
    Path("results/runs/net/network.json").unlink()
    with pytest.raises(lineage.LineageError, match=r"results/runs/net/network\.json: no such card"):
        datasets.restore_dataset("fake", "odd")
