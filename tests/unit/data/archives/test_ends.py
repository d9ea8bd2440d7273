"""Is the end the end: an archive from which something is missing, or to which something was added, is never taken for whole."""

import bz2
import gzip
import io
import lzma
import struct
import tarfile
import zipfile
import zlib
from pathlib import Path

import pytest

from mperceiver.data import DataError
from mperceiver.data.archives import unpack
from mperceiver.data.archives.unpack import check_archives, unpack_archives

PRESS = {"a.tar": bytes, "a.tar.gz": gzip.compress, "a.tar.bz2": bz2.compress, "a.tar.xz": lzma.compress}
MEMBER = 512 + 1024  # bytes of a member of 700 bytes in a tar, with its header


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def tar(count: int = 6, form: int = tarfile.GNU_FORMAT, name: str = "p{}.png") -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form) as bundle:
        for i in range(count):
            info = tarfile.TarInfo(name.format(i))
            info.size = 700
            bundle.addfile(info, io.BytesIO(bytes([i + 1]) * 700))
    return out.getvalue()


def zipped(names=("a.png", "b.png", "c.png"), comment: bytes = b"") -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as bundle:
        for name in names:
            bundle.writestr(name, name.encode() * 50)
        bundle.comment = comment
    return out.getvalue()


def refused(name: str, data: bytes, message: str) -> None:
    """Both the check of a download and the unpacking refuse it, by its name, and leave nothing."""
    Path(name).write_bytes(data)
    for work in (lambda: check_archives([Path(name)]), lambda: unpack_archives([Path(name)], Path("none"))):
        with pytest.raises(DataError, match=message) as caught:
            work()
        assert name in str(caught.value)
    assert not Path("none").exists()


def taken(name: str, data: bytes, count: int) -> None:
    Path(name).write_bytes(data)
    assert check_archives([Path(name)]) == count == len(unpack_archives([Path(name)], Path("out")))


# ---------------------------------------------------------------- tar


@pytest.mark.parametrize("name", PRESS)
@pytest.mark.parametrize("members", [1, 3, 6])
def test_a_tar_cut_between_members(name, members):
    refused(name, PRESS[name](tar()[: members * MEMBER]), "without the mark of its end")


@pytest.mark.parametrize(
    "cut", [6 * MEMBER + 512, 6 * MEMBER + 1000, 100, 2 * MEMBER + 8, 3 * MEMBER + 600, 6 * MEMBER - 30]
)
def test_a_tar_cut_elsewhere(cut):
    refused("a.tar", tar()[:cut], "it is cut short")


@pytest.mark.parametrize("name", PRESS)
@pytest.mark.parametrize("byte", [0, 130, 150, 156])  # name, size, checksum, kind
@pytest.mark.parametrize("member", [0, 2, 5])
def test_a_damaged_header(name, byte, member):
    data = bytearray(tar())
    data[member * MEMBER + byte] ^= 4
    refused(name, PRESS[name](bytes(data)), f"the header at byte {member * MEMBER} is damaged")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (
            tar()[: 2 * MEMBER] + bytes(512) + tar()[2 * MEMBER + 512 :],
            "after its end something else follows",
        ),  # a hole
        (tar() + tar(2), "after its end something else follows"),  # cat a.tar b.tar
        (tar() + b"<html>", "after its end something else follows"),
        (b"", "without the mark of its end"),
    ],
)
def test_a_tar_whose_end_is_not_its_end(data, message):
    refused("a.tar", data, message)


def header(kind: bytes, size: int, name: str = "x") -> bytes:
    info = tarfile.TarInfo(name)
    info.type, info.size = kind, size
    return info.tobuf(tarfile.GNU_FORMAT)


