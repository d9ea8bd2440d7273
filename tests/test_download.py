"""Download: every kind of source, and the faults that real ones have."""

import hashlib
from pathlib import Path

import numpy as np
import pytest

from mperceiver import images, lineage
from mperceiver.data import DataError
from mperceiver.data.download import download
from mperceiver.data.raw import folder_sha256, pictures_in, raw_card, raw_folder

HEAD = "title: t\nlicence: l\n"


@pytest.fixture
def world(tmp_path, monkeypatch):
    """An empty working directory; its commit is made up, so that the tests run without a checkout."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(lineage, "commit", lambda: ("0" * 40, False))
    Path("config/datasets").mkdir(parents=True)
    return tmp_path


def describe(name: str, text: str) -> None:
    Path(f"config/datasets/{name}.yaml").write_text(HEAD + text)


def picture(seed: int, height: int = 48, width: int = 64) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def put(folder: Path | str, *names: str, height: int = 48, width: int = 64) -> Path:
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for i, name in enumerate(names):
        (folder / name).write_bytes(images.encode(picture(i, height, width)))
    return folder


def local(name: str, folder: str, extra: str = "", more: str = "") -> None:
    describe(name, f"sources:\n  - source: local\n    folder: {folder}\n{extra}{more}")


def generated(name: str, count: int = 3, size_px: int = 48, seed: int = 0) -> None:
    describe(
        name,
        f"sources: [{{source: generated, generator: dead-leaves, count: {count}, size_px: {size_px}}}]\nseed: {seed}\n",
    )


def nothing_in(folder: str) -> bool:
    return not Path(folder).exists() or not list(Path(folder).iterdir())


# ---------------------------------------------------------------- download


def test_package_is_found_without_import_and_checked(world, monkeypatch):
    for package in ("heavy_pictures", "other_pictures"):
        put(f"site/{package}/data", "a.png")
        Path(f"site/{package}/__init__.py").write_text("raise RuntimeError('imported')\n")
    monkeypatch.syspath_prepend(str(world / "site"))
    digest = lineage.sha256("site/heavy_pictures/data/a.png")
    source = "sources:\n  - source: package\n    package: heavy_pictures\n    files: {one: data/a.png, two: 'other_pictures:data/a.png'}\n"
    describe("d", source + f"    sha256: {{one: {digest}}}\nexpected: 2\n")
    card = lineage.read_card(download("d", []))
    assert {p.name for p in pictures_in(raw_folder("d"))} == {"one.png", "two.png"}
    assert card["inputs"]["package:heavy_pictures/data/a.png"] == digest
    assert card["inputs"]["package:other_pictures/data/a.png"] == digest
    assert card["outputs"] == {"data/raw/d": lineage.sha256("data/raw/d")} and card["result"]["count"] == 2
    assert lineage.verify(raw_card("d")) == []

    describe("e", source + f"    sha256: {{one: {'f' * 64}}}\n")
    with pytest.raises(DataError, match=rf"heavy_pictures/data/a.png has SHA-256 {digest}, wanted ffff"):
        download("e", [])
    describe("f", source.replace("heavy_pictures", "no_such_package"))
    with pytest.raises(DataError, match="no_such_package is not installed.*uv sync"):
        download("f", [])
    describe("g", source.replace("data/a.png,", "data/b.png,"))
    with pytest.raises(DataError, match="has no file data/b.png"):
        download("g", [])
    assert {p.name for p in Path("data/raw").iterdir()} == {"d", "d.json"}


def test_generated_pictures_come_of_their_own_seeds(world):
    generated("d", count=3)
    generated("e", count=3, seed=1)
    download("d", [])
    first = {p.name: p.read_bytes() for p in pictures_in(raw_folder("d"))}
    assert sorted(first) == [f"dead-leaves-{i:04d}.png" for i in range(3)] and len(set(first.values())) == 3
    generated("d", count=20)  # more of them, over several processes: the first ones stay as they are
    download("d", [])
    assert {p.name: p.read_bytes() for p in pictures_in(raw_folder("d"))[:3]} == first
    download("e", [])
    assert not set(first.values()) & {p.read_bytes() for p in pictures_in(raw_folder("e"))}


def test_what_is_done_is_done_again_only_when_told_or_changed(world):
    generated("d")
    stamp = download("d", []).stat().st_mtime_ns
    assert download("d", []).stat().st_mtime_ns == stamp
    before = raw_card("d").read_bytes()
    assert download("d", [], force=True).stat().st_mtime_ns != stamp
    assert raw_card("d").read_bytes() == before  # equal work, equal card
    pictures_in(raw_folder("d"))[0].unlink()
    download("d", [])
    assert len(pictures_in(raw_folder("d"))) == 3


def test_mirrors_are_looked_into_in_order(world):
    one, two = put("one/set/val", "a.png", "b.png"), put("two/set/val", "a.png")
    put("one/set/val", ".hidden.png", "._a.png")
    (one / "README.md").write_text("not a picture")
    local("d", "set/val", more="expected: 2\n")
    card = lineage.read_card(download("d", [Path("one"), Path("two")]))
    assert [p.name for p in pictures_in(raw_folder("d"))] == ["a.png", "b.png"]
    assert card["inputs"]["local:set/val"] == folder_sha256(pictures_in(one))
    # An incomplete or different mirror gives way to the next one; the pictures are copies.
    download("d", [Path("two"), Path("none"), Path("one")], force=True)
    assert len(pictures_in(raw_folder("d"))) == 2
    assert (one / "a.png").stat().st_ino != (raw_folder("d") / "a.png").stat().st_ino
    lines = "".join(f"{hashlib.sha256((two / 'a.png').read_bytes()).hexdigest()}  {name}\n" for name in ["a.png"])
    local("e", "set/val", f"    sha256: {hashlib.sha256(lines.encode()).hexdigest()}\n")
    download("e", [Path("one"), Path("two")])
    assert len(pictures_in(raw_folder("e"))) == 1
    local("f", str(two.absolute()))
    download("f", [])
    assert len(pictures_in(raw_folder("f"))) == 1


def test_sources_are_tried_in_order(world, capfd):
    sources = "sources:\n  - {source: local, folder: set}\n  - {source: generated, generator: dead-leaves, count: 1, size_px: 32}\n"
    describe("d", sources)
    assert lineage.read_card(download("d", []))["result"] == {"count": 1, "source": "generated", "place": 1}
    assert "passed over" in capfd.readouterr().err
    put("m/set", "a.png")
    assert lineage.read_card(download("d", [Path("m")], force=True))["result"]["source"] == "local"


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (
            "no mirror",
            r"no mirror folder is set; set MPERCEIVER_MIRROR to a folder that has `set/` with its 2 pictures",
        ),
        ("not there", r"m/set: no such folder; set MPERCEIVER_MIRROR"),
        ("count", "1 pictures found, 2 expected"),
        ("digest", "its 2 pictures have SHA-256 .*, wanted fff"),
        ("damaged", r"d: b.png: cannot be decoded"),
        ("stems", "a.jpg and a.png have one name"),
        ("name", "'b c.png': a picture's name may have"),
    ],
)
def test_faults_of_a_source_are_named_and_leave_nothing(world, fault, message):
    folder = put("m/set", "a.png") if fault != "not there" else Path("m")
    extra = ""
    if fault == "digest":
        extra = f"    sha256: {'f' * 64}\n"
    if fault in ("digest", "damaged"):
        put(folder, "a.png", "b.png")
    if fault == "damaged":
        (folder / "b.png").write_bytes((folder / "b.png").read_bytes()[:-3000])
    if fault == "stems":
        (folder / "a.jpg").write_bytes((folder / "a.png").read_bytes())
    if fault == "name":
        put(folder, "b c.png")
    local("d", "set", extra, "expected: 2\n")
    with pytest.raises(DataError, match=message) as caught:
        download("d", [] if fault == "no mirror" else [Path("m")])
    assert "mperceiver download d" in str(caught.value) and "config/datasets/d.yaml" in str(caught.value)
    assert nothing_in("data/raw")


def test_a_failed_download_leaves_the_old_one(world):
    put("m/set", "a.png")
    local("d", "set")
    before = download("d", [Path("m")]).read_bytes()
    put("m/set", "b.png")
    Path("m/set/b.png").write_bytes(b"no picture")
    with pytest.raises(DataError):
        download("d", [Path("m")], force=True)
    assert raw_card("d").read_bytes() == before and lineage.verify(raw_card("d")) == []


def test_a_dataset_of_pairs_has_nothing_to_download(world):
    generated("leaves")
    describe("d", "from: [leaves]\ndegradations: {noise: {gaussian-noise: {sigma_255: 15}}}\n")
    with pytest.raises(DataError, match="mperceiver prepare d"):
        download("d", [])
