"""Download: every kind of source, and the faults that real ones have."""

import hashlib
import io
import json
import shutil
import subprocess
import sys
import threading
import time
import zipfile
from pathlib import Path
from urllib.parse import quote, urlsplit

import numpy as np
import pytest
import requests
import yaml
from support.datasets import describe, generated, local, nothing_in, picture, put

from mperceiver import commits, config, images, lineage, paths
from mperceiver.data import DataError
from mperceiver.data.raw.download import download_dataset
from mperceiver.data.raw.folder import folder_sha256, pictures_in
from mperceiver.files import MANIFEST, sha256


@pytest.fixture
def world(tmp_path, monkeypatch):
    """An empty working directory; its commit is made up, so that the tests run without a checkout."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(commits, "current", lambda: ("0" * 40, False))
    Path("config/datasets").mkdir(parents=True)
    return tmp_path


# ---------------------------------------------------------------- download


def test_package_is_found_without_import_and_checked(world, monkeypatch):
    for package in ("heavy_pictures", "other_pictures"):
        put(f"site/{package}/data", "a.png")
        Path(f"site/{package}/__init__.py").write_text("raise RuntimeError('imported')\n", encoding="utf-8")
    monkeypatch.syspath_prepend(str(world / "site"))
    digest = sha256("site/heavy_pictures/data/a.png")
    source = "sources:\n  - source: package\n    package: heavy_pictures\n    files: {one: data/a.png, two: 'other_pictures:data/a.png'}\n"
    describe("d", source + f"    sha256: {{one: {digest}}}\nexpected: 2\n")
    card = lineage.read_card(download_dataset("d", []))
    assert {p.name for p in pictures_in(paths.raw_folder("d"))} == {"one.png", "two.png"}
    assert card["inputs"]["package:heavy_pictures/data/a.png"] == digest
    assert card["inputs"]["package:other_pictures/data/a.png"] == digest
    assert card["outputs"] == {"data/raw/d": sha256("data/raw/d")} and card["result"]["count"] == 2
    assert lineage.verify(paths.raw_card("d")) == []

    describe("e", source + f"    sha256: {{one: {'f' * 64}}}\n")
    with pytest.raises(DataError, match=rf"heavy_pictures/data/a.png has SHA-256 {digest}, expected ffff"):
        download_dataset("e", [])
    describe("f", source.replace("heavy_pictures", "no_such_package"))
    with pytest.raises(DataError, match="no_such_package is not installed.*uv sync"):
        download_dataset("f", [])
    describe("g", source.replace("data/a.png,", "data/b.png,"))
    with pytest.raises(DataError, match="has no file data/b.png"):
        download_dataset("g", [])
    assert {p.name for p in Path("data/raw").iterdir()} == {"d", "d.json"}


def test_generated_pictures_come_of_their_own_seeds(world):
    generated("d", count=3)
    generated("e", count=3, seed=1)
    download_dataset("d", [])
    first = {p.name: p.read_bytes() for p in pictures_in(paths.raw_folder("d"))}
    assert sorted(first) == [f"dead-leaves-{i:04d}.png" for i in range(3)] and len(set(first.values())) == 3
    generated("d", count=20)  # more of them, over several processes: the first ones stay as they are
    download_dataset("d", [])
    assert {p.name: p.read_bytes() for p in pictures_in(paths.raw_folder("d"))[:3]} == first
    download_dataset("e", [])
    assert not set(first.values()) & {p.read_bytes() for p in pictures_in(paths.raw_folder("e"))}


def test_what_is_done_is_done_again_only_when_told_or_changed(world):
    generated("d")
    stamp = download_dataset("d", []).stat().st_mtime_ns
    assert download_dataset("d", []).stat().st_mtime_ns == stamp
    before = paths.raw_card("d").read_bytes()
    assert download_dataset("d", [], force=True).stat().st_mtime_ns != stamp
    assert paths.raw_card("d").read_bytes() == before  # equal work, equal card
    pictures_in(paths.raw_folder("d"))[0].unlink()
    download_dataset("d", [])
    assert len(pictures_in(paths.raw_folder("d"))) == 3


def test_mirrors_are_looked_into_in_order(world):
    one, two = put("one/set/val", "a.png", "b.png"), put("two/set/val", "a.png")
    put("one/set/val", ".hidden.png", "._a.png")
    (one / "README.md").write_text("not a picture", encoding="utf-8")
    local("d", "set/val", more="expected: 2\n")
    card = lineage.read_card(download_dataset("d", [Path("one"), Path("two")]))
    assert [p.name for p in pictures_in(paths.raw_folder("d"))] == ["a.png", "b.png"]
    assert card["inputs"]["local:set/val"] == folder_sha256(pictures_in(one))
    # An incomplete or different mirror gives way to the next one; the pictures are copies.
    download_dataset("d", [Path("two"), Path("none"), Path("one")], force=True)
    assert len(pictures_in(paths.raw_folder("d"))) == 2
    assert (one / "a.png").stat().st_ino != (paths.raw_folder("d") / "a.png").stat().st_ino
    lines = "".join(f"{hashlib.sha256((two / 'a.png').read_bytes()).hexdigest()}  {name}\n" for name in ["a.png"])
    local("e", "set/val", f"    sha256: {hashlib.sha256(lines.encode()).hexdigest()}\n")
    download_dataset("e", [Path("one"), Path("two")])
    assert len(pictures_in(paths.raw_folder("e"))) == 1
    local("f", str(two.absolute()))
    download_dataset("f", [])
    assert len(pictures_in(paths.raw_folder("f"))) == 1


def test_sources_are_tried_in_order(world, capfd):
    sources = "sources:\n  - {source: local, folder: set}\n  - {source: generated, generator: dead-leaves, count: 1, size_px: 32}\n"
    describe("d", sources)
    assert lineage.read_card(download_dataset("d", []))["result"] == {"count": 1, "source": "generated", "place": 1}
    assert "a source was skipped" in capfd.readouterr().err
    put("m/set", "a.png")
    assert lineage.read_card(download_dataset("d", [Path("m")], force=True))["result"]["source"] == "local"


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (
            "no mirror",
            r"no mirror folder is set; set MPERCEIVER_MIRROR to a folder that has `set/` with its 2 pictures",
        ),
        ("not there", r"m/set: no such folder; set MPERCEIVER_MIRROR"),
        ("count", "has 1 pictures, expected 2"),
        ("digest", "its 2 pictures have SHA-256 .*, expected fff"),
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
        download_dataset("d", [] if fault == "no mirror" else [Path("m")])
    assert "mperceiver download d" in str(caught.value) and "config/datasets/d.yaml" in str(caught.value)
    assert nothing_in("data/raw")


def own_pairs(folder: Path) -> None:
    """Two pairs in subfolders, with equal names, as people have them."""
    put(folder / "input", "0.png", "1.png", height=40)
    put(folder / "target", "1.png", "0.png", height=40)


def test_a_folder_keeps_its_subfolders(world):
    own_pairs(Path("m/my"))
    put("m/my/.thumbnails", "0.png")
    local("d", "my", "    keep_folders: true\n")
    card = lineage.read_card(download_dataset("d", [Path("m")]))
    raw, names = paths.raw_folder("d"), ["input/0.png", "input/1.png", "target/0.png", "target/1.png"]
    assert sorted(path.relative_to(raw).as_posix() for path in raw.rglob("*.png")) == names
    lines = "".join(f"{hashlib.sha256(Path('m/my', name).read_bytes()).hexdigest()}  {name}\n" for name in names)
    assert card["inputs"]["local:my"] == hashlib.sha256(lines.encode()).hexdigest() and card["result"]["count"] == 4
    local("e", "my", f"    keep_folders: true\n    sha256: {'f' * 64}\n")
    with pytest.raises(DataError, match=r"its 4 files have SHA-256 .*, expected fff"):
        download_dataset("e", [Path("m")])
    assert not paths.raw_folder("e").exists()
    local("f", "my", "    keep_folders: true\n    glob: input/*.png\n")
    download_dataset("f", [Path("m")])
    assert sorted(path.name for path in paths.raw_folder("f").rglob("*.png")) == ["0.png", "1.png"]


def test_a_folder_may_hold_archives_which_must_be_sound(world):
    own_pairs(Path("my"))
    Path("m/zips").mkdir(parents=True)
    shutil.make_archive("m/zips/my", "zip", ".", "my")
    local("d", "zips", "    keep_folders: true\n")
    download_dataset("d", [Path("m")])
    assert (paths.raw_folder("d") / "my.zip").is_file()
    Path("m/zips/my.zip").write_bytes(Path("m/zips/my.zip").read_bytes()[:-200])
    with pytest.raises(DataError, match=r"my\.zip"):
        download_dataset("d", [Path("m")], force=True)
    assert (paths.raw_folder("d") / "my.zip").is_file()  # the one before


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ("", r"its pictures are in subfolders, input/, target/; `keep_folders: true`"),
        ("    glob: '**/*.png'\n", r"two pictures are named 0\.png; narrow `glob`, or: `keep_folders: true`"),
        ("    keep_folders: true\n    glob: '*.png'\n", r"`glob` \*\.png fits none of its 4 files"),
        ("    glob: 'input/*.jpg'\n", r"`glob` input/\*\.jpg fits none of its 4 pictures \(4 in input/, target/\)"),
    ],
)
def test_subfolders_without_their_key_are_an_error_that_names_it(world, extra, message):
    own_pairs(Path("m/my"))
    local("d", "my", extra)
    with pytest.raises(DataError, match=message):
        download_dataset("d", [Path("m")])
    assert not paths.raw_folder("d").exists() and not paths.raw_card("d").exists()


def test_a_glob_that_fits_nothing_is_not_called_subfolders(world):
    put("m/my", "p0.png", "p1.png")
    local("d", "my", "    glob: '*.jpg'\n")
    with pytest.raises(DataError, match=r"my: `glob` \*\.jpg fits none of its 2 pictures \(2 there\)") as caught:
        download_dataset("d", [Path("m")])
    assert "subfolders" not in str(caught.value) and "p0.png/" not in str(caught.value)


def test_a_folder_may_be_named_from_a_home(world, monkeypatch):
    monkeypatch.setenv("HOME", str(world / "home"))
    put("home/pics", "a.png")
    local("d", "~/pics")
    download_dataset("d", [])
    assert [p.name for p in pictures_in(paths.raw_folder("d"))] == ["a.png"]
    local("e", "~nobody-of-that-name/pics")
    with pytest.raises(DataError, match="knows no such home folder"):
        download_dataset("e", [])


@pytest.mark.parametrize("keep", [True, False])
def test_linked_folders_are_followed(world, keep):
    put("m/my/input", "0.png")
    put("elsewhere", "1.png")
    Path("m/my/target").symlink_to(world / "elsewhere")
    Path("m/my/input/up").symlink_to("..")  # into itself
    local("d", "my", "    keep_folders: true\n" if keep else "    glob: '**/*.png'\n")
    download_dataset("d", [Path("m")])
    raw = paths.raw_folder("d")
    assert sorted(here("d")) == (["input/0.png", "target/1.png"] if keep else ["0.png", "1.png"])
    assert not any(path.is_symlink() for path in raw.rglob("*"))
    Path("m/my/old").symlink_to("gone")
    with pytest.raises(DataError, match=r"m/my/old: a link to gone, where there is nothing"):
        download_dataset("d", [Path("m")], force=True)


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("none", ""),
        ("count", r"2 pictures, expected 3 .*; beside them, and not counted: more/0\.png, notes\.txt"),
        ("damaged", r"d: b\.png: cannot be decoded"),
        ("name", r"'b c\.png': a picture's name may have"),
        ("stems", r"a\.jpg and a\.png have one name"),
    ],
)
def test_other_files_beside_pictures_do_not_stop_their_checks(world, fault, message):
    folder = put("m/my", "a.png", "b c.png" if fault == "name" else "b.png")
    put("m/my/more", "0.png")
    (folder / "notes.txt").write_text("of mine", encoding="utf-8")
    if fault == "damaged":
        (folder / "b.png").write_bytes((folder / "b.png").read_bytes()[:-3000])
    if fault == "stems":
        (folder / "b.png").rename(folder / "a.jpg")
    local("d", "my", "    keep_folders: true\n", f"expected: {3 if fault == 'count' else 2}\n")
    if fault == "none":
        stamp = download_dataset("d", [Path("m")]).stat().st_mtime_ns
        assert sorted(here("d")) == ["a.png", "b.png", "more/0.png", "notes.txt"]
        assert download_dataset("d", [Path("m")]).stat().st_mtime_ns == stamp
        return
    with pytest.raises(DataError, match=message):
        download_dataset("d", [Path("m")])
    assert nothing_in("data/raw")


def test_a_failed_download_leaves_the_old_one(world):
    put("m/set", "a.png")
    local("d", "set")
    before = download_dataset("d", [Path("m")]).read_bytes()
    put("m/set", "b.png")
    Path("m/set/b.png").write_bytes(b"no picture")
    with pytest.raises(DataError):
        download_dataset("d", [Path("m")], force=True)
    assert paths.raw_card("d").read_bytes() == before and lineage.verify(paths.raw_card("d")) == []


def test_a_dataset_of_pairs_has_nothing_to_download(world):
    generated("leaves")
    describe("d", "from: [leaves]\ndegradations: {noise: {gaussian-noise: {sigma_255: 15}}}\n")
    with pytest.raises(DataError, match="mperceiver prepare d"):
        download_dataset("d", [])


# ---------------------------------------------------------------- sources behind a network


@pytest.fixture
def internet(server, monkeypatch):
    """Every host is the loopback server: https://host/path is asked of it as /host/path."""
    request = requests.Session.request

    def nearer(session, method, url, **options):
        parts = urlsplit(url)
        if parts.hostname != "127.0.0.1":
            url = f"{server.url}/{parts.netloc}{parts.path}" + (f"?{parts.query}" if parts.query else "")
        return request(session, method, url, **options)

    monkeypatch.setattr(requests.Session, "request", nearer)
    return server


