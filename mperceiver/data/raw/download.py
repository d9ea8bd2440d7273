"""Fill ``data/raw/{dataset}/`` from the first source of a dataset that is available and sound.

The folder then holds either pictures, as ``{picture id}{suffix}`` with their bytes as received, and checked: every picture
decodes, ids are unique, and their number is `expected`; or archives (and other files of the source) as received, which
``prepare`` unpacks. Files must have the digests that the config gives. Digests that it does not give are recorded in the card
``data/raw/{dataset}.json``, which is written last, and later downloads must match them. The kinds of source are in sources/.
Pictures that lie beside archives or other files are checked as well.
"""

import errno
import re
import shutil
from contextlib import closing
from pathlib import Path
from typing import Any

from mperceiver import commits, config, images, lineage, paths
from mperceiver.config.base import Model
from mperceiver.config.datasets import Dataset
from mperceiver.config.sources import GdriveSource, HttpFile, HttpSource, Source
from mperceiver.data import DataError
from mperceiver.data.raw.folder import files_in, pictures_in
from mperceiver.data.raw.sources import FILL_FROM, Download, Received
from mperceiver.data.raw.sources.base import SourceRefused
from mperceiver.fetch import FetchError
from mperceiver.files import atomic_folder, locked
from mperceiver.parallel import cores, in_processes
from mperceiver.printing import masked_data, say
from mperceiver.progress import progress
from mperceiver.wording import first_few

PICTURE_ID = re.compile(r"[A-Za-z0-9_.-]+")
OF_THIS_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


def download_dataset(name: str, mirrors: list[Path], force: bool = False, force_digest: bool = False) -> Path:
    """Fill data/raw/{name}/, completely or not at all, and return the path of its card.

    A second job for the same dataset waits for the first. Files that are already there are not downloaded again.

    Args:
        name: a dataset with `sources`.
        mirrors: folders with local copies of datasets, in the order in which they are looked into.
        force: download again although it is done.
        force_digest: download again, and accept files that differ from the first download (never from the config).

    Raises:
        ConfigError: no such dataset. DataError: it has no sources, or none of them is available and sound; the message
        gives the reason for each.
    """
    dataset = config.load("datasets", name)
    if not dataset.sources:
        raise DataError(
            f"{config.path_of('datasets', name)}: made from {', '.join(dataset.from_)}, so there is nothing to download; "
            f"download those, then: mperceiver prepare {name}"
        )
    commits.require()
    with locked(paths.raw_folder(name)):
        return _download(name, dataset, mirrors, force or force_digest, force_digest)


def _download(name: str, dataset: Dataset, mirrors: list[Path], force: bool, force_digest: bool) -> Path:
    folder, card = paths.raw_folder(name), paths.raw_card(name)
    settings = config.read_part("datasets", name, "download")
    work = lineage.begin("download", settings, config.download_inputs(name), seed=dataset.seed)
    last = _last_card(card)
    place = None if force else _complete_source(dataset, folder, last)
    if place is None:
        recorded = {} if force_digest else {file["from"]: file for file in last["result"].get("files", {}).values()}
        existing = None if force or not folder.is_dir() else folder
        download = Download(name, dataset, mirrors, recorded, existing, again=force)
        place, received, count = _fill(download, folder, card)
    elif last["spec"] == masked_data(work.spec):
        return card
    else:  # the config has changed, but not the source: only the card is written again
        # An input without a colon in its name is a file of this working directory, which `work` has hashed.
        inputs = {origin: digest for origin, digest in last["inputs"].items() if ":" in origin}
        received = Received(inputs, last["result"].get("files", {}))
        count = _check(name, dataset, folder)
    result = {"count": count, "source": dataset.sources[place].source, "place": place}
    work.write_card(
        card,
        outputs=[folder],
        result=result | ({"files": received.files} if received.files else {}),
        sources=received.inputs,
    )
    shutil.rmtree(paths.partial_folder(name), ignore_errors=True)
    return card


def _fill(download: Download, folder: Path, card: Path) -> tuple[int, Received, int]:
    """Fill the folder from the first available source; return its index, what was received, and the number of pictures or files."""
    failures: list[str] = []
    for place, source in enumerate(download.dataset.sources):
        try:
            with atomic_folder(folder, card) as beside:
                received, count = _received(download, source, beside)
        except (DataError, FetchError, images.PictureError, OSError) as error:
            if getattr(error, "errno", None) in OF_THIS_DISK:
                raise  # the disk is full or cannot be written: no other source would help
            failures.append(f"  {source.source}: {error}")
            continue
        for failure in failures:
            say(f"{download.name}: a source was skipped:\n{failure}", error=True)
        return place, received, count
    reasons = "\n".join(failures)
    raise DataError(
        f"{download.name}: none of the {len(failures)} source(s) in {config.path_of('datasets', download.name)} could be "
        f"used:\n{reasons}\n{_by_hand(download)}Then run again: mperceiver download {download.name}"
    )


