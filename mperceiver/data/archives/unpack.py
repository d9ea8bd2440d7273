"""Unpack archives into a folder, completely or not at all, without trusting what the archives declare.

No member is written outside the folder. An archive is refused if it has links or devices, two names that some file systems
take for one, or far more bytes than an archive of its size can honestly hold; bytes are counted as they come out. Hidden files
and files that desktops leave behind are skipped. formats.py and tools.py read the archives.
"""

import tempfile
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO

from mperceiver.config.sources import matches
from mperceiver.data import DataError
from mperceiver.data.archives.formats import (
    DAMAGE_ERRORS,
    PLAIN,
    Archive,
    Member,
    archives_of,
    has_signature,
    needs_tool,
    read_members,
    safe_path,
)
from mperceiver.data.archives.tools import unpack_members
from mperceiver.files import atomic_folder
from mperceiver.progress import progress

# Most bytes that may come out of an archive: RATIO x its size + SLACK_BYTES. Photographs give less than twice the size,
# raw arrays about ten times.
RATIO = 100
SLACK_BYTES = 256 * 2**20
MOST_BYTES = 4 * 2**40
MOST_FILES = 2_000_000
CHUNK_BYTES = 2**20

MemberFilter = Callable[[str], bool] | Iterable[str] | None
Passwords = str | Mapping[str, str] | None


def unpack_archives(
    files: Iterable[Path],
    target: Path,
    wanted: MemberFilter = None,
    password: Passwords = None,
    nested: Iterable[str] = (),
    apart: bool = False,
) -> list[Path]:
    """Unpack archives, split ones too, into the folder ``target``, which appears complete or not at all.

    Args:
        files: archives and parts of archives; all parts of a split archive must be among them.
        target: the folder; an existing one is replaced.
        wanted: which members: globs on their paths below ``target``, or a function of the path; None: all of them.
        password: of all encrypted archives, or {archive's name: password}.
        nested: globs of members that are archives themselves; each is unpacked into the folder where it would lie.
        apart: unpack each archive into a folder of its own name without suffix, if members of several share names.

    Returns:
        the files written, sorted.

    Raises:
        DataError: an archive is damaged, incomplete, encrypted or dangerous, no member is wanted, or no tool opens it;
        ``target`` is then as it was.
    """
    passwords = password if password is None or isinstance(password, str) else dict(password)
    unpacking = _Unpacking(_as_function(wanted), passwords, list(nested))
    files = list(files)
    with atomic_folder(target) as beside:
        for archive in archives_of(files):
            unpacking.unpack(archive, beside, f"{_stem(archive.name)}/" if apart else "")
        if not unpacking.written:
            raise DataError(
                f"{target}: no member of {', '.join(str(file) for file in files)} is wanted; look at `root` and the globs"
            )
    return sorted(target / path for path in unpacking.written.values())


def check_archives(files: Iterable[Path]) -> int:
    """Read the table of contents of archives (compressed tars: all of it) and count their files. Raises DataError.

    Of an archive that only a tool opens, the first bytes are checked and it counts as one file: another machine, which has
    the tool, may unpack it.
    """
    count = 0
    for archive in archives_of(files):
        if needs_tool(archive):
            if not has_signature(archive):
                raise DataError(f"{archive.parts[0]}: its first bytes are not those of such an archive")
            count += 1
            continue
        members = _with_progress(f"look through {archive.name}", archive, read_members(archive))
        files_inside = sum(member.kind == "file" for member in members)
        if not files_inside:
            raise DataError(f"{archive.parts[0]}: no files in it")
        count += files_inside
    return count


def _with_progress(label: str, archive: Archive, members: Iterator[Member]) -> Iterator[Member]:
    """The same members; a progress bar shows the bytes of the archive that are done."""
    with progress(label, archive.size, "bytes") as advance:
        done = 0
        for member in members:
            if (now := min(archive.size, member.offset)) > done:
                advance(now - done)
                done = now
            yield member
        advance(archive.size - done)


def _as_function(wanted: MemberFilter) -> Callable[[str], bool]:
    if wanted is None:
        return lambda path: True
    if callable(wanted):
        return wanted
    globs = list(wanted)
    return lambda path: matches(path, globs)


