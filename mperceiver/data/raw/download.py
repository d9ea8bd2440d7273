"""Fill ``data/raw/{dataset}/`` from the first of a dataset's sources that is there and sound.

Either pictures lie there as ``{picture id}{suffix}``, bytes as they came, checked: every one decodes, ids are unique, their
number is what config/datasets/<name>.yaml says; or archives (and whatever else a source has) as they came, for prepare to
unpack. Digests that the config gives are held to; others are kept in the card ``data/raw/{dataset}.json``, written last, and
held to the next time. Kinds of source stand in sources/.
"""

import errno
import re
import shutil
import sys
from contextlib import closing
from pathlib import Path

from mperceiver import config, images, lineage, paths
from mperceiver.config.base import Model
from mperceiver.config.datasets import Dataset
from mperceiver.data import DataError
from mperceiver.data.raw.folder import pictures_in
from mperceiver.data.raw.sources import SOURCES, Job, Taken
from mperceiver.data.raw.sources.base import PARTIAL
from mperceiver.fetch import FetchError
from mperceiver.files import atomic_folder, locked
from mperceiver.parallel import cores, in_processes
from mperceiver.progress import progress

ID = re.compile(r"[A-Za-z0-9_.-]+")
FEW = 400  # pictures that are checked sooner than worker processes start


def download_dataset(name: str, mirrors: list[Path], force: bool = False, force_digest: bool = False) -> Path:
    """Fill data/raw/{name}/, whole or not at all, and return the path of its card.

    A second job for the same dataset waits for the first. What lies there already does not come again.

    Args:
        name: a dataset with `sources`.
        mirrors: folders with local copies of datasets, first to be looked into first.
        force: do it again though it is done.
        force_digest: do it again, and take files though they are others than the first time (never against the config).

    Raises:
        ConfigError: no such dataset. DataError: it has no sources, or none of them is there and sound; each is named with
        its reason.
    """
    dataset = config.load("datasets", name)
    if not dataset.sources:
        raise DataError(
            f"{config.path_of('datasets', name)}: made from {', '.join(dataset.from_)}, so there is nothing to download; "
            f"download those, then: mperceiver prepare {name}"
        )
    lineage.commit()  # a result without a commit cannot be kept: say so before the work, not after
    with locked(paths.raw_folder(name)):
        return _download(name, dataset, mirrors, force or force_digest, force_digest)


def _download(name: str, dataset: Dataset, mirrors: list[Path], force: bool, force_digest: bool) -> Path:
    folder, card = paths.raw_folder(name), paths.raw_card(name)
    last = _last(card)
    place = None if force else _kept(dataset, folder, last)
    if place is None:
        known = {} if force_digest else {file["from"]: file for file in last["result"].get("files", {}).values()}
        job = Job(name, dataset, mirrors, known, None if force or not folder.is_dir() else folder)
        place, taken, count = _fill(job, folder, card)
    elif last["spec"] == _plain(dataset):
        return card
    else:  # what the config says of it has changed, but not where it comes from
        taken = Taken(
            {key: digest for key, digest in last["inputs"].items() if ":" in key}, last["result"].get("files", {})
        )
        count = _check(name, dataset, folder)
    result = {"count": count, "source": dataset.sources[place].source, "place": place}
    lineage.write_card(
        card,
        verb="download",
        spec=dataset,
        inputs=[config.path_of("datasets", name)],
        outputs=[folder],
        seed=dataset.seed,
        result=result | ({"files": taken.files} if taken.files else {}),
        sources=taken.inputs,
    )
    shutil.rmtree(PARTIAL / name, ignore_errors=True)
    return card


def _fill(job: Job, folder: Path, card: Path) -> tuple[int, Taken, int]:
    """Fill the folder from the first source that is there and sound; its place among them, what came, how many."""
    tried: list[str] = []
    for place, source in enumerate(job.dataset.sources):
        try:
            with atomic_folder(folder) as beside:
                taken = SOURCES[source.source](job, source, beside)
                count = _check(job.name, job.dataset, beside)
                card.unlink(missing_ok=True)  # the old one must not stand beside the new pictures
        except (DataError, FetchError, images.PictureError, OSError) as error:
            if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT):
                raise  # no other source would fare better
            tried.append(f"  {source.source}: {error}")
            continue
        for failed in tried:
            print(f"{job.name}: passed over a source:\n{failed}", file=sys.stderr)
        return place, taken, count
    listed = "\n".join(tried)
    raise DataError(
        f"{job.name}: none of the {len(tried)} source(s) in {config.path_of('datasets', job.name)} gave what is wanted:\n{listed}\n"
        f"Then run again: mperceiver download {job.name}"
    )


def _last(card: Path) -> dict:
    """The card of the last time; one that tells of nothing where there is none."""
    try:
        return lineage.read_card(card)
    except lineage.LineageError:
        return {"spec": {}, "result": {}, "inputs": {}}


def _kept(dataset: Dataset, folder: Path, last: dict) -> int | None:
    """The place of the source that was taken the last time, if all that it gave still lies there."""
    before = dict(enumerate(last["spec"].get("sources", []))).get(last["result"].get("place"))
    now = [_plain(source) for source in dataset.sources]
    if not folder.is_dir() or before not in now or last["spec"].get("seed") != dataset.seed:
        return None
    if files := last["result"].get("files"):
        sizes = {path.relative_to(folder).as_posix(): path.stat().st_size for path in _files(folder)}
        there = sizes == {name: file["bytes"] for name, file in files.items()}
    else:
        there = len(_files(folder)) == last["result"].get("count")
    return now.index(before) if there else None


def _plain(model: Model) -> dict:
    return model.model_dump(mode="json", by_alias=True)


def _files(folder: Path) -> list[Path]:
    """All files, hidden ones left out."""
    found = (path for path in folder.rglob("*") if path.is_file())
    return sorted(p for p in found if not any(part.startswith(".") for part in p.relative_to(folder).parts))


def _check(name: str, dataset: Dataset, folder: Path) -> int:
    """Number of pictures in the folder, or of files where not all are pictures.

    Raises DataError or PictureError, naming the picture, unless all is well. Pictures inside archives or folders are looked at
    when they are prepared.
    """
    everything, files = _files(folder), pictures_in(folder)
    if everything and everything != files:
        return len(everything)
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
        closing(in_processes(_decodes, jobs, cores() if len(jobs) > FEW else 1)) as done,
        progress(f"check {name}", len(jobs)) as step,
    ):
        for _ in done:
            step(1)
    return len(files)


def _decodes(job: tuple[str, str]) -> None:
    images.decode(Path(job[0]), name=job[1])
