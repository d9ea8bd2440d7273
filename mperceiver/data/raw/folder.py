"""Files in a folder and below it, the pictures among them, and the SHA-256 of such a folder.

In a glob, `*` stands for any characters within a part of a path, `**` for any number of parts.
"""

import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path

from mperceiver import images
from mperceiver.config.sources import matches
from mperceiver.data import DataError
from mperceiver.files import sha256


def files_in(folder: Path, deep: bool = True) -> list[Path]:
    """The files in a folder and, if ``deep``, below it, sorted by path; none if there is no such folder.

    Hidden files and folders are left out. Links to files and to folders are followed, except a link to a folder that it lies in,
    whose files are found without it.

    Raises:
        DataError: a link leads nowhere. OSError: a folder cannot be read.
    """
    return sorted(_walk(folder, deep, ())) if folder.is_dir() else []


def _walk(folder: Path, deep: bool, above: tuple[tuple[int, int], ...]) -> Iterator[Path]:
    """``above``: device and inode of the folders that this one was entered through."""
    stat = folder.stat()
    entered = (*above, (stat.st_dev, stat.st_ino))
    for path in folder.iterdir():
        if path.name.startswith("."):
            continue
        if path.is_dir():
            stat = path.stat()
            if deep and (stat.st_dev, stat.st_ino) not in entered:
                yield from _walk(path, deep, entered)
        elif path.is_file():
            yield path
        elif path.is_symlink():
            raise DataError(
                f"{path}: a link to {path.readlink()}, where there is nothing. Is that disk mounted? If nobody needs the link, "
                "remove it, and run the same command again"
            )


def linked_folder(folder: Path) -> Path | None:
    """A link below ``folder`` to another folder, if ``files_in`` finds files by way of it; None if there is no such link."""
    parents = {parent for path in files_in(folder) for parent in path.relative_to(folder).parents}
    return next(
        (folder / parent for parent in sorted(parents) if parent.parts and (folder / parent).is_symlink()), None
    )


def pictures_in(folder: Path, glob: str = "*") -> list[Path]:
    """Picture files that fit a glob, sorted by name. Hidden files and folders, and files without a picture's suffix, are left out.

    Raises as ``files_in``.
    """
    fitting = (path for path in _fitting(folder, glob) if path.suffix.lower() in images.SUFFIXES)
    return sorted(fitting, key=lambda path: path.name)


def left_out(folder: Path, glob: str = "*") -> list[Path]:
    """Files that ``pictures_in`` leaves out although they are pictures, of a form that is not read; sorted by name."""
    others = (path for path in _fitting(folder, glob) if path.suffix.lower() not in images.SUFFIXES)
    return sorted((path for path in others if images.looks_like_a_picture(path)), key=lambda path: path.name)


def files_below(folder: Path, glob: str = "**") -> list[str]:
    """Paths, relative to a folder, of the files below it that fit a glob, sorted. Raises as ``files_in``."""
    return sorted(path.relative_to(folder).as_posix() for path in _fitting(folder, glob))


def _fitting(folder: Path, glob: str) -> list[Path]:
    """The files of ``files_in`` that fit a glob; a large tree is not walked for a glob of its top level."""
    deep = "/" in glob or "**" in glob
    return [path for path in files_in(folder, deep) if matches(path.relative_to(folder).as_posix(), [glob])]


def folder_sha256(files: Iterable[Path], root: Path | None = None) -> str:
    """SHA-256 over the lines '<sha256>  <name>\\n' of the files, sorted by name: the basename, or the path below ``root``."""
    names = {path.relative_to(root).as_posix() if root else path.name: path for path in files}
    lines = (f"{sha256(names[name])}  {name}\n" for name in sorted(names))
    return hashlib.sha256("".join(lines).encode()).hexdigest()
