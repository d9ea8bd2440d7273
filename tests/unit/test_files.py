"""Files: atomic writes, SHA-256, the checksum cache, locks."""

import errno
import fcntl
import os
import re
import shutil
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support import PROJECT

from mperceiver import files


@pytest.fixture
def world(tmp_path, monkeypatch):
    """An empty working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def listing(folder: Path | str = ".") -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in Path(folder).rglob("*"))


def environment() -> dict[str, str]:
    """For a process outside this checkout that imports the package."""
    return os.environ | {"PYTHONPATH": str(PROJECT)}


# ---------------------------------------------------------------- atomic writes


def test_a_whole_file_takes_its_place_at_the_end(world):
    with files.atomic_file("new/folder/a.csv") as temporary:
        temporary.write_text("all of it", encoding="utf-8")
        assert temporary.parent == world / "new/folder" and temporary.suffix == ".csv"
        assert not Path("new/folder/a.csv").exists()
    assert listing() == ["new", "new/folder", "new/folder/a.csv"]
    assert Path("new/folder/a.csv").read_text(encoding="utf-8") == "all of it"
    Path("plain").write_text("", encoding="utf-8")
    assert Path("new/folder/a.csv").stat().st_mode == Path("plain").stat().st_mode  # readable by whom the umask says


def test_an_error_midway_leaves_the_old_file(world):
    files.write_text("a", "old")
    with pytest.raises(ZeroDivisionError), files.atomic_file("a") as temporary:
        temporary.write_text("half", encoding="utf-8")
        raise ZeroDivisionError
    with pytest.raises(KeyboardInterrupt), files.atomic_file("b") as temporary:
        temporary.write_text("half", encoding="utf-8")
        raise KeyboardInterrupt
    assert listing() == ["a"] and Path("a").read_text(encoding="utf-8") == "old"


def test_a_folder_takes_its_place_at_the_end(world):
    for text in ("old", "new"):
        with files.atomic_folder("results/folder") as temporary:
            (temporary / "inside").mkdir()
            (temporary / f"inside/{text}").write_text(text, encoding="utf-8")
            assert text == "old" or Path("results/folder/inside/old").is_file()  # the old one stands until the end
    assert listing() == ["results", "results/folder", "results/folder/inside", "results/folder/inside/new"]
    Path("plain").mkdir()
    assert Path("results/folder").stat().st_mode == Path("plain").stat().st_mode


def test_an_error_midway_leaves_the_old_folder(world):
    with files.atomic_folder("folder") as temporary:
        (temporary / "a").write_text("old", encoding="utf-8")
    with pytest.raises(ZeroDivisionError), files.atomic_folder("folder") as temporary:
        (temporary / "a").write_text("half", encoding="utf-8")
        (temporary / "b").write_text("half", encoding="utf-8")
        raise ZeroDivisionError
    assert listing() == ["folder", "folder/a"] and Path("folder/a").read_text(encoding="utf-8") == "old"


@pytest.mark.parametrize("old", [False, True])
def test_a_killed_process_leaves_nothing_half_written(world, old):
    folder = Path("out")
    if old:
        files.write_text(folder / "file", "old")
        with files.atomic_folder(folder / "folder") as temporary:
            (temporary / "a").write_text("old", encoding="utf-8")
    before = files.sha256(folder) if old else None
    program = (
        "import sys, time; from mperceiver.files import atomic_file, atomic_folder\n"
        "with atomic_file('out/file') as file, atomic_folder('out/folder') as folder:\n"
        "    file.write_text('half'); (folder / 'a').write_text('half')\n"
        "    print('now', flush=True); time.sleep(60)"
    )
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, env=environment())
    assert process.stdout.readline() == "now\n"
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    names = {path.name for path in folder.iterdir() if not path.name.startswith(".")}
    assert names == ({"file", "folder"} if old else set())
    if old:
        assert (
            (folder / "file").read_text(encoding="utf-8") == (folder / "folder/a").read_text(encoding="utf-8") == "old"
        )
        assert files.sha256(folder) == before  # what it left behind is hidden, and counts for nothing


@pytest.fixture
def full_disk(world, monkeypatch):
    """A folder with room for 64 KiB; where that cannot be mounted, one whose files cannot be flushed."""
    folder = world / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)]
    mounted = shutil.which("mount") and subprocess.run(mount, capture_output=True).returncode == 0
    if not mounted:

        def fsync(_):
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(files.os, "fsync", fsync)
    yield folder
    if mounted:
        subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_leaves_the_old_file(full_disk):
    (full_disk / "a").write_text("old", encoding="utf-8")
    with pytest.raises(OSError, match="the disk is full") as caught, files.atomic_file(full_disk / "a") as temporary:
        temporary.write_bytes(bytes(200_000))
    assert caught.value.errno == errno.ENOSPC
    assert listing(full_disk) == ["a"] and (full_disk / "a").read_text(encoding="utf-8") == "old"


@pytest.mark.parametrize("write", [files.atomic_file, files.atomic_folder])
def test_an_error_names_what_was_to_be_written(world, monkeypatch, write):
    """When it is made, where what is inside of it cannot be written, and when it takes its place; never the temporary name."""
    refusal = OSError(errno.EROFS, os.strerror(errno.EROFS))

    def refuse(*arguments, **_):
        raise OSError(refusal.errno, refusal.strerror, str(arguments[0]), None, *map(str, arguments[1:2]))

    with pytest.raises(OSError) as caught, write("out") as beside:
        (beside / "a" if beside.is_dir() else beside).write_bytes(b"x")
        refuse(beside)
    assert (caught.value.filename, caught.value.filename2) == ("out", None)
    with pytest.raises(OSError) as caught, write("out") as beside:
        refuse("source.png", beside)
    assert (caught.value.filename, caught.value.filename2) == ("source.png", "out")
    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", refuse)
        with pytest.raises(OSError) as caught, write("out"):
            pass
    assert (caught.value.filename, caught.value.filename2) == ("out", None)
    with monkeypatch.context() as patch:
        patch.setattr(files.temporary.os, "open", refuse)
        patch.setattr(Path, "mkdir", lambda path, **options: options or refuse(path))
        with pytest.raises(OSError) as caught, write("out"):
            pass
    assert caught.value.filename == "out"
    assert listing() == []


def test_a_folder_where_a_file_is_to_be_written(world):
    Path("out/dir.png").mkdir(parents=True)
    with pytest.raises(IsADirectoryError, match=r"Is a directory: 'out/dir.png'$"):
        files.write_text("out/dir.png", "x")
    assert listing() == ["out", "out/dir.png"]


# ---------------------------------------------------------------- hashes


def test_hash_of_a_file(world):
    Path("a").write_bytes(b"abc")
    assert files.sha256("a") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_hash_of_a_folder_is_that_of_sha256sum(world):
    for name, text in (("folder/b/c", "1"), ("folder/a", "2")):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text(text, encoding="utf-8")
    lines = f"{files.sha256('folder/a')}  a\n{files.sha256('folder/b/c')}  b/c\n"
    Path("lines").write_text(lines, encoding="utf-8")
    assert files.sha256("folder") == files.sha256("lines")


def test_hash_of_a_folder_tells_bytes_and_names_but_not_hidden_things(world):
    folder = Path("folder")
    folder.mkdir()
    (folder / "a").write_text("1", encoding="utf-8")
    before = files.sha256(folder)
    (folder / ".snakemake_timestamp").write_text("now", encoding="utf-8")
    (folder / ".cache").mkdir()
    (folder / ".cache/b").write_text("2", encoding="utf-8")
    assert files.sha256(folder) == before
    assert files.sha256(folder.absolute()) == before
    (folder / "a").rename(folder / "b")
    renamed = files.sha256(folder)
    (folder / "b").write_text("2", encoding="utf-8")
    assert len({before, renamed, files.sha256(folder)}) == 3


def test_a_working_directory_may_lie_in_a_hidden_folder(world):
    folder = Path(".hidden/folder")
    folder.mkdir(parents=True)
    (folder / "a").write_text("1", encoding="utf-8")
    before = files.sha256(folder)
    (folder / "a").write_text("2", encoding="utf-8")
    assert files.sha256(folder) != before


# ---------------------------------------------------------------- checksum cache


@pytest.fixture
def hashed(monkeypatch) -> list[str]:
    """Names of the files that were hashed, in order."""
    names = []
    sha256 = files.sha256
    monkeypatch.setattr(files, "sha256", lambda path: names.append(Path(path).name) or sha256(path))
    return names


@pytest.fixture
def folder(world) -> Path:
    """A folder with two files whose checksums are cached."""
    folder = world / "weights"
    for name in ("a", "b"):
        files.write_text(folder / name, name)
    entries = {name: {"sha256": files.sha256(folder / name)} for name in ("a", "b")}
    files.write_checksum_cache(folder, entries | {"gone": {"sha256": "0" * 64}})
    return folder


def checksums(folder: Path) -> dict[str, str]:
    return {path: entry["sha256"] for path, entry in files.read_checksum_cache(folder).items()}


def test_a_file_is_hashed_only_if_its_size_or_time_changed(folder, hashed):
    wanted = checksums(folder)
    assert list(wanted) == ["a", "b"], "a file that is not there has no entry"
    files.verify_checksums(folder, wanted, "again")
    assert hashed == []
    os.utime(folder / "b", (1, 1))
    files.verify_checksums(folder, wanted, "again")
    files.verify_checksums(folder, wanted, "again")
    assert hashed == ["b"]


def test_one_file_is_checked_without_forgetting_the_others(folder, hashed):
    """Each stage of a run checks its own weights; the stages share a cache."""
    wanted = checksums(folder)
    os.utime(folder / "a", (1, 1))
    os.utime(folder / "b", (1, 1))
    files.verify_checksums(folder, {"a": wanted["a"]}, "again")
    files.verify_checksums(folder, {"b": wanted["b"]}, "again")
    files.verify_checksums(folder, wanted, "again")
    assert hashed == ["a", "b"]


def test_a_cached_checksum_that_is_not_the_expected_one_does_not_count(folder, hashed):
    with pytest.raises(files.ChecksumError, match=r"weights/b: its SHA-256 is .*, its card says 0{64}; again$"):
        files.verify_checksums(folder, checksums(folder) | {"b": "0" * 64}, "again")
    assert hashed == ["b"]


def test_a_changed_or_missing_file_is_named_with_the_command(folder):
    wanted = checksums(folder)
    (folder / "a").write_text("c", encoding="utf-8")
    with pytest.raises(files.ChecksumError, match=r"weights/a: .*Stage it again: mperceiver foundation x"):
        files.verify_checksums(folder, wanted, files.staged_again("mperceiver foundation x"))
    (folder / "a").unlink()
    with pytest.raises(files.ChecksumError, match=r"weights/a: the file is missing"):
        files.verify_checksums(folder, wanted, "again")


def test_what_else_is_cached_is_kept(folder):
    wanted = checksums(folder)
    files.write_checksum_cache(folder, {path: {"sha256": digest, "from": "hub"} for path, digest in wanted.items()})
    os.utime(folder / "a", (1, 1))
    files.verify_checksums(folder, wanted, "again")
    assert {entry["from"] for entry in files.read_checksum_cache(folder).values()} == {"hub"}


@pytest.mark.parametrize("text", ["", "[]", "3", '{"a": 1}', "\xff"])
def test_a_damaged_cache_is_none(folder, hashed, text):
    wanted = checksums(folder)
    (folder / files.CHECKSUM_CACHE).write_bytes(text.encode("latin-1"))
    assert files.read_checksum_cache(folder) == {}
    files.verify_checksums(folder, wanted, "again")
    assert hashed == ["a", "b"] and checksums(folder) == wanted


def test_a_folder_that_cannot_be_written_is_hashed_each_time(folder, hashed, monkeypatch):
    wanted = checksums(folder)
    os.utime(folder / "a", (1, 1))

    def refuse(*_):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(files, "write_json", refuse)
    for _ in range(2):
        files.verify_checksums(folder, wanted, "again")
    assert hashed == ["a", "a"]


# ---------------------------------------------------------------- locks

HOLDER = """
import sys, time
from pathlib import Path
from mperceiver.files import locked
with locked(Path(sys.argv[1])):
    print("locked", flush=True)
    time.sleep(float(sys.argv[2]))
    print("done", flush=True)
