"""Temporary files and folders beside the place that they will take, with the rights that a plain open() or mkdir() gives there.

Their names are hidden, and name the machine and the process that writes there. So the next process can remove what a killed one has
left.
"""

import contextlib
import errno
import hashlib
import os
import re
import secrets
import shutil
import socket
import stat
import time
from collections.abc import Iterator
from pathlib import Path

# The longest name that stands whole in a temporary name: a file system takes names of 255 bytes, an encrypted one of 143.
LONGEST_BYTES = 64
KEPT_BYTES = 32  # the beginning of a longer name, which stands there with its digest
LONGEST_SUFFIX_BYTES = 16
# What a process of another machine left counts as abandoned when nothing has changed in it for so long; that process cannot be asked.
ABANDONED_S = 24 * 3600


def real_place(path: Path) -> Path:
    """Where what is written to ``path`` belongs: a link is followed, as by a plain open(), so that it stays a link.

    A link to a write-protected file is not followed: DVC makes such links to its cache, which must not change.

    Raises OSError if the link leads into a folder that is not there: its disk may not be mounted.
    """
    if not path.is_symlink():
        return path
    real = Path(os.path.realpath(path))
    if not real.parent.is_dir():
        raise FileNotFoundError(
            errno.ENOENT, f"a link to {real}, whose folder is not there (is its disk mounted?)", str(path)
        )
    if real.is_file() and not real.stat().st_mode & 0o222:
        return path
    return real


def new_file(path: Path) -> Path:
    """Create an empty file beside ``path``; what killed processes have left there for ``path`` is removed."""
    temporary = _new_name(path)
    with _naming(path):
        os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
    return temporary


def new_folder(path: Path) -> Path:
    """Create an empty folder beside ``path``; what killed processes have left there for ``path`` is removed."""
    temporary = _new_name(path)
    with _naming(path):
        temporary.mkdir()
    return temporary


def remove(path: Path) -> None:
    """Remove a file, a link (never what it leads to) or a folder, if it is there. Errors are passed over."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink()


@contextlib.contextmanager
def _naming(path: Path) -> Iterator[None]:
    """An error of the block names ``path``, not the temporary file or folder beside it, which no user knows."""
    try:
        yield
    except OSError as error:
        error.filename = str(path)
        raise


def _new_name(path: Path) -> Path:
    """.<name>.<machine>-<process>-<random><suffix>, beside ``path``; of a long name its first characters and its digest."""
    _remove_abandoned(path)
    name, suffix = _parts(path)
    return path.absolute().with_name(f".{name}.{_machine()}-{os.getpid()}-{secrets.token_hex(4)}{suffix}")


def _parts(path: Path) -> tuple[str, str]:
    """What a temporary name has of ``path``: its name, and its suffix again, by which libraries tell a file's form."""
    name = os.fsencode(path.name)
    suffix = path.suffix if len(os.fsencode(path.suffix)) <= LONGEST_SUFFIX_BYTES else ""
    if len(name) <= LONGEST_BYTES:
        return path.name, suffix
    start = name[:KEPT_BYTES].decode("utf-8", "ignore")  # no half of a character: not every disk takes it
    return f"{start}-{hashlib.sha256(name).hexdigest()[:16]}", suffix


def _machine() -> str:
    """What stands for this machine, and for the numbering of processes on it, of which each container may have its own.

    A digest, because many nodes of a cluster share their first letters, and compute-1-12 and compute-11-2 all letters and digits.
    """
    name = socket.gethostname()
    numbering = ""
    with contextlib.suppress(OSError):  # only Linux has it
        numbering = os.readlink("/proc/self/ns/pid")
    return re.sub(r"[^A-Za-z0-9]", "", name)[:8] + hashlib.sha256(f"{name} {numbering}".encode()).hexdigest()[:8]


def _remove_abandoned(path: Path) -> None:
    """Remove the temporary files and folders of ``path`` whose process is gone."""
    start, suffix = _parts(path)
    name = re.compile(rf"\.{re.escape(start)}\.(\w+)-(\d{{1,9}})-[0-9a-f]{{8}}{re.escape(suffix)}")
    with contextlib.suppress(OSError):
        found = [(entry, match) for entry in os.scandir(path.parent) if (match := name.fullmatch(entry.name))]
        for entry, match in found:
            here = match[1] == _machine()
            if not _is_running(int(match[2])) if here else time.time() - _last_change(Path(entry)) > ABANDONED_S:
                remove(Path(entry))


def _is_running(process: int) -> bool:
    """Whether this machine has a process of this number."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # it is another user's
        return True
    return True


def _last_change(path: Path) -> float:
    """The time of the latest change of a file, or of a folder and all that is below it."""
    times = [path.stat().st_mtime]
    if stat.S_ISDIR(path.stat().st_mode):
        times += [inside.lstat().st_mtime for inside in path.rglob("*")]
    return max(times)
