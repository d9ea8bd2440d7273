"""What all kinds of source share: what is asked for, what came, and bringing files from wherever they are nearest.

A file that lies in data/manual/<dataset>/ or <mirror>/<dataset>/ is taken from there; else it is fetched into
data/raw/.partial/<dataset>/, where half of it is kept for the next try, and linked into place from there.
"""

import hashlib
import os
import shutil
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from mperceiver.config.datasets import Dataset
from mperceiver.config.sources import file_path, matches
from mperceiver.data import DataError
from mperceiver.data.archives.formats import is_archive
from mperceiver.data.archives.unpack import check
from mperceiver.fetch import FetchError, fetch
from mperceiver.files import sha256
from mperceiver.progress import progress

AT_ONCE = 8  # small files under way; a server that sees more of one client may turn it away
MANUAL = Path("data/manual")
PARTIAL = Path("data/raw/.partial")


class Refused(DataError):
    """A server does not give what was asked for; ``state`` is the doctor's word for it."""

    def __init__(self, message: str, state: str = "unreachable") -> None:
        super().__init__(message)
        self.state = state


@dataclass(frozen=True)
class Job:
    """A dataset to be filled, where to look first, and what its card told of the last time: {origin: {bytes, sha256}}."""

    name: str
    dataset: Dataset
    mirrors: list[Path]
    known: dict[str, dict] = field(default_factory=dict)
    there: Path | None = None  # the pictures or archives of the last time, which need not come again


@dataclass(frozen=True)
class Wanted:
    """A file that a source has: its name in data/raw/<dataset>/, where it comes from, and what is known of it."""

    name: str
    origin: str
    url: str | Callable[[], str] | None = None  # a function: asked for only when it is needed; none: a person brings it
    sha256: str | None = None
    bytes: int | None = None
    headers: dict[str, str] = field(default_factory=dict, repr=False)
    offered: str | None = None  # the digest that the server's own listing tells


@dataclass(frozen=True)
class Taken:
    """What came: {description: sha256} for the card, and of files that were fetched {name: {from, bytes, sha256}}."""

    inputs: dict[str, str]
    files: dict[str, dict] = field(default_factory=dict)


def listed(paths: Iterable[str], root: str | None, globs: list[str], count: int | None, what: str) -> dict[str, str]:
    """Of a listing's paths those wanted: {path below ``root``: path}. Raises DataError for none, or not ``count``."""
    prefix = f"{root}/" if root else ""
    below = {path.removeprefix(prefix): path for path in sorted(paths) if path.startswith(prefix)}
    found = {name: path for name, path in below.items() if matches(name, globs)}
    if not found:
        raise DataError(f"{what}: none of its {len(below)} files fits {', '.join(globs)}")
    if count is not None and len(found) != count:
        raise DataError(f"{what}: {len(found)} files fit {', '.join(globs)}, {count} are wanted (`count`)")
    for name in found:
        file_path(name)
    return found


def bring(job: Job, wanted: list[Wanted], folder: Path, place: str | None = None) -> Taken:
    """Bring files into ``folder``, each verified.

    Args:
        job: the dataset.
        wanted: the files.
        folder: where they go.
        place: for the card one line for all of them, instead of one a file.

    Raises:
        DataError, FetchError: a file is not to be had, not what it should be, or an archive that is damaged.
    """
    absent = [file for file in wanted if file.url is None and not any(p.is_file() for p in _places(job, file))]
    if absent:
        raise DataError("missing: " + ", ".join(told(file.name, file.bytes) for file in absent))
    # Files of one name from two sources are kept apart while they are on their way.
    mark = hashlib.sha256("\n".join(file.origin for file in wanted).encode()).hexdigest()[:12]
    partial = PARTIAL / job.name / mark
    taken: dict[str, dict] = {}

    def one(file: Wanted) -> None:
        taken[file.name] = _one(job, file, partial / file.name, folder / file.name)

    if len(wanted) <= AT_ONCE:  # large ones, most likely: one after the other
        for file in wanted:
            one(file)
    else:
        with ThreadPoolExecutor(AT_ONCE) as pool, progress(f"download {job.name}", len(wanted), "files") as step:
            try:
                for _ in pool.map(one, wanted):
                    step(1)
            finally:
                pool.shutdown(wait=True, cancel_futures=True)
    _sound([file for file in wanted if _digest(job, file) is None], folder, partial)
    if place:
        lines = "".join(f"{taken[name]['sha256']}  {name}\n" for name in sorted(taken))
        return Taken({place: hashlib.sha256(lines.encode()).hexdigest()}, taken)
    return Taken({found["from"]: found["sha256"] for found in taken.values()}, taken)


