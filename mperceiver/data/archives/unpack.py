"""Unpack archives into a folder, whole or not at all, trusting nothing that they say.

No member is written outside the folder; links, devices, two names that a file system may take for one, and far more bytes
than an archive of its size can honestly hold are refused; hidden files and what systems leave behind are passed over. Sizes
are counted as they come out, not as the archive declares them. How archives are read stands in archives.py and tools.py.
"""

import tempfile
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO

from mperceiver.config.sources import matches
from mperceiver.data import DataError
from mperceiver.data.archives import formats, tools
from mperceiver.data.archives.formats import Archive, Member, archives_of, safe
from mperceiver.files import atomic_folder
from mperceiver.progress import progress

RATIO = (
    100  # bytes believed to come out of each byte of an archive (photographs give less than two, raw arrays about ten)
)
SLACK_BYTES = 256 * 2**20  # and besides
MOST_BYTES = 4 * 2**40
MOST_FILES = 2_000_000
CHUNK = 2**20

Wanted = Callable[[str], bool] | Iterable[str] | None


def unpack(
    files: Iterable[Path],
    target: Path,
    wanted: Wanted = None,
    password: str | Mapping[str, str] | None = None,
    nested: Iterable[str] = (),
    apart: bool = False,
) -> list[Path]:
    """Unpack archives, the parts of split ones among them, into the folder ``target``, which appears whole.

    Args:
        files: archives and parts of archives; all parts of a split one must be among them.
        target: the folder; one that is there already is replaced.
        wanted: which members: globs on their paths below ``target``, or a function of the path; None: all of them.
        password: of all encrypted archives, or {archive's name: password}.
        nested: globs of members that are archives and are unpacked in their place, beside where they lay.
        apart: each archive into a folder of its own name without the ending, for those whose members share names.

    Returns:
        the files written, sorted.

    Raises:
        DataError: an archive is damaged, incomplete, encrypted or not to be trusted, nothing in it is wanted, or no tool
        opens it; ``target`` is then as it was.
    """
    work = _Unpacking(
        _wanted(wanted), password if password is None or isinstance(password, str) else dict(password), list(nested)
    )
    with atomic_folder(target) as beside:
        for archive in archives_of(files):
            work.unpack(archive, beside, f"{_stem(archive.name)}/" if apart else "")
        if not work.written:
            raise DataError(
                f"{target}: nothing in {', '.join(str(file) for file in files)} is wanted; look at `root` and globs"
            )
    return sorted(target / path for path in work.written.values())


def check(files: Iterable[Path]) -> int:
    """Read the table of contents of archives, of compressed tars everything, and count their files. Raises DataError.

    Of an archive that only a tool opens the first bytes are looked at, and it counts as one: another machine, that has the
    tool, may unpack it.
    """
    count = 0
    for archive in archives_of(files):
        if formats.needs_tool(archive):
            if not formats.begins_well(archive):
                raise DataError(f"{archive.parts[0]}: its first bytes are not those of such an archive")
            count += 1
            continue
        members = formats.members(archive)
        found = sum(member.kind == "file" for member in _shown(f"look through {archive.name}", archive, members))
        if not found:
            raise DataError(f"{archive.parts[0]}: no files in it")
        count += found
    return count


def _shown(label: str, archive: Archive, members: Iterator[Member]) -> Iterator[Member]:
    """The same members, with progress told in bytes of the archive."""
    with progress(label, archive.size, "bytes") as step:
        done = 0
        for member in members:
            if (now := min(archive.size, member.at)) > done:
                step(now - done)
                done = now
            yield member
        step(archive.size - done)


def _wanted(wanted: Wanted) -> Callable[[str], bool]:
    if wanted is None:
        return lambda path: True
    if callable(wanted):
        return wanted
    globs = list(wanted)
    return lambda path: matches(path, globs)


def _password(password: str | Mapping[str, str] | None, archive: Archive) -> str | None:
    return password if password is None or isinstance(password, str) else password.get(archive.name)