"""


def holder(target: Path, seconds: float) -> subprocess.Popen:
    """A process that holds the lock of ``target`` for some seconds."""
    words = [sys.executable, "-c", HOLDER, str(target), str(seconds)]
    return subprocess.Popen(words, stdout=-1, stderr=-1, text=True, env=environment())


def test_one_process_at_a_time_and_the_other_says_that_it_waits(world):
    first = holder(world / "x", 60)
    assert first.stdout.readline() == "locked\n"
    second = holder(world / "x", 0)
    assert f"{world / 'x'}: another process is writing it; waiting for that one" in second.stderr.readline()
    time.sleep(0.5)
    assert second.poll() is None, "it waits"
    first.kill()
    first.communicate()
    assert second.communicate(timeout=60)[0] == "locked\ndone\n"
    assert listing() == []


def test_a_lock_ends_with_its_holder(world):
    first = holder(world / "x", 60)
    assert first.stdout.readline() == "locked\n"
    os.kill(first.pid, signal.SIGKILL)
    first.communicate()
    assert listing() == [".x.lock"]
    with files.locked(world / "x"):
        pass
    assert listing() == []


def test_many_processes_take_turns(world):
    """Each deletes the lock file while others wait for it: no two may hold the lock at once."""
    program = (
        "from pathlib import Path; from mperceiver import files; import time; files.LOCK_POLL_SECONDS = 0\n"
        "for _ in range(100):\n"
        "    with files.locked(Path('x')):\n"
        "        with open('inside', 'x'): time.sleep(0.001)\n"  # raises if another is inside
        "        Path('inside').unlink()\n"
    )
    jobs = [subprocess.Popen([sys.executable, "-c", program], stderr=-1, env=environment()) for _ in range(3)]
    for job in jobs:
        errors = job.communicate(timeout=120)[1].decode()
        assert job.returncode == 0, errors
    assert listing() == []


@pytest.mark.parametrize("error", files.NO_LOCKS)
def test_a_file_system_without_locks_is_reported(world, monkeypatch, capsys, error):
    def refuse(*_):
        raise OSError(error, os.strerror(error))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with files.locked(world / "x"):
        Path("x").write_text("done all the same", encoding="utf-8")
    assert f"{world / 'x'}: this file system has no locks; start no second job for it" in capsys.readouterr().err
    assert listing() == ["x"]


def test_another_error_of_a_lock_is_raised(world, monkeypatch):
    def refuse(*_):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(OSError, match="Input/output"), files.locked(world / "x"):
        pytest.fail("went on without a lock")


# ---------------------------------------------------------------- links


@pytest.fixture
def big(world) -> Path:
    """A folder on another disk, as it were."""
    (world / "big").mkdir()
    return world / "big"


def test_a_link_to_a_folder_stays_a_link_and_its_folder_is_replaced(world, big):
    (big / "pictures").mkdir()
    Path("results").mkdir()
    Path("results/folder").symlink_to(big / "pictures")
    for text in ("first", "second", "third"):
        with files.atomic_folder("results/folder") as temporary:
            assert temporary.parent == big, "written on the disk where it will stay"
            (temporary / text).write_text(text, encoding="utf-8")
        assert Path("results/folder").is_symlink() and listing(big) == ["pictures", f"pictures/{text}"]
        assert listing("results") == ["folder", f"folder/{text}"] or listing("results") == ["folder"]


def test_a_link_to_a_link_and_a_link_to_nothing_yet(world, big):
    Path("one").symlink_to("two")
    Path("two").symlink_to(big / "new")
    for _ in range(2):
        with files.atomic_folder("one") as temporary:
            (temporary / "a").write_text("", encoding="utf-8")
    assert listing(big) == ["new", "new/a"] and Path("one").is_symlink() and Path("two").is_symlink()
    Path("text").symlink_to(big / "text")
    files.write_text("text", "it")
    assert Path("text").is_symlink() and (big / "text").read_text(encoding="utf-8") == "it"
    assert sorted(path.name for path in world.iterdir()) == ["big", "one", "text", "two"]


def test_a_link_to_a_disk_that_is_not_mounted_is_told_and_nothing_is_made(world):
    Path("results").symlink_to(world / "mnt/disk/results")
    for write in (lambda: files.write_text("results", "it"), lambda: files.atomic_folder("results").__enter__()):
        with pytest.raises(
            FileNotFoundError, match=r"a link to .*mnt/disk/results, whose folder is not there"
        ) as caught:
            write()
        assert caught.value.filename == "results"
    assert listing() == ["results"]


def test_a_link_to_a_protected_file_is_replaced(world, big):
    """DVC's cache.type symlink: the cache must keep its bytes."""
    (big / "cached").write_text("cached", encoding="utf-8")
    (big / "cached").chmod(0o444)
    Path("scores.csv").symlink_to(big / "cached")
    files.write_text("scores.csv", "new")
    assert (big / "cached").read_text(encoding="utf-8") == "cached"
    assert not Path("scores.csv").is_symlink() and Path("scores.csv").read_text(encoding="utf-8") == "new"


