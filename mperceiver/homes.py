"""Caches of libraries where the home directory cannot be written: HOME=/dev/null of a service account, a full or read-only home."""

import os
import tempfile
from pathlib import Path

# Environment variable -> its folder below the replacement. matplotlib, the hub's libraries, torch and triton read them at import.
# XDG_CONFIG_HOME stays: git reads its settings there.
REPLACED = {"XDG_CACHE_HOME": ".cache", "MPLCONFIGDIR": ".config/matplotlib", "TRITON_HOME": ""}
HUB_TOKEN = ".cache/huggingface/token"  # in the home directory, which may be read though it cannot be written


def provide() -> None:
    """Point the libraries to a folder for temporary files if the home directory cannot be written; variables that are set stay.

    Call this before the libraries are imported. Each user has one such folder, so that compiled kernels are found again.
    """
    home = Path(os.path.expanduser("~"))
    if _can_be_written(home):
        return
    try:
        replacement = Path(tempfile.gettempdir()) / f"mperceiver-home-{os.getuid()}"
        replacement.mkdir(mode=0o700, exist_ok=True)
        # A folder of somebody else, who could put code into it, is not used.
        if replacement.is_symlink() or replacement.stat().st_uid != os.getuid():
            replacement = Path(tempfile.mkdtemp(prefix="mperceiver-home-"))
    except OSError:  # no temporary files either: the libraries say what they miss
        return
    if (home / HUB_TOKEN).is_file() and "HF_HOME" not in os.environ:
        os.environ.setdefault("HF_TOKEN_PATH", str(home / HUB_TOKEN))
    for name, folder in REPLACED.items():
        os.environ.setdefault(name, str(replacement / folder))


def _can_be_written(home: Path) -> bool:
    """Whether the caches below a home directory can be written, or could be made there."""
    caches = [home / ".cache", home / ".config"]
    return all(os.access(folder if folder.is_dir() else home, os.W_OK | os.X_OK) for folder in caches) and home.is_dir()
