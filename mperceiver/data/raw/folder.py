"""Picture files in a folder, and the SHA-256 of such a folder."""

import hashlib
from collections.abc import Iterable
from pathlib import Path

from mperceiver import images
from mperceiver.config.sources import matches
from mperceiver.files import sha256


def pictures_in(folder: Path, glob: str = "*") -> list[Path]:
    """Picture files in a folder, sorted by name. Hidden files, and files without a picture's suffix, are left out."""
    matching = (p for p in folder.glob(glob) if p.suffix.lower() in images.SUFFIXES and not p.name.startswith("."))
    return sorted((p for p in matching if p.is_file()), key=lambda p: p.name)


def left_out(folder: Path, glob: str = "*") -> list[Path]:
    """Files that ``pictures_in`` leaves out although they are pictures, of a form that is not read; sorted by name."""
    matching = (p for p in folder.glob(glob) if p.suffix.lower() not in images.SUFFIXES and not p.name.startswith("."))
    return sorted((p for p in matching if p.is_file() and images.looks_like_a_picture(p)), key=lambda p: p.name)


def files_below(folder: Path, glob: str = "**") -> list[str]:
    """Paths, relative to a folder, of the files below it that fit a glob, sorted. Hidden files and folders are left out.

    `*` stands for any characters within a part of a path, `**` for any number of parts.
    """
    inside = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    shown = (path.as_posix() for path in inside if not any(part.startswith(".") for part in path.parts))
    return sorted(path for path in shown if matches(path, [glob]))


def folder_sha256(files: Iterable[Path], root: Path | None = None) -> str:
    """SHA-256 over the lines '<sha256>  <name>\\n' of the files, sorted by name: the basename, or the path below ``root``."""
    names = {path.relative_to(root).as_posix() if root else path.name: path for path in files}
    lines = (f"{sha256(names[name])}  {name}\n" for name in sorted(names))
    return hashlib.sha256("".join(lines).encode()).hexdigest()