def test_what_an_older_version_left_beside_a_link_is_in_nobodys_way(world, big):
    """A link named .folder.old, where a rename put it."""
    (big / "pictures").mkdir()
    (big / "pictures/a").write_text("", encoding="utf-8")
    Path(".folder.old").symlink_to(big / "pictures")
    Path("folder").mkdir()
    with files.atomic_folder("folder") as temporary:
        (temporary / "b").write_text("", encoding="utf-8")
    assert sorted(path.name for path in world.iterdir()) == ["big", "folder"]
    assert listing(big) == ["pictures", "pictures/a"], "a link is removed, never what it leads to"


def test_a_folder_on_another_disk_is_copied(world, tmp_path_factory, big, monkeypatch):
    """The frozen weights are staged beside a link that leads to a larger disk."""
    new = world / "part"
    (new / "unet").mkdir(parents=True)
    (new / "unet/a").write_text("weights", encoding="utf-8")
    (big / "sd").mkdir()
    (big / "sd/old").write_text("old", encoding="utf-8")
    Path("sd").symlink_to(big / "sd")
    stat = Path.stat

    def on_two_disks(path, **options):
        found = stat(path, **options)
        if path == new:
            fields = list(found)
            fields[2] += 1  # st_dev
            return os.stat_result(fields)
        return found

    monkeypatch.setattr(Path, "stat", on_two_disks)
    files.replace_folder(new, Path("sd"))
    monkeypatch.undo()
    assert listing(big) == ["sd", "sd/unet", "sd/unet/a"] and (world / "sd").is_symlink() and not new.exists()


