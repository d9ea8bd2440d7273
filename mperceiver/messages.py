"""Errors in words: the same on the command line and on the page of `mperceiver app`."""

import errno
import os
import shlex
from collections.abc import Iterator
from pathlib import Path

from mperceiver import paths
from mperceiver.disks import DISK_FULL, in_words, system_errno

REFUSED = (errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO, errno.EFBIG, errno.ESTALE)


def for_user(error: Exception) -> str | None:
    """What to do about an error, in words; None if the error is a bug of ours, whose traceback is wanted."""
    full = next((e for e in _chain(error) if system_errno(e) in DISK_FULL), None)
    if full:
        return (
            f"{in_words(full)}. No half-written file was left. Free space, then run the same command again "
            "(df -h shows how full the disks are, quota how full your share of them)"
        )
    if isinstance(error, FileNotFoundError) and error.filename and (command := _command_for(error.filename)):
        return f"{error.filename}: no such file; the work that makes it has not been done: {command}"
    if isinstance(error, OSError) and error.filename:
        return (
            f"{error.filename}: {error.strerror}. Check the path, its owner and its permissions: ls -ld {shlex.quote(_nearest(error.filename))} "
            "(MPERCEIVER_TRACEBACK=1 shows what the program did there)"
        )
    if isinstance(error, (ValueError, RuntimeError)) and type(error).__module__.startswith("mperceiver"):
        return str(error)
    number = system_errno(error)
    if number in REFUSED or isinstance(error, OSError):
        return (
            f"the system refused a file: {os.strerror(number) if number else error}. See whether it can be written here: "
            "ls -ld . data results; df -h . (MPERCEIVER_TRACEBACK=1 shows where)"
        )
    return None


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """An error, and those that were being handled when it was raised."""
    while error:
        yield error
        error = error.__context__


def _nearest(path: str | bytes | int) -> str:
    """A path, or the nearest folder above it that there is: what `ls -ld` can list."""
    if isinstance(path, int):
        return str(path)
    whole = Path(os.fsdecode(path))
    return str(next(place for place in (whole, *whole.parents) if os.path.lexists(place)))


def _command_for(path: str | bytes | int) -> str | None:
    """The command that makes a missing file, if one does. A download that is there in part is only made again with --force."""
    command = paths.command_for(path) if isinstance(path, str) else None
    return f"{command} --force" if command and command.startswith("mperceiver download") else command
