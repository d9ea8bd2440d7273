"""What all kinds of source share: the download's description, its files, and getting them from the nearest place.

A file that lies in data/manual/<dataset>/ or <mirror>/<dataset>/ is copied from there. Otherwise it is fetched into
data/raw/.partial/<dataset>/, where an interrupted transfer stays to be resumed, and hard-linked from there into its place.
"""

import hashlib
import os
import shutil
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from mperceiver import paths
from mperceiver.config.datasets import Dataset
from mperceiver.config.sources import file_path, matches
from mperceiver.data import DataError
from mperceiver.data.archives.base import is_archive
from mperceiver.data.archives.unpack import check_archives
from mperceiver.data.raw.folder import files_in
from mperceiver.fetch import DigestMismatch, fetch
from mperceiver.fetch.stand_ins import stand_in
from mperceiver.files import sha256
from mperceiver.progress import progress

PARALLEL_TRANSFERS = 8  # of small files; a server may turn away a client with more connections


class SourceRefused(DataError):
    """A server does not give what was asked for. ``state``: the word that ``mperceiver doctor`` prints for it."""

    def __init__(self, message: str, state: str = "unreachable") -> None:
        super().__init__(message)
        self.state = state


@dataclass(frozen=True)
class Download:
    """The download of a dataset: its name and spec, the folders to look in first, and what is known from the last time."""

    name: str
    dataset: Dataset
    mirrors: list[Path]
    recorded: dict[str, dict] = field(default_factory=dict)  # of the card: {origin of a file: {bytes, sha256}}
    existing: Path | None = None  # folder of the last download, whose files need not be fetched again
    again: bool = False  # fetch files anew that an earlier call has fetched, unless their digest is known
    # Files that were fetched and have no known digest: their places in the folder of unfinished transfers.
    unverified: list[Path] = field(default_factory=list)


@dataclass(frozen=True)
class RemoteFile:
    """A file that a source offers: its name in data/raw/<dataset>/, where it comes from, and what is known of it."""

    name: str
    origin: str  # names the file in the card
    url: str | Callable[[], str] | None = None  # a function is called only if needed; None: a person brings the file
    sha256: str | None = None  # expected
    bytes: int | None = None  # expected
    headers: dict[str, str] = field(default_factory=dict, repr=False)
    listed_sha256: str | None = None  # in the server's listing


@dataclass(frozen=True)
class Received:
    """What a source gave: {origin: sha256} for the card's inputs, and {name: {from, bytes, sha256}} of fetched files."""

    inputs: dict[str, str]
    files: dict[str, dict] = field(default_factory=dict)


def select_paths(
    listing: Iterable[str], root: str | None, globs: list[str], count: int | None, listed_at: str
) -> dict[str, str]:
    """The paths of a listing that fit the globs: {path below ``root``: whole path}.

    Raises DataError, naming ``listed_at``, if there are none, or another number than ``count``.
    """
    prefix = f"{root}/" if root else ""
    below = {path.removeprefix(prefix): path for path in sorted(listing) if path.startswith(prefix)}
    selected = {name: path for name, path in below.items() if matches(name, globs)}
    if not selected:
        raise DataError(f"{listed_at}: none of its {len(below)} files fits {', '.join(globs)}")
    if count is not None and len(selected) != count:
        raise DataError(f"{listed_at}: {len(selected)} files fit {', '.join(globs)}, expected {count} (`count`)")
    for name in selected:
        file_path(name)
    return selected


def get_files(download: Download, files: list[RemoteFile], folder: Path, origin: str | None = None) -> Received:
    """Copy or fetch files into ``folder``, each verified.

    Args:
        download: the dataset.
        files: what is to be there in the end.
        folder: where the files go.
        origin: for sources with many files: one line in the card's inputs for all of them, instead of one a file.

    Raises:
        DataError, FetchError: a file cannot be had, is not the expected one, or is a damaged archive.
    """
    missing = [file for file in files if file.url is None and not any(p.is_file() for p in _copies(download, file))]
    if missing:
        raise DataError("missing: " + ", ".join(describe_file(file.name, file.bytes) for file in missing))
    # Two sources may have different files of one name: their unfinished transfers lie in different folders.
    of_source = hashlib.sha256("\n".join(file.origin for file in files).encode()).hexdigest()[:12]
    partial = paths.partial_folder(download.name) / of_source
    received: dict[str, dict] = {}

    def get(file: RemoteFile) -> None:
        received[file.name] = _get_file(download, file, partial / file.name, folder / file.name)

    if len(files) <= PARALLEL_TRANSFERS:  # few files are large, most likely: one after the other
        for file in files:
            get(file)
    else:
        with (
            ThreadPoolExecutor(PARALLEL_TRANSFERS) as pool,
            progress(f"download {download.name}", len(files), "files") as advance,
        ):
            try:
                for _ in pool.map(get, files):
                    advance(1)
            finally:
                pool.shutdown(wait=True, cancel_futures=True)
    unknown = [file for file in files if _expected_sha256(download, file) is None]
    _check_new_archives(unknown, folder, download.dataset.names)
    if origin:
        lines = "".join(f"{received[name]['sha256']}  {name}\n" for name in sorted(received))
        return Received({origin: hashlib.sha256(lines.encode()).hexdigest()}, received)
    return Received({record["from"]: record["sha256"] for record in received.values()}, received)


