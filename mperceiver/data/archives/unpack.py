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
from mperceiver.data.archives.base import PLAIN, Archive, Member, archives_of
from mperceiver.data.archives.formats import described, has_end, needs_tool, read_members
from mperceiver.data.archives.names import safe_path
from mperceiver.data.archives.tools import unpack_members
from mperceiver.files import atomic_folder
from mperceiver.progress import progress

# Most bytes that may come out of the archives of one call, those inside them included: RATIO x their size + SLACK_BYTES. Photographs
# give less than twice the size, raw arrays about ten times.
RATIO = 100
SLACK_BYTES = 256 * 2**20
MOST_BYTES = 4 * 2**40
MOST_FILES = 2_000_000
CHUNK_BYTES = 2**20

MemberFilter = Callable[[str], bool] | Iterable[str] | None


def unpack_archives(
    files: Iterable[Path],
    target: Path,
    wanted: MemberFilter = None,
    passwords: Mapping[str, str] | None = None,
    nested: Iterable[str] = (),
    apart: bool = False,
    names: Mapping[str, str] | None = None,
) -> list[Path]:
    """Unpack archives, split ones too, into the folder ``target``, which appears complete or not at all.

    Args:
        files: archives and parts of archives; all parts of a split archive must be among them.
        target: the folder; an existing one is replaced.
        wanted: which members: globs on their paths below ``target``, or a function of the path; None: all of them.
        passwords: {archive's name: password}, for archives with encrypted members.
        nested: globs of members that are archives themselves; each is unpacked into the folder where it would lie.
        apart: unpack each archive into a folder of its own name without suffix, if members of several share names.
        names: {archive's name: encoding of its members' names}, for archives that do not say it.

    Returns:
        the files written, sorted.

    Raises:
        DataError: an archive is damaged, incomplete, encrypted or dangerous, no member is wanted, or no tool opens it;
        ``target`` is then as it was.
    """
    files = list(files)
    archives = archives_of(files)
    budget = most_bytes(sum(archive.size for archive in archives))
    unpacking = _Unpacking(_as_function(wanted), dict(passwords or {}), list(nested), dict(names or {}), budget)
    with atomic_folder(target) as beside:
        for archive in archives:
            unpacking.unpack(archive, beside, f"{_stem(archive.name)}/" if apart else "")
        if not unpacking.written:
            raise DataError(
                f"{target}: no member of {', '.join(str(file) for file in files)} is wanted; look at `root` and the globs"
            )
    return sorted(target / path for path in unpacking.written.values())


def most_bytes(size: int) -> int:
    """How many bytes may come out of archives of so many bytes."""
    return min(MOST_BYTES, RATIO * size + SLACK_BYTES)


def check_archives(files: Iterable[Path], names: Mapping[str, str] | None = None) -> int:
    """Read the table of contents of archives (tars: all of it) and count their files. Raises DataError.

    Of an archive that only a tool opens, the start and the end are checked, and it counts as one file: another machine, which has
    the tool, may unpack it. ``names``: as for ``unpack_archives``.
    """
    count = 0
    for archive in archives_of(files):
        if needs_tool(archive):
            if not has_end(archive):
                raise DataError(f"{archive.parts[0]}: its first bytes are not those of such an archive")
            count += 1
            continue
        members = read_members(archive, None, (names or {}).get(archive.name), most_bytes(archive.size))
        files_inside = 0
        for number, member in enumerate(_with_progress(f"look through {archive.name}", archive, members), 1):
            files_inside += member.kind == "file"
            if number > MOST_FILES:
                raise DataError(f"{archive.parts[0]}: more than {MOST_FILES} members")
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


def _stem(name: str) -> str:
    match = PLAIN.fullmatch(name)
    assert match, f"{name} is the name of an archive without its part's number"
    return match["stem"]


