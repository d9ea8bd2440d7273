"""What lies in data/raw/: where, and which of it are pictures."""

import hashlib
from collections.abc import Iterable
from pathlib import Path

from mperceiver import images
from mperceiver.files import sha256


def pictures_in(folder: Path, glob: str = "*") -> list[Path]:
    """Picture files in a folder, sorted by name; hidden files and what has no picture's suffix are passed over."""
    found = (p for p in folder.glob(glob) if p.suffix.lower() in images.SUFFIXES and not p.name.startswith("."))
    return sorted((p for p in found if p.is_file()), key=lambda p: p.name)


def folder_sha256(files: Iterable[Path]) -> str:
    """SHA-256 over the lines '<sha256>  <basename>\\n' of the files, sorted by basename."""
    lines = (f"{sha256(p)}  {p.name}\n" for p in sorted(files, key=lambda p: p.name))
    return hashlib.sha256("".join(lines).encode()).hexdigest()