def test_a_card_goes_only_when_its_folder_does(world, monkeypatch):
    card = Path("card.json")
    for target, write in (("folder", files.atomic_folder), ("file", files.atomic_file)):
        card.write_text("old", encoding="utf-8")
        with pytest.raises(ZeroDivisionError), write(target, card):
            raise ZeroDivisionError
        assert card.is_file() and not Path(target).exists()
        with write(target, card):
            assert card.is_file()
        assert not card.exists() and Path(target).exists()


def test_a_rename_that_fails_brings_folder_and_card_back(world, monkeypatch):
    card = Path("card.json")
    card.write_text("old", encoding="utf-8")
    Path("folder").mkdir()
    Path("folder/a").write_text("old", encoding="utf-8")
    replace = Path.replace

    def refuse(path, target):
        if path.name == "new":
            raise OSError(errno.EIO, "Input/output error", str(path))
        return replace(path, target)

    Path("new").mkdir()
    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(OSError, match="Input/output"):
        files.replace_folder(Path("new"), Path("folder"), card)
    assert listing("folder") == ["a"] and card.read_text(encoding="utf-8") == "old"


# ---------------------------------------------------------------- rights


@pytest.mark.parametrize("umask", [0o022, 0o002, 0o077, 0o027])
@pytest.mark.parametrize("folder_mode", [0o755, 0o2775, 0o3777])
def test_rights_are_those_of_a_plain_open_and_mkdir(world, umask, folder_mode):
    """setgid of a group's folder, and the umask of the moment."""
    before = os.umask(umask)
    try:
        Path("shared").mkdir()
        Path("shared").chmod(folder_mode)
        with files.atomic_folder("shared/made") as temporary:
            (temporary / "inside").write_text("", encoding="utf-8")
        files.write_text("shared/file", "")
        Path("shared/plain").mkdir()
        Path("shared/plain/inside").write_text("", encoding="utf-8")
    finally:
        os.umask(before)
    for one, other in (("made", "plain"), ("made/inside", "plain/inside"), ("file", "plain/inside")):
        a, b = (Path("shared", name).stat() for name in (one, other))
        assert (oct(a.st_mode), a.st_gid) == (oct(b.st_mode), b.st_gid)