def state_of_status(status: int | None) -> str:
    """The doctor's word for an HTTP status; None: no server answered."""
    if status is None:
        return "unreachable"
    if 200 <= status < 300:
        return "ok"
    return {401: "needs login", 403: "needs login", 404: "moved", 410: "moved"}.get(status, "unreachable")


def describe_file(name: str, size: int | None) -> str:
    """A file's name and, where it is known, its size."""
    return name if size is None else f"{name} ({size / 1e6:,.1f} MB, {size} bytes)"


def manual_folders(name: str, mirrors: list[Path]) -> list[Path]:
    """Folders into which a person may have put files of a dataset, in the order in which they are looked into."""
    return [paths.manual_folder(name), *(mirror / name for mirror in mirrors)]


def _expected_sha256(download: Download, file: RemoteFile) -> str | None:
    """The digest that a file must have: that of the config, else that of the first download."""
    return file.sha256 or download.recorded.get(file.origin, {}).get("sha256")


def _copies(download: Download, file: RemoteFile) -> list[Path]:
    """Where a copy of the file may lie, nearest first."""
    folders = manual_folders(download.name, download.mirrors)
    if download.existing and file.origin in download.recorded:
        folders.insert(0, download.existing)
    return [folder / file.name for folder in folders]


def _get_file(download: Download, file: RemoteFile, partial: Path, target: Path) -> dict:
    """Copy or fetch one file; returns its entry in the card: {from, bytes, sha256}."""
    target.parent.mkdir(parents=True, exist_ok=True)
    expected = _expected_sha256(download, file)
    rejected = []
    for path in _copies(download, file):
        if path.is_file():
            size, digest = path.stat().st_size, sha256(path)
            if file.bytes not in (None, size) or expected not in (None, digest):
                rejected.append(_rejection(download, file, f"{path} has {size} bytes and SHA-256 {digest}"))
                continue
            if expected is None and (words := stand_in(path)):
                rejected.append(f"{path} {words}")
                continue
            shutil.copyfile(path, target)
            if (digest_of_copy := sha256(target)) != digest:
                raise DataError(
                    f"{path} changed while it was copied ({digest}, then {digest_of_copy}); run the same command again"
                )
            return {"from": file.origin, "bytes": size, "sha256": digest}
    if file.url is None:
        raise DataError("; ".join(rejected))
    url = file.url() if callable(file.url) else file.url
    label = f"{download.name}: {file.name}"
    if expected is None:
        download.unverified.append(partial)
        if download.again:
            partial.unlink(missing_ok=True)
    try:
        fetched = fetch(url, partial, sha256=expected, bytes=file.bytes, headers=file.headers, label=label)
    except DigestMismatch as error:
        if file.sha256 is None:
            raise DataError(f"{error}. {_about_recorded_digest(download)}") from None
        raise
    if expected is None and (words := stand_in(partial)):
        raise DataError(f"{url}: what came {words}")
    try:
        os.link(partial, target)
    except OSError:  # a file system without hard links
        shutil.copyfile(partial, target)
    return {"from": file.origin, "bytes": fetched.bytes, "sha256": fetched.sha256}


def _rejection(download: Download, file: RemoteFile, description: str) -> str:
    """Why a copy of a file is not used."""
    digest = _expected_sha256(download, file)
    expected = [f"{file.bytes} bytes"] * (file.bytes is not None) + [f"SHA-256 {digest}"] * (digest is not None)
    advice = f". {_about_recorded_digest(download)}" if file.sha256 is None and digest else ""
    return f"{description}, expected {', '.join(expected)}{advice}"


def _about_recorded_digest(download: Download) -> str:
    return (
        f"The expected digest is that of the first download, recorded in {paths.raw_card(download.name)}: the file has been "
        f"replaced since. If the new file is right: mperceiver download {download.name} --force-digest"
    )


def _check_new_archives(files: list[RemoteFile], folder: Path, names: dict[str, str]) -> None:
    """Look into the archives whose digest is not known. Raises DataError for one that is damaged."""
    if not any(is_archive(file.name) for file in files):
        return
    try:  # parts with a known digest are needed to read the others
        check_archives([file for file in files_in(folder) if is_archive(file.name)], names)
    except DataError as error:
        raise DataError(
            f"{str(error).replace(str(folder) + '/', '')}; what was received is not a sound archive and was deleted"
        ) from None
