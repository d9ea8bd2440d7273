"""Archives that only a tool of the system opens: rar (RAR5, volumes, passwords), 7z, and zips with rare methods.

The tool first lists the archive, so that a dangerous name or a link is refused before anything is written. Then it unpacks
into an empty folder, whose size is watched meanwhile and whose contents are checked afterwards.
"""

import errno
import json
import os
import shutil
import stat
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, NamedTuple

from mperceiver.data import DataError
from mperceiver.data.archives.base import Archive, Member, MemberKind
from mperceiver.data.archives.names import safe_path

FULL_BYTES = 1 << 16  # if less than this is free when a tool has failed, the disk is said to be full
PAUSE_SECONDS = 0.2  # between two looks at the size of what a tool has written
HINT = "sudo apt-get install unar   (or unrar, 7zip, libarchive-tools; without root: conda install -c conda-forge unar)"


class ListedMember(NamedTuple):
    """A member as a tool lists it."""

    path: str
    size: int  # bytes
    kind: MemberKind


@dataclass(frozen=True)
class Tool:
    """A program: its command that lists an archive, a parser for what that prints, and its command that unpacks."""

    name: str
    list_command: Callable[[Path, str | None], list[str]]  # (archive, password)
    parse_listing: Callable[[str], list[ListedMember]]
    unpack_command: Callable[[Path, Path, str | None], list[str]]  # (archive, folder, password)


def usable_tools(archive: Archive) -> list[Tool]:
    """The installed tools that open an archive of this kind reliably."""
    # bsdtar handles neither volumes nor passwords of rar, and a member that is a copy of another comes out empty.
    rar = archive.name.lower().endswith(".rar")
    return [tool for tool in TOOLS if shutil.which(tool.name) and not (rar and tool.name == "bsdtar")]


def list_members(archive: Archive, password: str | None = None) -> tuple[Tool, list[ListedMember]]:
    """The first tool that opens an archive, and the archive's members. Raises DataError if no tool does."""
    failures = []
    for tool in usable_tools(archive):
        command = tool.list_command(archive.parts[0].absolute(), password)
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, env=_english_environment())
        out, err = (text.decode("utf-8", "replace") for text in (done.stdout, done.stderr))
        try:
            members = tool.parse_listing(out) if done.returncode == 0 else []
        except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError) as error:
            failures.append(f"{tool.name}: its listing cannot be read ({error!s:.100})")
            continue
        if members:
            return tool, members
        failures.append(f"{tool.name}: {_last_lines(err or out)}")
    path = archive.parts[0]
    if not failures:
        raise DataError(f"{path}: needs a program for rar, 7z and the like, and none is installed: {HINT}")
    raise DataError(
        f"{path}: no tool here opens it ({'; '.join(failures)}). It is damaged, a part of it is missing, its password under "
        f"`passwords` is missing or wrong, or another tool is needed: {HINT}"
    )


def unpack_members(
    archive: Archive, scratch: Path, limit: int, password: str | None, wanted: Callable[[str], bool]
) -> Iterator[Member]:
    """Unpack the whole archive into the empty folder ``scratch`` and yield its members.

    Nothing is unpacked if no member's path is ``wanted``. Raises DataError if no tool opens it, if it lists or writes more
    than ``limit`` bytes, if a member is a link or has a dangerous path, or if the tool fails.
    """
    path = archive.parts[0]
    tool, listed = list_members(archive, password)
    for member in listed:
        try:
            safe_path(member.path)
        except DataError as error:
            raise DataError(f"{path}: {error}") from None
        if member.kind not in ("file", "folder"):
            raise DataError(f"{path}: member {member.path!r} is a {member.kind}; the archive is not unpacked")
    if not any(member.kind == "file" and wanted(member.path) for member in listed):
        return
    if (total := sum(member.size for member in listed)) > limit:
        raise DataError(f"{path}: {total} bytes inside, more than the {limit} that an archive of its size may hold")
    _run_unpacking(tool, archive, scratch, limit, password)
    if (unpacked := _folder_size(scratch)) != total:
        raise DataError(f"{path}: {tool.name} unpacked {unpacked} bytes, its listing has {total}; is it damaged?")
    files = [file for file in sorted(scratch.rglob("*")) if not file.is_dir() or file.is_symlink()]
    if len(files) != (count := sum(member.kind == "file" for member in listed)):
        raise DataError(
            f"{path}: {tool.name} unpacked {len(files)} files, its listing has {count}; have two members one name, or is it damaged?"
        )
    for file in files:
        kind = _kind_on_disk(file)
        size = file.stat().st_size if kind == "file" else 0
        yield Member(file.relative_to(scratch).as_posix(), size, kind, partial(_open_bytes, file))


def _run_unpacking(tool: Tool, archive: Archive, scratch: Path, limit: int, password: str | None) -> None:
    """Run the tool, and stop it when it has written more than ``limit`` bytes. Raises DataError if it fails."""
    path = archive.parts[0]
    command = tool.unpack_command(path.absolute(), scratch.absolute(), password)
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as output:
        running = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=_english_environment()
        )
        try:
            while running.poll() is None:
                time.sleep(PAUSE_SECONDS)
                if _folder_size(scratch) > limit:
                    raise DataError(f"{path}: more than {limit} bytes came out, too many for an archive of its size")
        finally:
            running.kill()
            running.wait()
        if running.returncode:
            output.seek(0)
            if shutil.disk_usage(scratch).free < FULL_BYTES or "No space left" in output.read():
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(scratch))
            output.seek(0)
            raise DataError(
                f"{path}: {tool.name} could not unpack it: {_last_lines(output.read())}; it is damaged, or its password "
                "under `passwords` is missing or wrong"
            )


