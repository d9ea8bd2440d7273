"""Sources without a network: installed packages, generators, folders, and files that a person has brought."""

import importlib.util
import shutil
from contextlib import closing
from pathlib import Path

import numpy as np

from mperceiver import images, paths
from mperceiver.config.sources import GeneratedSource, LocalSource, ManualSource, PackageSource, file_path
from mperceiver.data import DataError
from mperceiver.data.archives.base import is_archive
from mperceiver.data.archives.unpack import check_archives
from mperceiver.data.raw.folder import files_below, folder_sha256, left_out, pictures_in
from mperceiver.data.raw.generated import GENERATORS
from mperceiver.data.raw.sources.base import Download, Received, RemoteFile, describe_file, get_files
from mperceiver.disks import DISK_FULL, system_errno
from mperceiver.fetch.stand_ins import stand_in
from mperceiver.files import sha256
from mperceiver.parallel import cores, in_processes
from mperceiver.printing import say
from mperceiver.progress import progress
from mperceiver.seeds import picture_seed
from mperceiver.wording import first_few


def fill_from_package(download: Download, source: PackageSource, folder: Path) -> Received:
    """Copy pictures out of an installed package, which is located without being imported.

    A file is a path inside `package`, or `other_package:path` where a dataset takes pictures from two packages.
    """
    inputs = {}
    if unknown := sorted(set(source.sha256) - set(source.files)):
        raise DataError(f"`sha256` names {', '.join(unknown)}, which `files` does not")
    for picture, file in source.files.items():
        package, _, inside = file.rpartition(":")
        package = package or source.package
        spec = importlib.util.find_spec(package.split(".")[0])
        if spec is None or not spec.submodule_search_locations:
            raise DataError(f"package {package} is not installed; install what pyproject.toml names: uv sync")
        roots = [Path(root).joinpath(*package.split(".")[1:]) for root in spec.submodule_search_locations]
        path = next((root / inside for root in roots if (root / inside).is_file()), None)
        if path is None:
            raise DataError(f"package {package} has no file {inside} (looked in {roots[0]}); another version? uv sync")
        copy = folder / f"{picture}{path.suffix}"
        shutil.copyfile(path, copy)
        digest = sha256(copy)
        expected = source.sha256.get(picture, digest)
        if digest != expected:
            raise DataError(
                f"{package}/{inside} has SHA-256 {digest}, expected {expected}; another version of the package? uv sync"
            )
        inputs[f"package:{package.replace('.', '/')}/{inside}"] = digest
    return Received(inputs)


def fill_from_generator(download: Download, source: GeneratedSource, folder: Path) -> Received:
    """Draw pictures named `{generator}-0000` and so on, each from its own seed, on all cores."""
    if source.generator not in GENERATORS:
        raise DataError(f"no generator {source.generator!r}; the generators are {', '.join(sorted(GENERATORS))}")
    pictures = [f"{source.generator}-{i:04d}" for i in range(source.count)]
    seeds = [picture_seed(download.name, picture, download.dataset.seed) for picture in pictures]
    jobs = [(source.generator, source.size_px, seed) for seed in seeds]
    with (
        closing(in_processes(_generate_png, jobs, cores())) as pngs,
        progress(f"generate {download.name}", len(jobs)) as advance,
    ):
        for picture, png in zip(pictures, pngs, strict=True):
            (folder / f"{picture}.png").write_bytes(png)
            advance(1)
    return Received({})


def _generate_png(job: tuple[str, int, int]) -> bytes:
    generator, size_px, seed = job
    picture = GENERATORS[generator](np.random.Generator(np.random.PCG64(seed)), size_px)
    return images.encode(images.to_levels(picture, 8))


def fill_from_folder(download: Download, source: LocalSource, folder: Path) -> Received:
    """Copy pictures from a folder: an absolute one (also ~/…), or the first sound one of that name inside the mirror folders."""
    named = expanded(source.folder)
    if named.is_absolute():
        candidates = [named]
        advice = f"put its pictures into {named}"
    else:
        candidates = [mirror / named for mirror in download.mirrors]
        advice = (
            f"set MPERCEIVER_MIRROR to a folder that has `{named}/`"
            + (f" with its {download.dataset.expected} pictures" if download.dataset.expected else "")
            + ", or name that folder under `mirror` in the experiment's config"
        )
    if not candidates:
        raise DataError(f"{named}: no mirror folder is set; {advice}")
    failures = []
    for candidate in candidates:
        try:
            copy = _copy_tree if source.keep_folders else _copy_pictures
            return Received({f"local:{source.folder}": copy(download, source, candidate, folder)})
        except (DataError, OSError) as error:
            if system_errno(error) in DISK_FULL:
                raise  # of the disk that is copied to: no other folder would help
            failures.append(str(error))
            for path in folder.iterdir():
                shutil.rmtree(path) if path.is_dir() else path.unlink()
    raise DataError("; ".join(failures) + f"; {advice}")


