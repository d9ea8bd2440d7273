"""Archives that only a system tool opens: rar (RAR5, volumes, passwords), 7z, and zips by methods Python does not have.

The tool first lists the archive, so that a bad name or a link is refused before anything is written; then it unpacks into an
empty folder, which is watched for its size and looked through afterwards.
"""

import json
import os
import shutil
import stat
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from mperceiver.data import DataError
from mperceiver.data.archives.formats import Archive, Member, safe

PAUSE_SECONDS = 0.2  # between two looks at what a tool has written
HINT = "sudo apt-get install unar   (or unrar, 7zip, libarchive-tools; without root: conda install -c conda-forge unar)"


@dataclass(frozen=True)
class Tool:
    """A program: how it lists (a parser of its standard output to members), and how it unpacks into a folder."""

    name: str
    lists: Callable[[Path, str | None], list[str]]
    parse: Callable[[str], list[tuple[str, int, str]]]
    unpacks: Callable[[Path, Path, str | None], list[str]]


def usable(archive: Archive) -> list[Tool]:
    """The installed tools that can be trusted with an archive."""
    # bsdtar knows no volumes and no passwords of rar, and a member that is a copy of another comes out empty.
    rar = archive.name.lower().endswith(".rar")
    return [tool for tool in TOOLS if shutil.which(tool.name) and not (rar and tool.name == "bsdtar")]


def listing(archive: Archive, password: str | None = None) -> tuple[Tool, list[tuple[str, int, str]]]:
    """The first tool that opens an archive, and (path, bytes, kind) of each member. Raises DataError if none does."""
    failures = []
    for tool in usable(archive):
        command = tool.lists(archive.parts[0], password)
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, env=_plain_words())
        out, err = (text.decode("utf-8", "replace") for text in (done.stdout, done.stderr))
        if done.returncode == 0 and (found := tool.parse(out)):
            return tool, found
        failures.append(f"{tool.name}: {_last_words(err or out)}")
    path = archive.parts[0]
    if not failures:
        raise DataError(f"{path}: needs a program for rar, 7z and the like, and none is installed: {HINT}")
    raise DataError(
        f"{path}: no tool here opens it ({'; '.join(failures)}). It is damaged, a part of it is missing, its password under "
        f"`passwords` is missing or wrong, or another tool is needed: {HINT}"
    )


def members(
    archive: Archive, scratch: Path, limit: int, password: str | None, wanted: Callable[[str], bool]
) -> Iterator[Member]:
    """Unpack everything into the empty folder ``scratch`` and yield it; nothing if no file is wanted by its path.

    Raises DataError if no tool opens it, it says or writes more than ``limit`` bytes, or the tool fails.
    """
    tool, listed = listing(archive, password)
    for path, _, kind in listed:
        try:
            safe(path)
        except DataError as error:
            raise DataError(f"{archive.parts[0]}: {error}") from None
        if kind not in ("file", "folder"):
            raise DataError(f"{archive.parts[0]}: member {path!r} is a {kind}; archives with such are not unpacked")
    if not any(kind == "file" and wanted(path) for path, _, kind in listed):
        return
    if (total := sum(size for _, size, _ in listed)) > limit:
        raise DataError(
            f"{archive.parts[0]}: {total} bytes inside, at most {limit} are believed of an archive of its size"
        )
    command = tool.unpacks(archive.parts[0], scratch, password)
    with tempfile.TemporaryFile("w+", errors="replace") as words:
        running = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=words, stderr=words, env=_plain_words())
        try:
            while running.poll() is None:
                time.sleep(PAUSE_SECONDS)
                if _size(scratch) > limit:
                    raise DataError(
                        f"{archive.parts[0]}: more than {limit} bytes came out, too many for an archive of its size"
                    )
        finally:
            running.kill()
            running.wait()
        if running.returncode:
            words.seek(0)
            raise DataError(
                f"{archive.parts[0]}: {tool.name} could not unpack it: {_last_words(words.read())}; it is "
                "damaged, or its password under `passwords` is missing or wrong"
            )
    if (came := _size(scratch)) != total:
        raise DataError(
            f"{archive.parts[0]}: {tool.name} brought {came} bytes out, {total} are listed in it; is it damaged?"
        )
    for path in sorted(scratch.rglob("*")):
        kind = (
            "link"
            if path.is_symlink()
            else "folder"
            if path.is_dir()
            else "file"
            if path.is_file()
            else "device or the like"
        )
        size = path.stat().st_size if kind == "file" else 0
        yield Member(path.relative_to(scratch).as_posix(), size, kind, lambda path=path: path.open("rb"))


