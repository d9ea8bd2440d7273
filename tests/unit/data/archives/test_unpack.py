"""Unpacking: every kind of archive, whole or split, and those that must not be unpacked."""

import errno
import io
import json
import os
import stat
import struct
import sys
import tarfile
import zipfile
import zlib
from pathlib import Path

import pytest

from mperceiver.data import DataError
from mperceiver.data.archives import tools, unpack
from mperceiver.data.archives.unpack import check_archives, unpack_archives

NOISE = os.urandom(1 << 16)  # does not compress, so that archives have a size worth splitting
FILES = {
    "set/lq/a.png": NOISE[:30000],
    "set/lq/b.png": NOISE[30000:50000],
    "set/gt/a.png": b"gt" * 100,
    "set/list.txt": b"a b\n",
}


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def zipped(path: str, files: dict[str, bytes] = FILES, method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as bundle:
        for name, data in files.items():
            bundle.writestr(name, data)
    return Path(path)


def tarred(path: str, files: dict[str, bytes] = FILES, links: dict[str, str] | None = None) -> Path:
    with tarfile.open(path, "w:" + {"gz": "gz", "xz": "xz", "bz2": "bz2"}.get(path.rpartition(".")[2], "")) as bundle:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            bundle.addfile(info, io.BytesIO(data))
        for name, to in (links or {}).items():
            info = tarfile.TarInfo(name)
            info.type, info.linkname = tarfile.SYMTYPE, to
            bundle.addfile(info)
    return Path(path)


def cut(path: Path, names: list[str]) -> list[Path]:
    """Cut a file into pieces of nearly equal size, and remove it."""
    data = path.read_bytes()
    path.unlink()
    size = -(-len(data) // len(names))
    for i, name in enumerate(names):
        Path(name).write_bytes(data[i * size : (i + 1) * size])
    return [Path(name) for name in names]


def spanned(path: Path, parts: int) -> list[Path]:
    """Make a zip one that is split as `zip -s` and WinZip do: offsets from the start of each part, numbers of parts in it."""
    data = bytearray(b"PK\x07\x08" + path.read_bytes())
    cuts = [len(data) * i // parts for i in range(parts)] + [len(data)]
    with zipfile.ZipFile(path) as bundle:
        headers, start, count = (
            [info.header_offset + 4 for info in bundle.infolist()],
            bundle.start_dir + 4,
            len(bundle.infolist()),
        )

    def place(offset: int) -> tuple[int, int]:
        part = max(i for i in range(parts) if cuts[i] <= offset)
        return part, offset - cuts[part]

    at = start
    for header in headers:
        name, extra, comment = struct.unpack_from("<3H", data, at + 28)
        part, offset = place(header)
        struct.pack_into("<H", data, at + 34, part)
        struct.pack_into("<L", data, at + 42, offset)
        at += 46 + name + extra + comment
    part, offset = place(start)
    size = struct.unpack_from("<L", data, len(data) - 10)[0]
    struct.pack_into("<4H2L", data, len(data) - 18, parts - 1, part, count, count, size, offset)
    path.unlink()
    names = [Path(f"{path.stem}.z{i + 1:02d}") for i in range(parts - 1)] + [path]
    for i, name in enumerate(names):
        name.write_bytes(bytes(data[cuts[i] : cuts[i + 1]]))
    return names


def unpacked(folder: str = "out") -> dict[str, bytes]:
    root = Path(folder)
    return {p.relative_to(root).as_posix(): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}


def untouched() -> bool:
    """No target, and nothing half-made beside it."""
    return not [p for p in Path().iterdir() if p.name.startswith(("out", ".out"))]


# ---------------------------------------------------------------- what is unpacked


@pytest.mark.parametrize("name", ["a.zip", "a.tar", "a.tar.gz", "a.tgz", "a.tar.xz", "a.tar.bz2"])
def test_each_kind_comes_out_as_it_went_in(name):
    archive = zipped(name) if name.endswith("zip") else tarred(name.replace(".tgz", ".tar.gz")).rename(name)
    assert unpack_archives([archive], Path("out")) == sorted(Path("out") / path for path in FILES)
    assert unpacked() == FILES and check_archives([archive]) == 4
    assert {p.name for p in Path().iterdir()} == {name, "out"}


@pytest.mark.parametrize(
    ("made", "names"),
    [
        ("a.zip", ["a.zip.001", "a.zip.002", "a.zip.003"]),
        ("a.tar.gz", ["a.tar.gz.part-aa", "a.tar.gz.part-ab", "a.tar.gz.part-ac"]),
        ("a.tar.gz", ["a.tar.gz.part-00", "a.tar.gz.part-01"]),
        ("a.tar", [f"a.tar.part{i}" for i in range(1, 12)]),
    ],
)
def test_parts_are_read_as_one_in_any_order(made, names):
    parts = cut(zipped(made) if made.endswith("zip") else tarred(made), names)
    unpack_archives(reversed(parts), Path("out"))
    assert unpacked() == FILES
    with pytest.raises(DataError, match=r"a\.(zip|tar|tar\.gz): (part (1|2|ab) is missing|a part is missing)"):
        unpack_archives([parts[0], *parts[2:]] if len(parts) > 2 else parts[1:], Path("out"))
    assert unpacked() == FILES  # the one that was there


@pytest.mark.parametrize("parts", [2, 3, 7])
def test_a_split_zip_is_read_without_a_tool(parts):
    names = spanned(zipped("a.zip"), parts)
    unpack_archives(names, Path("out"))
    assert unpacked() == FILES and check_archives(names) == 4
    with pytest.raises(DataError, match=r"a\.zip(: part \d+ is missing|: a split zip of \d parts)"):
        unpack_archives(names[1:], Path("none"))
    with pytest.raises(DataError, match=r"a\.zip is missing: the last part of a split zip"):
        unpack_archives(names[:-1], Path("none"))


def test_only_what_is_wanted_comes_out():
    archive = zipped("a.zip")
    unpack_archives([archive], Path("globs"), ["set/lq/*", "**/*.txt"])
    unpack_archives([tarred("a.tar.gz")], Path("function"), lambda path: path.startswith("set/gt/"))
    assert sorted(unpacked("globs")) == ["set/list.txt", "set/lq/a.png", "set/lq/b.png"]
    assert sorted(unpacked("function")) == ["set/gt/a.png"]
    with pytest.raises(DataError, match=r"no member of a\.zip is wanted"):
        unpack_archives([archive], Path("out"), ["other/*"])
    assert untouched()


def test_archives_share_a_folder_or_have_their_own():
    one, two = zipped("one.zip", {"a.png": b"1"}), tarred("two.tar.gz", {"a.png": b"2"})
    unpack_archives([one, two], Path("out"), apart=True)
    assert unpacked() == {"one/a.png": b"1", "two/a.png": b"2"}
    with pytest.raises(DataError, match=r"two\.tar\.gz: two members are named a\.png"):
        unpack_archives([one, two], Path("other"))


def test_archives_inside_are_unpacked_where_they_lay():
    zipped("outdoor.zip", {"hazy/1.jpg": b"h", "gt/1.png": b"g"})
    tarred("indoor.tar.gz", {"hazy/2.png": b"i"})
    outer = zipped(
        "SOTS.zip", {f"SOTS/{n}": Path(n).read_bytes() for n in ("outdoor.zip", "indoor.tar.gz")} | {"SOTS/r.txt": b"r"}
    )
    unpack_archives([outer], Path("out"), ["**/*.jpg", "**/*.png"], nested=["SOTS/*.zip", "SOTS/*.tar.gz"])
    assert unpacked() == {"SOTS/hazy/1.jpg": b"h", "SOTS/gt/1.png": b"g", "SOTS/hazy/2.png": b"i"}


def test_what_systems_leave_behind_is_passed_over():
    archive = zipped(
        "a.zip", {"./a.png": b"1", "__MACOSX/._a.png": b"2", ".DS_Store": b"3", "d\\b.png": b"4", "d/Thumbs.db": b"5"}
    )
    unpack_archives([archive], Path("out"))
    assert unpacked() == {"a.png": b"1", "d/b.png": b"4"}


# ---------------------------------------------------------------- what is not


@pytest.mark.parametrize("name", ["../a.png", "d/../../a.png", "/tmp/a.png", "..\\a.png", "C:\\a.png", "d/../a.png"])
@pytest.mark.parametrize("kind", ["zip", "tar.gz"])
def test_nothing_is_written_outside(name, kind):
    files = {"a.png": b"1", name: b"2"}
    archive = zipped("a.zip", files) if kind == "zip" else tarred("a.tar.gz", files)
    with pytest.raises(DataError, match=r"a\.(zip|tar\.gz): member .* would be written outside its folder"):
        unpack_archives([archive], Path("out"))
    assert untouched() and {p.name for p in Path().iterdir()} == {archive.name}


def test_links_and_devices_are_not_unpacked():
    tarred("a.tar", {"a.png": b"1"}, {"l": "/etc/passwd"})
    with pytest.raises(DataError, match="member 'l' is a link"):
        unpack_archives([Path("a.tar")], Path("out"))
    info = zipfile.ZipInfo("l")
    info.create_system, info.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile("a.zip", "w") as bundle:
        bundle.writestr(info, "/etc/passwd")
    with pytest.raises(DataError, match="member 'l' is a link"):
        unpack_archives([Path("a.zip")], Path("out"))
    with tarfile.open("b.tar", "w") as bundle:
        device = tarfile.TarInfo("null")
        device.type, device.devmajor, device.devminor = tarfile.CHRTYPE, 1, 3
        bundle.addfile(device)
    with pytest.raises(DataError, match="member 'null' is a device or pipe"):
        unpack_archives([Path("b.tar")], Path("out"))
    assert untouched()


@pytest.mark.parametrize("kind", ["zip", "tar.gz", "tar.xz"])
def test_bombs_are_refused_while_they_come_out(kind, monkeypatch):
    monkeypatch.setattr(unpack, "SLACK_BYTES", 1 << 16)
    files = {"a.png": bytes(8 << 20)}
    archive = zipped("a.zip", files) if kind == "zip" else tarred(f"a.{kind}", files)
    with pytest.raises(DataError, match="more bytes come out than an archive of its size can hold"):
        unpack_archives([archive], Path("out"))
    monkeypatch.setattr(unpack, "MOST_FILES", 3)
    with pytest.raises(DataError, match="more than 3 members"):
        unpack_archives([zipped("b.zip")], Path("out"))
    assert untouched()


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"a/B.png": b"1", "a/b.png": b"2"}, "differ in capital letters only.*: a/b.png and a/B.png"),
        ({"a": b"1", "a/b.png": b"2"}, "both a file and a folder in it"),
        ({"a\x01.png": b"1"}, "a name that no file can have"),
    ],
)
def test_names_that_do_not_go_together_are_refused(files, message):
    for archive in (zipped("a.zip", files), tarred("a.tar", files)):
        with pytest.raises(DataError, match=message):
            unpack_archives([archive], Path("out"))
    assert untouched()