def png(seed: int = 0) -> bytes:
    return images.encode(picture(seed))


def zipped(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as bundle:
        for name, data in files.items():
            bundle.writestr(name, data)
    return buffer.getvalue()


def remote(name: str, *sources: dict, **more) -> None:
    describe(name, yaml.safe_dump({"sources": list(sources)} | more))


def here(name: str) -> dict[str, bytes]:
    folder = paths.raw_folder(name)
    files = (p for p in sorted(folder.rglob("*")) if p.is_file() and p.name != MANIFEST)
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in files}


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


ARCHIVE = zipped({"set/lq/a.png": png(1), "set/gt/a.png": png(2)})


def test_http_brings_archives_as_they_came(world, server):
    url = server.put("/sets/set.zip", ARCHIVE)
    remote("d", {"source": "http", "files": [{"url": url, "sha256": sha(ARCHIVE), "bytes": len(ARCHIVE)}]})
    card = lineage.read_card(download_dataset("d", []))
    assert here("d") == {"set.zip": ARCHIVE} and lineage.verify(paths.raw_card("d")) == []
    assert card["inputs"][url] == sha(ARCHIVE) and card["result"]["files"]["set.zip"]["bytes"] == len(ARCHIVE)
    assert {p.name for p in Path("data/raw").iterdir()} == {"d", "d.json", ".partial"} and nothing_in(
        "data/raw/.partial"
    )
    asked = len(server.asked)
    download_dataset("d", [])
    assert len(server.asked) == asked  # nothing is asked for twice


