"""Archives and their members: zip and tar are read here; rar, 7z and rare zips need a tool of the system (tools.py).

The parts of a split archive are read as one file without being copied together. Nothing here writes to disk; unpack.py does.
"""

import bz2
import gzip
import io
import lzma
import re
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Literal, cast

from mperceiver.data import DataError
from mperceiver.data.archives.joined import Joined

TAR = r"tar|tgz|tbz2?|txz|tar\.gz|tar\.bz2|tar\.xz"
PLAIN = re.compile(rf"(?P<stem>.+)\.(?P<kind>zip|rar|7z|{TAR})", re.I)
NUMBERED = re.compile(rf"(?P<stem>.+\.(?:zip|7z|{TAR}))\.(?P<part>\d{{2,3}})", re.I)  # a.zip.001
LETTERED = re.compile(
    rf"(?P<stem>.+\.(?:zip|{TAR}))[._-]?part[._-]?(?P<part>\d+|[a-z]{{2,3}})", re.I
)  # a.tar.gz.part-aa
SPANNED = re.compile(r"(?P<stem>.+)\.z(?P<part>\d{2,3})", re.I)  # a.z01 … of a.zip
RAR_PART = re.compile(r"(?P<stem>.+)\.part(?P<part>\d+)\.rar", re.I)
RAR_OLD = re.compile(r"(?P<stem>.+)\.r(?P<part>\d{2})", re.I)  # a.r00 … of a.rar
ZIP_METHODS = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA}
LEFT_BY_DESKTOPS = {"__MACOSX", "Thumbs.db", "desktop.ini"}
DAMAGE_ERRORS = (
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    struct.error,
    gzip.BadGzipFile,
)


MemberKind = Literal["file", "folder", "link", "device or pipe"]


@dataclass(frozen=True)
class Archive:
    """An archive: its name without the number of a part, its kind ("tool": only a system tool opens it), its parts in order."""

    name: str
    kind: Literal["zip", "tar", "tool"]
    parts: tuple[Path, ...]

    @property
    def size(self) -> int:
        return sum(part.stat().st_size for part in self.parts)


@dataclass(frozen=True)
class Member:
    """A member of an archive. ``open`` works until the next member is asked for."""

    path: str
    size: int  # bytes, as the archive declares them
    kind: MemberKind
    open: Callable[[], IO[bytes]]
    offset: int = 0  # bytes of the archive before it, for the progress bar


def is_archive(name: str) -> bool:
    """Whether a file's name is that of an archive, or of a part of one."""
    return any(form.fullmatch(name) for form in (PLAIN, NUMBERED, LETTERED, SPANNED, RAR_PART, RAR_OLD))


def archives_of(files: Iterable[Path]) -> list[Archive]:
    """Group files into archives, the parts of each in order. Raises DataError for a missing part or a file that is no archive."""
    groups: dict[tuple[str, str], dict[str, Path]] = {}
    for file in files:
        name = file.name
        for form, how in (
            (RAR_PART, "rar"),
            (NUMBERED, "joined"),
            (LETTERED, "joined"),
            (SPANNED, "zip"),
            (RAR_OLD, "old"),
        ):
            if match := form.fullmatch(name):
                stem = match["stem"] + {"zip": ".zip", "old": ".rar", "rar": ".rar"}.get(how, "")
                part = match["part"].lower()
                break
        else:
            if not PLAIN.fullmatch(name):
                raise DataError(
                    f"{file}: not an archive that can be unpacked (zip, tar, tar.gz, tar.bz2, tar.xz, rar, 7z)"
                )
            stem, part = name, ""
        group = groups.setdefault((str(file.parent), stem), {})
        if part in group:
            raise DataError(f"{file} and {group[part]} are the same part of {stem}; remove one of them")
        group[part] = file
    return [_assemble(stem, group) for (_, stem), group in groups.items()]


