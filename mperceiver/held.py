"""Gigabytes that are held to their digests without being read at each start: a note beside them of what was hashed, and when."""

import contextlib
import json
from pathlib import Path

from mperceiver import lineage

NOTE = ".hashed.json"  # hidden, so no part of the folder's own digest


def hold(folder: Path, told: dict[str, dict]) -> None:
    """Note that files ({path: {"sha256": …, whatever else is to be remembered}}) are as they were hashed just now."""
    seen = {
        path: [(at := (folder / path).stat()).st_size, at.st_mtime_ns] for path in told if (folder / path).is_file()
    }
    lineage.write_json(
        folder / NOTE, {path: entry | {"seen": seen[path]} for path, entry in told.items() if path in seen}
    )


def noted(folder: Path) -> dict[str, dict]:
    """What was told of the files of a folder; nothing where there is no note."""
    try:
        found = json.loads((folder / NOTE).read_text())
        return {path: dict(entry) for path, entry in found.items()}
    except (OSError, ValueError, AttributeError, TypeError):
        return {}


def check(folder: Path, digests: dict[str, str], again: str) -> None:
    """Hash the files that are not as noted, and raise LineageError where one is not what ``digests`` ({path: sha256}) says.

    ``again``: the command that makes the folder as it should be.
    """
    told, stale = noted(folder), []
    for path, digest in digests.items():
        with contextlib.suppress(OSError):
            at = (folder / path).stat()
            entry = told.get(path, {})
            if entry.get("seen") == [at.st_size, at.st_mtime_ns] and entry.get("sha256") == digest:
                continue
        stale.append(path)
        found = lineage.sha256(folder / path) if (folder / path).is_file() else "missing"
        if found != digest:
            raise lineage.LineageError(
                f"{folder / path} is {found}, its card says {digest}; it was changed after it was staged: {again}"
            )
    if stale:
        with contextlib.suppress(OSError):  # a folder that may only be read is hashed at each start
            hold(folder, {path: told.get(path, {}) | {"sha256": digest} for path, digest in digests.items()})
