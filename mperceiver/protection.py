"""Outputs that are hard links into DVC's cache are write-protected, and Snakemake refuses to make them again.

All writers here put a new file in the place of an old one, and Snakemake removes an output before it makes it again, so the cache
never changes its bytes. Only the protection is taken off; DVC hashes such a file again before it trusts it, and protects it again.
"""

import contextlib
import stat
from collections.abc import Iterator
from pathlib import Path

from mperceiver import paths

DVC = Path(".dvc")
# Below these lie single files that are outputs. The pictures of a folder that is an output may stay protected: it is removed whole.
DEPTHS = {folder: cards.names for folder, cards in paths.CARDS.items()} | {paths.REPORT: 1}


def release_outputs() -> int:
    """Make the outputs writable for their owner that are hard links of a DVC repository's; return their number.

    A file without another link is left alone: somebody protected it on purpose.
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
