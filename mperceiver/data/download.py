"""Fill ``data/raw/{dataset}/`` from the first of a dataset's sources that is there.

Pictures lie there as ``{picture id}{suffix}``, bytes as they came, checked: every one decodes, ids are unique, their number and
their digests are what config/datasets/<name>.yaml says. The card ``data/raw/{dataset}.json`` is written last.

To add a kind of source, write one function ``(name, dataset, source, mirrors, folder) -> {description: sha256}`` that copies
pictures into ``folder``, raises DataError where it cannot, and returns what it took from outside the working directory; name
it in SOURCES.
"""

import hashlib
import importlib.util
import re
import shutil
import sys
from collections.abc import Callable, Iterable
from contextlib import closing
from pathlib import Path

import numpy as np

from mperceiver import config, images, lineage
from mperceiver.data import DataError
from mperceiver.data.generated import GENERATORS
from mperceiver.data.pool import cores, in_order
from mperceiver.degradations.mix import picture_seed
from mperceiver.progress import progress

ID = re.compile(r"[A-Za-z0-9_.-]+")
FEW = 400  # pictures that are checked sooner than worker processes start


def raw_folder(name: str) -> Path:
    return Path("data/raw") / name


def raw_card(name: str) -> Path:
    return Path("data/raw") / f"{name}.json"


def pictures_in(folder: Path, glob: str = "*") -> list[Path]:
    """Picture files in a folder, sorted by name; hidden files and what has no picture's suffix are passed over."""
    found = (p for p in folder.glob(glob) if p.suffix.lower() in images.SUFFIXES and not p.name.startswith("."))
    return sorted((p for p in found if p.is_file()), key=lambda p: p.name)


def folder_sha256(files: Iterable[Path]) -> str:
    """SHA-256 over the lines '<sha256>  <basename>\\n' of the files, sorted by basename."""
    lines = (f"{lineage.sha256(p)}  {p.name}\n" for p in sorted(files, key=lambda p: p.name))
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def download(name: str, mirrors: list[Path], force: bool = False) -> Path:
    """Fill data/raw/{name}/, whole or not at all, and return the path of its card.

    Args:
        name: a dataset with `sources`.
        mirrors: folders with local copies of datasets, first to be looked into first.
        force: do it again though it is done.

    Raises:
        ConfigError: no such dataset. DataError: it has no sources, or none of them is there and sound; each is named with
        its reason.
    """
    dataset = config.load("datasets", name)
    folder, card = raw_folder(name), raw_card(name)
    if not dataset.sources:
        raise DataError(
            f"{config.path_of('datasets', name)}: made from {', '.join(dataset.from_)}, so there is nothing to download; "
            f"download those, then: mperceiver prepare {name}"
        )
    if not force and _done(dataset, folder, card):
        return card
    lineage.commit()  # a result without a commit cannot be kept: say so before the work, not after
    tried: list[str] = []
    for source in dataset.sources:
        try:
            with lineage.whole_folder(folder) as beside:
                outside = SOURCES[source.source](name, dataset, source, mirrors, beside)
                count = _check(name, dataset, beside)
                card.unlink(missing_ok=True)  # the old one must not stand beside the new pictures
            break
        except (DataError, images.PictureError, OSError) as error:
            tried.append(f"  {source.source}: {error}")
    else:
        listed = "\n".join(tried)
        raise DataError(
            f"{name}: none of the {len(tried)} source(s) in {config.path_of('datasets', name)} gave its pictures:\n{listed}\n"
            f"Then run again: mperceiver download {name}"
        )
    for failed in tried:
        print(f"{name}: passed over a source:\n{failed}", file=sys.stderr)
    lineage.write_card(
        card,
        verb="download",
        spec=dataset,
        inputs=[config.path_of("datasets", name)],
        outputs=[folder],
        seed=dataset.seed,
        result={"count": count, "source": source.source},
        sources=outside,
    )
    return card


def _done(dataset: config.Dataset, folder: Path, card: Path) -> bool:
    """Whether the card tells of this very config and the pictures are still there."""
    if not (folder.is_dir() and card.is_file()):
        return False
    try:
        told = lineage.read_card(card)
    except lineage.LineageError:
        return False
    same = told.get("spec") == dataset.model_dump(mode="json", by_alias=True)
    return same and told.get("result", {}).get("count") == len(pictures_in(folder))


