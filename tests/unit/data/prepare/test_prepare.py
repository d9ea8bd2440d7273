"""Download, prepare and load: tiny worlds with the true layout, and the faults that real ones have."""

import functools
import hashlib
import inspect
import json
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support import PROJECT
from support.datasets import describe, generated, local, nothing_in, picture, put
from support.pairs import write_rows

from mperceiver import commits, config, images, lineage, parallel, paths
from mperceiver.config.datasets import Dataset
from mperceiver.data import DataError
from mperceiver.data.prepare import synthesised
from mperceiver.data.prepare.cutting import crop_corners
from mperceiver.data.prepare.dataset import prepare_dataset
from mperceiver.data.prepare.synthesised import to_float
from mperceiver.data.raw.download import download_dataset
from mperceiver.data.raw.folder import pictures_in
from mperceiver.data.raw.generated import GENERATORS
from mperceiver.data.read.loader import PreparedDataset
from mperceiver.data.read.mixture import Mixture
from mperceiver.degradations import DEGRADATIONS
from mperceiver.degradations.mix import alternatives, render_uint8
from mperceiver.files import sha256

TWO_WAYS = "degradations:\n  noise:\n    gaussian-noise: {sigma_255: [5.0, 50.0]}\n  dark-noise:\n    low-light: {}\n    gaussian-noise: {sigma_255: 15}\n"


