"""The files that come with the project: those in git, without any that a user has added."""

import shutil
import subprocess
from pathlib import Path

from support import PROJECT


def shipped_files(folder: str) -> list[str]:
    """Paths of git's files below a folder, relative to the project."""
    listed = subprocess.run(["git", "ls-files", "-z", folder], cwd=PROJECT, capture_output=True, check=True)
    return [path for path in listed.stdout.decode().split("\0") if path and (PROJECT / path).is_file()]


def copy_shipped(folder: str, below: str = "") -> None:
    """Copy git's files below a folder into the working directory; ``below``: the part of their paths to leave out."""
    for path in shipped_files(folder):
        target = Path(path).relative_to(below) if below else Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(PROJECT / path, target)
