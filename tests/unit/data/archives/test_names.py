"""The names of members: an archive's own encoding, one that is given, or a refusal; two names are never silently one."""

import io
import struct
import tarfile
import zipfile
import zlib
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mperceiver.config import ConfigError, parse
from mperceiver.config.datasets import Dataset
from mperceiver.data import DataError
from mperceiver.data.archives.names import safe_path
from mperceiver.data.archives.unpack import check_archives, unpack_archives


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


class Raw(zipfile.ZipInfo):
    """A member whose name is written as the bytes given, without the mark of UTF-8."""

    def __init__(self, raw: bytes, extra: bytes = b"") -> None:
        super().__init__(raw.decode("latin-1"))
        self.raw, self.extra = raw, extra

    def _encodeFilenameFlags(self):
        return self.raw, self.flag_bits & ~0x800


def zipped(names: list[bytes | Raw], path: str = "a.zip") -> Path:
    with zipfile.ZipFile(path, "w") as bundle:
        for i, name in enumerate(names):
            bundle.writestr(name if isinstance(name, Raw) else Raw(name), bytes([i + 1]))
    return Path(path)


def tarred(names: list[bytes], path: str = "a.tar") -> Path:
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT, encoding="latin-1") as bundle:
        for i, name in enumerate(names):
            info = tarfile.TarInfo(name.decode("latin-1"))
            info.size = 1
            bundle.addfile(info, io.BytesIO(bytes([i + 1])))
    return Path(path)


def unpacked(archive: Path, **options) -> list[str]:
    unpack_archives([archive], Path("out"), ["**"], **options)
    return sorted(p.relative_to("out").as_posix() for p in Path("out").rglob("*") if p.is_file())


# The second byte of these signs is a backslash: 誠 in GBK, 表 and ソ in Shift-JIS, 功 in Big5.
SPLIT = [("誠", "gbk"), ("表", "shift_jis"), ("ソ", "shift_jis"), ("功", "big5")]


@pytest.mark.parametrize(("sign", "encoding"), SPLIT)
@pytest.mark.parametrize("make", [zipped, tarred])
def test_a_sign_with_a_backslash_is_one_sign_or_the_archive_is_refused(make, sign, encoding):
    raw = f"lq/{sign}1.png".encode(encoding)
    assert raw.count(b"\\") == 1
    archive = make([raw, b"lq/2.png"])
    for work in (check_archives, lambda files: unpack_archives(files, Path("out"))):
        with pytest.raises(DataError, match=r"does not say its encoding.*`names: \{a\.(zip|tar): gbk\}`"):
            work([archive])
    assert unpacked(archive, names={archive.name: encoding}) == sorted(["lq/2.png", f"lq/{sign}1.png"])
    assert check_archives([archive], {archive.name: encoding}) == 2


@pytest.mark.parametrize("make", [zipped, tarred])
def test_names_without_an_encoding(make):
    assert unpacked(make([f"lq/雨{i}.png".encode() for i in range(2)])) == [
        "lq/雨0.png",
        "lq/雨1.png",
    ]  # UTF-8, unmarked
    names = [name.encode("cp437") for name in ("é/ü.png", "é/ö.png")]
    assert unpacked(make(names)) == ["é/ö.png", "é/ü.png"]
    names = [f"{sign}.png".encode("gbk") for sign in "雨雪雾"]  # no backslash in them: other signs, but as many files
    assert len(unpacked(make(names))) == 3
    with pytest.raises(DataError, match="is not in shift_jis, which `names` gives"):
        unpacked(make([b"\x81\xff.png"]), names={"a.zip": "shift_jis", "a.tar": "shift_jis"})


def test_the_name_in_unicode_that_info_zip_adds():
    raw, name = "誠.png".encode("gbk"), "誠.png".encode()
    field = struct.pack("<HHBL", 0x7075, 5 + len(name), 1, zlib.crc32(raw)) + name
    assert unpacked(zipped([Raw(raw, field)])) == ["誠.png"]
    other = (
        struct.pack("<HHBL", 0x7075, 5 + len(name), 1, zlib.crc32(b"other")) + name
    )  # renamed by a program that does not know it
    with pytest.raises(DataError, match="does not say its encoding"):
        unpacked(zipped([Raw(raw, other)]))


