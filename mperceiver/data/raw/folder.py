"""Picture files in a folder, and the SHA-256 of such a folder."""

import hashlib
from collections.abc import Iterable
from pathlib import Path

from mperceiver import images
from mperceiver.files import sha256


def pictures_in(folder: Path, glob: str = "*") -> list[Path]:
    """Picture files in a folder, sorted by name. Hidden files, and files without a picture's suffix, are left out."""
    matching = (p for p in folder.glob(glob) if p.suffix.lower() in images.SUFFIXES and not p.name.startswith("."))
    return sorted((p for p in matching if p.is_file()), key=lambda p: p.name)


def left_out(folder: Path, glob: str = "*") -> list[Path]:
    """Files that ``pictures_in`` leaves out although they are pictures, of a form that is not read; sorted by name."""
    matching = (p for p in folder.glob(glob) if p.suffix.lower() not in images.SUFFIXES and not p.name.startswith("."))
    return sorted((p for p in matching if p.is_file() and images.looks_like_a_picture(p)), key=lambda p: p.name)


def folder_sha256(files: Iterable[Path]) -> str:
    """SHA-256 over the lines '<sha256>  <basename>\\n' of the files, sorted by basename."""
    lines = (f"{sha256(p)}  {p.name}\n" for p in sorted(files, key=lambda p: p.name))
    return hashlib.sha256("".join(lines).encode()).hexdigest()