@pytest.mark.parametrize(
    ("front", "message"),
    [
        (header(tarfile.GNUTYPE_LONGNAME, 1 << 34), "the name or the attributes of a member have 17179869184 bytes"),
        (header(tarfile.GNUTYPE_LONGLINK, 1 << 20), "have 1048576 bytes, more than 65536"),
        (header(tarfile.XHDTYPE, 1 << 30), "have 1073741824 bytes"),
        (header(tarfile.XGLTYPE, 1 << 30), "have 1073741824 bytes"),
        (header(tarfile.XHDTYPE, 20) + b"99 path=a\n".ljust(512, b"\0"), "the attributes of a member are damaged"),
        (header(tarfile.XHDTYPE, 11) + b"11 size=-5\n".ljust(512, b"\0"), "a member's size is b'-5'"),
        (header(tarfile.XHDTYPE, 22) + b"22 GNU.sparse.major=1\n".ljust(512, b"\0"), "stored with holes"),
        (header(tarfile.GNUTYPE_SPARSE, 0), "stored with holes"),
        ((header(tarfile.GNUTYPE_LONGNAME, 5) + b"b.png".ljust(512, b"\0")) * 30, "too many blocks"),
        (header(tarfile.REGTYPE, -512), "size of -512"),
    ],
)
def test_what_stands_before_a_header_is_bounded(front, message):
    for press in PRESS:
        refused(press, PRESS[press](front + tar(1)), message)


@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_long_names_and_padding_are_taken(form):
    name = "d/" * 100 + "雨{}.png"
    taken("a.tar", tar(3, form, name) + bytes(5120), 3)
    assert sorted(p.name for p in Path("out").rglob("*.png")) == [f"雨{i}.png" for i in range(3)]
    with tarfile.open("a.tar") as reference:
        assert {m.name: reference.extractfile(m).read() for m in reference} == {
            p.relative_to("out").as_posix(): p.read_bytes() for p in Path("out").rglob("*.png")
        }


# ---------------------------------------------------------------- compressed streams


@pytest.mark.parametrize("name", ["a.tar.gz", "a.tar.bz2", "a.tar.xz"])
def test_several_streams_are_one_and_what_follows_them_is_not(name):
    press, data = PRESS[name], tar()
    halves = press(data[:2000]) + press(data[2000:])
    taken(name, halves, 6)
    taken(name, halves + bytes(1024), 6)
    refused(name, halves + b"trailing", "after its compressed data something else follows")
    refused(name, press(data) + press(tar(1)), "after its end something else follows")
    second = bytearray(halves)
    second[len(press(data[:2000]))] ^= 1  # the first byte of the second stream
    refused(name, bytes(second), "after its compressed data something else follows")
    refused(name, press(data)[:-3], "its compressed data end too early")


def test_an_xz_gets_no_more_memory_than_it_needs():
    chain = [{"id": lzma.FILTER_LZMA2, "dict_size": 1 << 20}]
    data = bytearray(lzma.compress(tar(), filters=chain))
    at = data.index(bytes([lzma.FILTER_LZMA2, 1]), 12) + 2
    data[at] = 39  # a dictionary of 3 GiB
    size = (data[12] + 1) * 4
    struct.pack_into("<L", data, 12 + size - 4, zlib.crc32(data[12 : 12 + size - 4]))
    refused("a.tar.xz", bytes(data), "[Mm]emory usage limit")


def test_archives_inside_archives_share_one_budget(monkeypatch):
    monkeypatch.setattr(unpack, "SLACK_BYTES", 1 << 18)
    monkeypatch.setattr(unpack, "RATIO", 10)
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as outer:
        for i in range(6):  # each alone is within the budget
            inner = io.BytesIO()
            with zipfile.ZipFile(inner, "w", zipfile.ZIP_DEFLATED) as bundle:
                bundle.writestr(f"{i}.png", bytes(100_000))
            outer.writestr(f"{i}.zip", inner.getvalue())
    Path("a.zip").write_bytes(out.getvalue())
    with pytest.raises(DataError, match="more bytes come out than"):
        unpack_archives([Path("a.zip")], Path("out"), nested=["*.zip"])
    assert not Path("out").exists()


# ---------------------------------------------------------------- zip


def without_entry(data: bytes, count: int) -> bytes:
    """A zip whose table lacks its second entry, and whose end says that it has ``count`` entries."""
    table = data.index(b"PK\1\2")
    second = data.index(b"PK\1\2", table + 4)
    third = data.index(b"PK\1\2", second + 4)
    end = data.rindex(b"PK\5\6")
    record = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, count, count, end - table - (third - second), table, 0)
    return data[:second] + data[third:end] + record


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (without_entry(zipped(), 2), "lies a member that its table of contents does not list"),
        (without_entry(zipped(), 3), "its table of contents has 2 entries, its end says 3"),
        (zipped() + zipped(["d.png"]), "lies a member that its table of contents does not list"),  # cat a.zip b.zip
        (zipped() + b"PK\3\4" + bytes(40), "something else follows its end"),
        (zipped() + b"\n", "something else follows its end"),
        (zipped()[:-1], "its end, with the table of contents, is not there"),
        (zipped(comment=b"a comment")[:-3], "something else follows its end"),
        (zipped().replace(b"PK\3\4", b"PK\3\5", 1), "member 'a.png' is not where its table of contents says"),
    ],
)
def test_a_zip_whose_table_is_not_all_there_is(data, message):
    refused("a.zip", data, message)


