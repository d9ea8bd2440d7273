"""Ready-made pairs: matched by every kind of rule, adjusted and checked; and the faults of real downloads."""

import contextlib
import hashlib
import io
import json
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mperceiver import commits, config, images, lineage, parallel, paths
from mperceiver.data import DataError
from mperceiver.data.prepare import ready_made
from mperceiver.data.prepare.dataset import prepare_dataset
from mperceiver.data.prepare.matching import file_tree, natural_key
from mperceiver.data.read.loader import PreparedDataset

HEAD = "title: t\nlicence: l\n"
RULE = r"match: '(.*)in/(.*)', gt: {rule: '\g<1>gt/\g<2>'}"


@pytest.fixture
def world(tmp_path, monkeypatch):
    """An empty working directory; its commit is made up, so that the tests run without a checkout."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(commits, "current", lambda: ("0" * 40, False))
    Path("config/datasets").mkdir(parents=True)
    return tmp_path


def picture(seed: int | str, height: int = 8, width: int = 8, kind=(3,), dtype=np.uint8) -> np.ndarray:
    seed = int.from_bytes(hashlib.sha256(str(seed).encode()).digest()[:4], "big")
    return np.random.default_rng(seed).integers(0, np.iinfo(dtype).max + 1, (height, width, *kind), dtype=dtype)


def encoded(array: np.ndarray, form: str = "png") -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, {"jpg": "jpeg", "tif": "tiff"}.get(form.lower(), form))
    return buffer.getvalue()


def put(origin: str, members: dict[str, bytes | tuple[int, int] | None], archive: str | None = None) -> None:
    """A raw dataset as download leaves it: files (None: a random 8x8 picture, or one of that size), or one archive of them."""
    Path(f"config/datasets/{origin}.yaml").write_text(
        HEAD + f"sources: [{{source: local, folder: {origin}, glob: '**'}}]\n", encoding="utf-8"
    )
    folder = paths.raw_folder(origin)
    folder.mkdir(parents=True, exist_ok=True)
    files = {}
    for name, data in members.items():
        form = Path(name).suffix[1:]
        size = data if isinstance(data, tuple) else (8, 8)
        files[name] = data if isinstance(data, bytes) else encoded(picture(name, *size), form)
    if archive:
        with zipfile.ZipFile(folder / archive, "w") as file:
            for name, data in files.items():
                file.writestr(name, data)
    else:
        for name, data in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(data)
    lineage.begin("download", {}).write_card(paths.raw_card(origin), outputs=[folder])


def describe(pairs: str, more: str = "", origins: str = "raw", name: str = "d") -> None:
    Path(f"config/datasets/{name}.yaml").write_text(
        HEAD + f"from: [{origins}]\n{more}pairs: {{{pairs}}}\n", encoding="utf-8"
    )


def rows_of(name: str = "d", workers: int = 1) -> dict[str, tuple[np.ndarray, np.ndarray | None, str]]:
    prepare_dataset(name, workers=workers)
    rows = PreparedDataset(name)
    gt = [None if rows._table["gt"][i].as_py() is None else rows.gt(i) for i in range(len(rows))]
    return {id_: (rows.lq(i), gt[i], rows.tasks[i]) for i, id_ in enumerate(rows.ids)}


def refused(name: str = "d", error: type[Exception] = DataError) -> str:
    with pytest.raises(error) as caught:
        prepare_dataset(name, workers=1)
    left = {path.name for path in Path("data/prepared").iterdir()} if Path("data/prepared").exists() else set()
    assert not left, "something half-made was left"
    return str(caught.value)


# ---------------------------------------------------------------- ways to pair


def test_a_rule_pairs_in_natural_order_out_of_an_archive(world):
    names = [f"set/in/{i}_a.png" for i in (10, 9, 2)]
    put(
        "raw", dict.fromkeys([*names, "set/gt/2.png", "set/gt/9.png", "set/gt/10.png", "set/in/.hidden.png"]), "set.zip"
    )
    describe(r"task: rain, root: set, lq: in/*.png, match: 'in/(\d+)_(.)\.png', gt: {rule: 'gt/\1.png'}, id: '\2-\1'")
    rows = rows_of()
    assert list(rows) == ["a-2", "a-9", "a-10"]
    for number in (2, 9, 10):
        lq, gt, task = rows[f"a-{number}"]
        assert task == "rain" and np.array_equal(lq, picture(f"set/in/{number}_a.png"))
        assert np.array_equal(gt, picture(f"set/gt/{number}.png"))
    assert [p.name for p in Path("data/prepared").iterdir() if p.suffix not in (".arrow", ".json")] == []
    card = lineage.read_card(paths.prepared_card("d"))
    assert card["result"]["count"] == 3 and card["inputs"].keys() == {
        "config/datasets/d.yaml#prepare",
        "data/raw/raw.json",
    }
    assert lineage.verify(paths.prepared_card("d")) == []
    source = PreparedDataset("d").source(0)
    lq, gt = (hashlib.sha256(encoded(picture(f"set/{name}"))).hexdigest() for name in ("in/2_a.png", "gt/2.png"))
    assert source == f"{lq} {gt}"


def test_the_first_root_and_the_first_partner_that_are_there_count(world):
    put("raw", dict.fromkeys(["b/old/in/1.png", "b/old/clear/1.png", "b/old/gt/2.png", "b/old/in/2.png"]))
    describe(r"task: haze, root: [a, b/*], lq: [hazy/*, in/*], match: 'in/(.*)', gt: {rule: ['gt/\1', 'clear/\1']}")
    rows = rows_of()
    assert np.array_equal(rows["1"][1], picture("b/old/clear/1.png"))
    assert np.array_equal(rows["2"][1], picture("b/old/gt/2.png"))


def test_sorted_folders_pair_by_their_order(world):
    put("raw", dict.fromkeys(["c/P9.png", "c/P10.png", "t/P8.png", "t/P11.png"]))
    describe("task: defocus, lq: c/*.png, gt: {sorted: t/*.png}")
    rows = rows_of()
    assert np.array_equal(rows["P9"][1], picture("t/P8.png")) and np.array_equal(rows["P10"][1], picture("t/P11.png"))
    (paths.raw_folder("raw") / "t/P12.png").write_bytes(encoded(picture(0)))
    lineage.begin("download", {}).write_card(paths.raw_card("raw"), outputs=[paths.raw_folder("raw")])
    paths.prepared_file("d").unlink(), paths.prepared_card("d").unlink()
    assert "2 degraded pictures (c/P9.png, c/P10.png) and 3 ground truths" in refused()


def test_two_names_that_become_one_id_are_refused_by_name(world):
    put(
        "raw",
        dict.fromkeys(["in/\u96e81.png", "in/\u96ea1.png", "gt/\u96e81.png", "gt/\u96ea1.png"]),
        archive="set.zip",
    )
    describe("task: rain, lq: in/*.png, " + RULE)
    text = refused()
    assert "ids are given twice" in text and "in/\u96e81.png and in/\u96ea1.png" in text


def test_an_order_that_names_contradict_is_refused(world):
    put("raw", dict.fromkeys(["c/1.png", "c/2.png", "c/4.png", "t/1.png", "t/3.png", "t/4.png"]))
    describe("task: defocus, lq: c/*.png, gt: {sorted: t/*.png}")
    assert "1 of 3 pictures would get a ground truth whose name contradicts theirs: c/2.png with t/3.png" in refused()


def test_the_order_of_names_never_depends_on_that_of_the_disk():
    for names in (["1", "01", "2"], ["01", "1", "2"], ["2", "1", "01"]):
        assert sorted(names, key=natural_key) == ["01", "1", "2"]


def test_numbers_of_one_value_pair_as_they_are_written(world):
    put("raw", dict.fromkeys(f"{side}/{i}.png" for side in ("lq", "gt") for i in ("1", "01", "2")))
    describe("task: rain, lq: lq/*, gt: {sorted: gt/*}")
    rows = rows_of()
    assert list(rows) == ["01", "1", "2"]
    assert all(np.array_equal(gt, picture(f"gt/{name}.png")) for name, (_, gt, _) in rows.items())


def test_a_list_file_pairs(world):
    pictures = dict.fromkeys(["J/s1/gt/gt_1.png", "J/s1/blur/blur_1.png", "J/s2/gt/gt_1.png", "J/s2/blur/blur_1.png"])
    lines = b"J/s2/gt/gt_1.png J/s2/blur/blur_1.png\n./J/s1/gt/gt_1.png  J/s1/blur/blur_1.png \n\n"
    put("raw", {f"top/{name}": data for name, data in pictures.items()} | {"top/test.txt": lines}, "set.zip")
    describe(
        r"task: motion-blur, root: top, match: '.*/(s\d+)/blur/blur_(\d+)\.png', id: '\1_\2', "
        "gt: {listed: {file: test.txt, lq_column: 1, gt_column: 0}}"
    )
    rows = rows_of()
    assert list(rows) == ["s2_1", "s1_1"] and np.array_equal(rows["s1_1"][1], picture("top/J/s1/gt/gt_1.png"))
    put("raw", {"top/test.txt": b"one\n"})
    (paths.raw_folder("raw") / "set.zip").unlink()
    lineage.begin("download", {}).write_card(paths.raw_card("raw"), outputs=[paths.raw_folder("raw")])
    paths.prepared_file("d").unlink(), paths.prepared_card("d").unlink()
    assert "test.txt, line 1: has no two paths" in refused()


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("slash", ["/", "\\"])
def test_a_list_that_windows_wrote_pairs(world, encoding, slash):
    lines = "lq/é.png gt/a.png\r\nlq/b.png gt/b.png\r\n".replace("/", slash)
    names = dict.fromkeys(["lq/é.png", "lq/b.png", "gt/a.png", "gt/b.png"])
    put("raw", names | {"test.txt": lines.encode(encoding), "few.txt": f"lq{slash}b.png\r\n".encode(encoding)})
    listed = "task: rain, gt: {listed: {file: test.txt, lq_column: 0, gt_column: 1}}"
    describe(listed)
    for truth, (_, gt, _) in zip(("gt/a.png", "gt/b.png"), rows_of().values(), strict=True):
        assert np.array_equal(gt, picture(truth))
    describe(f"{listed}, keep_listed: few.txt", name="e")
    assert list(rows_of("e")) == ["b"]


def test_a_list_in_another_encoding_is_no_fault_of_the_program(world):
    put("raw", dict.fromkeys(["lq/1.png", "gt/1.png"]) | {"few.txt": "lq/é.png".encode("latin-1")})
    describe("task: rain, lq: lq/*, gt: {sorted: gt/*}, keep_listed: few.txt")
    assert "1 of 1 pictures in few.txt are not there" in refused()


def mat(key: str, array: np.ndarray, compressed: bool = False) -> bytes:
    from scipy.io import savemat

    buffer = io.BytesIO()
    savemat(buffer, {key: array}, do_compression=compressed)
    return buffer.getvalue()


def test_arrays_of_matlab_pair_by_their_numbers(world):
    lq, gt = (np.stack([[picture(f"{side}{i}{j}") for j in range(3)] for i in range(2)]) for side in "ab")
    put("raw", {"Noisy.mat": mat("noisy", lq), "Gt.mat": mat("gt", gt)})
    describe("task: real-noise, arrays: {lq: Noisy.mat, gt: Gt.mat, gt_key: gt}", "expected: 6\n")
    rows = rows_of()
    assert list(rows) == [f"{i:04d}" for i in range(6)]
    assert np.array_equal(rows["0005"][0], lq[1, 2]) and np.array_equal(rows["0003"][1], gt[1, 0])


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"a.mat": mat("x", np.zeros((2, 8, 8, 3), np.uint8)), "b.mat": b"junk"}, "b.mat: not a whole MATLAB file"),
        (
            {"a.mat": mat("x", np.zeros((2, 8, 8, 3), np.uint8), True)[:-9] + b"\0" * 9},
            "a.mat: not a whole MATLAB file",
        ),
        ({"a.mat": mat("x", np.zeros((2, 8, 8, 3), np.uint8))}, "b.mat: no such file"),
        ({"a.mat": mat("x", np.zeros((2, 8, 8, 3)))}, r"x is float64 \(2, 8, 8, 3\)"),
        ({"a.mat": mat("y", np.zeros((2, 8, 8, 3), np.uint8))}, "has no array x, but y"),
        ({"a.mat": b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM"}, "saved by MATLAB 7.3"),
        ({k: mat("x", np.zeros((n, 8, 8, 3), np.uint8)) for k, n in (("a.mat", 2), ("b.mat", 3))}, "are no pairs"),
    ],
)
def test_wrong_arrays_are_named(world, files, message):
    put("raw", files)
    describe("task: real-noise, arrays: {lq: a.mat, lq_key: x, gt: b.mat, gt_key: x}")
    with pytest.raises(DataError, match=message):
        prepare_dataset("d", workers=1)


def test_pictures_without_a_truth_and_clean_ones(world):
    put("raw", dict.fromkeys(["real/1.png", "real/2.png", "clean/1.png"]))
    describe("task: rain, lq: real/*, gt: {none: photographed in the rain}")
    assert [gt for _, gt, _ in rows_of().values()] == [None, None]
    with pytest.raises(DataError, match="d: picture 1 has no ground truth"):
        PreparedDataset("d").gt(0)
    describe("lq: clean/*, gt: {itself: true}", name="c")
    (lq, gt, task) = rows_of("c")["1"]
    assert task == "clean" and np.array_equal(lq, gt) and PreparedDataset("c")._table["lq"][0].as_py() is None
    assert PreparedDataset("c").size(0) == (8, 8) and PreparedDataset("c").source(0).count(" ") == 0


def test_tasks_keep_drop_sample_and_lists(world):
    names = [f"{folder}/{i}.png" for folder in ("drop", "streak", "both") for i in range(20)]
    put("raw", dict.fromkeys([*names, *(f"gt/{i}.png" for i in range(20))]) | {"few.txt": b"3.png\n14.png\n"})
    base = r"task: raindrop, tasks: {streak: rain, both: rain-raindrop}, lq: ['drop/*', 'streak/*', 'both/*'], "
    base += r"match: '([a-z]+)/(.*)\.png', gt: {rule: 'gt/\2.png'}, id: '\1-\2'"
    describe(base, "expected: 60\n")
    tasks = {id_: task for id_, (_, _, task) in rows_of().items()}
    assert {tasks["drop-3"], tasks["streak-3"], tasks["both-3"]} == {"raindrop", "rain", "rain-raindrop"}
    assert config.load("datasets", "d").tasks == ["rain", "rain-raindrop", "raindrop"]
    describe(base + r", keep: '^both', drop: '/1\d'", name="e")
    assert list(rows_of("e")) == [f"both-{i}" for i in range(10)]
    describe(base + ", keep_listed: few.txt", name="f")
    assert sorted(rows_of("f")) == sorted(f"{way}-{i}" for way in ("drop", "streak", "both") for i in (3, 14))
    describe(base + ", sample: {share: 0.05}", name="g")
    describe(base + ", sample: {count: 12}", name="h")
    assert len(rows_of("g")) == 3 and len(rows_of("h")) == 12
    assert list(rows_of("h")) == sorted(rows_of("h"), key=list(tasks).index)  # their order stays
    describe(base + ", sample: {count: 12}", "seed: 1\n", name="i")
    assert set(rows_of("h")) != set(rows_of("i"))


# ---------------------------------------------------------------- fixes


def test_pictures_are_kept_as_they_came_or_made_8_bit_rgb(world):
    png, jpg = encoded(picture("p")), encoded(picture("j"), "jpg")
    grey, alpha = picture("g", kind=()), picture("a", kind=(4,))
    wide = picture("w", kind=(), dtype=np.uint16)
    turned = Image.fromarray(picture("t", 8, 4))
    exif = turned.getexif()
    exif[0x0112] = 6
    buffer = io.BytesIO()
    turned.save(buffer, "png", exif=exif)
    files = {
        "png.png": png, "jpg.jpg": jpg, "grey.png": encoded(grey), "alpha.png": encoded(alpha), "wide.png": encoded(wide),
        "bmp.bmp": encoded(picture("b"), "bmp"), "turned.png": buffer.getvalue(),
    }  # fmt: skip
    put("raw", files)
    describe("lq: '*', gt: {itself: true}")
    rows = rows_of()
    stored = {id_: PreparedDataset("d").stored("gt", i) for i, id_ in enumerate(PreparedDataset("d").ids)}
    assert stored["png"] == png and stored["jpg"] == jpg, "exact already: not encoded again"
    assert np.array_equal(rows["grey"][1], np.repeat(grey[..., None], 3, 2))
    assert np.array_equal(rows["alpha"][1], alpha[..., :3])
    assert np.array_equal(rows["wide"][1][..., 0], np.round(wide / 257).astype(np.uint8))
    assert np.array_equal(rows["bmp"][1], picture("b")) and stored["bmp"][:4] == b"\x89PNG"
    assert np.array_equal(rows["turned"][1], np.rot90(picture("t", 8, 4), -1))
    reader = PreparedDataset("d")
    for i, id_ in enumerate(reader.ids):
        with Image.open(io.BytesIO(stored[id_])) as image:
            assert image.mode == "RGB" and (image.height, image.width) == reader.size(i) == rows[id_][1].shape[:2]


def test_borders_tiles_and_sizes(world):
    put("raw", {"in/1.png": (20, 30), "gt/1.png": (24, 34), "in/2.png": (20, 30), "gt/2.png": (20, 30)})
    describe(f"task: haze, lq: in/*, {RULE}, crop_border_px: 2")
    rows = rows_of()
    assert np.array_equal(rows["1"][1], picture("gt/1.png", 24, 34)[2:-2, 2:-2])
    assert np.array_equal(rows["2"][1], picture("gt/2.png", 20, 30))
    describe(f"task: haze, lq: in/*, {RULE}, crop_border_px: 2, tile_px: 16, drop: 2.png", name="t")
    tiles = rows_of("t")
    assert list(tiles) == ["1-0-0", "1-0-14", "1-4-0", "1-4-14"]
    for id_, (lq, gt, _) in tiles.items():
        y, x = map(int, id_.split("-")[1:])
        assert np.array_equal(lq, picture("in/1.png", 20, 30)[y : y + 16, x : x + 16])
        assert np.array_equal(gt, rows["1"][1][y : y + 16, x : x + 16])
    describe(f"task: moire, lq: in/*, {RULE}, cut_border_part: 5, resize_px: 6, drop: 1.png", name="m")
    inside = Image.fromarray(picture("in/2.png", 20, 30)[4:16, 6:24])
    assert np.array_equal(rows_of("m")["2"][0], np.array(inside.resize((6, 6), Image.Resampling.BILINEAR)))


def test_worker_count_never_matters(world, monkeypatch):
    monkeypatch.setattr(parallel, "ALONE_SECONDS", 0)
    put("raw", dict.fromkeys(f"{side}/{i}.png" for side in ("in", "gt") for i in range(40)), "set.zip")
    describe(f"task: rain, lq: in/*, {RULE}", "expected: 40\n")
    results = []
    for workers in (1, 3):
        prepare_dataset("d", workers=workers)
        results.append((paths.prepared_file("d").read_bytes(), paths.prepared_card("d").read_bytes()))
    assert results[0] == results[1]
    assert PreparedDataset("d").ids == [str(i) for i in range(40)]
    assert "pictures" in json.loads(results[0][1])["result"] and len(results[0][1]) < 5000


# ---------------------------------------------------------------- faults


@pytest.mark.parametrize(
    ("members", "more", "parts"),
    [
        ({"in/1.png": None, "in/2.png": None, "gt/2.png": None}, "", ["1 pair is without a ground truth", "in/1.png: its ground truth gt/1.png"]),
        ({"in/1.png": None, "gt/1.png": (8, 9)}, "", ["1 pair is of unequal size", "are 8x8 and 9x8 px"]),
        ({"in/1.png": encoded(picture(0, 64, 64))[:-3000], "gt/1.png": (64, 64)}, "", ["1 pair is damaged", "in/1.png: cannot be decoded"]),
        ({"in/1.png": None, "gt/1.png": b"no picture"}, "", ["its ground truth 1.png: cannot be decoded"]),
        ({"in/1.png": None, "gt/1.png": None}, "expected: 2\n", ["1 pairs, expected 2"]),
        ({"in/1.png": None, "gt/1.png": None, "b/in/1.png": None, "b/gt/1.png": None}, "", ["1 ids are given twice", "1: b/in/1.png and in/1.png"]),
        ({"out/1.png": None}, "", ["no **/in/* in what was downloaded, where 1 files are: out/1.png"]),
    ],
)  # fmt: skip
def test_faults_are_named_and_end_the_work(world, members, more, parts):
    put("raw", members)
    describe(f"task: rain, lq: '**/in/*', {RULE}", more)
    message = refused()
    assert all(part in message for part in parts), message


def test_many_faults_are_counted_and_the_first_are_named(world):
    put("raw", dict.fromkeys(f"in/{i}.png" for i in range(30)) | {"gt/3.png": None})
    describe(f"task: rain, lq: in/*, {RULE}", "expected: 30\n")
    message = refused()
    assert "29 pairs are without a ground truth" in message and message.count("its ground truth") == 5
    assert "mperceiver download raw --force" in message and "config/datasets/d.yaml: pairs.known" in message


def test_known_defects_are_left_out_and_counted(world):
    members = {f"{side}/{i}.png": None for side in ("in", "gt") for i in range(5)}
    members |= {"gt/1.png": (9, 8), "in/4.png": b"junk", "in/7.png": None}
    put("raw", members)
    known = "known: {{sizes: {{{}note: n}}, damaged: {{ids: ['4'], note: n}}, missing: {{count: 1, note: n}}}}"
    base = f"task: rain, lq: in/*, {RULE}, "
    for allowed in ("", "count: 1, ", "ids: ['1'], "):
        describe(base + known.format(allowed), "expected: 3\n")
        assert list(rows_of()) == ["0", "2", "3"]
    assert lineage.read_card(paths.prepared_card("d"))["result"]["left_out"] == {"sizes": 1, "damaged": 1, "missing": 1}
    paths.prepared_file("d").unlink(), paths.prepared_card("d").unlink()
    for allowed, message in {
        "count: 2, ": "1 pair is of unequal size, config/datasets/d.yaml: pairs.known.sizes says 2: 1",
        "ids: ['1', '2'], ": "pairs.known.sizes names 2, which have no such defect",
        "ids: ['2'], ": "1 pair is of unequal size:\n    in/1.png",
    }.items():
        describe(base + known.format(allowed))
        assert message in refused()


@pytest.mark.parametrize(
    ("members", "kind", "words"),
    [
        ({"in/1.png": None, "in/2.png": None}, "missing", "2 without a ground truth), such as in/1.png: its ground truth"),
        ({"in/1.png": None, "gt/1.png": (9, 8)}, "sizes", "1 of unequal size)"),
        ({"in/1.png": None, "gt/1.png": b"junk"}, "damaged", "1 damaged)"),
    ],
)  # fmt: skip
def test_a_dataset_of_nothing_but_known_defects_is_refused(world, members, kind, words):
    put("raw", members)
    describe(f"task: rain, lq: in/*, {RULE}, known: {{{kind}: {{note: n}}}}")
    message = refused()
    assert "d: no pair is left" in message and words in message and "config/datasets/d.yaml" in message


def test_what_does_not_fit_the_rule_is_named(world):
    put("raw", dict.fromkeys(["in/1.png", "in/IMG.png", "gt/1.png"]))
    describe(r"task: rain, lq: in/*, match: 'in/(\d+).png', gt: {rule: 'gt/\1.png'}")
    assert "1 pictures do not fit `match`" in refused() and "in/IMG.png" in refused()
    describe(r"task: rain, lq: in/*, match: 'in/(\d+).png', gt: {rule: 'gt/\1.png'}, drop: IMG")
    assert list(rows_of()) == ["1"]


def test_a_changed_download_and_one_path_twice_are_refused(world):
    put("raw", dict.fromkeys(["in/1.png", "gt/1.png"]))
    put("two", dict.fromkeys(["in/1.png"]))
    describe(f"task: rain, lq: in/*, {RULE}", origins="raw, two")
    assert "in/1.png is both in" in refused()
    describe(f"task: rain, lq: in/*, {RULE}")
    (paths.raw_folder("raw") / "in/1.png").write_bytes(encoded(picture(5)))
    assert "mperceiver download --force raw" in refused(error=lineage.LineageError)


def test_numbers_sort_as_people_sort_them_and_junk_is_passed_over(tmp_path):
    assert sorted(["a10", "a2", "b1", "a1b10", "a1b9", "10", "9"], key=natural_key) == ["9", "10", "a1b9", "a1b10", "a2", "a10", "b1"]  # fmt: skip
    for name in ("__MACOSX/a.png", ".x/b.png", "c/Thumbs.db", "c/._d.png", "c/e10.png", "c/e9.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / name).write_bytes(b"")
    assert list(file_tree([tmp_path])) == ["c/e9.png", "c/e10.png"]


def test_two_jobs_for_one_dataset_wait_for_each_other(world, monkeypatch, capfd):
    """They unpack into one folder, which each deletes at its start."""
    put("raw", dict.fromkeys(f"{side}/{i}.png" for side in ("in", "gt") for i in range(3)), "set.zip")
    describe(f"task: rain, lq: in/*, {RULE}")
    plan, working, at_once = ready_made.plan_pairs, [], []

    @contextlib.contextmanager
    def slow(*args):
        with plan(*args) as planned:
            working.append(args)
            at_once.append(len(working))
            time.sleep(0.5)
            yield planned
            working.pop()

    monkeypatch.setattr(ready_made, "plan_pairs", slow)
    with ThreadPoolExecutor(2) as pool:
        jobs = [pool.submit(prepare_dataset, "d", workers=1) for _ in range(2)]
        assert [job.result() for job in jobs] == [paths.prepared_card("d")] * 2
    assert at_once == [1, 1] and PreparedDataset("d").ids == ["0", "1", "2"]
    assert "another process is writing it" in capfd.readouterr().err
    assert sorted(path.name for path in Path("data/prepared").iterdir()) == ["d.arrow", "d.json"]


def test_a_file_that_vanishes_is_no_damaged_picture(world, monkeypatch):
    put("raw", dict.fromkeys(f"{side}/{i}.png" for side in ("in", "gt") for i in range(3)), "set.zip")
    describe(f"task: rain, lq: in/*, {RULE}, known: {{damaged: {{note: any number may be}}}}")
    plan = ready_made.plan_pairs

    @contextlib.contextmanager
    def robbed(*args):
        with plan(*args) as (jobs, faults):
            Path(jobs[0].pairs[1].gt.path).unlink()
            yield jobs, faults

    monkeypatch.setattr(ready_made, "plan_pairs", robbed)
    message = refused()
    assert "d: in/1.png: its ground truth 1.png" in message and "cannot be read (No such file or directory)" in message


def test_linked_folders_are_found_by_one_rule(tmp_path):
    for name in ("set/in/1.png", "other/deep/2.png"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "set/gt").symlink_to("../other")
    (tmp_path / "set/in/up").symlink_to("..")  # into itself
    (tmp_path / "other/deep/again").symlink_to(tmp_path / "other/deep")
    assert list(file_tree([tmp_path / "set"])) == ["gt/deep/2.png", "in/1.png"]
    (tmp_path / "set/old").symlink_to("gone")
    with pytest.raises(DataError, match=r"set/old: a link to gone, where there is nothing"):
        file_tree([tmp_path / "set"])


def test_a_link_that_the_card_of_the_download_does_not_know_is_refused(world):
    put("raw", dict.fromkeys(["in/1.png", "gt/1.png"]))
    describe(f"task: rain, lq: '**/in/*', {RULE}")
    (world / "elsewhere/in").mkdir(parents=True)
    (world / "elsewhere/in/2.png").write_bytes(encoded(picture(2)))
    (paths.raw_folder("raw") / "more").symlink_to(world / "elsewhere")  # the SHA-256 of data/raw/raw is as before
    assert "data/raw/raw/more is a link to another folder" in refused(error=lineage.LineageError)


# ---------------------------------------------------------------- pictures of pairs, degraded


def test_the_pictures_of_pairs_can_be_degraded(world):
    put("raw", dict.fromkeys(["in/1.png", "gt/1.png"], (32, 32)))
    describe(f"task: haze, lq: in/*, {RULE}")
    prepare_dataset("d", workers=1)
    for onto in ("gt", "lq"):
        text = f"from: [d]\nonto: {onto}\ndegradations: {{noise: {{gaussian-noise: {{sigma_255: 15}}}}}}\n"
        Path(f"config/datasets/n-{onto}.yaml").write_text(HEAD + text, encoding="utf-8")
        rows = rows_of(f"n-{onto}")
        base = images.decode(encoded(picture("in/1.png" if onto == "lq" else "gt/1.png", 32, 32))).astype(float)
        (lq, gt, _) = rows["1-0-noise"]
        assert np.array_equal(gt, picture("gt/1.png", 32, 32))
        assert 8 < np.abs(lq - base).mean() < 16 and np.abs(lq - base).max() < 80
