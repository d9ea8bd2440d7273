"""A full disk is named, not a file that was being read; how much is free there is said."""

import errno
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from support import PROJECT

from mperceiver import disks, files, images

FULL = "No space left on device"


def raising(error: Exception, path: Path, write=files.atomic_file) -> OSError:
    with pytest.raises(disks.DiskFullError) as raised, write(path):
        raise error
    assert not list(path.parent.glob(".*"))
    return raised.value


@pytest.mark.parametrize("write", [files.atomic_file, files.atomic_folder])
@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, FULL),
        OSError(errno.EDQUOT, "Disk quota exceeded"),
        OSError(errno.ENOSPC, FULL, "source.png", None, "target.png"),  # as shutil.copyfile says it
        OSError(errno.ENOSPC, FULL, "source.png"),
        RuntimeError("I/O error: No space left on device (os error 28)"),  # as safetensors says it
    ],
)
def test_what_was_to_be_written_is_named(tmp_path, monkeypatch, error, write):
    monkeypatch.chdir(tmp_path)
    full = raising(error, tmp_path / "out", write)
    assert full.errno == (error.errno if isinstance(error, OSError) else errno.ENOSPC)
    assert full.filename == str(tmp_path / "out") and str(full).startswith(f"{tmp_path / 'out'}: ")
    mount = tmp_path
    while not mount.is_mount():
        mount = mount.parent
    total = shutil.disk_usage(mount).total
    assert f"{mount} has " in str(full) and f" of {total / 1e9:.1f} GB free" in str(full)
    assert ("quota" in str(full)) == (full.errno == errno.EDQUOT)


def test_a_file_inside_a_new_folder_is_named_by_its_place(tmp_path):
    """The temporary folder is gone when somebody reads the error."""
    with pytest.raises(disks.DiskFullError) as raised, files.atomic_folder(tmp_path / "site") as folder:
        with files.atomic_file(folder / "pages/a.html"):
            raise OSError(errno.ENOSPC, FULL)
    assert raised.value.filename == str(tmp_path / "site/pages/a.html")
    assert str(raised.value).startswith(f"{tmp_path}/site/pages/a.html: the disk is full: ")
    assert list(tmp_path.iterdir()) == []


def test_a_file_on_another_disk_is_named(tmp_path):
    if not Path("/dev/shm").is_dir() or os.stat("/dev/shm").st_dev == tmp_path.stat().st_dev:
        pytest.skip("one disk only")
    full = raising(OSError(errno.ENOSPC, FULL, "/dev/shm/extracted/a.png"), tmp_path / "out")
    assert str(full).startswith("/dev/shm/extracted/a.png: the disk is full: /dev/shm has ")


def test_other_errors_stay_as_they_are(tmp_path):
    for error in (OSError(errno.EACCES, "Permission denied", "x"), ValueError("28")):
        with pytest.raises(type(error)) as raised, files.atomic_file(tmp_path / "out"):
            raise error
        assert raised.value is error


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 64 kB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)]
    if os.getuid() != 0 or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("only root can make a small disk")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize("verb", ["restore", "download"])
def test_on_a_small_disk(small_disk, tmp_path, verb):
    picture = images.encode(np.random.default_rng(0).integers(0, 256, (200, 200, 3), dtype=np.uint8))
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos/a.png").write_bytes(picture)
    for name, text in {
        "methods/input": "title: t\nkind: identity\n",
        "datasets/photos": f"title: t\nlicence: l\nsources: [{{source: local, folder: {tmp_path}/photos}}]\n",
    }.items():
        (tmp_path / f"config/{name}.yaml").parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / f"config/{name}.yaml").write_text(text, encoding="utf-8")
    (tmp_path / "data").symlink_to(small_disk)
    words = {"restore": ["restore", "input", "photos/a.png", "data/b.png"], "download": ["download", "photos"]}[verb]
    done = subprocess.run(
        [sys.executable, "-m", "mperceiver.cli", *words],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(PROJECT)},
        capture_output=True,
        encoding="utf-8",
    )
    place = {"restore": "data/b.png", "download": "data/raw/photos"}[verb]
    assert done.returncode == 1 and "Traceback" not in done.stderr
    said = done.stderr.replace("\n", "")
    found = re.search(rf"{place}: the disk is full: {small_disk} has (\d\.\d\d) MB of 0\.07 MB free", said)
    assert found and float(found[1]) <= 0.06, done.stderr
    assert "photos/a.png: the disk" not in done.stderr
    assert [p for p in small_disk.rglob("*") if p.is_file()] == []