def test_a_zip_whose_headers_give_another_size():
    data = bytearray(zipped())
    struct.pack_into("<L", data, 22, 7)
    refused("a.zip", bytes(data), "and its table of contents give different sizes")


def test_zips_as_other_programs_make_them():
    taken("a.zip", zipped(comment=b"made by me"), 3)
    taken("a.zip", b"#!/bin/sh\nexit 0\n" + zipped(), 3)  # an archive that unpacks itself
    stream = io.BytesIO()
    stream.seekable = lambda: False  # sizes then follow the data
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as bundle:
        for name in ("a.png", "b.png"):
            bundle.writestr(name, b"x" * 5000)
    taken("a.zip", stream.getvalue(), 2)
    with zipfile.ZipFile("b.zip", "w") as bundle, bundle.open("a.png", "w", force_zip64=True) as file:
        file.write(b"x")
    assert check_archives([Path("b.zip")]) == 1


# ---------------------------------------------------------------- what only a tool opens


def seven_zip(table: bytes = b"table", more: bytes = b"") -> bytes:
    fields = struct.pack("<QQL", 4, len(table), zlib.crc32(table))
    return b"7z\xbc\xaf\x27\x1c\0\4" + struct.pack("<L", zlib.crc32(fields)) + fields + b"data" + table + more


def rar5(*headers: bytes) -> bytes:
    """Headers, each given from its kind on; what stands before and after a header is made here."""
    out = b"Rar!\x1a\x07\x01\x00"
    for header in headers:
        head, _, data = header.partition(b"|")
        body = bytes([len(head)]) + head
        out += struct.pack("<L", zlib.crc32(body)) + body + data
    return out


MAIN, FILE, LAST, MORE = b"\1\0\0", b"\2\2\5\0\5\0\0\0\5a.png|12345", b"\5\0\0", b"\5\0\1"


def rar4(*blocks: tuple[int, int, bytes, bytes]) -> bytes:
    out = b"Rar!\x1a\x07\x00"
    for kind, flags, fields, data in blocks:
        head = struct.pack("<BHH", kind, flags, 7 + len(fields)) + fields
        out += struct.pack("<H", zlib.crc32(head) & 0xFFFF) + head + data
    return out


START4, FILE4 = (0x73, 0, bytes(6), b""), (0x74, 0x8000, struct.pack("<L", 5) + bytes(26), b"12345")
LAST4 = (0x7B, 0x4000, b"", b"")


@pytest.mark.parametrize(
    ("name", "sound"), [("a.7z", seven_zip()), ("a.rar", rar5(MAIN, FILE, LAST)), ("a.rar", rar4(START4, FILE4, LAST4))]
)
def test_heads_and_ends_of_others(name, sound):
    def checked(data: bytes) -> int:
        Path(name).write_bytes(data)
        return check_archives([Path(name)])

    assert checked(sound) == 1
    for length in range(1, len(sound) - 1):
        with pytest.raises(DataError, match=name):
            checked(sound[:length])
    for data in (sound + b"more", sound[:9] + bytes([sound[9] ^ 1]) + sound[10:]):
        with pytest.raises(DataError, match=name):
            checked(data)


def test_a_rar_that_lost_its_last_member_or_part():
    for data in (rar5(MAIN, FILE), rar4(START4, FILE4)):
        Path("a.rar").write_bytes(data)
        with pytest.raises(DataError, match=r"a\.rar has no mark of its end"):
            check_archives([Path("a.rar")])
    parts = [Path("b.part1.rar"), Path("b.part2.rar")]
    for part, last in zip(parts, (MORE, LAST), strict=True):
        part.write_bytes(rar5(MAIN, FILE, last))
    assert check_archives(parts) == 1
    with pytest.raises(DataError, match=r"b\.part1\.rar says that another part follows"):
        check_archives(parts[:1])