@pytest.mark.parametrize("make", [zipped, tarred])
def test_folders_with_backslashes(make):
    archive = make([b"lq\\a.png", b"gt\\a.png"])
    assert unpacked(archive) == ["gt/a.png", "lq/a.png"]
    with zipfile.ZipFile("b.zip", "w") as bundle:
        for name in ("set\\", "set\\lq\\"):
            bundle.writestr(Raw(name.encode()), b"")
        bundle.writestr(Raw(b"set\\lq\\a.png"), b"1")
    assert unpacked(Path("b.zip")) == ["set/lq/a.png"]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([b"lq/a.png", b"lq\\a.png"], "two members are named lq/a.png"),
        ([b"lq/a.png", b"./lq//a.png"], "two members are named lq/a.png"),
        ([b"lq/A.png", b"lq/a.png"], "differ in capital letters only"),
        (["\u00e9.png".encode(), "e\u0301.png".encode()], "capital letters"),  # one sign, or two
        ([b"a.png", b"\xff\xfe\x81\x8d.png"], None),
        ([b"a" * 300], "a name that no file can have"),
        ([b"d/" * 600 + b"a.png"], "a name that no file can have"),
        ([b"a.png", b"b\x9fc.png".replace(b"\x9f", "\x9f".encode())], "a name that no file can have"),
    ],
)
def test_two_names_that_are_one(names, message):
    for make in (zipped, tarred):
        archive = make(names)
        if message is None:
            assert len(unpacked(archive)) == len(names)
            continue
        with pytest.raises(DataError, match=message):
            unpacked(archive)


def test_a_name_with_a_null_in_it():
    with pytest.raises(DataError, match="a name that no file can have"):
        unpacked(zipped([b"a.png", b"b.png\0.exe"]))


def test_the_key_in_a_datasets_file():
    start = "title: t\nlicence: none\nsources: [{source: manual, page: 'https://example.org', terms: none, files: [{name: a.zip}]}]\n"
    Path("x.yaml").write_text(start + "names: {a.zip: gbk}\n", encoding="utf-8")
    assert parse(Path("x.yaml"), Dataset).names == {"a.zip": "gbk"}
    for wrong in ("latin-99", "base64", "utf-16"):
        Path("x.yaml").write_text(start + f"names: {{a.zip: {wrong}}}\n", encoding="utf-8")
        with pytest.raises(ConfigError, match=f"'{wrong}' is no encoding of the names"):
            parse(Path("x.yaml"), Dataset)


PIECES = st.sampled_from(
    [b"a", b"B", b"..", b".", b"", b"C:", b"\\", b"\xb5\\", b"\xd5", "雨".encode(), b"\x01", b"-o", b"@l", b" ", b"nul"]
)


@settings(
    max_examples=150, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.lists(st.lists(PIECES, min_size=1, max_size=4).map(b"/".join), min_size=1, max_size=4, unique=True),
    st.booleans(),
)
def test_any_names_come_out_apart_or_not_at_all(tmp_path, names, as_zip):
    """Of whatever names: every file comes out, in its folder and with its bytes, or the archive is refused by name."""
    archive = (zipped if as_zip else tarred)([name + b".png" for name in names])
    before = {p.name for p in tmp_path.iterdir()} | {"out"}
    try:
        unpack_archives([archive], Path("out"), ["**"])
    except DataError as error:
        assert archive.name in str(error)
    else:
        hidden = sum(
            any(part.startswith(b".") for part in (name + b".png").replace(b"\\", b"/").split(b"/") if part != b".")
            for name in names
        )
        files = [p for p in Path("out").rglob("*") if p.is_file()]
        assert len(files) == len(names) - hidden
        assert len({p.read_bytes() for p in files}) == len(files)
    assert {p.name for p in tmp_path.iterdir()} <= before


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.text(max_size=40) | st.lists(st.sampled_from(["..", "a", "/", "\\", "C:", "\0", "\udc80"])).map("".join))
def test_no_name_leads_outside(name):
    try:
        path = safe_path(name)
    except DataError:
        return
    assert path is None or ((Path("/root") / path).resolve().is_relative_to("/root") and not Path(path).is_absolute())