@pytest.mark.parametrize("name", ["a.zip", "a.tar", "a.tar.gz", "a.tar.xz", "a.tar.bz2"])
def test_a_cut_archive_is_named(name):
    archive = zipped(name) if name.endswith("zip") else tarred(name)
    archive.write_bytes(archive.read_bytes()[:-20000])
    for work in (lambda: unpack_archives([archive], Path("out")), lambda: check_archives([archive])):
        with pytest.raises(DataError, match=rf"{name}: (member .* is damaged|it is cut short or damaged)"):
            work()
    assert untouched()


def test_a_damaged_member_is_named():
    archive = zipped("a.zip", method=zipfile.ZIP_STORED)
    data = bytearray(archive.read_bytes())
    data[1000] ^= 1
    archive.write_bytes(data)
    with pytest.raises(DataError, match=r"a\.zip: member .set/lq/a\.png. is damaged .*mperceiver download --force"):
        unpack_archives([archive], Path("out"))
    squeezed = tarred("a.tar.gz")
    data = bytearray(squeezed.read_bytes())
    data[-6] ^= 1  # the checksum at the very end
    squeezed.write_bytes(data)
    with pytest.raises(DataError, match=r"a\.tar\.gz: it is cut short or damaged"):
        check_archives([squeezed])
    assert untouched()