def _check(name: str, dataset: config.Dataset, folder: Path) -> int:
    """Number of pictures in the folder. Raises DataError or PictureError, naming the picture, unless all is well."""
    files = pictures_in(folder)
    if dataset.expected is not None and len(files) != dataset.expected:
        raise DataError(f"{len(files)} pictures found, {dataset.expected} expected (`expected` in its config)")
    if not files:
        raise DataError("no pictures found")
    seen: dict[str, str] = {}
    for file in files:
        if not ID.fullmatch(file.stem):
            raise DataError(f"{file.name!r}: a picture's name may have letters, digits and _ . - only; rename it")
        if file.stem in seen:
            raise DataError(f"{seen[file.stem]} and {file.name} have one name; rename one of them, or narrow `glob`")
        seen[file.stem] = file.name
    jobs = [(str(file), f"{name}: {file.name}") for file in files]
    with (
        closing(in_order(_decodes, jobs, cores() if len(jobs) > FEW else 1)) as done,
        progress(f"check {name}", len(jobs)) as step,
    ):
        for _ in done:
            step(1)
    return len(files)


def _decodes(job: tuple[str, str]) -> None:
    images.decode(Path(job[0]), name=job[1])


# ---------------------------------------------------------------- sources


def from_package(
    name: str, dataset: config.Dataset, source: config.PackageSource, mirrors: list[Path], folder: Path
) -> dict[str, str]:
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
        digest = lineage.sha256(copy)
        wanted = source.sha256.get(picture, digest)
        if digest != wanted:
            raise DataError(
                f"{package}/{inside} has SHA-256 {digest}, wanted {wanted}; another version of the package? uv sync"
            )
        outside[f"package:{package.replace('.', '/')}/{inside}"] = digest
    return outside


def generate(
    name: str, dataset: config.Dataset, source: config.GeneratedSource, mirrors: list[Path], folder: Path
) -> dict[str, str]:
    """Draw pictures `{generator}-0000` on, each by its own seed, over all cores."""
    if source.generator not in GENERATORS:
        raise DataError(f"no generator {source.generator!r}, known are {', '.join(sorted(GENERATORS))}")
    pictures = [f"{source.generator}-{i:04d}" for i in range(source.count)]
    jobs = [(source.generator, source.size_px, picture_seed(name, picture, dataset.seed)) for picture in pictures]
    workers = min(cores(), -(-len(jobs) // 16))  # a process takes as long to start as 16 pictures do
    with closing(in_order(_drawn, jobs, workers)) as drawn, progress(f"generate {name}", len(jobs)) as step:
        for picture, png in zip(pictures, drawn, strict=True):
            (folder / f"{picture}.png").write_bytes(png)
            step(1)
    return {}


def _drawn(job: tuple[str, int, int]) -> bytes:
    generator, size_px, seed = job
    picture = GENERATORS[generator](np.random.Generator(np.random.PCG64(seed)), size_px)
    return images.encode(np.round(np.clip(picture, 0, 1) * 255).astype(np.uint8))


def from_folder(
    name: str, dataset: config.Dataset, source: config.LocalSource, mirrors: list[Path], folder: Path
) -> dict[str, str]:
    """Copy pictures from a folder: an absolute one, or the first sound one of that name inside the mirror folders."""
    wanted = Path(source.folder)
    if wanted.is_absolute():
        places = [wanted]
        help_ = f"put its pictures into {wanted}"
    else:
        places = [mirror / wanted for mirror in mirrors]
        help_ = (
            f"set MPERCEIVER_MIRROR to a folder that has `{wanted}/`"
            + (f" with its {dataset.expected} pictures" if dataset.expected else "")
            + ", or name that folder under `mirror` in the experiment's config"
        )
    if not places:
        raise DataError(f"{wanted}: no mirror folder is set; {help_}")
    failures = []
    for place in places:
        try:
            return {f"local:{source.folder}": _copy(dataset, source, place, folder)}
        except (DataError, OSError) as error:
            failures.append(str(error))
            for file in folder.iterdir():
                file.unlink()
    raise DataError("; ".join(failures) + f"; {help_}")


def _copy(dataset: config.Dataset, source: config.LocalSource, place: Path, folder: Path) -> str:
    """Copy the pictures of ``place``; their SHA-256 as a folder, taken of the copies."""
    if not place.is_dir():
        raise DataError(f"{place}: no such folder")
    files = pictures_in(place, source.glob)
    if not files:
        raise DataError(f"{place}: no pictures there ({source.glob})")
    if dataset.expected not in (None, len(files)):  # so that the next mirror folder has its turn
        raise DataError(f"{place}: {len(files)} pictures found, {dataset.expected} expected")
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


SOURCES: dict[str, Callable[..., dict[str, str]]] = {
    "package": from_package,
    "generated": generate,
    "local": from_folder,
}