def _stem(name: str) -> str:
    return formats.PLAIN.fullmatch(name)["stem"]


class _Unpacking:
    """One call's state: what has been written so far, over all its archives."""

    def __init__(self, wanted: Callable[[str], bool], password: str | dict[str, str] | None, nested: list[str]):
        self.wanted, self.password, self.nested = wanted, password, nested
        self.written: dict[str, str] = {}  # path as some file systems see it: path

    def unpack(self, archive: Archive, folder: Path, prefix: str, inside: bool = False) -> None:
        limit = min(MOST_BYTES, RATIO * archive.size + SLACK_BYTES)
        where = archive.parts[0].parent / archive.name
        with tempfile.TemporaryDirectory(dir=folder, prefix=".scratch.") as scratch:
            laid = Path(scratch) / "nested"
            out = count = 0
            label = f"unpack {archive.name}"
            for member in self._told(archive, Path(scratch), limit, label, prefix, inside):
                count += 1
                if count > MOST_FILES:
                    raise DataError(f"{where}: more than {MOST_FILES} members; such an archive is not unpacked")
                try:
                    path = safe(prefix + member.path)
                    if path is None or member.kind == "folder":
                        continue
                    deeper = self._deeper(path, inside)
                    if not deeper and not self.wanted(path):
                        continue
                    if member.kind != "file":
                        raise DataError(f"member {member.path!r} is a {member.kind}, not a file; it is not unpacked")
                    file = (laid if deeper else folder) / (path if deeper else self._new(path))
                    file.parent.mkdir(parents=True, exist_ok=True)
                    with member.open() as stream, file.open("xb") as beside:
                        out += _copy(stream, beside, limit - out)
                except DataError as error:
                    raise DataError(f"{where}: {error}") from None
                except FileExistsError:
                    raise DataError(
                        f"{where}: {member.path!r} is a file and a folder at once; it is not unpacked"
                    ) from None
                except formats.DAMAGED as error:
                    raise DataError(
                        f"{where}: member {member.path} is damaged ({error}); remove {archive.parts[0]} and bring it again "
                        "(mperceiver download --force)"
                    ) from None
            for found in archives_of(sorted(p for p in laid.rglob("*") if p.is_file())):
                below = found.parts[0].parent.relative_to(laid).as_posix()
                self.unpack(found, folder, "" if below == "." else f"{below}/", inside=True)

    def _deeper(self, path: str, inside: bool) -> bool:
        """Whether a member is an archive to be unpacked in its turn."""
        return not inside and matches(path, self.nested)

    def _told(
        self, archive: Archive, scratch: Path, limit: int, label: str, prefix: str, inside: bool
    ) -> Iterator[Member]:
        """Members, by whatever opens the archive."""
        key = _password(self.password, archive)
        if formats.needs_tool(archive):
            out = scratch / "tool"
            out.mkdir()

            def useful(member: str) -> bool:
                path = safe(prefix + member)
                return path is not None and (self._deeper(path, inside) or self.wanted(path))

            found = tools.members(archive, out, limit, key, useful)
        else:
            found = formats.members(archive, key)
        return _shown(label, archive, found)

    def _new(self, path: str) -> str:
        """Take note of a path. Raises DataError if a file system may take it for one that is there."""
        seen = unicodedata.normalize("NFC", path).casefold()
        if seen in self.written:
            first = self.written[seen]
            same = "two members are named" if first == path else "two members' names differ in capitals only:"
            raise DataError(f"{same} {path}" + ("" if first == path else f" and {first}"))
        self.written[seen] = path
        return path


def _copy(stream: IO[bytes], target: IO[bytes], limit: int) -> int:
    """Copy a member; its bytes. Raises DataError when more than ``limit`` come."""
    count = 0
    while chunk := stream.read(CHUNK):
        count += len(chunk)
        if count > limit:
            raise DataError("more bytes come out than can be in an archive of its size; it is not unpacked any further")
        target.write(chunk)
    return count
