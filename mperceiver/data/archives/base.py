"""What an archive is: its parts among the files, in order; its members."""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import islice, product
from pathlib import Path
from string import ascii_lowercase
from typing import IO, Literal

from mperceiver.data import DataError

TAR = r"tar|tgz|tbz2?|txz|tar\.gz|tar\.bz2|tar\.xz"
PLAIN = re.compile(rf"(?P<stem>.+)\.(?P<kind>zip|rar|7z|{TAR})", re.I)
NUMBERED = re.compile(rf"(?P<stem>.+\.(?:zip|7z|{TAR}))\.(?P<part>\d{{2,3}})", re.I)  # a.zip.001
# a.tar.gz.part-aa
LETTERED = re.compile(rf"(?P<stem>.+\.(?:zip|{TAR}))[._-]?part[._-]?(?P<part>\d+|[a-z]{{2,3}})", re.I)
SPANNED = re.compile(r"(?P<stem>.+)\.z(?P<part>\d{2,3})", re.I)  # a.z01 … of a.zip
RAR_PART = re.compile(r"(?P<stem>.+)\.part(?P<part>\d+)\.rar", re.I)
RAR_OLD = re.compile(r"(?P<stem>.+)\.r(?P<part>\d{2})", re.I)  # a.r00 … of a.rar


MemberKind = Literal["file", "folder", "link", "device or pipe"]


@dataclass(frozen=True)
class Archive:
    """An archive: its name without the number of a part, its kind ("tool": only a system tool opens it), its parts in order."""

    name: str
    kind: Literal["zip", "tar", "tool"]
    parts: tuple[Path, ...]

    @property
    def size(self) -> int:
        """Bytes of all its parts."""
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
    return ["".join(letters) for letters in islice(product(ascii_lowercase, repeat=len(start)), count)]
