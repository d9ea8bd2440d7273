"""Files that appear whole or not at all, their SHA-256, a cache of digests, and locks."""

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path

CHECKSUM_CACHE = ".hashed.json"  # hidden, so no part of the folder's own digest
WITHOUT_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)


class ChecksumError(RuntimeError):
    """A file is not the one that its card names; the message says which file and how to restore it."""


# ---------------------------------------------------------------- whole files


@contextlib.contextmanager
def atomic_file(path: Path | str) -> Iterator[Path]:
    """A temporary path beside ``path`` that takes its place when the block ends well, and vanishes when it does not.

    The file is flushed to disk before the rename, so that a killed job or a full disk never leaves half of it.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=path.suffix)
    os.close(handle)
    beside = Path(name)
    try:
        yield beside
        with beside.open("rb") as file:
            os.fsync(file.fileno())
        beside.chmod(0o666 & ~_umask())
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


@contextlib.contextmanager
def atomic_folder(path: Path | str) -> Iterator[Path]:
    """Like ``atomic_file`` for a folder: the old one, if any, is replaced when the block ends well."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}."))
    try:
        yield beside
        beside.chmod(0o777 & ~_umask())
        replace_folder(beside, path)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def replace_folder(new: Path, path: Path) -> None:
    """Put a finished folder at ``path``; the one that is there, if any, goes."""
    old = path.with_name(f".{path.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if path.exists():
        path.replace(old)
    new.replace(path)
    shutil.rmtree(old, ignore_errors=True)


@cache
def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def write_text(path: Path | str, text: str) -> None:
    """Write a text file whole."""
    with atomic_file(path) as beside:
        beside.write_text(text)


def write_json(path: Path | str, data: dict) -> None:
    """Write JSON whole, its keys sorted."""
    write_text(path, json.dumps(data, indent=1, sort_keys=True) + "\n")


# ---------------------------------------------------------------- SHA-256


def sha256(path: Path | str) -> str:
    """SHA-256 of a file; of a folder: over the sorted lines '<sha256>  <relative path>' of its files, hidden ones left out.

    (Snakemake leaves a hidden time stamp in each folder that is an output.)
    """
    path = Path(path)
    if path.is_dir():
        inside = sorted(p.relative_to(path) for p in path.rglob("*") if p.is_file())
        seen = (p for p in inside if not any(part.startswith(".") for part in p.parts))
        lines = "".join(f"{sha256(path / p)}  {p.as_posix()}\n" for p in seen)
        return hashlib.sha256(lines.encode()).hexdigest()
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


# ---------------------------------------------------------------- checksum cache: a file is hashed again only if its size or modification time changed


def write_checksum_cache(folder: Path, told: dict[str, dict]) -> None:
    """Note that files ({path: {"sha256": …, whatever else is to be remembered}}) are as they were hashed just now."""
    seen = {
        path: [(at := (folder / path).stat()).st_size, at.st_mtime_ns] for path in told if (folder / path).is_file()
    }
    write_json(
        folder / CHECKSUM_CACHE, {path: entry | {"seen": seen[path]} for path, entry in told.items() if path in seen}
    )


def read_checksum_cache(folder: Path) -> dict[str, dict]:
    """What was told of the files of a folder; nothing where there is no note."""
    try:
        found = json.loads((folder / CHECKSUM_CACHE).read_text())
        return {path: dict(entry) for path, entry in found.items()}
    except (OSError, ValueError, AttributeError, TypeError):
        return {}


def verify_checksums(folder: Path, digests: dict[str, str], again: str) -> None:
    """Hash the files that are not as noted, and raise ChecksumError where one is not what ``digests`` ({path: sha256}) says.

    ``again``: the command that makes the folder as it should be.
    """
    told, stale = read_checksum_cache(folder), []
    for path, digest in digests.items():
        with contextlib.suppress(OSError):
            at = (folder / path).stat()
            entry = told.get(path, {})
            if entry.get("seen") == [at.st_size, at.st_mtime_ns] and entry.get("sha256") == digest:
                continue
        stale.append(path)
        found = sha256(folder / path) if (folder / path).is_file() else "missing"
        if found != digest:
            raise ChecksumError(
                f"{folder / path} is {found}, its card says {digest}; it was changed after it was staged: {again}"
            )
    if stale:
        with contextlib.suppress(OSError):  # a folder that may only be read is hashed at each start
            write_checksum_cache(
                folder, {path: told.get(path, {}) | {"sha256": digest} for path, digest in digests.items()}
            )


# ---------------------------------------------------------------- locks


@contextlib.contextmanager
def locked(target: Path) -> Iterator[None]:
    """Hold the lock of ``target`` (``.{name}.lock`` beside it), waiting for whoever holds it."""
    target.parent.mkdir(parents=True, exist_ok=True)
    path = target.with_name(f".{target.name}.lock")
    handle = _hold(path, target)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        os.close(handle)


def _hold(path: Path, target: Path) -> int:
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            _take(handle, target)
            # Whoever held it last removed it: then this one is no file any more, and holds nobody off.
            if path.exists() and os.path.samestat(os.fstat(handle), path.stat()):
                return handle
        except FileNotFoundError:
            pass
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)


def _take(handle: int, target: Path) -> None:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        print(f"{target}: another job is at it; waiting for that one", file=sys.stderr, flush=True)
        fcntl.flock(handle, fcntl.LOCK_EX)
    except OSError as error:
        if error.errno not in WITHOUT_LOCKS:
            raise
        print(f"{target}: this file system has no locks; start no second job for it", file=sys.stderr, flush=True)