@pytest.mark.parametrize("content", [b"<html>quota</html>", b"", b"PK\3\4"])
def test_what_is_no_archive_is_named(content):
    for name in ("a.zip", "a.tar.gz"):
        Path(name).write_bytes(content)
        with pytest.raises(DataError, match=name):
            check_archives([Path(name)])
    Path("a.png").write_bytes(content)
    with pytest.raises(DataError, match=r"a\.png: not an archive"):
        unpack_archives([Path("a.png")], Path("out"))


# ---------------------------------------------------------------- passwords and tools


def encrypted(path: str, name: str, data: bytes, password: bytes) -> Path:
    """A zip with one member, stored and encrypted in the old way (APPNOTE 6.1)."""
    table = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (0xEDB88320 if value & 1 else 0)
        table.append(value)
    keys = [0x12345678, 0x23456789, 0x34567890]

    def take(byte: int) -> None:
        keys[0] = keys[0] >> 8 ^ table[(keys[0] ^ byte) & 255]
        keys[1] = ((keys[1] + (keys[0] & 255)) * 134775813 + 1) & 0xFFFFFFFF
        keys[2] = keys[2] >> 8 ^ table[(keys[2] ^ keys[1] >> 24) & 255]

    def hidden(byte: int) -> int:
        mask = keys[2] | 2
        encrypted_byte = byte ^ (mask * (mask ^ 1) >> 8 & 255)
        take(byte)
        return encrypted_byte

    for byte in password:
        take(byte)
    check_byte = zlib.crc32(data) >> 24
    body = bytes(hidden(byte) for byte in bytes(11) + bytes([check_byte]) + data)
    zipped(path, {name: body}, zipfile.ZIP_STORED)
    raw = bytearray(Path(path).read_bytes())
    for header, offset in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        at = raw.index(header) + offset
        raw[at] |= 1
        struct.pack_into("<L", raw, at + 8, zlib.crc32(data))
        struct.pack_into("<L", raw, at + 16, len(data))
    Path(path).write_bytes(raw)
    return Path(path)