def _assemble(name: str, group: dict[str, Path]) -> Archive:
    """The archive made of {part's number: file}. Raises DataError if the numbers show that a part is missing."""
    numbers = sorted((part for part in group if part), key=lambda part: (int(part) if part.isdigit() else 0, part))
    last = group.get("")
    spanned = last is not None and numbers and name.lower().endswith(".zip")
    old_rar = numbers and name.lower().endswith(".rar") and any(RAR_OLD.fullmatch(f.name) for f in group.values())
    if numbers:
        expected = _sequence(numbers[0], len(numbers), first="0" if old_rar else None)
        if missing := [part for part in expected if part not in {_plain_part(n) for n in numbers}]:
            raise DataError(
                f"{group[numbers[0]].parent / name}: part {missing[0]} is missing; the parts here are {', '.join(numbers)}"
            )
    if any(SPANNED.fullmatch(f.name) for f in group.values()) and last is None:
        raise DataError(
            f"{group[numbers[0]].parent / name} is missing: the last part of a split zip, with its table of contents"
        )
    if old_rar and last is None:
        raise DataError(f"{group[numbers[0]].parent / name} is missing: the first part of a split rar")
    if last is not None and numbers and not spanned and not old_rar:
        raise DataError(
            f"{last}: there are also parts of the same name ({group[numbers[0]].name}); remove the parts or the whole archive"
        )
    files = tuple(group[n] for n in numbers)
    if last is not None:
        files = (last, *files) if old_rar else (*files, last)
    kind: Literal["zip", "tar", "tool"]
    kind = "tool" if name.lower().endswith((".rar", ".7z")) else "zip" if name.lower().endswith(".zip") else "tar"
    return Archive(name, kind, files)


def _plain_part(part: str) -> str:
    return str(int(part)) if part.isdigit() else part


def _sequence(start: str, count: int, first: str | None) -> list[str]:
    """The numbers that ``count`` parts should have: 0, 1, 2 … or 1, 2, 3 … or aa, ab, ac …"""
    if start.isdigit():
        begin = int(first) if first else min(int(start), 1)
        return [str(begin + i) for i in range(count)]
    letters, words = "abcdefghijklmnopqrstuvwxyz", []
    for i in range(count):
        word, rest = "", i
        for _ in start:
            rest, digit = divmod(rest, 26)
            word = letters[digit] + word
        words.append(word)
    return words


def safe_path(path: str) -> str | None:
    """A member's path as it may be written below a folder; None for hidden files and files that desktops leave behind.

    Raises DataError for a path that leads out of the folder, or that no file can have.
    """
    name = path.replace("\\", "/")
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if name.startswith("/") or re.match("[A-Za-z]:", name) or ".." in parts:
        raise DataError(f"member {path!r} would be written outside its folder; the archive is not unpacked")
    name = "/".join(parts).encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    if re.search(r"[\x00-\x1f\x7f]", name) or any(len(part.encode()) > 255 for part in name.split("/")):
        raise DataError(f"member {path!r} has a name that no file can have; the archive is not unpacked")
    unwanted = any(part.startswith(".") or part in LEFT_BY_DESKTOPS for part in parts)
    return None if unwanted or not parts else name


# ---------------------------------------------------------------- reading


def read_members(archive: Archive, password: str | None = None) -> Iterator[Member]:
    """Members of a zip or tar archive, in order. Raises DataError for a damaged or encrypted one, naming it."""
    raw = Joined(archive.parts)
    try:
        yield from (_read_zip(archive, raw, password) if archive.kind == "zip" else _read_tar(raw))
    except DAMAGE_ERRORS as error:
        split = len(archive.parts) > 1 or not PLAIN.fullmatch(archive.parts[0].name)
        what = "a part is missing or damaged" if split else "it is cut short or damaged"
        raise DataError(f"{archive.parts[0].parent / archive.name}: {what} ({error or type(error).__name__})") from None
    finally:
        raw.close()


def needs_tool(archive: Archive) -> bool:
    """Whether only a system tool opens it: rar, 7z, and zips with methods that Python does not have (deflate64, AES)."""
    if archive.kind != "zip":
        return archive.kind == "tool"
    raw = Joined(archive.parts)
    try:
        return any(info.compress_type not in ZIP_METHODS for info in _open_zip(archive, raw).infolist())
    except DAMAGE_ERRORS:
        return False  # the error is raised when it is read
    finally:
        raw.close()


def has_signature(archive: Archive) -> bool:
    """Whether the first bytes are those of a rar, 7z or zip archive."""
    with archive.parts[0].open("rb") as file:
        return file.read(8).startswith((b"Rar!\x1a\x07", b"7z\xbc\xaf\x27\x1c", b"PK"))


def _read_zip(archive: Archive, raw: Joined, password: str | None) -> Iterator[Member]:
    with _open_zip(archive, raw) as bundle:
        key = password.encode() if password else None
        for info in bundle.infolist():
            mode = stat.S_IFMT(info.external_attr >> 16)
            kind: MemberKind = "link" if mode == stat.S_IFLNK else "folder" if info.is_dir() else "file"
            if mode not in (0, stat.S_IFREG, stat.S_IFLNK, stat.S_IFDIR):
                kind = "device or pipe"
            yield Member(info.filename, info.file_size, kind, _opener(archive, bundle, info, key), info.header_offset)