def test_default_acls_are_inherited(world):
    """user:1234:rwx, group::rwx, mask::rwx, other::---, as `setfacl -d` sets them: the umask does not count then."""
    entries = [(0x01, 7, 2**32 - 1), (0x02, 7, 1234), (0x04, 7, 2**32 - 1), (0x10, 7, 2**32 - 1), (0x20, 0, 2**32 - 1)]
    acl = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)
    Path("shared").mkdir()
    try:
        os.setxattr("shared", "system.posix_acl_default", acl)
    except OSError as error:
        pytest.skip(f"this file system has no ACLs ({error})")
    with files.atomic_folder("shared/made") as temporary:
        (temporary / "inside").write_text("", encoding="utf-8")
    files.write_text("shared/file", "")
    Path("shared/plain").mkdir()
    Path("shared/plain/inside").write_text("", encoding="utf-8")
    for one, other in (("made", "plain"), ("made/inside", "plain/inside"), ("file", "plain/inside")):
        rights = [os.getxattr(f"shared/{name}", "system.posix_acl_access") for name in (one, other)]
        assert rights[0] == rights[1] and struct.pack("<HHI", 0x02, 7, 1234) in rights[0]


# ---------------------------------------------------------------- after kill -9


def test_what_a_killed_process_left_goes_with_the_next_write(world):
    program = (
        "import os, signal; from mperceiver.files import atomic_file, atomic_folder\n"
        "with atomic_file('out/a.csv') as file, atomic_folder('out/b') as folder:\n"
        "    (folder / 'inside').write_text('half', encoding='utf-8'); os.kill(os.getpid(), signal.SIGKILL)"
    )
    assert subprocess.run([sys.executable, "-c", program], env=environment()).returncode == -signal.SIGKILL
    assert len(list(Path("out").iterdir())) == 2
    with files.atomic_file("out/a.csv") as running:  # another's work in progress is left alone
        files.write_text("out/a.csv", "first")
        assert running.exists()
    with files.atomic_folder("out/b"):
        pass
    assert sorted(path.name for path in Path("out").iterdir()) == ["a.csv", "b"]