def test_http_brings_pictures_which_are_checked(world, server):
    files = [{"url": server.put(f"/{i}.png", png(i))} for i in range(12)]
    remote("d", {"source": "http", "files": files}, expected=12)
    assert lineage.read_card(download_dataset("d", []))["result"]["count"] == 12
    server.files["/3.png"].body = png(3)[:-2000]
    remote("e", {"source": "http", "files": files})
    with pytest.raises(DataError, match=r"e: 3\.png: cannot be decoded"):
        download_dataset("e", [])
    remote("f", {"source": "http", "files": files[:2]}, expected=3)
    with pytest.raises(DataError, match="2 pictures, expected 3"):
        download_dataset("f", [])


def test_what_the_config_says_of_a_file_may_change_without_its_coming_again(world, server):
    url = server.put("/set.zip", ARCHIVE)
    remote("d", {"source": "http", "files": [{"url": url}]})
    download_dataset("d", [])
    asked = len(server.asked)
    before = paths.raw_card("d").read_bytes()
    remote("d", {"source": "http", "files": [{"url": url}]}, citation="somebody")
    assert download_dataset("d", []).read_bytes() == before, "the citation decides nothing of the pictures"
    remote("d", {"source": "http", "files": [{"url": url, "sha256": sha(ARCHIVE)}]})
    card = lineage.read_card(download_dataset("d", []))
    assert card["spec"]["sources"][0]["files"][0]["sha256"] == sha(ARCHIVE) and here("d") == {"set.zip": ARCHIVE}
    assert len(server.asked) == asked


