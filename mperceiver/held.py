"""Gigabytes that are held to their digests without being read at each start: a note of size and time of what was hashed."""

import contextlib
import json
from pathlib import Path

from mperceiver import lineage

NOTE = ".hashed.json"  # hidden, so no part of the folder's own digest


def hold(folder: Path) -> None:
    """Note that the files of a folder are as they were hashed just now."""
    lineage.write_json(folder / NOTE, _seen(folder))


def check(folder: Path, digests: dict[str, str], again: str) -> None:
    """Hash the files that are not as noted, and raise LineageError where one is not what ``digests`` ({path: sha256}) says.

    ``again``: the command that makes the folder as it should be.
    """
    try:
        noted = json.loads((folder / NOTE).read_text())
    except (OSError, ValueError):
        noted = {}
    seen = _seen(folder)
    stale = [path for path in digests if path not in seen or noted.get(path) != seen[path]]
    for path in stale:
        found = lineage.sha256(folder / path) if path in seen else "missing"
        if found != digests[path]:
            raise lineage.LineageError(
                f"{folder / path} is {found}, its card says {digests[path]}; it was changed after it was staged: {again}"
            )
    if stale:
        with contextlib.suppress(OSError):  # a folder that may only be read is hashed at each start
            hold(folder)


def _seen(folder: Path) -> dict[str, list[int]]:
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and not path.name.startswith(".")]
    return {p.relative_to(folder).as_posix(): [p.stat().st_size, p.stat().st_mtime_ns] for p in files}