def expanded(folder: str) -> Path:
    """A folder with its ~ or ~user at the start replaced by that home. Raises DataError if there is no such home."""
    try:
        return Path(folder).expanduser()
    except RuntimeError:
        raise DataError(f"{folder}: this machine knows no such home folder; give the whole path as `folder`") from None


def _copy_pictures(download: Download, source: LocalSource, origin: Path, folder: Path) -> str:
    """Copy the pictures of ``origin`` into ``folder``; returns the copies' SHA-256 as a folder."""
    if not origin.is_dir():
        raise DataError(f"{origin}: no such folder")
    glob = source.glob or "*"
    files = pictures_in(origin, glob)
    if unread := [file.name for file in left_out(origin, glob)]:
        say(f"{origin}: pictures of a form that is not read are left out: {', '.join(unread)}", error=True)
    keep = "`keep_folders: true` beside `folder` keeps the subfolders, for pairs to be found in them"
    if not files:
        raise DataError(_why_no_pictures(origin, source.glob, keep))
    if download.dataset.expected not in (None, len(files)):  # checked here, so that the next mirror folder is tried
        raise DataError(f"{origin}: has {len(files)} pictures, expected {download.dataset.expected}")
    for file in files:
        if (folder / file.name).exists():
            raise DataError(f"{origin}: two pictures are named {file.name}; narrow `glob`, or: {keep}")
        _copy(file, folder / file.name)
    return _check_digest(source, origin, folder_sha256(folder.iterdir()), f"{len(files)} pictures")


def _why_no_pictures(origin: Path, glob: str | None, keep: str) -> str:
    """Why no picture of a folder was taken. ``keep``: what to do about pictures in subfolders."""
    here, below = pictures_in(origin), pictures_in(origin, "*/**/*")
    subfolders = first_few(sorted({f"{path.relative_to(origin).parts[0]}/" for path in below}))
    if glob is None and below:
        return f"{origin}: its pictures are in subfolders, {subfolders}; {keep}"
    if here or below:
        places = [f"{len(here)} there"] * bool(here) + [f"{len(below)} in {subfolders}"] * bool(below)
        return f"{origin}: `glob` {glob} fits none of its {len(here) + len(below)} pictures ({', '.join(places)})"
    return f"{origin}: no pictures there" + (f" ({glob})" if glob else "")


def _copy_tree(download: Download, source: LocalSource, origin: Path, folder: Path) -> str:
    """Copy the files below ``origin`` into ``folder`` with their paths; returns the copies' SHA-256 as a folder."""
    if not origin.is_dir():
        raise DataError(f"{origin}: no such folder")
    names = files_below(origin, source.glob or "**")
    if not names:
        if everything := files_below(origin):
            raise DataError(f"{origin}: `glob` {source.glob} fits none of its {len(everything)} files")
        raise DataError(f"{origin}: no files below it")
    for name in names:
        try:
            file_path(name)
        except ValueError as error:
            raise DataError(f"{origin}: {name!r}: {error}; rename it") from None
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        _copy(origin / name, folder / name)
    check_archives([folder / name for name in names if is_archive(name)], download.dataset.names)
    return _check_digest(
        source, origin, folder_sha256((folder / name for name in names), folder), f"{len(names)} files"
    )


def _copy(file: Path, target: Path) -> None:
    """Copy a file. Raises DataError for one that stands in for another: a pointer of git-lfs, a web page, nothing."""
    if words := stand_in(file):
        raise DataError(f"{file} {words}")
    shutil.copyfile(file, target)


def _check_digest(source: LocalSource, origin: Path, digest: str, what: str) -> str:
    """The digest of what was copied. Raises DataError if it is not the one that the config gives."""
    if source.sha256 is not None and digest != source.sha256:
        raise DataError(
            f"{origin}: its {what} have SHA-256 {digest}, expected {source.sha256}: "
            "one is missing, added or changed, or it is another edition of the dataset"
        )
    return digest


def fill_from_manual(download: Download, source: ManualSource, folder: Path) -> Received:
    """Copy files that a person has put into data/manual/<dataset>/ or a mirror folder.

    Raises DataError that says which files to get, where, under which terms, and the next command.
    """
    try:
        return get_files(download, list_manual_files(source), folder)
    except DataError as error:
        raise DataError(
            f"a person has to download its files; {error}.\n"
            f"    from    {source.page}{f' ({source.how})' if source.how else ''}\n"
            f"    terms   {source.terms}\n"
            f"    put     {', '.join(describe_file(file.name, file.bytes) for file in source.files)}\n"
            f"    into    {paths.manual_folder(download.name)}/  (or {download.name}/ in a mirror folder)\n"
            f"    then    mperceiver download {download.name}"
        ) from None


def list_manual_files(source: ManualSource) -> list[RemoteFile]:
    """The files that a person has to bring."""
    return [RemoteFile(file.name, f"manual:{file.name}", None, file.sha256, file.bytes) for file in source.files]