def state_of(status: int | None) -> str:
    """The doctor's word for an answer's status: none where no server answered."""
    if status is not None and 200 <= status < 300:
        return "ok"
    return {401: "needs login", 403: "needs login", 404: "moved", 410: "moved"}.get(status, "unreachable")


def told(name: str, size: int | None) -> str:
    """A file and its size, in words."""
    return name if size is None else f"{name} ({size / 1e6:,.1f} MB, {size} bytes)"


def _digest(job: Job, file: Wanted) -> str | None:
    """What a file must be: as its config says, else as it was the first time."""
    return file.sha256 or job.known.get(file.origin, {}).get("sha256")


def drop_ins(name: str, mirrors: list[Path]) -> list[Path]:
    """Folders in which a dataset's files may have been put by hand, first to be looked into first."""
    return [MANUAL / name, *(mirror / name for mirror in mirrors)]


def _places(job: Job, file: Wanted) -> list[Path]:
    """Where a file may lie already, nearest first."""
    folders = drop_ins(job.name, job.mirrors)
    if job.there and file.origin in job.known:
        folders.insert(0, job.there)
    return [folder / file.name for folder in folders]


def _one(job: Job, file: Wanted, partial: Path, target: Path) -> dict:
    """Bring one file; what the card tells of it."""
    target.parent.mkdir(parents=True, exist_ok=True)
    digest = _digest(job, file)
    wrong = []
    for path in _places(job, file):
        if path.is_file():
            size, found = path.stat().st_size, sha256(path)
            if file.bytes not in (None, size) or digest not in (None, found):
                wrong.append(_unlike(job, file, f"{path} has {size} bytes and SHA-256 {found}"))
                continue
            shutil.copyfile(path, target)
            if (copied := sha256(target)) != found:
                raise DataError(
                    f"{path} changed while it was copied ({found}, then {copied}); run the same command again"
                )
            return {"from": file.origin, "bytes": size, "sha256": found}
    if file.url is None:
        raise DataError("; ".join(wrong))
    url = file.url() if callable(file.url) else file.url
    try:
        came = fetch(
            url, partial, sha256=digest, bytes=file.bytes, headers=file.headers, label=f"{job.name}: {file.name}"
        )
    except FetchError as error:
        if file.sha256 is None and digest is not None and "is wanted" in str(error):
            raise DataError(f"{error}. {_recorded(job)}") from None
        raise
    try:
        os.link(partial, target)
    except OSError:  # a file system without hard links
        shutil.copyfile(partial, target)
    return {"from": file.origin, "bytes": came.bytes, "sha256": came.sha256}


def _unlike(job: Job, file: Wanted, found: str) -> str:
    digest = _digest(job, file)
    asked = ", ".join([f"{file.bytes} bytes"] * (file.bytes is not None) + [f"SHA-256 {digest}"] * (digest is not None))
    return f"{found}, wanted {asked}" + (f". {_recorded(job)}" if file.sha256 is None and digest else "")


def _recorded(job: Job) -> str:
    return (
        f"The digest wanted is that of the first download, kept in data/raw/{job.name}.json: the file was replaced since. "
        f"If the new one is right: mperceiver download {job.name} --force-digest"
    )


def _sound(files: list[Wanted], folder: Path, partial: Path) -> None:
    """Look into archives that nothing vouches for; drop those that are damaged, so that they come again."""
    vouched = {file.name for file in files}
    archives = [folder / name for name in vouched if is_archive(name)]
    if not archives:
        return
    try:  # with the parts that have a digest, which belong to them
        check(sorted(p for p in folder.rglob("*") if p.is_file() and is_archive(p.name)))
    except DataError as error:
        for file in files:
            (partial / file.name).unlink(missing_ok=True)
        raise DataError(
            f"{str(error).replace(str(folder) + '/', '')}; what came is no sound archive and was not kept"
        ) from None
