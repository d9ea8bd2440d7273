"""Members whose names look like options, in real archives and with each program that is here: a name is never more than a name."""

import shutil
import struct
import subprocess
import zlib
from pathlib import Path

import pytest

from mperceiver.data.archives import tools
from mperceiver.data.archives.unpack import check_archives, unpack_archives

MEMBERS = {"-o..png": b"1", "@list.png": b"22", "-d/--help.png": b"333", "--.png": b"4444", "-y": b"55555"}
PRESENT = [tool for tool in tools.TOOLS if shutil.which(tool.name) and shutil.which("7zz")]


def stored_rar(path: str) -> Path:
    """A RAR 5 archive of MEMBERS, not compressed, as RAR's technical note describes it."""
    headers = [(b"\1\0\0", b"")]
    for name, data in MEMBERS.items():
        fields = bytes([0x02, 0x02, len(data), 0x04, len(data), 0x20]) + struct.pack("<L", zlib.crc32(data))
        headers.append((fields + bytes([0, 1, len(name)]) + name.encode(), data))
    headers.append((b"\5\0\0", b""))
    out = b"Rar!\x1a\x07\x01\x00"
    for head, data in headers:
        body = bytes([len(head)]) + head
        out += struct.pack("<L", zlib.crc32(body)) + body + data
    Path(path).write_bytes(out)
    return Path(path)


def seven_zip(path: str) -> Path:
    for name, data in MEMBERS.items():
        file = Path("in") / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
    words = ["7zz", "a", "-bso0", "--", str(Path(path).absolute()), "."]
    subprocess.run(words, cwd="in", check=True, stdin=subprocess.DEVNULL)
    return Path(path)


READS_RAR = ("unrar", "unar")  # wherever they are
CASES = [
    (tool, make) for make in (stored_rar, seven_zip) for tool in PRESENT if make is seven_zip or tool.name in READS_RAR
]


@pytest.mark.parametrize(("tool", "make"), CASES, ids=[f"{make.__name__}-{tool.name}" for tool, make in CASES])
@pytest.mark.parametrize("name", ["a", "-o.", "@list"])
def test_members_keep_their_names(tmp_path, monkeypatch, tool, make, name):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tools, "TOOLS", [tool])
    archive = make(f"{name}.{'rar' if make is stored_rar else '7z'}")
    assert check_archives([archive]) == 1
    unpack_archives([archive], Path("out"), ["**"])
    assert {p.relative_to("out").as_posix(): p.read_bytes() for p in Path("out").rglob("*") if p.is_file()} == MEMBERS
    assert {p.name for p in tmp_path.iterdir()} <= {"in", "out", archive.name}