def _plain_words() -> dict[str, str]:
    """The environment, with names in UTF-8 and words in English."""
    return os.environ | {"LC_ALL": "C.UTF-8", "LANGUAGE": "C"}


def _size(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        try:
            status = path.lstat()
            total += 0 if stat.S_ISDIR(status.st_mode) else status.st_size
        except FileNotFoundError:  # renamed by the tool meanwhile
            continue
    return total


def _last_words(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return " / ".join(lines[-3:])[-300:] or "no word of why"


# ---------------------------------------------------------------- what the tools print


def _blocks(text: str, separator: str) -> Iterator[dict[str, str]]:
    """`key: value` lines in paragraphs."""
    for paragraph in text.replace("\r\n", "\n").split("\n\n"):
        lines = (line.partition(separator) for line in paragraph.splitlines() if separator in line)
        if found := {key.strip(): value.strip() for key, _, value in lines}:
            yield found


def _of_unrar(text: str) -> list[tuple[str, int, str]]:
    kinds = {"File": "file", "Directory": "folder"}
    found = [block for block in _blocks(text, ": ") if "Name" in block and "Type" in block]
    links = ("link", "junction", "reference", "copy")
    return [
        (
            block["Name"],
            int(block.get("Size", "0") or 0),
            kinds.get(
                block["Type"], "link" if any(word in block["Type"].lower() for word in links) else "device or the like"
            ),
        )
        for block in found
    ]


def _of_7z(text: str) -> list[tuple[str, int, str]]:
    found = []
    for block in _blocks(text, " = "):
        if "Path" in block:
            attributes = block.get("Attributes", "").split()
            mode = attributes[-1] if attributes else ""
            folder = block.get("Folder") == "+" or mode.startswith(("D", "d"))
            link = bool(block.get("Symbolic Link") or block.get("Hard Link")) or mode.startswith("l")
            size = int(block.get("Size") or 0)
            found.append((block["Path"], size, "link" if link else "folder" if folder else "file"))
    return found


def _of_lsar(text: str) -> list[tuple[str, int, str]]:
    found = []
    for entry in json.loads(text).get("lsarContents", []):
        link = entry.get("XADIsLink") or entry.get("XADIsHardLink")
        kind = "link" if link else "folder" if entry.get("XADIsDirectory") else "file"
        found.append((entry["XADFileName"], int(entry.get("XADFileSize", 0)), kind))
    return found


def _of_bsdtar(text: str) -> list[tuple[str, int, str]]:
    kinds = {"-": "file", "d": "folder", "l": "link", "h": "link"}
    fields = [line.split(None, 8) for line in text.splitlines() if line.strip()]
    return [(f[8], int(f[4]), kinds.get(f[0][0], "device or the like")) for f in fields if len(f) == 9]


def _password(form: str, password: str | None, none: list[str]) -> list[str]:
    return [form.format(password)] if password else none


TOOLS = [
    Tool(
        "unrar",
        lambda path, key: ["unrar", "lt", "-c-", *_password("-p{}", key, ["-p-"]), "--", str(path)],
        _of_unrar,
        lambda path, to, key: ["unrar", "x", "-y", "-c-", *_password("-p{}", key, ["-p-"]), "--", str(path), f"{to}/"],
    ),
    *(
        Tool(
            name,
            lambda path, key, name=name: [name, "l", "-slt", "-ba", "-sccUTF-8", f"-p{key or ''}", "--", str(path)],
            _of_7z,
            lambda path, to, key, name=name: [name, "x", "-y", "-bd", f"-p{key or ''}", f"-o{to}", "--", str(path)],
        )
        for name in ("7zz", "7z")
    ),
    Tool(
        "unar",
        lambda path, key: ["lsar", "-j", *(["-p", key] if key else []), str(path)],
        _of_lsar,
        lambda path, to, key: ["unar", "-q", "-D", *(["-p", key] if key else []), "-o", str(to), str(path)],
    ),
    Tool(
        "bsdtar",
        lambda path, key: ["bsdtar", "-tv", *(["--passphrase", key] if key else []), "-f", str(path)],
        _of_bsdtar,
        lambda path, to, key: [
            "bsdtar",
            "-x",
            "--no-same-owner",
            "--no-same-permissions",
            *(["--passphrase", key] if key else []),
            "-C",
            str(to),
            "-f",
            str(path),
        ],
    ),
]