def test_the_digest_of_the_first_time_is_held_to(world, server):
    url = server.put("/set.zip", ARCHIVE)
    remote("d", {"source": "http", "files": [{"url": url}]})
    download_dataset("d", [])
    other = zipped({"set/lq/a.png": png(3)})
    server.put("/set.zip", other)
    with pytest.raises(
        DataError, match=f"received SHA-256 {sha(other)}, expected {sha(ARCHIVE)}.*data/raw/d.json.*--force-digest"
    ):
        download_dataset("d", [], force=True)
    assert here("d") == {"set.zip": ARCHIVE} and lineage.verify(paths.raw_card("d")) == []
    download_dataset("d", [], force_digest=True)
    assert here("d") == {"set.zip": other} and lineage.verify(paths.raw_card("d")) == []
    remote("e", {"source": "http", "files": [{"url": url, "sha256": sha(ARCHIVE)}]})
    for forced in (False, True):  # what the config says is never given up
        with pytest.raises(DataError, match=f"received SHA-256 {sha(other)}, expected {sha(ARCHIVE)}"):
            download_dataset("e", [], force_digest=forced)


def test_a_dead_source_gives_way_to_the_next(world, server, capfd):
    wrong = {"source": "http", "files": [{"url": server.put("/wrong.zip", b"no zip"), "name": "set.zip"}]}
    gone = {"source": "http", "files": [{"url": f"{server.url}/gone.zip"}]}
    page = {"source": "http", "files": [{"url": server.put("/page.zip", b"<html>log in", kind="text/html")}]}
    good = {"source": "http", "files": [{"url": server.put("/set.zip", ARCHIVE)}]}
    remote("d", gone, page, wrong, good)
    assert lineage.read_card(download_dataset("d", []))["result"]["place"] == 3
    printed = capfd.readouterr().err
    assert (
        "404" in printed
        and "sent a web page instead of the file" in printed
        and "set.zip: it is cut short or damaged" in printed
    )
    assert str(world) not in printed and ".d." not in printed
    remote("e", gone, wrong)
    with pytest.raises(
        DataError, match=r"none of the 2 source\(s\)(.|\n)*gone\.zip: the server answers 404(.|\n)*not a sound archive"
    ):
        download_dataset("e", [])
    assert not paths.raw_folder("e").exists() and not list(Path("data/raw/.partial").rglob("*.zip"))