def _opener(
    archive: Archive, bundle: zipfile.ZipFile, info: zipfile.ZipInfo, key: bytes | None
) -> Callable[[], IO[bytes]]:
    def opened() -> IO[bytes]:
        if info.flag_bits & 1 and key is None:
            raise DataError(f"{info.filename} is encrypted; give `passwords: {{{archive.name}: …}}`")
        try:
            return bundle.open(info, pwd=key)
        except RuntimeError:
            raise DataError(f"the password given under `passwords` does not open {info.filename}") from None

    return opened


def _open_zip(archive: Archive, raw: Joined) -> zipfile.ZipFile:
    """Open a zip, whole or split. In a split zip each offset counts from the start of its part, which zipfile cannot handle."""
    starts = _as_one_disk(archive, raw)
    bundle = zipfile.ZipFile(io.BufferedReader(raw, 1 << 20))
    if starts:
        for info in bundle.infolist():
            if info.volume >= len(starts):
                raise zipfile.BadZipFile(f"{info.filename} begins in part {info.volume + 1} of {len(starts)}")
            info.header_offset += starts[info.volume]
            if hasattr(info, "_end_offset"):  # zipfile's guard against overlaps, computed from the old offsets
                info._end_offset = None
        if sum(info.compress_size for info in bundle.infolist()) > raw.size:
            raise zipfile.BadZipFile("its members overlap")
    return bundle


def _as_one_disk(archive: Archive, raw: Joined) -> list[int] | None:
    """Where the parts of a split zip begin; None for a zip in one piece. Patches its end records to those of a whole zip."""
    base = max(0, raw.size - 65557)
    tail = raw.exactly(base, 65557)
    at = tail.rfind(b"PK\5\6")
    if at < 0 or len(tail) < at + 22:
        return None
    _, disk, first, _, total, size, offset, comment = struct.unpack("<4s4H2LH", tail[at : at + 22])
    long = tail[at - 20 : at] if at >= 20 and tail[at - 20 : at - 16] == b"PK\6\7" else None
    if long:
        _, record_disk, record, disks = struct.unpack("<4sLQL", long)
        disk = disks - 1
    if disk == 0:
        return None
    if disk + 1 != len(archive.parts):
        raise DataError(f"{archive.parts[-1]}: a split zip of {disk + 1} parts, of which {len(archive.parts)} are here")
    if long:
        place = raw.starts[record_disk] + record
        fields = list(struct.unpack("<4sQ2H2L4Q", raw.exactly(place, 56)))
        fields[9] += raw.starts[fields[5]]
        fields[4:6], fields[6] = [0, 0], fields[7]
        raw.patches[place] = struct.pack("<4sQ2H2L4Q", *fields)
        raw.patches[base + at - 20] = struct.pack("<4sLQL", b"PK\6\7", 0, place, 1)
        end = (0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF)
    else:
        end = (total, size, raw.starts[first] + offset)
    raw.patches[base + at] = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, end[0], *end, comment)
    return raw.starts


def _read_tar(raw: Joined) -> Iterator[Member]:
    head = raw.exactly(0, 6)
    plain = io.BufferedReader(raw, 1 << 20)
    stream: IO[bytes] = plain
    for magic, opener in ((b"\x1f\x8b", gzip.open), (b"BZh", bz2.open), (b"\xfd7zXZ\0", lzma.open)):
        if head.startswith(magic):
            stream = cast(IO[bytes], opener(plain))
    with tarfile.open(fileobj=stream, mode="r|", bufsize=1 << 20) as tar:
        for info in tar:
            yield Member(info.name, info.size, _tar_kind(info), partial(_open_in_tar, tar, info), raw.position)
    while stream.read(1 << 20):  # to the end: the checksum of a compressed stream is there
        pass


def _open_in_tar(tar: tarfile.TarFile, info: tarfile.TarInfo) -> IO[bytes]:
    stream = tar.extractfile(info)
    assert stream is not None, "only files are opened"
    return stream


def _tar_kind(info: tarfile.TarInfo) -> MemberKind:
    if info.isreg():
        return "file"
    if info.isdir():
        return "folder"
    return "link" if info.islnk() or info.issym() else "device or pipe"