def _received(download: Download, source: Source, folder: Path) -> tuple[Received, int]:
    """Fill the folder from a source and check it; return what was received, and the number of pictures or files.

    Files that are found unsound are also deleted from the folder of unfinished transfers, so that the next call fetches them again.
    Interrupted transfers, and files with a known digest, stay there.
    """
    fetched = False
    try:
        received = FILL_FROM[source.source](download, source, folder)
        fetched = True
        return received, _check(download.name, download.dataset, folder)
    except Exception as error:
        if (fetched or isinstance(error, DataError)) and not isinstance(error, SourceRefused | OSError):
            for file in download.unverified:
                file.unlink(missing_ok=True)
        raise


def _by_hand(download: Download) -> str:
    """Where a person may put the files of the sources that need a server; empty if there is no such source."""
    sources = [source for source in download.dataset.sources if isinstance(source, HttpSource | GdriveSource)]
    names = dict.fromkeys(
        file.filename if isinstance(file, HttpFile) else file.name for source in sources for file in source.files
    )
    if not names:
        return ""
    return f"Files that you get elsewhere (a browser, a colleague) are taken from {paths.manual_folder(download.name)}/: {first_few(names)}.\n"


def _last_card(card: Path) -> dict[str, Any]:
    """The card of the last download; an empty one if there is none."""
    try:
        return lineage.read_card(card)
    except lineage.LineageError:
        return {"spec": {}, "result": {}, "inputs": {}}


def _complete_source(dataset: Dataset, folder: Path, last: dict[str, Any]) -> int | None:
    """Index of the source that was used last time, if it is still in the config and all of its files are still there."""
    used = dict(enumerate(last["spec"].get("sources", []))).get(last["result"].get("place"))
    sources = [_plain(source) for source in dataset.sources]
    if not folder.is_dir() or used not in sources or last["spec"].get("seed") != dataset.seed:
        return None
    try:
        present = files_in(folder)
    except DataError:  # a link that leads nowhere
        return None
    if files := last["result"].get("files"):
        sizes = {path.relative_to(folder).as_posix(): path.stat().st_size for path in present}
        complete = sizes == {name: file["bytes"] for name, file in files.items()}
    else:
        complete = len(present) == last["result"].get("count")
    return sources.index(used) if complete else None


def _plain(model: Model) -> dict[str, Any]:
    return masked_data(model.model_dump(mode="json", by_alias=True))


def _check(name: str, dataset: Dataset, folder: Path) -> int:
    """Check the pictures that lie in the folder itself, and return the number of files in the folder and below it.

    Raises DataError or PictureError, naming the picture, for one that does not decode, a bad or repeated name, or another
    number than `expected`. Pictures in archives and subfolders are not checked here, but when they are prepared.
    """
    everything, pictures = files_in(folder), pictures_in(folder)
    if everything and not pictures:
        return len(everything)
    if dataset.expected is not None and len(pictures) != dataset.expected:
        others = sorted(set(everything) - set(pictures))
        beside = first_few(path.relative_to(folder).as_posix() for path in others)
        raise DataError(
            f"{len(pictures)} pictures, expected {dataset.expected} (`expected` in its config)"
            + (f"; beside them, and not counted: {beside}" if beside else "")
        )
    if not pictures:
        raise DataError("no pictures")
    names: dict[str, str] = {}
    for file in pictures:
        if not PICTURE_ID.fullmatch(file.stem):
            raise DataError(f"{file.name!r}: a picture's name may have letters, digits and _ . - only; rename it")
        if file.stem in names:
            raise DataError(f"{names[file.stem]} and {file.name} have one name; rename one of them, or narrow `glob`")
        names[file.stem] = file.name
    jobs = [(str(file), f"{name}: {file.name}") for file in pictures]
    with closing(in_processes(_decode, jobs, cores())) as decoded, progress(f"check {name}", len(jobs)) as advance:
        for _ in decoded:
            advance(1)
    return len(everything)


def _decode(job: tuple[str, str]) -> None:
    path, label = job
    images.decode(Path(path), name=label)
