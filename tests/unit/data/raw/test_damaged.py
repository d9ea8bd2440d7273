"""What was received damaged is received again by the next call; what cannot be had leads to the next source, and to a way by hand."""

import bz2
import gzip
import io
import lzma
import re
import tarfile
import time
import zipfile
from pathlib import Path

import pytest
from support.datasets import describe, picture

from mperceiver import commits, images, paths
from mperceiver.data import DataError
from mperceiver.data.raw.download import download_dataset
from mperceiver.data.raw.sources import drive


@pytest.fixture(autouse=True)
def world(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(commits, "current", lambda: ("0" * 40, False))
    Path("config/datasets").mkdir(parents=True)
    return tmp_path


PNG = images.encode(picture(1))


def tar() -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as bundle:
        for i in range(3):
            info = tarfile.TarInfo(f"{i}.png")
            info.size = len(PNG)
            bundle.addfile(info, io.BytesIO(PNG))
    return out.getvalue()


def zipped() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as bundle:
        bundle.writestr("a.png", PNG)
    return out.getvalue()


def flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 0xFF]) + data[at + 1 :]


SOUND = {
    "a.tar.bz2": bz2.compress(tar()),
    "b.tar.xz": lzma.compress(tar()),
    "c.tar.gz": gzip.compress(tar()),
    "d.tar": tar(),
    "e.zip": zipped(),
    "f.png": PNG,
    "g.7z": b"",
}


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize("name", [name for name in SOUND if name != "g.7z"])
def test_a_damaged_download_is_fetched_again(server, name, force):
    sound = SOUND[name]
    url = server.put(
        f"/{name}", flipped(sound, 20) if name.endswith(("zip", "tar")) else flipped(sound, len(sound) // 2)
    )
    if name == "e.zip":
        server.put(f"/{name}", sound[: len(sound) // 2])
    describe("d", f'sources:\n  - source: http\n    files: [{{url: "{url}"}}]\n')
    with pytest.raises(DataError, match=name):
        download_dataset("d", [])
    server.put(f"/{name}", sound)
    download_dataset("d", [], force=force)
    assert (paths.raw_folder("d") / name).read_bytes() == sound


def test_force_fetches_what_another_failure_left(server):
    """The second file fails; the first, complete and without a digest, is kept, but not when all is to come again."""
    urls = [server.put("/a.zip", zipped()), server.put("/b.zip", zipped(), status=404)]
    describe("d", "sources:\n  - source: http\n    files: [" + ", ".join(f'{{url: "{url}"}}' for url in urls) + "]\n")
    for force, asked in ((False, 1), (False, 1), (True, 2)):
        with pytest.raises(DataError, match="answers 404"):
            download_dataset("d", [], force=force)
        assert len(server.gets("/a.zip")) == asked


def test_a_file_whose_digest_is_known_is_not_fetched_again_for_another_fault(server):
    from hashlib import sha256

    url = server.put("/a.png", PNG)
    text = f'sources:\n  - source: http\n    files: [{{url: "{url}", sha256: {sha256(PNG).hexdigest()}}}]\n'
    describe("d", text + "expected: 2\n")
    with pytest.raises(DataError, match="1 pictures, expected 2"):
        download_dataset("d", [])
    describe("d", text)
    download_dataset("d", [])
    assert len(server.gets("/a.png")) == 1


@pytest.mark.parametrize(
    "head",
    [{"Content-Length": "abc"}, {"Content-Encoding": "gzip"}, {"Content-Encoding": "zstd"}, {"Content-Length": "1, 2"}],
)
def test_an_odd_server_leads_to_the_next_source(server, head, capfd):
    odd = server.put("/a.png", PNG, extra=head, length="Content-Length" not in head)
    sound = server.put("/b/a.png", PNG)
    describe(
        "d",
        "".join(
            f'{"sources:" if i == 0 else ""}\n  - source: http\n    files: [{{url: "{u}"}}]'
            for i, u in enumerate((odd, sound))
        )
        + "\n",
    )
    download_dataset("d", [])
    assert "a source was skipped" in capfd.readouterr().err and (paths.raw_folder("d") / "a.png").read_bytes() == PNG


def test_a_dead_address_says_where_files_may_be_put(server):
    describe("d", 'sources:\n  - source: http\n    files: [{url: "http://127.0.0.1:1/set.zip"}]\n')
    started = time.monotonic()
    with pytest.raises(DataError, match=r"taken from data/manual/d/: set\.zip\.\nThen run again"):
        download_dataset("d", [])
    assert time.monotonic() - started < 10
    Path("data/manual/d").mkdir(parents=True)
    Path("data/manual/d/set.zip").write_bytes(zipped())
    download_dataset("d", [])


@pytest.mark.parametrize(
    ("page", "words"),
    [
        (
            "<title>Google Drive - Quota exceeded</title><p>Too many users have viewed or downloaded this file recently.",
            "daily quota",
        ),
        (
            "<html>Sorry, you can't view or download this file at this time.",
            "with a page instead of the file: .Sorry, you can't",
        ),
        ("<html>\x1b[31mred \x07" + "x" * 10_000, "with a page instead of the file"),
    ],
)
def test_a_page_of_drive_is_told_and_never_kept(server, monkeypatch, page, words):
    monkeypatch.setattr(drive, "DOWNLOAD", server.url + "/download")
    identity = "1fQhdGTGeUjH4FoG3bD-W_LiRq0gOhLeu"
    server.put(f"/download?id={identity}&export=download&confirm=t", page.encode(), kind="text/html; charset=utf-8")
    describe("d", f"sources:\n  - source: gdrive\n    files: [{{id: {identity}, name: set.zip}}]\n")
    with pytest.raises(DataError, match=words) as caught:
        download_dataset("d", [])
    assert "data/manual/d/: set.zip" in str(caught.value) and not re.search("[\x00-\x09\x0b-\x1f]", str(caught.value))
    assert len(str(caught.value)) < 1200 and not paths.raw_folder("d").exists()