@pytest.fixture
def world(tmp_path, monkeypatch):
    """An empty working directory; its commit is made up, so that the tests run without a checkout."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(commits, "current", lambda: ("0" * 40, False))
    Path("config/datasets").mkdir(parents=True)
    return tmp_path


# ---------------------------------------------------------------- prepare


def test_worker_count_never_matters_and_recipes_replay(world, monkeypatch):
    generated("leaves", count=3)
    put("m/set", "photo.png", height=40, width=90)
    local("photos", "set")
    describe("d", "from: [leaves, photos]\ncrop_px: 16\ncrops: 60\nevery: false\nseed: 5\n" + TWO_WAYS)
    download_dataset("leaves", []), download_dataset("photos", [Path("m")])
    prepare_dataset("d", workers=1)
    alone, card = paths.prepared_file("d").read_bytes(), paths.prepared_card("d").read_bytes()
    monkeypatch.setattr(parallel, "ALONE_SECONDS", 0)
    prepare_dataset("d", workers=2)
    assert paths.prepared_file("d").read_bytes() == alone and paths.prepared_card("d").read_bytes() == card
    assert lineage.verify(paths.prepared_card("d")) == []

    rows = PreparedDataset("d")
    result = json.loads(card)["result"]
    assert (
        len(rows) == len(set(rows.ids)) == 60
        and Counter(rows.tasks) == {"noise": 30, "dark-noise": 30} == result["tasks"]
    )
    assert sum(i.startswith("photo-") for i in rows.ids) == 30  # half from each dataset, then evenly over its pictures
    assert set(Counter(i[:16] for i in rows.ids if i.startswith("dead-leaves-")).values()) == {10}
    assert rows.ids[0] == "dead-leaves-0000-0-noise" and rows.ids[1] == "dead-leaves-0000-1-dark-noise"
    raw = images.decode(paths.raw_folder("photos") / "photo.png")
    views = np.lib.stride_tricks.sliding_window_view(raw, (16, 16), axis=(0, 1)).transpose(0, 1, 3, 4, 2)
    for i in range(len(rows)):
        assert rows.lq(i).shape == rows.gt(i).shape == (16, 16, 3)
        assert np.array_equal(render_uint8(to_float(rows.gt(i)), rows.recipe(i)), rows.lq(i))
        if rows.ids[i].startswith("photo"):  # ground truth is the untouched picture
            assert (views == rows.gt(i)).all((2, 3, 4)).any()
    table = rows._table
    both = [
        hashlib.sha256(gt.as_py() + lq.as_py()).hexdigest() for gt, lq in zip(table["gt"], table["lq"], strict=True)
    ]
    lines = "".join(f"{id_} {digest}\n" for id_, digest in zip(rows.ids, both, strict=True))
    assert result["pictures"] == hashlib.sha256(lines.encode()).hexdigest()
    assert table["source"][59].as_py() == sha256(paths.raw_folder("photos") / "photo.png")

    text = Path("config/datasets/d.yaml").read_text(encoding="utf-8")
    Path("config/datasets/d.yaml").write_text(text.replace("seed: 5", "seed: 6"), encoding="utf-8")
    prepare_dataset("d", workers=1)
    assert paths.prepared_file("d").read_bytes() != alone


def test_pictures_that_are_left_out_are_named(world, capsys):
    put("m/set", "photo.png", height=40, width=90)
    local("photos", "set")
    download_dataset("photos", [Path("m")])
    folder = paths.raw_folder("photos")
    capsys.readouterr()
    assert [p.id for p in synthesised.origin_pictures("photos", "d")] == ["photo"] and capsys.readouterr().err == ""
    (folder / "old.gif").write_bytes(b"GIF89a" + bytes(40))
    (folder / "more").mkdir()
    (folder / "more/other.png").hardlink_to(folder / "photo.png")
    assert [p.id for p in synthesised.origin_pictures("photos", "d")] == ["photo"]
    assert "are left out: old.gif, more/" in capsys.readouterr().err


def test_a_dataset_without_a_row_is_refused(world):
    generated("leaves")
    write_rows("empty", [])  # as an earlier version prepared it
    describe("empty", "from: [leaves]\npairs: {lq: '*', gt: {itself: true}}\n")
    describe("d", "from: [empty]\n" + TWO_WAYS)
    with pytest.raises(DataError, match=r"d: no row is left.* mperceiver prepare empty"):
        prepare_dataset("d", workers=1)
    assert sorted(path.name for path in Path("data/prepared").iterdir()) == ["empty.arrow", "empty.json"]


def test_a_share_of_the_rows_stays_clean_and_the_others_are_as_without_it(world):
    generated("leaves", count=3)
    download_dataset("leaves", [])
    text = "from: [leaves]\ncrop_px: 16\ncrops: 200\nevery: false\n" + TWO_WAYS
    describe("d", text), prepare_dataset("d")
    rows = PreparedDataset("d")
    without = {row_id: rows.lq(i) for i, row_id in enumerate(rows.ids)}
    describe("d", text + "clean_share: 0.3\n"), prepare_dataset("d")
    rows = PreparedDataset("d")
    clean = Counter("dark" in row_id for i, row_id in enumerate(rows.ids) if not rows.recipe(i)["layers"])
    assert 40 <= sum(clean.values()) <= 80 and set(clean) == {True, False}  # 60 are expected
    for i, row_id in enumerate(rows.ids):
        layers = rows.recipe(i)["layers"]
        assert np.array_equal(rows.lq(i), without[row_id] if layers else rows.gt(i))
        assert rows.is_clean(i) == (not layers)
    drawn = [(0, i) for i in range(len(rows))]
    tasks = ["noise", "dark-noise"]
    plain = [tasks.index(task) for task in rows.tasks]
    assert Mixture([rows], tasks).classes(drawn, False).tolist() == plain
    assert Mixture([rows], tasks).classes(drawn, True).tolist() == [
        2 if rows.is_clean(i) else plain[i] for i in range(len(rows))
    ]


def test_crops_may_be_shared_by_all_pictures_alike(world):
    generated("leaves", count=3)
    put("m/set", "photo.png", height=40, width=90)
    local("photos", "set")
    text = "from: [leaves, photos]\ncrop_px: 16\ncrops: 42\nevery: false\nshare_by: pictures\n" + TWO_WAYS
    describe("d", text)
    download_dataset("leaves", []), download_dataset("photos", [Path("m")])
    prepare_dataset("d")
    rows = PreparedDataset("d")
    assert Counter(row_id.rsplit("-", 2 + row_id.endswith("dark-noise"))[0] for row_id in rows.ids) == {
        "dead-leaves-0000": 11,
        "dead-leaves-0001": 11,
        "dead-leaves-0002": 10,
        "photo": 10,
    }
    assert Counter(rows.tasks) == {"noise": 21, "dark-noise": 21}
    describe("d", text.replace("crops: 42", "crops: 3"))
    with pytest.raises(
        DataError, match="d: `crops` leaves 3 for the 4 pictures of leaves, photos; raise it, or choose"
    ):
        prepare_dataset("d")
    with pytest.raises(config.ConfigError, match="`share_by` says how `crops` are divided; there are none"):
        describe("d", text.replace("crop_px: 16\ncrops: 42\nevery: false\n", "")), config.load("datasets", "d")


def test_clean_rows_come_from_dark_places_and_the_others_are_as_without_it(world):
    """Of pictures whose left half is black: of one random crop a third lies in it, of the darkest of up to 8 nearly all."""
    Path("m/set").mkdir(parents=True)
    for seed in range(4):
        half = picture(seed)
        half[:, : half.shape[1] // 2] = 0
        Image.fromarray(half).save(f"m/set/{seed}.png")
    local("photos", "set")
    download_dataset("photos", [Path("m")])
    text = "from: [photos]\ncrop_px: 16\ncrops: 80\nevery: false\nclean_share: 0.5\n" + TWO_WAYS
    describe("d", text), prepare_dataset("d")
    before = PreparedDataset("d")
    without = {row_id: (before.lq(i), before.gt(i)) for i, row_id in enumerate(before.ids)}
    describe("d", text + "clean_darkest_of: 8\n"), prepare_dataset("d")
    rows = PreparedDataset("d")
    assert rows.ids == before.ids
    black = [[], []]
    for i, row_id in enumerate(rows.ids):
        _, _, height, width = rows.recipe(i)["cut"]
        assert (height, width) == (16, 16)
        if rows.recipe(i)["layers"]:
            assert np.array_equal(rows.lq(i), without[row_id][0]) and np.array_equal(rows.gt(i), without[row_id][1])
            continue
        assert np.array_equal(rows.lq(i), rows.gt(i))
        for values, gt in zip(black, (rows.gt(i), without[row_id][1]), strict=True):
            values.append(not gt.any())
    darker, plain = (sum(values) / len(values) for values in black)
    assert len(black[0]) >= 20 and darker >= 0.6 and plain <= 0.5


def test_whole_pictures_every_way_and_clean_ones(world):
    put("m/set", "b.png", "a.png")
    local("photos", "set")
    describe("d", "from: [photos]\n" + TWO_WAYS)
    download_dataset("photos", [Path("m")])
    prepare_dataset("d", workers=1), prepare_dataset("photos", workers=1)
    rows, clean = PreparedDataset("d"), PreparedDataset("photos")
    assert rows.ids == [f"{p}-0-{task}" for p in "ab" for task in ("noise", "dark-noise")]
    assert np.array_equal(rows.gt(0), picture(1)) and rows.size(0) == (48, 64)
    assert clean.ids == ["a", "b"] and clean.tasks == ["clean"] * 2 and clean.recipe(0) is None
    assert np.array_equal(clean.lq(1), picture(0)) and np.array_equal(clean.gt(1), picture(0))
    assert lineage.read_card(paths.prepared_card("photos"))["result"]["count"] == 2


def test_a_whole_picture_keeps_its_file_and_another_form_is_written_anew(world):
    put("m/set", "a.png", "c.png")
    Image.fromarray(picture(5)).save("m/set/b.jpg")
    Image.fromarray(picture(6)[..., 0]).save("m/set/d.png")  # grey: no file of 8-bit RGB
    kept = {name: Path("m/set", name).read_bytes() for name in ("a.png", "b.jpg", "c.png")}
    local("photos", "set")
    describe("even", "from: [photos]\nmultiple_px: 20\n" + TWO_WAYS)
    describe("again", "from: [photos]\n" + TWO_WAYS)
    download_dataset("photos", [Path("m")])
    for name in ("photos", "even", "again"):
        prepare_dataset(name, workers=1)
    clean, even, again = (PreparedDataset(name) for name in ("photos", "even", "again"))
    assert [clean.stored("gt", i) for i in range(3)] == list(kept.values())
    assert np.array_equal(clean.gt(3), np.repeat(picture(6)[..., :1], 3, axis=2))
    assert even.size(0) == (40, 60) and not set(kept.values()) & {even.stored("gt", i) for i in range(4)}, (
        "cut pictures"
    )
    assert [again.stored("gt", i) for i in range(0, 6, 2)] == list(kept.values())


def test_names_that_two_datasets_share_are_told_apart(world):
    put("m/one", "a.png", "b.png"), put("m/two", "a.png")
    local("one", "one"), local("two", "two")
    describe("d", "from: [one, two]\n" + TWO_WAYS)
    download_dataset("one", [Path("m")]), download_dataset("two", [Path("m")])
    prepare_dataset("d", workers=1)
    assert PreparedDataset("d").ids[::2] == ["one-a-0-noise", "b-0-noise", "two-a-0-noise"]


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        (
            "crop_px: 49\ncrops: 2\n" + TWO_WAYS,
            DataError,
            "d: picture a: the picture is 64x48 px, smaller than crops of 49 px",
        ),
        ("crop_px: 48\ncrops: 18\n" + TWO_WAYS, DataError, "18 different crops of 48 px wanted.* has 17"),
        (
            "degradations: {x: {no-such: {}}}\n",
            config.ConfigError,
            r"d.yaml: degradations.x: unknown degradation 'no-such'",
        ),
        ("degradations: {x: {haze: {betta: 1}}}\n", config.ConfigError, r"degradations.x: .*betta"),
        (
            "degradations: {x: {jpeg: {}, haze: {}}}\n",
            config.ConfigError,
            r"degradations.x: jpeg .* is before haze",
        ),
    ],
)
def test_what_cannot_be_prepared_is_named_and_leaves_nothing(world, text, error, message):
    put("m/set", "a.png")
    local("photos", "set")
    download_dataset("photos", [Path("m")])
    describe("d", "from: [photos]\n" + text)
    with pytest.raises(error, match=message):
        prepare_dataset("d", workers=1)
    assert nothing_in("data/prepared")


def test_raw_pictures_must_be_there_and_as_they_came(world):
    generated("leaves")
    describe("d", "from: [leaves]\n" + TWO_WAYS)
    with pytest.raises(lineage.LineageError, match="mperceiver download leaves"):
        prepare_dataset("d", workers=1)
    download_dataset("leaves", [])
    file = pictures_in(paths.raw_folder("leaves"))[1]
    file.write_bytes(file.read_bytes()[:-30])
    with pytest.raises(lineage.LineageError, match="mperceiver download --force leaves"):
        prepare_dataset("d", workers=1)
    describe("e", "from: [d]\n" + TWO_WAYS)
    with pytest.raises(config.ConfigError, match="d has no `sources`"):
        prepare_dataset("e", workers=1)


def test_an_error_midway_leaves_what_was(world, monkeypatch):
    generated("leaves")
    describe("d", "from: [leaves]\n" + TWO_WAYS)
    download_dataset("leaves", []), prepare_dataset("d", workers=1)
    before = paths.prepared_file("d").read_bytes(), paths.prepared_card("d").read_bytes()
    real, calls = synthesised.degrade, []

    def failing(*arguments, **more):
        calls.append(1)
        if len(calls) > 3:
            raise ValueError("rain: it rains")
        return real(*arguments, **more)

    monkeypatch.setattr(synthesised, "degrade", failing)
    with pytest.raises(DataError, match="d: picture dead-leaves-0001: rain: it rains"):
        prepare_dataset("d", workers=1)
    assert (paths.prepared_file("d").read_bytes(), paths.prepared_card("d").read_bytes()) == before
    assert sorted(p.name for p in Path("data/prepared").iterdir()) == ["d.arrow", "d.json"]


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="asks Linux for a process's children")
def test_a_killed_job_leaves_no_output_and_no_process(world):
    generated("leaves", count=2)
    describe("d", "from: [leaves]\ncrop_px: 32\ncrops: 500\n" + TWO_WAYS)
    download_dataset("leaves", [])
    script = Path("job.py")
    script.write_text(
        "from mperceiver import commits, parallel\n"
        "commits.current, parallel.ALONE_SECONDS = lambda: ('0' * 40, False), 0\n"
        "from mperceiver.data.prepare.dataset import prepare_dataset\nif __name__ == '__main__':\n    prepare_dataset('d', 2)\n",
        encoding="utf-8",
    )
    job = subprocess.Popen([sys.executable, str(script)], stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 120
        children: list[str] = []
        while not (
            len(children) >= 2 and any(p.stat().st_size > 100_000 for p in Path("data").glob("prepared/.d.arrow.*"))
        ):
            assert time.monotonic() < deadline and job.poll() is None
            time.sleep(0.01)
            children = Path(f"/proc/{job.pid}/task/{job.pid}/children").read_text(encoding="utf-8").split()
        assert any(map(alive, children))
    finally:
        job.kill()
        job.wait()
    assert not paths.prepared_file("d").exists() and not paths.prepared_card("d").exists()
    with pytest.raises(DataError, match="mperceiver prepare d"):
        PreparedDataset("d")
    deadline = time.monotonic() + 10
    while any(map(alive, children)):
        assert time.monotonic() < deadline, "a worker outlived its parent"
        time.sleep(0.05)


def alive(process: str) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_crops_are_different_and_apart_while_there_is_room():
    rng = np.random.default_rng(0)
    for height, width, side, count in [
        (128, 128, 32, 16),
        (100, 170, 32, 15),
        (128, 64, 32, 3),
        (512, 512, 128, 4),
        (33, 300, 32, 9),
    ]:
        corners = crop_corners(rng, count, height, width, side)
        assert len(corners) == count
        painted = np.zeros((height, width), int)
        for y, x in corners:
            painted[y : y + side, x : x + side] += 1
        assert painted.max() == 1 and painted.sum() == count * side**2
    for height, width, side, count in [(48, 64, 48, 17), (40, 40, 32, 81), (300, 451, 64, 1000), (32, 32, 32, 1)]:
        corners = crop_corners(rng, count, height, width, side)
        assert len(set(corners)) == count
        assert all(0 <= y <= height - side and 0 <= x <= width - side for y, x in corners)
    rows, columns = np.array(crop_corners(rng, 500, 300, 451, 64)).T
    assert abs(rows.mean() - 118) < 12 and abs(columns.mean() - 193) < 20  # over the whole picture, not a corner of it


# ---------------------------------------------------------------- loader


def test_reader_names_what_is_wrong(world):
    png = images.encode(picture(0))
    write_rows("d", [("fine", "rain", png, png), ("cut", "rain", png[:-2000], png), ("bare", "rain", png, None)])
    rows = PreparedDataset("d")
    assert len(rows) == 3 and rows.ids == ["fine", "cut", "bare"] and np.array_equal(rows.lq(0), picture(0))
    with pytest.raises(images.PictureError, match="d: lq of picture cut"):
        rows.lq(1)
    with pytest.raises(DataError, match="d: picture bare has no ground truth"):
        rows.gt(2)
    paths.prepared_file("e").write_bytes(b"something else")
    with pytest.raises(DataError, match="e.arrow: not an Arrow file.*mperceiver prepare e"):
        PreparedDataset("e")


def plain(name: str, tasks: dict[str, int]) -> PreparedDataset:
    png = images.encode(picture(0, 16, 16))
    write_rows(name, [(f"{task}-{i}", task, png, png) for task, n in tasks.items() for i in range(n)])
    return PreparedDataset(name)


def test_mixture_draws_tasks_evenly_and_datasets_by_the_square_root_of_their_size(world):
    one, two = plain("one", {"rain": 4, "haze": 10, "other": 5}), plain("two", {"rain": 36})
    mixture = Mixture([one, two], ["rain", "haze"])
    drawn = mixture.draw(np.random.default_rng(0), 20_000)
    assert drawn == mixture.draw(np.random.default_rng(0), 20_000)
    names = [mixture.datasets[d].ids[row] for d, row in drawn]
    tasks = Counter(name.split("-")[0] for name in names)
    assert set(tasks) == {"rain", "haze"} and abs(tasks["rain"] / 20_000 - 0.5) < 0.02
    rain = [d for (d, _), name in zip(drawn, names, strict=True) if name.startswith("rain")]
    assert abs(np.mean(rain) - 6 / (2 + 6)) < 0.02  # sqrt(36) against sqrt(4)
    pictures = Counter(row for d, row in drawn if d == 1)
    mean = sum(pictures.values()) / 36
    assert len(pictures) == 36 and all(abs(n - mean) < 5 * mean**0.5 for n in pictures.values())
    with pytest.raises(DataError, match="no picture of task 'snow' in one, two"):
        Mixture([one, two], ["rain", "snow"])
    with pytest.raises(DataError, match="two: has rain, none of haze"):
        Mixture([one, two], ["haze"])


def test_weights_say_how_often_a_task_is_drawn(world):
    datasets, rng = [plain("one", {"rain": 4, "haze": 10, "snow": 5})], np.random.default_rng(0)
    mixture = Mixture(datasets, ["rain", "haze", "snow"], weights={"haze": 2})
    drawn = Counter(mixture.datasets[d].tasks[row] for d, row in mixture.draw(rng, 20_000))
    assert all(
        abs(drawn[task] / 20_000 - share) < 0.02 for task, share in {"rain": 0.25, "haze": 0.5, "snow": 0.25}.items()
    )
    of_one_task = Counter(
        mixture.datasets[d].tasks[row] for _ in range(2000) for d, row in mixture.draw_one_task(rng, 1)
    )
    assert abs(of_one_task["haze"] / 2000 - 0.5) < 0.05
    for _ in range(20):
        drawn = mixture.draw_one_task(rng, 8)
        assert len(drawn) == 8 and len({mixture.datasets[d].tasks[row] for d, row in drawn}) == 1
    with pytest.raises(DataError, match="task_weights: fog is none of the training's tasks, rain, haze, snow"):
        Mixture(datasets, ["rain", "haze", "snow"], weights={"fog": 2})


def test_balanced_gives_each_task_as_many_and_none_twice_too_soon(world):
    mixture = Mixture([plain("one", {"rain": 4, "haze": 3}), plain("two", {"rain": 36})], ["haze", "rain"])
    drawn = mixture.balanced(np.random.default_rng(0), 7)
    assert [mixture.tasks.index(mixture.datasets[d].tasks[row]) for d, row in drawn] == [0] * 7 + [1] * 7
    assert set(Counter(drawn[:7]).values()) == {2, 3} and len(set(drawn[7:])) == 7
    assert drawn == mixture.balanced(np.random.default_rng(0), 7)


@pytest.mark.parametrize("cache_bytes", [2**30, 0])
@pytest.mark.parametrize("sizes", [[(40, 56)], [(40, 56), (33, 32)]])
def test_batches_cut_and_mirror_lq_and_gt_alike(world, cache_bytes, sizes):
    import torch

    pictures = [picture(i, *sizes[i % len(sizes)]) for i in range(10)]
    pairs = [(images.encode(255 - p), images.encode(p)) for p in pictures]
    tasks = ["haze", "rain"]
    write_rows("d", [(str(i), tasks[i % 2], lq, gt) for i, (lq, gt) in enumerate(pairs)])
    write_rows("e", [("x", "rain", *pairs[0])])
    mixture = Mixture([PreparedDataset("d"), PreparedDataset("e")], tasks, cache_bytes)
    rng = np.random.default_rng(1)
    mirrored = []
    for crop_px in (32, 8, 8):
        drawn = mixture.draw(rng, 24)
        lq, gt, task = mixture.batch(drawn, crop_px, rng, flip=True)
        assert lq.shape == gt.shape == (24, 3, crop_px, crop_px) and lq.dtype == gt.dtype == torch.float32
        assert lq.is_contiguous() and task.dtype == torch.int64 and 0 <= lq.min() and gt.max() <= 1
        assert torch.allclose(lq, 1 - gt)  # the same place, the same way round
        for k, (d, row) in enumerate(drawn):
            assert task[k] == tasks.index(mixture.datasets[d].tasks[row])
            whole = pictures[row] if d == 0 else pictures[0]
            views = np.lib.stride_tricks.sliding_window_view(whole, (crop_px, crop_px), axis=(0, 1))
            cut = (gt[k].numpy() * 255).round().astype(np.uint8)
            here, there = ((views == c).all((2, 3, 4)).any() for c in (cut, cut[..., ::-1]))
            assert here or there
            mirrored.append(not here)
    assert 0.3 < np.mean(mirrored) < 0.7
    whole, _, _ = mixture.batch([(1, 0)], min(sizes[0]), rng, flip=False)
    assert whole.shape == (1, 3, 40, 40)
    _, whole, _ = mixture.batch([(0, 0)], sizes[0], rng, flip=False)  # no square: the picture as it is
    assert np.array_equal((whole[0].permute(1, 2, 0).numpy() * 255).round(), pictures[0])
    _, wide, _ = mixture.batch([(0, 0)] * 20, (40, 50), rng, flip=False)
    places = {x for found in wide for x in range(7) if torch.equal(found, whole[0][:, :, x : x + 50])}
    assert len(places) > 3 and all(any(torch.equal(w, whole[0][:, :, x : x + 50]) for x in places) for w in wide)
    again = [mixture.batch([(0, 4), (0, 2)], 16, np.random.default_rng(3), True)[0] for _ in range(2)]
    assert torch.equal(*again)
    (small,), (clean,), _ = mixture.batch([(0, 1)], 50, rng, flip=False)  # reflected at the right and bottom edges
    assert torch.allclose(small, 1 - clean)
    height, width = sizes[1 % len(sizes)]
    assert torch.equal(clean[:, height:, :], clean[:, 2 * height - 51 : height - 1, :].flip(1))
    assert torch.equal(clean[:, :, width:], clean[:, :, 2 * width - 51 : width - 1].flip(2))


def test_a_cache_changes_nothing(world):
    write_rows("d", [(str(i), "rain", images.encode(picture(i)), images.encode(picture(i + 50))) for i in range(9)])
    batches = []
    for cache_bytes in (2**30, 0):
        mixture = Mixture([PreparedDataset("d")], ["rain"], cache_bytes)
        assert mixture.cached == bool(cache_bytes)
        rng = np.random.default_rng(0)
        batches.append([mixture.batch(mixture.draw(rng, 5), 24, rng) for _ in range(4)])
    for with_cache, without in zip(*batches, strict=True):
        for a, b in zip(with_cache, without, strict=True):
            assert a.equal(b)


def test_pairs_that_do_not_fit_are_named(world):
    write_rows("d", [("odd", "rain", images.encode(picture(0)), images.encode(picture(0, 48, 65)))])
    with pytest.raises(DataError, match=r"d: picture odd: lq is \(48, 64, 3\), gt is \(48, 65, 3\)"):
        Mixture([PreparedDataset("d")], ["rain"]).batch([(0, 0)], 8, np.random.default_rng(0))


# ---------------------------------------------------------------- the project's own datasets


@functools.cache
def own() -> dict[str, Dataset]:
    files = sorted((PROJECT / "config/datasets").glob("*.yaml"))
    return {file.stem: config.parse(file, Dataset) for file in files}


@pytest.mark.parametrize("name", own())
def test_every_dataset_of_the_project_names_things_that_exist(name):
    datasets = own()
    dataset = datasets[name]
    assert dataset.title and dataset.licence
    for origin in dataset.from_:
        assert datasets[origin].sources or datasets[origin].pairs, f"{origin} is made of others itself"
    for task, layers in dataset.degradations.items():
        for layer, numbers in (choice for given in layers.items() for choice in alternatives(*given).items()):
            known = inspect.signature(DEGRADATIONS[layer].apply).parameters
            assert set(numbers) <= set(known), f"{task}: {layer} takes {list(known)}"
        synthesised.check_degradations(name, dataset)
    for source in dataset.sources:
        if source.source == "generated":
            assert source.generator in GENERATORS and dataset.expected == source.count
        if source.source == "package":
            assert set(source.sha256) == set(source.files) and dataset.expected == len(source.files)
        if source.source == "local":
            assert dataset.expected and source.sha256 and len(source.sha256) == 64


def test_the_demo_is_tested_on_what_it_was_trained_for_but_other_pictures():
    datasets = own()
    train, tasks = datasets["demo-train"], datasets["demo-tasks"]
    assert list(train.degradations) == list(tasks.degradations) == config.TASKS
    assert train.degradations == tasks.degradations
    assert datasets["demo-few-shot-train"].degradations == datasets["demo-few-shot"].degradations
    tests = {"demo-tasks", "demo-mid6", "demo-zero-shot", "demo-few-shot"}
    assert all(datasets[name].from_ == ["photographs-test"] for name in tests)
    trained = set(datasets["photographs-train"].sources[0].files.values())
    assert not trained & set(datasets["photographs-test"].sources[0].files.values())
    assert not set(datasets["demo-zero-shot"].degradations) & set(config.TASKS)
    for layers in datasets["demo-mid6"].degradations.values():
        for layer, numbers in layers.items():
            if layer != "gaussian-noise":  # only levels it was trained on, but not the strongest
                assert numbers == train.degradations[layer][layer]


def test_photographs_of_the_installed_packages_are_the_ones_we_know(world):
    for name in ("photographs-train", "photographs-test"):
        Path(f"config/datasets/{name}.yaml").write_text(
            (PROJECT / f"config/datasets/{name}.yaml").read_text(encoding="utf-8"), encoding="utf-8"
        )
        assert lineage.read_card(download_dataset(name, []))["result"]["count"] == 3
