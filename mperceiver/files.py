"""Files: atomic writes, SHA-256, a cache of checksums, and locks."""

import contextlib
import errno
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mperceiver import temporary
from mperceiver.disks import writing_to
from mperceiver.printing import say

MANIFEST = ".sha256"  # in a folder: a line for each of its files, as sha256sum writes it
CHECKSUM_CACHE = ".hashed.json"  # hidden, so that it is no part of the folder's own SHA-256
NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)  # errors of a file system that has no locks
LOCK_POLL_SECONDS = 0.2
SMALL_BYTES = 2**20  # a file of up to this size is hashed about as fast as the cache is read


class ChecksumError(RuntimeError):
    """A file's SHA-256 is not the one in its card. The message names the file and the command that restores it."""


def staged_again(command: str) -> str:
    """The end of a ChecksumError's message for staged weights."""
    return f"it was changed after it was staged. Stage it again: {command}"


# ---------------------------------------------------------------- atomic writes


@contextlib.contextmanager
def atomic_file(path: Path | str, card: Path | None = None) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; when the block ends, the temporary file replaces ``path``.

    If the block raises, the temporary file is deleted and ``path`` stays as it was. The file is flushed to disk before
    the rename, so a killed job or a full disk never leaves half a file. A link at ``path`` is followed
    (see ``temporary.real_place``). The file has the rights that a plain open() gives. Errors name ``path``, or where it leads.

    Args:
        card: the card of what ``path`` holds now. It is removed just before the rename, because it must not stand beside
            another file; where the block fails, it stays.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    place = temporary.real_place(path)
    beside = temporary.new_file(place)
    try:
        with writing_to(place, beside):
            yield beside
            with beside.open("rb") as file:
                os.fsync(file.fileno())
            if card:
                card.unlink(missing_ok=True)
            beside.replace(place)
    finally:
        beside.unlink(missing_ok=True)


@contextlib.contextmanager
def atomic_folder(path: Path | str, card: Path | None = None) -> Iterator[Path]:
    """Like ``atomic_file`` for a folder: yield a temporary folder that replaces ``path`` when the block ends."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = temporary.new_folder(temporary.real_place(path))
    try:
        with writing_to(path, beside):
            yield beside
            replace_folder(beside, path, card)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def replace_folder(new: Path, path: Path, card: Path | None = None) -> None:
    """Rename the folder ``new`` to ``path``, or to where a link at ``path`` leads; a folder that was there before is deleted.

    A folder on another disk is copied. If the rename fails, what was there before is there again. ``card``: see
    ``atomic_file``.
    """
    place = temporary.real_place(path)
    if place.parent.is_dir() and new.stat().st_dev != place.parent.stat().st_dev:
        beside = temporary.new_folder(place)
        try:
            shutil.copytree(new, beside, dirs_exist_ok=True)
            replace_folder(beside, place, card)
        finally:
            shutil.rmtree(beside, ignore_errors=True)
        shutil.rmtree(new)
        return
    old = place.with_name(f".{place.name}.old")
    temporary.remove(old)
    if place.exists():
        place.replace(old)
    kept = card.read_bytes() if card and card.is_file() else None
    try:
        if card:
            card.unlink(missing_ok=True)
        new.replace(place)
    except OSError:
        if old.exists():
            old.replace(place)
            if card and kept is not None:
                card.write_bytes(kept)
        raise
    temporary.remove(old)


def write_text(path: Path | str, text: str, card: Path | None = None) -> None:
    """Write a text file atomically. ``card``: see ``atomic_file``."""
    with atomic_file(path, card) as beside:
        beside.write_text(text, encoding="utf-8")


def write_json(path: Path | str, data: dict) -> None:
    """Write a JSON file atomically, its keys sorted."""
    write_text(path, json.dumps(data, indent=1, sort_keys=True) + "\n")


# ---------------------------------------------------------------- SHA-256


def sha256(path: Path | str) -> str:
    """SHA-256 of a file or folder, hexadecimal.

    That of a folder is taken over the lines '<sha256>  <relative path>' of its files, sorted by path. Hidden files do
    not count: Snakemake leaves a hidden time stamp in each folder that is an output.
    """
    path = Path(path)
    if path.is_dir():
        return folder_digest({member.as_posix(): sha256(path / member) for member in members(path)})
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def members(folder: Path) -> list[Path]:
    """The files that count in a folder's SHA-256, relative to it, sorted."""
    every = sorted(file.relative_to(folder) for file in folder.rglob("*") if file.is_file())
    return [member for member in every if not any(part.startswith(".") for part in member.parts)]


def folder_digest(digests: dict[str, str]) -> str:
    """SHA-256 of a folder with these files, {path inside it: SHA-256}, sorted by path."""
    return hashlib.sha256(_manifest(digests).encode()).hexdigest()


def _manifest(digests: dict[str, str]) -> str:
    return "".join(f"{digest}  {path}\n" for path, digest in digests.items())