def _password_of(archive: Archive, password: Passwords) -> str | None:
    return password if password is None or isinstance(password, str) else password.get(archive.name)


def _stem(name: str) -> str:
    match = PLAIN.fullmatch(name)
    assert match, f"{name} is the name of an archive without its part's number"
    return match["stem"]


class _Unpacking:
    """State of one call: the files written so far, over all its archives."""

    def __init__(self, wanted: Callable[[str], bool], password: Passwords, nested: list[str]) -> None:
        self.wanted, self.password, self.nested = wanted, password, nested
        self.written: dict[str, str] = {}  # path as some file systems compare it: path

    def unpack(self, archive: Archive, folder: Path, prefix: str, inside: bool = False) -> None:
        """Write the wanted members of an archive below ``folder``/``prefix``. ``inside``: it came out of another archive."""
        limit = min(MOST_BYTES, RATIO * archive.size + SLACK_BYTES)
        where = archive.parts[0].parent / archive.name
        with tempfile.TemporaryDirectory(dir=folder, prefix=".scratch.") as scratch:
            nested = Path(scratch) / "nested"  # archives inside the archive
            written_bytes = count = 0
            for member in self._members(archive, Path(scratch), limit, prefix, inside):
                count += 1
                if count > MOST_FILES:
                    raise DataError(f"{where}: more than {MOST_FILES} members; the archive is not unpacked")
                try:
                    path = safe_path(prefix + member.path)
                    if path is None or member.kind == "folder":
                        continue
                    is_nested = self._is_nested(path, inside)
                    if not is_nested and not self.wanted(path):
                        continue
                    if member.kind != "file":
                        raise DataError(f"member {member.path!r} is a {member.kind}, not a file; it is not unpacked")
                    target = nested / path if is_nested else folder / self._note(path)
                    target.parent.mkdir(parents=True, exist_ok=True)
                    with member.open() as stream, target.open("xb") as file:
                        written_bytes += _copy(stream, file, limit - written_bytes)
                except DataError as error:
                    raise DataError(f"{where}: {error}") from None
                except FileExistsError:
                    raise DataError(
                        f"{where}: {member.path!r} is both a file and a folder in it; it is not unpacked"
                    ) from None
                except DAMAGE_ERRORS as error:
                    raise DataError(
                        f"{where}: member {member.path} is damaged ({error}); remove {archive.parts[0]} and download it "
                        "again (mperceiver download --force)"
                    ) from None
            for inner in archives_of(sorted(p for p in nested.rglob("*") if p.is_file())):
                below = inner.parts[0].parent.relative_to(nested).as_posix()
                self.unpack(inner, folder, "" if below == "." else f"{below}/", inside=True)

    def _is_nested(self, path: str, inside: bool) -> bool:
        """Whether a member is an archive that is to be unpacked too."""
        return not inside and matches(path, self.nested)

    def _members(self, archive: Archive, scratch: Path, limit: int, prefix: str, inside: bool) -> Iterator[Member]:
        """Members, read by Python or by a tool."""
        password = _password_of(archive, self.password)
        if not needs_tool(archive):
            members = read_members(archive, password)
        else:
            out = scratch / "tool"
            out.mkdir()

            def useful(member: str) -> bool:
                path = safe_path(prefix + member)
                return path is not None and (self._is_nested(path, inside) or self.wanted(path))

            members = unpack_members(archive, out, limit, password, useful)
        return _with_progress(f"unpack {archive.name}", archive, members)

    def _note(self, path: str) -> str:
        """Add a path to those written. Raises DataError if a file system may take it for one that is there."""
        compared = unicodedata.normalize("NFC", path).casefold()
        if compared in self.written:
            first = self.written[compared]
            if first == path:
                raise DataError(f"two members are named {path}")
            raise DataError(f"the names of two members differ in capital letters only: {path} and {first}")
        self.written[compared] = path
        return path


def _copy(stream: IO[bytes], target: IO[bytes], limit: int) -> int:
    """Copy a member; returns its bytes. Raises DataError for more than ``limit``."""
    count = 0
    while chunk := stream.read(CHUNK_BYTES):
        count += len(chunk)
        if count > limit:
            raise DataError("more bytes come out than an archive of its size can hold; it is not unpacked any further")
        target.write(chunk)
    return count