def _open_bytes(path: Path) -> IO[bytes]:
    return path.open("rb")


def _kind_on_disk(path: Path) -> MemberKind:
    if path.is_symlink():
        return "link"
    return "folder" if path.is_dir() else "file" if path.is_file() else "device or pipe"


def _english_environment() -> dict[str, str]:
    """The environment, with names in UTF-8 and messages in English."""
    return os.environ | {"LC_ALL": "C.UTF-8", "LANGUAGE": "C"}


def _folder_size(folder: Path) -> int:
    """Bytes of all files below a folder."""
    total = 0
    for path in folder.rglob("*"):
        try:
            status = path.lstat()
            total += 0 if stat.S_ISDIR(status.st_mode) else status.st_size
        except FileNotFoundError:  # the tool has renamed it meanwhile
            continue
    return total


def _last_lines(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return " / ".join(lines[-3:])[-300:] or "it printed no reason"


# ---------------------------------------------------------------- listings that the tools print


def _paragraphs(text: str, separator: str) -> Iterator[dict[str, str]]:
    """Each paragraph of `key: value` lines as a dict."""
    for paragraph in text.replace("\r\n", "\n").split("\n\n"):
        lines = (line.partition(separator) for line in paragraph.splitlines() if separator in line)
        if entry := {key.strip(): value.strip() for key, _, value in lines}:
            yield entry


def _parse_unrar(text: str) -> list[ListedMember]:
    kinds: dict[str, MemberKind] = {"File": "file", "Directory": "folder"}
    links = ("link", "junction", "reference", "copy")
    members = []
    for entry in _paragraphs(text, ": "):
        if "Name" in entry and "Type" in entry:
            is_link = any(word in entry["Type"].lower() for word in links)
            kind = kinds.get(entry["Type"], "link" if is_link else "device or pipe")
            members.append(ListedMember(entry["Name"], int(entry.get("Size", "0") or 0), kind))
    return members


def _parse_7z(text: str) -> list[ListedMember]:
    members = []
    for entry in _paragraphs(text, " = "):
        if "Path" in entry:
            attributes = entry.get("Attributes", "").split()
            mode = attributes[-1] if attributes else ""
            folder = entry.get("Folder") == "+" or mode.startswith(("D", "d"))
            link = bool(entry.get("Symbolic Link") or entry.get("Hard Link")) or mode.startswith("l")
            kind: MemberKind = "link" if link else "folder" if folder else "file"
            members.append(ListedMember(entry["Path"], int(entry.get("Size") or 0), kind))
    return members


def _parse_lsar(text: str) -> list[ListedMember]:
    members = []
    for entry in json.loads(text).get("lsarContents", []):
        link = entry.get("XADIsLink") or entry.get("XADIsHardLink")
        kind: MemberKind = "link" if link else "folder" if entry.get("XADIsDirectory") else "file"
        members.append(ListedMember(entry["XADFileName"], int(entry.get("XADFileSize", 0)), kind))
    return members


def _parse_bsdtar(text: str) -> list[ListedMember]:
    kinds: dict[str, MemberKind] = {"-": "file", "d": "folder", "l": "link", "h": "link"}
    columns = [line.split(None, 8) for line in text.splitlines() if line.strip()]
    return [ListedMember(c[8], int(c[4]), kinds.get(c[0][0], "device or pipe")) for c in columns if len(c) == 9]


# ---------------------------------------------------------------- commands


def _list_with_unrar(archive: Path, password: str | None) -> list[str]:
    return ["unrar", "lt", "-c-", f"-p{password}" if password else "-p-", "--", str(archive)]


def _unpack_with_unrar(archive: Path, folder: Path, password: str | None) -> list[str]:
    return ["unrar", "x", "-y", "-c-", f"-p{password}" if password else "-p-", "--", str(archive), f"{folder}/"]


def _list_with_7z(program: str, archive: Path, password: str | None) -> list[str]:
    return [program, "l", "-slt", "-ba", "-sccUTF-8", f"-p{password or ''}", "--", str(archive)]


def _unpack_with_7z(program: str, archive: Path, folder: Path, password: str | None) -> list[str]:
    return [program, "x", "-y", "-bd", f"-p{password or ''}", f"-o{folder}", "--", str(archive)]


def _list_with_lsar(archive: Path, password: str | None) -> list[str]:
    return ["lsar", "-j", *(["-p", password] if password else []), str(archive)]


def _unpack_with_unar(archive: Path, folder: Path, password: str | None) -> list[str]:
    return ["unar", "-q", "-D", *(["-p", password] if password else []), "-o", str(folder), str(archive)]


def _list_with_bsdtar(archive: Path, password: str | None) -> list[str]:
    return ["bsdtar", "-tv", *(["--passphrase", password] if password else []), "-f", str(archive)]


def _unpack_with_bsdtar(archive: Path, folder: Path, password: str | None) -> list[str]:
    phrase = ["--passphrase", password] if password else []
    return ["bsdtar", "-x", "--no-same-owner", "--no-same-permissions", *phrase, "-C", str(folder), "-f", str(archive)]


TOOLS = [
    Tool("unrar", _list_with_unrar, _parse_unrar, _unpack_with_unrar),
    Tool("7zz", partial(_list_with_7z, "7zz"), _parse_7z, partial(_unpack_with_7z, "7zz")),
    Tool("7z", partial(_list_with_7z, "7z"), _parse_7z, partial(_unpack_with_7z, "7z")),
    Tool("unar", _list_with_lsar, _parse_lsar, _unpack_with_unar),
    Tool("bsdtar", _list_with_bsdtar, _parse_bsdtar, _unpack_with_bsdtar),
]