def test_a_cut_connection_is_gone_on_with(world, server):
    big = zipped({"a.bin": np.random.default_rng(0).bytes(3_000_000)})
    url = server.put("/set.zip", big, cuts=[1_000_000] * 20)
    remote("d", {"source": "http", "files": [{"url": url}]})
    download_dataset("d", [])
    assert here("d") == {"set.zip": big} and server.sent < len(big) + 2_000_000
    server.put("/whole.zip", big, ranges=False, cuts=[1_000_000])
    remote("e", {"source": "http", "files": [{"url": f"{server.url}/whole.zip", "sha256": sha(big)}]})
    download_dataset("e", [])
    assert here("e") == {"whole.zip": big}


KILLED = """
import sys
from mperceiver import commits
from mperceiver.data.raw.download import download_dataset
commits.current = lambda: ("0" * 40, False)
print("begun", flush=True)
download_dataset("d", [])
print("done", flush=True)
"""


def test_a_killed_download_goes_on(world, server):
    big = zipped({"a.bin": np.random.default_rng(0).bytes(4_000_000)})
    url = server.put("/set.zip", big, slow=threading.Event())
    remote("d", {"source": "http", "files": [{"url": url}]})
    running = subprocess.Popen([sys.executable, "-c", KILLED], stdout=subprocess.PIPE)
    part = None
    for _ in range(3000):
        part = next(Path("data/raw/.partial").rglob("*.part"), None)
        if part and part.stat().st_size >= 1_000_000:
            break
        time.sleep(0.01)
    running.kill()
    running.communicate()
    half = part.stat().st_size
    assert 0 < half < len(big) and not paths.raw_folder("d").exists() and not paths.raw_card("d").exists()
    server.files["/set.zip"].slow.set()
    server.files["/set.zip"].slow = None
    download_dataset("d", [])
    assert here("d") == {"set.zip": big} and server.gets("/set.zip")[-1]["Range"] == f"bytes={half}-"


def test_two_jobs_bring_a_file_once(world, server):
    gate = threading.Event()
    url = server.put("/set.zip", ARCHIVE, slow=gate)
    remote("d", {"source": "http", "files": [{"url": url}]})
    jobs = [subprocess.Popen([sys.executable, "-c", KILLED], stdout=subprocess.PIPE, text=True) for _ in range(2)]
    for job in jobs:
        assert job.stdout.readline() == "begun\n"
    time.sleep(0.3)
    gate.set()
    assert [job.communicate(timeout=60)[0] for job in jobs] == ["done\n"] * 2 and {job.returncode for job in jobs} == {
        0
    }
    assert len(server.gets("/set.zip")) == 1 and here("d") == {"set.zip": ARCHIVE}


def test_a_copy_that_is_nearer_is_taken(world, server):
    url = server.put("/set.zip", ARCHIVE)
    remote("d", {"source": "http", "files": [{"url": url, "sha256": sha(ARCHIVE)}]})
    for folder, content in (("bad", b"half"), ("good", ARCHIVE)):
        Path(folder, "d").mkdir(parents=True)
        Path(folder, "d/set.zip").write_bytes(content)
    download_dataset("d", [Path("bad"), Path("good")])
    assert here("d") == {"set.zip": ARCHIVE} and not server.asked
    assert not paths.raw_folder("d").joinpath("set.zip").samefile("good/d/set.zip")


