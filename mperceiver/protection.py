"""Outputs that are hard links into DVC's cache are write-protected, and Snakemake refuses to make them again.

Taking the protection off is safe: all writers here put a new file in the place of an old one, and Snakemake removes an output before it
makes it again, so no byte in the cache changes. DVC hashes such a file again before it trusts it, and protects it again.
"""

import contextlib
import stat
from collections.abc import Iterator
from pathlib import Path

from mperceiver import paths

DVC = Path(".dvc")
# Folder -> how many levels below it its outputs lie that are single files. The pictures of a folder that is an output may stay protected:
# such a folder is removed whole.
DEPTHS = {folder: cards.names for folder, cards in paths.CARDS.items()} | {paths.REPORT: 1}


def release_outputs() -> int:
    """In a DVC repository, make the outputs that are hard links writable for their owner; return their number.

    A file with a single link is left alone: somebody protected it on purpose.
    """
    if not DVC.is_dir():
        return 0
    released = 0
    for path in _outputs():
        with contextlib.suppress(OSError):  # another user's
            found = path.lstat()
            if stat.S_ISREG(found.st_mode) and found.st_nlink > 1 and not found.st_mode & stat.S_IWUSR:
                path.chmod(stat.S_IMODE(found.st_mode) | stat.S_IWUSR)
                released += 1
    return released


def _outputs() -> Iterator[Path]:
    for folder, depth in DEPTHS.items():
        yield from folder.glob("/".join("*" * depth))
