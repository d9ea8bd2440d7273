"""Caches of libraries where the home directory cannot be written: HOME=/dev/null of a service account, a full or read-only home."""

import os
import tempfile
from pathlib import Path

# Variable -> folder of it below the replacement. matplotlib, the hub's libraries, torch and triton read them when they are imported.
# XDG_CONFIG_HOME stays: git reads its settings there.
REPLACED = {"XDG_CACHE_HOME": ".cache", "MPLCONFIGDIR": ".config/matplotlib", "TRITON_HOME": ""}
HUB_TOKEN = ".cache/huggingface/token"  # in the home directory, which may be read though it cannot be written


def provide() -> None:
    """Point the libraries to a folder for temporary files if the home directory cannot be written; variables that are set stay.

    Call this before they are imported. The folder is one for each user, so that compiled kernels are found again.
    """
    home = Path(os.path.expanduser("~"))
    if _can_be_written(home):
        return
    try:
        replacement = Path(tempfile.gettempdir()) / f"mperceiver-home-{os.getuid()}"
        replacement.mkdir(mode=0o700, exist_ok=True)
        if (
            replacement.is_symlink() or replacement.stat().st_uid != os.getuid()
        ):  # somebody else's, who could put code there
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