def test_a_long_name_has_a_temporary_name_of_its_own(world):
    """It fits beside the name, ends like it, is no other's, and is found again by the next process."""
    long = ["n" * 251 + ".csv", "n" * 250 + "m.csv", "\u96ea" * 80 + ".csv", "a." + "s" * 250]
    kept = []
    for name in long:
        with files.atomic_file(name) as temporary:
            temporary.write_text(name, encoding="utf-8")
            assert len(os.fsencode(temporary.name)) < 143
            kept.append(re.sub(r"-[0-9a-f]{8}(\.csv)?$", "", temporary.name))
        assert Path(name).read_text(encoding="utf-8") == name
        files.temporary.new_folder(Path(name)).rmdir()
    assert len(set(kept)) == len(long)
    gone = Path(temporary.name.replace(str(os.getpid()), "999999999"))
    gone.write_text("", encoding="utf-8")
    files.write_text(long[-1], "")
    assert not gone.exists() and len(list(world.iterdir())) == len(long)


def test_another_machines_temporary_files_go_after_a_day(world):
    for name in ("new", "old"):
        Path(f".a.csv.elsewhere-1-{'0' * 7}{int(name == 'old')}.csv").write_text("", encoding="utf-8")
    os.utime(".a.csv.elsewhere-1-00000001.csv", (1, 1))
    files.write_text("a.csv", "")
    assert sorted(path.name for path in world.iterdir()) == [".a.csv.elsewhere-1-00000000.csv", "a.csv"]


@pytest.mark.parametrize(
    "names", [("compute-1-12", "compute-11-2"), ("a-long-name-of-node-0001", "a-long-name-of-node-0002")]
)
def test_a_node_of_a_like_name_is_another_machine(world, monkeypatch, names):
    """It cannot tell whether the process is running, and must not remove what that one is writing."""
    one, other = names
    monkeypatch.setattr("socket.gethostname", lambda: one)
    mine = files.temporary.new_file(Path("a.csv"))
    mine = mine.rename(mine.name.replace(str(os.getpid()), "999999999"))  # which runs there, and not here
    monkeypatch.setattr("socket.gethostname", lambda: other)
    files.write_text("a.csv", "")
    assert mine.exists()
    monkeypatch.setattr("socket.gethostname", lambda: one)
    files.write_text("a.csv", "")
    assert not mine.exists()


def test_another_container_of_the_machine_numbers_its_processes_anew(world, monkeypatch):
    theirs = files.temporary.new_file(Path("a.csv"))
    theirs = theirs.rename(theirs.name.replace(str(os.getpid()), "999999999"))
    monkeypatch.setattr(os, "readlink", lambda path: "pid:[1]")
    files.write_text("a.csv", "")
    assert theirs.exists()


def test_another_machines_folder_in_which_something_changes_deep_below_is_left_alone(world):
    inside = Path(f".a.elsewhere-1-{'0' * 8}/b/c/d.png")
    inside.parent.mkdir(parents=True)
    inside.write_text("", encoding="utf-8")
    for above in inside.parents[:-1]:
        os.utime(above, (1, 1))
    with files.atomic_folder("a"):
        assert inside.exists()


def test_a_name_that_only_looks_like_a_temporary_one_is_left_alone(world):
    Path(f".a.csv.{files.temporary._machine()}-{'9' * 30}-{'0' * 8}.csv").write_text("", encoding="utf-8")
    files.write_text("a.csv", "")
    assert len(list(world.iterdir())) == 2