def test_a_password_opens_what_is_encrypted():
    archive = encrypted("a.zip", "a.png", b"picture", b"1234567")
    with pytest.raises(DataError, match=r"a\.zip: a\.png is encrypted; give `passwords: \{a\.zip: …\}`"):
        unpack_archives([archive], Path("out"))
    with pytest.raises(DataError, match=r"the password given under `passwords` does not open a\.png"):
        unpack_archives([archive], Path("out"), passwords={"a.zip": "other"})
    assert untouched()
    unpack_archives([archive], Path("out"), passwords={"a.zip": "1234567"})
    assert unpacked() == {"a.png": b"picture"}


FAKE = """#!{python}
# Stands for unrar: an "archive" is JSON, what is asked of it is written down.
import json, os, pathlib, sys
words = sys.argv[1:]
path = words[words.index("--") + 1]
pathlib.Path("asked").open("a").write(json.dumps(words) + "\\n")
archive = json.load(open(path))
if archive.get("password") and "-p" + archive["password"] not in words:
    sys.exit("Incorrect password for " + path)
if words[0] == "lt":
    for name, (kind, data) in [*archive["files"].items()] + [("b.png", ("File", ""))] * bool(archive.get("twice")):
        print(f"        Name: {{name}}\\n        Type: {{kind}}\\n        Size: {{archive.get('size', len(data))}}\\n")
else:
    for name, (kind, data) in archive["files"].items():
        file = pathlib.Path(words[-1], name)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(data) if kind == "File" else file.symlink_to("/etc/passwd")
    if archive.get("fails"):
        sys.exit(archive["fails"])
"""