def test_the_hub_is_listed_at_a_revision(world, server, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", server.url)
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    files = {"train/lq/a b.png": png(1), "train/gt/a.png": png(2), "README.md": b"text"}
    tree = [
        {"type": "directory", "path": "train", "oid": "0" * 40, "size": 0},
        *({"type": "file", "path": path, "size": len(data), "oid": "0" * 40} for path, data in files.items()),
    ]
    tree[1] |= {"lfs": {"oid": sha(png(1)), "size": len(png(1)), "pointerSize": 130}}
    server.put(
        "/api/datasets/some/set/tree/main?recursive=true",
        json.dumps(tree).encode(),
        kind="application/json",
    )
    for path, data in files.items():
        server.put(f"/datasets/some/set/resolve/main/{quote(path)}", data)
    remote("d", {"source": "huggingface", "repo": "some/set", "files": ["train/**"], "count": 2})
    card = lineage.read_card(download_dataset("d", []))
    assert here("d") == {"train/gt/a.png": png(2), "train/lq/a b.png": png(1)}
    assert "huggingface:some/set@main" in card["inputs"] and "hf_secret" not in paths.raw_card("d").read_text(
        encoding="utf-8"
    )
    requests_headers = [{key.lower(): value for key, value in headers.items()} for _, _, headers in server.asked]
    assert [headers.get("authorization") for headers in requests_headers] == ["Bearer hf_secret"] * 3
    server.put("/datasets/some/set/resolve/main/train/lq/a%20b.png", png(3))
    remote("e", {"source": "huggingface", "repo": "some/set", "files": ["train/lq/*"]})
    with pytest.raises(DataError, match=rf"(received SHA-256 {sha(png(3))}|offers \d+ bytes), expected"):
        download_dataset("e", [])
    remote("f", {"source": "huggingface", "repo": "some/set", "files": ["test/**"]})
    with pytest.raises(DataError, match=r"some/set@main on the Hugging Face hub: none of its 3 files fits test/\*\*"):
        download_dataset("f", [])
    remote("g", {"source": "huggingface", "repo": "some/other"})
    with pytest.raises(
        DataError, match=r"some/other@main on the Hugging Face hub: cannot be listed: the hub answers 404"
    ):
        download_dataset("g", [])


def test_a_long_listing_comes_in_pages(world, server, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", server.url)
    url = "/api/datasets/some/set/tree/main?recursive=true"
    pages = [[{"type": "file", "path": f"{page}-{i}.png", "size": len(png(i))} for i in range(8)] for page in range(2)]
    link = {"Link": f'<{server.url}{url}&cursor=x>; rel="next"'}
    server.put(url, json.dumps(pages[0]).encode(), kind="application/json", extra=link)
    server.put(f"{url}&cursor=x", json.dumps(pages[1]).encode(), kind="application/json")
    for entry in pages[0] + pages[1]:
        server.put(f"/datasets/some/set/resolve/main/{entry['path']}", png(int(entry["path"][2])))
    remote("d", {"source": "huggingface", "repo": "some/set"}, expected=16)
    download_dataset("d", [])
    assert len(here("d")) == 16


def test_half_a_file_survives_a_change_of_its_config(world, server, monkeypatch):
    big = zipped({"a.bin": np.random.default_rng(0).bytes(3_000_000)})
    url = server.put("/set.zip", big, cuts=[1_500_000] + [0] * 20)
    remote("d", {"source": "http", "files": [{"url": url}]})
    with pytest.raises(DataError, match=r"bytes are kept in data/raw/\.partial/d/"):
        download_dataset("d", [])
    server.files["/set.zip"].cuts.clear()
    remote("d", {"source": "http", "files": [{"url": url, "bytes": len(big)}]}, citation="somebody")
    download_dataset("d", [])
    assert here("d") == {"set.zip": big} and server.sent == len(big)


def test_github_gives_files_at_a_commit(world, internet):
    commit = "a" * 40
    raw = f"/raw.githubusercontent.com/some/set/{commit}"
    pictures = {f"testsets/S/{i}.png": png(i) for i in range(3)}
    tree = {
        "tree": [{"path": p, "type": "blob", "size": len(d)} for p, d in (pictures | {"a.py": b"x"}).items()],
        "truncated": False,
    }
    listing = f"/api.github.com/repos/some/set/git/trees/{commit}?recursive=1"
    internet.put(listing, json.dumps(tree).encode())
    for path, data in pictures.items():
        internet.put(f"{raw}/{path}", data)
    source = {"source": "github", "repo": "some/set", "commit": commit, "root": "testsets/S"}
    remote("d", source | {"files": ["*.png"], "count": 3}, expected=3)
    download_dataset("d", [])
    assert here("d") == {f"{i}.png": png(i) for i in range(3)}
    asked = len(internet.asked)
    remote("e", source | {"files": ["0.png", "2.png"], "sha256": {"2.png": sha(png(2))}})  # no listing needed
    download_dataset("e", [])
    assert sorted(here("e")) == ["0.png", "2.png"] and len(internet.asked) == asked + 2
    internet.put(f"/codeload.github.com/some/set/zip/{commit}", ARCHIVE)
    remote("f", {"source": "github", "repo": "some/set", "commit": commit})
    download_dataset("f", [])
    assert here("f") == {f"set-{commit}.zip": ARCHIVE}
    internet.put(f"/media.githubusercontent.com/media/some/set/{commit}/testsets/S/1.png", png(9))
    remote("g", source | {"files": ["1.png"], "lfs": True})
    download_dataset("g", [])
    assert here("g") == {"1.png": png(9)}
    remote("h", source | {"files": ["*.png"], "count": 4})
    with pytest.raises(DataError, match=r"3 files fit \*\.png, expected 4"):
        download_dataset("h", [])
    internet.put(listing, json.dumps(tree | {"truncated": True}).encode())
    with pytest.raises(DataError, match="too many files for GitHub to list"):
        download_dataset("h", [])


DRIVE = "/drive.usercontent.google.com/download"
ID = "1" * 33
SCAN = (
    '<html><form id="download-form" action="https://drive.usercontent.google.com/download" method="get">'
    f'<input type="hidden" name="id" value="{ID}"><input type="hidden" name="confirm" value="t">'
    '<input type="hidden" name="uuid" value="u-1"></form></html>'
)


def drive(name: str) -> str:
    remote(name, {"source": "gdrive", "files": [{"id": ID, "name": "set.zip"}]})
    return f"{DRIVE}?id={ID}&export=download&confirm=t"


def test_drive_gives_a_file_at_once_or_behind_its_scan_page(world, internet):
    url = drive("d")
    internet.put(url, ARCHIVE)
    card = lineage.read_card(download_dataset("d", []))
    assert here("d") == {"set.zip": ARCHIVE} and card["inputs"][f"gdrive:{ID}"] == sha(ARCHIVE)
    internet.put(drive("e"), SCAN.encode(), kind="text/html; charset=utf-8")
    internet.put(f"{DRIVE}?id={ID}&confirm=t&uuid=u-1", ARCHIVE)
    download_dataset("e", [])
    assert here("e") == {"set.zip": ARCHIVE}


@pytest.mark.parametrize(
    ("page", "status", "message"),
    [
        (
            '<p class="uc-error-subcaption">Too many users have viewed or downloaded this file recently.</p>',
            200,
            "quota is used up",
        ),
        ("<title>Google Drive - Quota exceeded</title>", 403, "quota is used up"),
        ("<title>Sign in</title>", 403, "needs a login"),
        ("<title>Not Found</title>", 404, "does not exist, or no longer"),
        (
            "<html><style>p</style><p>Something &amp; new</p></html>",
            200,
            "with a page instead of the file: 'Something & new'",
        ),
    ],
)
def test_the_pages_of_drive_are_told_and_not_kept(world, internet, page, status, message):
    internet.put(drive("d"), page.encode(), status=status, kind="text/html")
    with pytest.raises(DataError, match=f"gdrive: file {ID} on Google Drive: .*{message}"):
        download_dataset("d", [])
    assert not paths.raw_folder("d").exists() and not list(Path("data/raw").rglob("set.zip*"))
    Path("data/manual/d").mkdir(parents=True)  # brought by hand from a browser
    Path("data/manual/d/set.zip").write_bytes(ARCHIVE)
    download_dataset("d", [])
    assert here("d") == {"set.zip": ARCHIVE}


def test_a_folder_of_drive_is_listed(world, internet):
    folder, inner, one, two = ("F" * 33, "G" * 33, "A" * 33, "B" * 33)

    def page(title: str, *links: str) -> bytes:
        return f"<html><title>{title}</title>{''.join(links)}</html>".encode()

    def link(file_id: str, name: str) -> str:
        return f'<a href="https://drive.google.com/file/d/{file_id}/view?usp=drive_web">{name}</a>'

    view = "/drive.google.com/embeddedfolderview?id="
    deeper = f'<a href="https://drive.google.com/drive/folders/{inner}">test</a>'
    internet.put(view + folder, page("set", link(one, "train.zip"), deeper), kind="text/html")
    internet.put(view + inner, page("test", link(two, "a.zip"), link(two, "notes.txt")), kind="text/html")
    internet.put(f"{DRIVE}?id={two}&export=download&confirm=t", ARCHIVE)
    remote("d", {"source": "gdrive", "folder": folder, "wanted": ["test/*.zip"], "count": 1})
    download_dataset("d", [])
    assert here("d") == {"test/a.zip": ARCHIVE}
    remote("e", {"source": "gdrive", "folder": folder, "wanted": ["**/*.zip"], "count": 3})
    with pytest.raises(DataError, match=r"2 files fit .*, expected 3"):
        download_dataset("e", [])
    remote("f", {"source": "gdrive", "folder": "N" * 33})
    with pytest.raises(DataError, match="cannot be listed: .*404"):
        download_dataset("f", [])


def test_what_a_person_has_to_bring_is_told_until_it_is_there(world, server):
    source = {
        "source": "manual",
        "page": "https://example.org/form",
        "terms": "research only",
        "how": "code: abcd",
        "files": [{"name": "set.zip", "sha256": sha(ARCHIVE), "bytes": len(ARCHIVE)}, {"name": "list.txt"}],
    }
    remote("d", source)
    with pytest.raises(DataError) as caught:
        download_dataset("d", [])
    for words in (
        "missing: set.zip",
        f"{len(ARCHIVE)} bytes",
        "https://example.org/form (code: abcd)",
        "terms   research only",
        "into    data/manual/d/",
        "then    mperceiver download d",
    ):
        assert words in str(caught.value)
    Path("data/manual/d").mkdir(parents=True)
    Path("data/manual/d/set.zip").write_bytes(ARCHIVE[:-1])
    Path("lab/d").mkdir(parents=True)
    Path("lab/d/list.txt").write_text("a\n", encoding="utf-8")
    with pytest.raises(
        DataError, match=rf"data/manual/d/set.zip has {len(ARCHIVE) - 1} bytes .* expected {len(ARCHIVE)} bytes"
    ):
        download_dataset("d", [Path("lab")])
    Path("data/manual/d/set.zip").write_bytes(ARCHIVE)
    download_dataset("d", [Path("lab")])
    assert here("d") == {"list.txt": b"a\n", "set.zip": ARCHIVE} and Path("data/manual/d/set.zip").is_file()


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ({"source": "http", "files": [{"url": "ftp://host/a.zip"}]}, "not an http or https URL"),
        ({"source": "http", "files": [{"url": "http://me:word@host/a.zip"}]}, "not an http or https URL"),
        ({"source": "http", "files": [{"url": "http://host/"}]}, "not a safe relative path"),
        ({"source": "http", "files": [{"url": "http://host/%2e%2e"}]}, "not a safe relative path"),
        ({"source": "http", "files": [{"url": "http://host/a", "name": "../a"}]}, "not a safe relative path"),
        ({"source": "http", "files": [{"url": "http://host/a", "name": "/a"}]}, "not a safe relative path"),
        ({"source": "http", "files": [{"url": "http://h/a"}, {"url": "http://h/A"}]}, "two files are named A"),
        ({"source": "http", "files": []}, "at least 1 item"),
        ({"source": "http", "files": [{"url": "http://h/a", "sha256": "abc"}]}, "should match pattern"),
        ({"source": "huggingface", "repo": "a/../b"}, "should match pattern"),
        ({"source": "huggingface", "repo": "a/b", "files": ["../*"]}, "not a safe relative path"),
        ({"source": "github", "repo": "a/b", "commit": "main"}, "should match pattern"),
        ({"source": "gdrive"}, "give either `files` or `folder`"),
        ({"source": "gdrive", "folder": "1" * 33, "names": ["*"]}, "unknown key"),
        ({"source": "baidu"}, "does not match any of the expected tags"),
        ({"source": "local", "folder": "a", "glob": "/abs/*.png"}, "a glob is relative to the folder"),
        ({"source": "local", "folder": "a", "glob": "**.png"}, r"`\*\*` is a whole part of a path"),
        ({"source": "local", "folder": "a", "glob": "../*"}, "not a safe relative path"),
    ],
)
def test_what_is_no_source_is_refused(world, source, message):
    remote("d", source)
    with pytest.raises(config.ConfigError, match=message):
        download_dataset("d", [])
