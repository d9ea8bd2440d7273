"""Read the members of an archive: zip (zips.py) and tar (tars.py) here; rar, 7z and rare zips need a tool of the system (tools.py).

The parts of a split archive are read as one file without being copied together. Nothing here writes to disk; unpack.py does. Whatever
the readers raise for odd bytes leaves this module as a DataError with the archive's name.
"""

import contextlib
from collections.abc import Iterator

from mperceiver.data import DataError
from mperceiver.data.archives import ends
from mperceiver.data.archives.base import PLAIN, Archive, Member
from mperceiver.data.archives.joined import Joined
from mperceiver.data.archives.tars import read_tar
from mperceiver.data.archives.zips import read_zip, zip_needs_tool


@contextlib.contextmanager
def damage_named(archive: Archive) -> Iterator[None]:
    """Turn what a reader raises into a DataError that names the archive. Errors of the disk, and DataErrors, stay as they are."""
    try:
        yield
    except DataError:
        raise
    except Exception as error:  # zipfile and other readers raise a dozen classes for damaged bytes
        if isinstance(error, OSError) and error.errno is not None:
            raise
        split = len(archive.parts) > 1 or not PLAIN.fullmatch(archive.parts[0].name)
        what = "a part is missing or damaged" if split else "it is cut short or damaged"
        raise DataError(f"{archive.parts[0].parent / archive.name}: {what} ({described(error)})") from None


def described(error: Exception) -> str:
    """What an error of a reader says, in a line of at most 300 letters; else its kind."""
    return " ".join(str(error).split())[:300] or type(error).__name__


def read_members(archive: Archive, password: str | None, encoding: str | None, limit: int) -> Iterator[Member]:
    """Members of a zip or tar archive, in order.

    Args:
        archive: the archive; no tool is needed for it.
        password: of encrypted members.
        encoding: of the members' names, where the archive does not say it.
        limit: bytes that may come out of a compressed tar.

    Raises:
        DataError: it is damaged, does not end where it should, or too much comes out of it; the message names it.
    """
    raw = Joined(archive.parts)
    try:
        with damage_named(archive):
            if archive.kind == "zip":
                yield from read_zip(archive, raw, password, encoding)
            else:
                yield from read_tar(raw, archive.name, encoding, limit)
    except DataError as error:
        where = str(archive.parts[0].parent / archive.name)
        raise (
            error if where in str(error) or str(archive.parts[-1]) in str(error) else DataError(f"{where}: {error}")
        ) from None
    finally:
        raw.close()


def needs_tool(archive: Archive) -> bool:
    """Whether only a system tool opens it: rar, 7z, and zips with methods that Python does not have. Raises DataError."""
    if archive.kind != "zip":
        return archive.kind == "tool"
    raw = Joined(archive.parts)
    try:
        with damage_named(archive):
            return zip_needs_tool(archive, raw)
    finally:
        raw.close()


def has_end(archive: Archive) -> bool:
    """Whether the first bytes are those of a rar, 7z or zip archive. Raises DataError if such an archive does not end where it should."""
    if archive.kind == "zip":
        return True  # ``needs_tool`` has read its table of contents
    with damage_named(archive):
        return ends.check(archive)