@pytest.fixture
def unrar(tmp_path, monkeypatch):
    """A tool by that name, the only one there is."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/unrar").write_text(FAKE.format(python=sys.executable), encoding="utf-8")
    (tmp_path / "bin/unrar").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))


def rar(path: str, files: dict[str, str], **more) -> Path:
    members = {name: ["File", data] for name, data in files.items()} | more.pop("others", {})
    Path(path).write_text(json.dumps({"files": members} | more), encoding="utf-8")
    return Path(path)


def test_a_tool_opens_what_python_does_not(unrar):
    archive = rar("a.rar", {"set/lq/a.png": "1", "set/gt/a.png": "2", "set/.hidden": "3"}, password="8901234")
    unpack_archives([archive], Path("out"), ["set/lq/*", "**/.*"], passwords={"a.rar": "8901234"})
    assert unpacked() == {"set/lq/a.png": b"1"}
    with pytest.raises(DataError, match=r"a\.rar: no tool here opens it \(unrar: Incorrect password .*`passwords`"):
        unpack_archives([archive], Path("other"))
    unpack_archives(
        [rar("c.rar", {"other/a.png": "1"}), archive], Path("some"), ["set/lq/*"], passwords={"a.rar": "8901234"}
    )
    asked = [json.loads(line) for line in Path("asked").read_text(encoding="utf-8").splitlines()]
    assert [words[0] for words in asked if words[-1].endswith("c.rar")] == [
        "lt"
    ]  # nothing of it is wanted, so it stays as it is
    parts = [rar(f"b.part{i}.rar", {"a.png": "1"}) for i in (1, 2)]
    unpack_archives(parts[::-1], Path("out"))
    assert json.loads(Path("asked").read_text(encoding="utf-8").splitlines()[-1])[-2] == str(
        Path("b.part1.rar").absolute()
    )  # the tool finds the others itself
    with pytest.raises(DataError, match=r"b\.rar: part 1 is missing"):
        unpack_archives(parts[1:], Path("out"))


@pytest.mark.parametrize(
    ("files", "more", "message"),
    [
        ({"../a.png": "1"}, {}, "member '../a.png' would be written outside its folder"),
        ({"a.png": "1"}, {"others": {"l": ["Unix symbolic link", ""]}}, "member 'l' is a link"),
        (
            {"a.png": "1"},
            {"fails": "CRC failed in a.png"},
            "unrar could not unpack it: CRC failed in a.png; it is damaged",
        ),
        ({"a.png": "1"}, {"size": 7}, "unrar unpacked 1 bytes, its listing has 7"),
        ({"a.png": "1"}, {"size": 10**12}, r"\d+ bytes inside, more than"),
    ],
)
def test_a_tool_is_not_trusted_either(unrar, files, more, message):
    with pytest.raises(DataError, match=rf"a\.rar: {message}"):
        unpack_archives([rar("a.rar", files, **more)], Path("out"))
    asked = [json.loads(line)[0] for line in Path("asked").read_text(encoding="utf-8").splitlines()]
    assert asked == ["lt", "x"] or ("x" not in asked and message.startswith(("member", r"\d+ bytes")))
    assert untouched() and not Path("../a.png").exists()


def test_a_full_disk_is_not_the_archives_fault(unrar):
    with pytest.raises(OSError) as caught:
        unpack_archives(
            [rar("a.rar", {"a.png": "1"}, fails="Write error in a.png: No space left on device")], Path("out")
        )
    assert caught.value.errno == errno.ENOSPC and untouched()


@pytest.mark.parametrize("name", ["-o..rar", "@list.rar", "-p.rar"])
def test_names_that_look_like_options(unrar, name):
    members = {"-o..png": "1", "@list.png": "2", "-d/--.png": "3"}
    unpack_archives([rar(name, members)], Path("out"))
    assert unpacked() == {member: data.encode() for member, data in members.items()}
    for line in Path("asked").read_text(encoding="utf-8").splitlines():
        assert (
            str(Path(name).absolute()) in (words := json.loads(line))
            and name not in words
            and not {*members} & {*words}
        )


def test_a_listing_that_makes_no_sense(unrar):
    with pytest.raises(DataError, match=r"a\.rar: no tool here opens it \(unrar: its listing cannot be read"):
        unpack_archives([rar("a.rar", {"a.png": "1"}, size="many")], Path("out"))


def test_a_tool_that_lost_a_file_is_not_believed(unrar):
    """Two members of one name: the tool writes the second over the first."""
    archive = rar("a.rar", {"a.png": "12"}, twice=True)
    with pytest.raises(DataError, match="unrar unpacked 1 files, its listing has 2"):
        unpack_archives([archive], Path("out"))


def test_without_a_tool_it_says_what_to_install(monkeypatch):
    monkeypatch.setenv("PATH", "")
    archive = rar("a.rar", {"a.png": "1"})
    with pytest.raises(DataError, match=r"a\.rar: needs a program for rar.*apt-get install unar"):
        unpack_archives([archive], Path("out"))
    with pytest.raises(DataError, match=r"a\.rar: its first bytes are not those"):
        check_archives([archive])


@pytest.mark.parametrize(
    ("parser", "text", "members"),
    [
        (
            tools._parse_7z,
            "Path = set\nFolder = +\nSize = 0\nAttributes = D drwxr-xr-x\n\nPath = set/a.png\nFolder = -\nSize = 12\nComment = \n"
            "Attributes = A -rw-r--r--\n\nPath = l\nFolder = -\nSize = 3\nAttributes = A lrwxrwxrwx\n",
            [("set", 0, "folder"), ("set/a.png", 12, "file"), ("l", 3, "link")],
        ),
        (
            tools._parse_lsar,
            '{"lsarContents": [{"XADFileName": "a b.png", "XADFileSize": 5}, {"XADFileName": "d", "XADIsDirectory": 1},'
            ' {"XADFileName": "l", "XADIsLink": 1}]}',
            [("a b.png", 5, "file"), ("d", 0, "folder"), ("l", 0, "link")],
        ),
        (
            tools._parse_bsdtar,
            "-rw-r--r--  0 me us 300 Nov 23 23:52 set/a b.png\nlrwxr-xr-x  0 me us 0 Nov 23 23:52 l -> a\n",
            [("set/a b.png", 300, "file"), ("l -> a", 0, "link")],
        ),
    ],
)
def test_listings_of_other_tools(parser, text, members):
    """As 7-Zip 26.02, lsar 1.10.1 and bsdtar 3.6.2 print them."""
    assert parser(text) == members
