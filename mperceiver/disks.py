"""Errors of writing: they name the file that was to be written, not the temporary one, and say which disk is full."""

import contextlib
import errno
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

DISK_FULL = (errno.ENOSPC, errno.EDQUOT)


class DiskFullError(OSError):
    """A disk is full, or a user's share of it. ``filename`` is the file that was to be written; ``str`` gives the whole message."""

    def __init__(self, number: int, path: Path) -> None:
        super().__init__(number, os.strerror(number), str(path))
        self.words = describe(path, number)  # made now: soon the half-written file is deleted, and there is room again

    def __str__(self) -> str:
        return self.words


@contextlib.contextmanager
def writing_to(path: Path, beside: Path | None = None) -> Iterator[None]:
    """Let errors of the block name ``path``, and raise DiskFullError if the block finds a disk full.

    DiskFullError names ``path``, or the file that the block was writing if that is on another disk.

    ``beside``: the temporary file or folder that becomes ``path``, if there is one. Errors do not name it, because it is deleted before
    somebody reads them.
    """
    try:
        yield
    except Exception as error:
        if isinstance(error, OSError) and beside:
            _name_place(error, path, beside)
        number = system_errno(error)
        if isinstance(error, DiskFullError) or number not in DISK_FULL:
            raise
        # The error of a copy names its target second.
        written = getattr(error, "filename2", None) or getattr(error, "filename", None)
        elsewhere = isinstance(written, str) and _device(Path(written)) != _device(path)
        raise DiskFullError(number, Path(str(written)) if elsewhere else path) from error


def _name_place(error: OSError, path: Path, beside: Path) -> None:
    """Let an error that names ``beside``, or what is in it, name ``path``, or what will be in it."""
    for key in ("filename", "filename2"):
        name = getattr(error, key)
        if isinstance(name, (str, os.PathLike)) and (named := Path(name)).is_relative_to(beside):
            setattr(error, key, str(path / named.relative_to(beside)))
    if error.filename2 is not None and str(error.filename2) == error.filename:  # a renaming
        del error.filename2
    if isinstance(error, DiskFullError):
        error.words = error.words.replace(str(beside), str(path))


def system_errno(error: BaseException) -> int | None:
    """The system's number (errno) of an error; None if it has none.

    Libraries in Rust (safetensors, tokenizers) raise classes of their own, which have the number in their text only.
    """
    number = getattr(error, "errno", None)
    found = None if number else re.search(r"\(os error (\d+)\)", str(error))
    return int(found[1]) if found else number


def in_words(error: BaseException) -> str:
    """An error of a full disk in words, also one that was not raised by ``writing_to``."""
    if isinstance(error, DiskFullError):
        return error.words
    written = getattr(error, "filename2", None) or getattr(error, "filename", None) or "."
    return describe(Path(written), system_errno(error))


def describe(path: Path, number: int | None = errno.ENOSPC) -> str:
    """In words: ``path`` cannot be written because its disk is full, where the disk begins, and how much of it is free."""
    place = _existing(path)
    mount = next(folder for folder in (place, *place.parents) if os.path.ismount(folder))
    space, about = shutil.disk_usage(mount), os.statvfs(mount)
    free = f"{_size(space.free)} of {_size(space.total)} free"
    if about.f_files and not about.f_favail:
        free += ", but can hold no more files"
    what = "the disk is full" if number != errno.EDQUOT else "your share of the disk is full (Disk quota exceeded)"
    return f"{path}: {what}: {mount} has {free}"


def _size(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.2f} MB"


def _existing(path: Path) -> Path:
    absolute = Path(os.path.realpath(path))
    return next(folder for folder in (absolute, *absolute.parents) if folder.exists())


def _device(path: Path) -> int:
    return _existing(path).stat().st_dev
