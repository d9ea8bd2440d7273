"""What needs no network: pictures inside installed packages, drawn by a generator, in a folder, or brought by a person."""

import importlib.util
import shutil
from contextlib import closing
from pathlib import Path

import numpy as np

from mperceiver import images
from mperceiver.config.sources import GeneratedSource, LocalSource, ManualSource, PackageSource
from mperceiver.data import DataError
from mperceiver.data.raw.folder import folder_sha256, pictures_in
from mperceiver.data.raw.generated import GENERATORS
from mperceiver.data.raw.sources.base import MANUAL, Job, Taken, Wanted, bring, told
from mperceiver.files import sha256
from mperceiver.parallel import cores, in_processes
from mperceiver.progress import progress
from mperceiver.seeds import picture_seed


def package(job: Job, source: PackageSource, folder: Path) -> Taken:
    """Copy pictures out of an installed package, which is found without being imported.

    A file is a path inside `package`, or `other_package:path` where a dataset takes pictures from two.
    """
    outside = {}
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
        wanted = source.sha256.get(picture, digest)
        if digest != wanted:
            raise DataError(
                f"{package}/{inside} has SHA-256 {digest}, wanted {wanted}; another version of the package? uv sync"
            )
        outside[f"package:{package.replace('.', '/')}/{inside}"] = digest
    return Taken(outside)


def generated(job: Job, source: GeneratedSource, folder: Path) -> Taken:
    """Draw pictures `{generator}-0000` on, each by its own seed, over all cores."""
    if source.generator not in GENERATORS:
        raise DataError(f"no generator {source.generator!r}, known are {', '.join(sorted(GENERATORS))}")
    pictures = [f"{source.generator}-{i:04d}" for i in range(source.count)]
    jobs = [
        (source.generator, source.size_px, picture_seed(job.name, picture, job.dataset.seed)) for picture in pictures
    ]
    workers = min(cores(), -(-len(jobs) // 16))  # a process takes as long to start as 16 pictures do
    with closing(in_processes(_drawn, jobs, workers)) as drawn, progress(f"generate {job.name}", len(jobs)) as step:
        for picture, png in zip(pictures, drawn, strict=True):
            (folder / f"{picture}.png").write_bytes(png)
            step(1)
    return Taken({})


def _drawn(job: tuple[str, int, int]) -> bytes:
    generator, size_px, seed = job
    picture = GENERATORS[generator](np.random.Generator(np.random.PCG64(seed)), size_px)
    return images.encode(np.round(np.clip(picture, 0, 1) * 255).astype(np.uint8))


def local(job: Job, source: LocalSource, folder: Path) -> Taken:
    """Copy pictures from a folder: an absolute one, or the first sound one of that name inside the mirror folders."""
    wanted = Path(source.folder)
    if wanted.is_absolute():
        places = [wanted]
        help_ = f"put its pictures into {wanted}"
    else:
        places = [mirror / wanted for mirror in job.mirrors]
        help_ = (
            f"set MPERCEIVER_MIRROR to a folder that has `{wanted}/`"
            + (f" with its {job.dataset.expected} pictures" if job.dataset.expected else "")
            + ", or name that folder under `mirror` in the experiment's config"
        )
    if not places:
        raise DataError(f"{wanted}: no mirror folder is set; {help_}")
    failures = []
    for place in places:
        try:
            return Taken({f"local:{source.folder}": _copy(job, source, place, folder)})
        except (DataError, OSError) as error:
            failures.append(str(error))
            for file in folder.iterdir():
                file.unlink()
    raise DataError("; ".join(failures) + f"; {help_}")


def _copy(job: Job, source: LocalSource, place: Path, folder: Path) -> str:
    """Copy the pictures of ``place``; their SHA-256 as a folder, taken of the copies."""
    if not place.is_dir():
        raise DataError(f"{place}: no such folder")
    files = pictures_in(place, source.glob)
    if not files:
        raise DataError(f"{place}: no pictures there ({source.glob})")
    if job.dataset.expected not in (None, len(files)):  # so that the next mirror folder has its turn
        raise DataError(f"{place}: {len(files)} pictures found, {job.dataset.expected} expected")
    for file in files:
        if (folder / file.name).exists():
            raise DataError(f"{place}: two pictures are named {file.name}; narrow `glob`")
        shutil.copyfile(file, folder / file.name)
    digest = folder_sha256(folder.iterdir())
    if source.sha256 is not None and digest != source.sha256:
        raise DataError(
            f"{place}: its {len(files)} pictures have SHA-256 {digest}, wanted {source.sha256}: "
            "one is missing, added or changed, or it is another edition of the dataset"
        )
    return digest


def manual(job: Job, source: ManualSource, folder: Path) -> Taken:
    """Files that a person has brought to data/manual/<dataset>/ or a mirror; else word of what to bring, and how to go on."""
    try:
        return bring(job, wanted_manual(source), folder)
    except DataError as error:
        here = MANUAL / job.name
        raise DataError(
            f"a person has to bring its files; {error}.\n"
            f"    from    {source.page}{f' ({source.how})' if source.how else ''}\n"
            f"    terms   {source.terms}\n"
            f"    put     {', '.join(told(file.name, file.bytes) for file in source.files)}\n"
            f"    into    {here}/  (or {job.name}/ in a mirror folder)\n"
            f"    then    mperceiver download {job.name}"
        ) from None


def wanted_manual(source: ManualSource) -> list[Wanted]:
    """The files of a source."""
    return [Wanted(file.name, f"manual:{file.name}", None, file.sha256, file.bytes) for file in source.files]