class _Unpacking:
    """State of one call: the files written so far, over all its archives."""

    def __init__(
        self,
        wanted: Callable[[str], bool],
        passwords: dict[str, str],
        nested: list[str],
        names: dict[str, str],
        budget: int,
    ) -> None:
        self.wanted, self.passwords, self.nested, self.names = wanted, passwords, nested, names
        self.bytes_left, self.members_left = budget, MOST_FILES  # of all archives, and those inside them
        self.written: dict[str, str] = {}  # path as some file systems compare it: path

    def unpack(self, archive: Archive, folder: Path, prefix: str, inside: bool = False) -> None:
        """Write the wanted members of an archive below ``folder``/``prefix``. ``inside``: it came out of another archive."""
        where = archive.parts[0].parent / archive.name
        with tempfile.TemporaryDirectory(dir=folder, prefix=".scratch.") as scratch:
            nested = Path(scratch) / "nested"  # archives inside the archive
            for member in self._members(archive, Path(scratch), prefix, inside):
                self.members_left -= 1
                if self.members_left < 0:
                    raise DataError(f"{where}: more than {MOST_FILES} members; the archive is not unpacked")
                try:
                    self._write(member, prefix, folder, nested, inside)
                except DataError as error:
                    raise DataError(f"{where}: {error}") from None
                except (FileExistsError, NotADirectoryError):
                    raise DataError(
                        f"{where}: {member.path!r} is both a file and a folder in it; it is not unpacked"
                    ) from None
                except Exception as error:  # as in formats.damage_named: readers raise whatever they like
                    if isinstance(error, OSError) and error.errno is not None:
                        raise
                    raise DataError(
                        f"{where}: member {member.path!r:.200} is damaged ({described(error)}); remove {archive.parts[0]} and download "
                        "it again (mperceiver download --force)"
                    ) from None
            for inner in archives_of(sorted(p for p in nested.rglob("*") if p.is_file())):
                below = inner.parts[0].parent.relative_to(nested).as_posix()
                self.unpack(inner, folder, "" if below == "." else f"{below}/", inside=True)

    def _write(self, member: Member, prefix: str, folder: Path, nested: Path, inside: bool) -> None:
        """Write a member, if it is wanted, below ``folder``; one that is an archive to be unpacked too, below ``nested``."""
        path = safe_path(member.path)
        if path is None or member.kind == "folder":
            return
        path = prefix + path
        is_nested = self._is_nested(path, inside)
        if not is_nested and not self.wanted(path):
            return
        if member.kind != "file":
            raise DataError(f"member {member.path!r} is a {member.kind}, not a file; it is not unpacked")
        target = nested / path if is_nested else folder / self._note(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        with member.open() as stream, target.open("xb") as file:
            self.bytes_left -= _copy(stream, file, self.bytes_left)

    def _is_nested(self, path: str, inside: bool) -> bool:
        """Whether a member is an archive that is to be unpacked too."""
        return not inside and matches(path, self.nested)

    def _members(self, archive: Archive, scratch: Path, prefix: str, inside: bool) -> Iterator[Member]:
        """Members, read by Python or by a tool."""
        password = self.passwords.get(archive.name)
        if not needs_tool(archive):
            encoding = self.names.get(archive.name)
            members = read_members(archive, password, encoding, min(self.bytes_left, most_bytes(archive.size)))
        else:
            has_end(archive)  # raises DataError for an archive that is cut short, which some tools take for whole
            out = scratch / "tool"
            out.mkdir()

            def useful(member: str) -> bool:
                path = safe_path(member)
                return path is not None and (self._is_nested(prefix + path, inside) or self.wanted(prefix + path))

            members = unpack_members(archive, out, self.bytes_left, password, useful)
        return _with_progress(f"unpack {archive.name}", archive, members)

    def _note(self, path: str) -> str:
        """Add a path to those written. Raises DataError if a file system may take it for one that is there."""
        compared = unicodedata.normalize("NFC", path).casefold()
        if compared in self.written:
            first = self.written[compared]
            if first == path:
                raise DataError(f"two members are named {path}")
            raise DataError(
                f"the names of two members differ in capital letters only, or in how a letter with a mark is written: {path} and {first}"
            )
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