def write_manifest(folder: Path | str) -> str:
    """Write the lines that a folder's SHA-256 is taken over into its hidden file MANIFEST; return the SHA-256.

    With it a changed file in the folder can be named, and `sha256sum -c .sha256` checks the folder without this project.
    """
    folder = Path(folder)
    text = _manifest({member.as_posix(): sha256(folder / member) for member in members(folder)})
    write_text(folder / MANIFEST, text)
    return hashlib.sha256(text.encode()).hexdigest()


def read_manifest(folder: Path | str, digest: str) -> dict[str, str] | None:
    """{path inside the folder: SHA-256} as it was when ``digest`` was taken; None if the manifest is missing or of another state."""
    try:
        text = (Path(folder) / MANIFEST).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return None
    if hashlib.sha256(text.encode()).hexdigest() != digest:
        return None
    return {name: sha for sha, _, name in (line.partition("  ") for line in text.splitlines())}


# ---------------------------------------------------------------- checksum cache


def verify_checksums(folder: Path, checksums: dict[str, str], remedy: str) -> None:
    """Check the files of a folder against their SHA-256.

    A file is hashed only if its size or modification time differs from the one in the folder's checksum cache, so that
    gigabytes of weights are not read at each start.

    Args:
        folder: the folder; where it is writable, its cache is brought up to date.
        checksums: {path inside the folder: expected SHA-256}.
        remedy: the end of the error's message: what has happened, and the command that restores the folder.

    Raises:
        ChecksumError: a file is missing or its SHA-256 differs.
    """
    cached, stale = read_checksum_cache(folder), False
    for path, expected in checksums.items():
        file, entry = folder / path, cached.get(path, {})
        if file.is_file() and entry.get("stat") == _size_and_time(file) and entry.get("sha256") == expected:
            continue
        stale = True
        actual = sha256(file) if file.is_file() else None
        if actual != expected:
            state = f"its SHA-256 is {actual}, its card says {expected}" if actual else "the file is missing"
            raise ChecksumError(f"{file}: {state}; {remedy}")
    if stale:
        fresh = {path: cached.get(path, {}) | {"sha256": digest} for path, digest in checksums.items()}
        with contextlib.suppress(OSError):  # a read-only folder has no cache and is hashed at each start
            write_checksum_cache(folder, fresh, {path: entry for path, entry in cached.items() if path not in fresh})


def known_sha256(path: Path) -> str:
    """SHA-256 of a file or folder. A large file's is kept in its folder's checksum cache until the file's size or time changes."""
    if path.is_dir() or path.stat().st_size <= SMALL_BYTES:
        return sha256(path)
    others = read_checksum_cache(path.parent)
    entry = others.pop(path.name, {})
    if entry.get("stat") != _size_and_time(path) or "sha256" not in entry:
        entry["sha256"] = sha256(path)
        with contextlib.suppress(OSError):  # a read-only folder has no cache
            write_checksum_cache(path.parent, {path.name: entry}, others)
    return str(entry["sha256"])


def write_checksum_cache(
    folder: Path, entries: dict[str, dict[str, Any]], others: dict[str, dict[str, Any]] | None = None
) -> None:
    """Write the checksum cache of a folder whose files have just been hashed.

    Args:
        folder: the folder.
        entries: {path inside the folder: {"sha256": its SHA-256, and whatever else is to be kept with it}}. The file's
            size and modification time are added; an entry without a file is left out.
        others: entries of files that were not hashed now, kept as they are.
    """
    present = {path: entry for path, entry in entries.items() if (folder / path).is_file()}
    stats = {path: entry | {"stat": _size_and_time(folder / path)} for path, entry in present.items()}
    write_json(folder / CHECKSUM_CACHE, (others or {}) | stats)


def read_checksum_cache(folder: Path) -> dict[str, dict[str, Any]]:
    """The checksum cache of a folder, {path: entry}; empty if there is none or it is damaged."""
    try:
        entries = json.loads((folder / CHECKSUM_CACHE).read_text(encoding="utf-8"))
        return {path: dict(entry) for path, entry in entries.items()}
    except (OSError, ValueError, AttributeError, TypeError):
        return {}


def _size_and_time(file: Path) -> list[int]:
    """[size in bytes, modification time in ns] of a file, as JSON stores them."""
    stat = file.stat()
    return [stat.st_size, stat.st_mtime_ns]


# ---------------------------------------------------------------- locks


@contextlib.contextmanager
def locked(target: Path) -> Iterator[None]:
    """Hold the lock of ``target`` for the block: the file ``.{name}.lock`` beside it, deleted at the end.

    If another process holds the lock, say so on standard error and wait. If the file system has no locks, say so and go
    on without one.
    """
    from filelock import FileLock, Timeout

    target.parent.mkdir(parents=True, exist_ok=True)
    path = target.with_name(f".{target.name}.lock")
    lock = FileLock(path, fallback_to_soft=False)
    try:
        try:
            lock.acquire(blocking=False)
        except Timeout:
            say(f"{target}: another process is writing it; waiting for that one", error=True)
            lock.acquire(poll_interval=LOCK_POLL_SECONDS)
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
        say(f"{target}: this file system has no locks; start no second job for it", error=True)
    try:
        yield
    finally:
        # Deleted while it is still held: a process that waits for a deleted lock file opens a new one.
        path.unlink(missing_ok=True)
        lock.release()
