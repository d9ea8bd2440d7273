"""Restoring photographs, a file or a folder of them, into PNGs.

A restored PNG carries as text the SHA-256 of its source, the name of its method, and the digest of what the method was (see
``definitions``), so that a later call knows whether it is what this call would write. So does a comparison.

The start noise of a photograph comes from the sampler's seed alone, and photographs go through the model one by one, so a
photograph is restored to the same bytes wherever its file lies and whatever is restored with it.
"""

import errno
import hashlib
import shlex
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from mperceiver import config, files, images, temporary
from mperceiver.config.methods import Method
from mperceiver.config.outside import RESTORED_ELSEWHERE
from mperceiver.images import PictureError
from mperceiver.restoring.definitions import definition
from mperceiver.restoring.restorers import load_restorer
from mperceiver.restoring.stream import RestoreOutcome, RestoreRequest, restore_all

# Keywords of a PNG's text.
SOURCE_SHA256, METHOD, DEFINITION = "mperceiver source SHA-256", "mperceiver method", "mperceiver definition"
OPTIONS = {"tile_px": "--tile", "memory_gib": "--memory-gib"}  # keys of a method that the command has an option for
GAP_PX = 8  # between the two pictures of a comparison
LEAVINGS = {"desktop.ini", "thumbs.db", "ehthumbs.db"}  # files that systems leave in folders


@dataclass
class Photograph:
    """A photograph's file and the PNG to write; the metadata of the file goes into the PNG."""

    source: Path
    target: Path
    method: str = ""
    definition: str = ""  # digest of what the method is
    sha256: str | None = None  # of the source; known once it was read
    size: tuple[int, int] | None = None  # (W, H), upright; known once it was read
    comparison: Path | None = None  # PNG to write with the picture before and after, side by side
    notes: list[str] = field(default_factory=list)  # how reading changed the picture, in words
    metadata: dict[str, bytes] = field(default_factory=dict)  # colour profile and EXIF
    _before: np.ndarray | None = None  # the pixels as they were read, kept for the comparison

    def read(self) -> np.ndarray:
        """The pixels, uint8 (H, W, 3); sets size, notes and metadata. Raises PictureError."""
        data = images.content(self.source)
        photo, self.sha256 = images.read_photograph(data, str(self.source)), hashlib.sha256(data).hexdigest()
        self.notes, self.metadata = photo.notes, photo.metadata
        self.size = (photo.pixels.shape[1], photo.pixels.shape[0])
        self._before = photo.pixels if self.comparison else None
        return photo.pixels

    def write(self, picture: np.ndarray) -> None:
        """Write the restored picture, uint8 (H, W, 3), whole or not at all. Raises PictureError for a name that its disk does not take."""
        try:
            self._write(picture)
        except OSError as error:
            if error.errno != errno.ENAMETOOLONG:
                raise
            raise PictureError(
                f"{self.source}: {error.filename or self.target}: the name is too long for this disk; rename the photograph"
            ) from None

    def _write(self, picture: np.ndarray) -> None:
        text = {SOURCE_SHA256: self.sha256 or "", METHOD: self.method, DEFINITION: self.definition}
        with files.atomic_file(self.target) as beside:
            beside.write_bytes(images.encode(picture, text, **self.metadata))
        if self.comparison is not None and self._before is not None:
            gap = np.full((len(picture), GAP_PX, 3), 255, np.uint8)
            with files.atomic_file(self.comparison) as beside:
                beside.write_bytes(
                    images.encode(np.concatenate([self._before, gap, picture], 1), text, **self.metadata)
                )
            self._before = None

    def is_restored(self, method: str, definition: str) -> bool:
        """Whether every PNG to write is there, and is what ``method``, being what it is now, restored from the source as it is now."""
        outputs = [output for output in (self.target, self.comparison) if output]
        try:
            if not all(file.is_file() for file in (self.source, *outputs)):  # opening a pipe would wait for ever
                return False
            written = [output.read_bytes() for output in outputs]
            expected = {SOURCE_SHA256: files.sha256(self.source), METHOD: method, DEFINITION: definition}
        except OSError:
            return False
        return all(images.text_of(data, key) == value for data in written for key, value in expected.items())


@dataclass
class PhotographResult:
    """A photograph and how its restoration ended."""

    photograph: Photograph
    outcome: RestoreOutcome
    seed: int

    @property
    def error(self) -> str | None:
        """Why it was not restored; None if it was."""
        return self.outcome.error

    def record(self) -> dict[str, Any]:
        """The result as a dictionary of what JSON can hold."""
        outcome, tiles = self.outcome, self.outcome.tiles
        return {
            "source": str(self.photograph.source),
            "path": None if outcome.error else str(self.photograph.target),
            "size": self.photograph.size,
            "probabilities": outcome.probabilities,
            "clean": outcome.clean,
            "tiles": tiles and {"count": tiles.count, "px": [tiles.tile[1], tiles.tile[0]], "batch": tiles.batch},
            "seconds": round(outcome.seconds, 3),
            "seed": self.seed,
            "notes": self.photograph.notes,
            "error": outcome.error,
        }


def method_for_photographs(method: str, **changes: Any) -> Method:
    """The method's specification, with other values for some of its keys (None: its own).

    Raises PictureError if it cannot restore photographs; ConfigError if a value is none that its file could have.
    """
    spec = config.load("methods", method)
    if spec.kind == "vae":
        raise PictureError(f"{method} needs the ground truth, which a photograph does not have; choose another method")
    if spec.kind in RESTORED_ELSEWHERE:
        raise PictureError(
            f"{method} is of kind {spec.kind}: another program restores with it, and only datasets; choose another method"
        )
    if config.members(method) != [method]:
        raise PictureError(f"{method} is of kind {spec.kind} and restores nothing itself; choose another method")
    return config.with_options(spec, {OPTIONS.get(key, key): (key, value) for key, value in changes.items()})


def to_restore(source: Path, target: Path, compare: bool = False) -> list[Photograph]:
    """The photograph ``source``, or those in the folder; with ``compare``, each writes its comparison, too.

    Raises PictureError where ``in_file`` and ``in_folder`` do, and if what is to be written would take the place of a picture to
    restore, or of a folder, or of something else that is to be written.
    """
    photographs = (in_folder if Path(source).is_dir() else in_file)(source, target)
    if compare:
        compare_in(photographs, target)
    check_outputs(photographs)
    return photographs


def in_file(source: Path, target: Path) -> list[Photograph]:
    """One photograph.

    Raises PictureError if ``source`` does not exist or its name does not end like a picture's, or if ``target`` is a folder
    or does not end in .png.
    """
    source, target = Path(source), Path(target)
    if source.suffix.lower() not in images.SUFFIXES:
        missing = "" if source.exists() else "; there is no file or folder of this name either"
        raise PictureError(f"{source}: a picture's name ends in {', '.join(sorted(images.SUFFIXES))}{missing}")
    if not source.exists():
        raise PictureError(f"{source}: no such picture; see what is there: ls {shlex.quote(str(source.parent))}")
    images.check_target(target)
    return [Photograph(source, target)]


def in_folder(folder: Path, target: Path) -> list[Photograph]:
    """The pictures in a folder, sorted by name, to be written as ``target``/<stem>.png.

    Raises PictureError if there are none, if two would be written to one file, if ``target`` is the folder itself, or if it is not there
    and its name is that of a picture.
    """
    folder, target = Path(folder), Path(target)
    if target.exists() and (not target.is_dir() or target.samefile(folder)):
        what = "is the folder to restore" if target.is_dir() else "is a file"
        raise PictureError(f"{target}: {what}; name another folder for the restored pictures")
    if target.suffix.lower() in images.SUFFIXES and not target.exists():
        raise PictureError(
            f"{target}: is the name of a picture, but {folder} is a folder, whose pictures are written into a folder; name a folder, or one "
            f"photograph to restore (a folder that shall have this name: mkdir {shlex.quote(str(target))})"
        )
    sources = sorted(p for p in folder.iterdir() if p.suffix.lower() in images.SUFFIXES and not p.name.startswith("."))
    if not sources:
        named = [str(path) for path in left_out(folder, target)[0]][:3]
        others = f" (what is there is not read: {', '.join(named)})" if named else ""
        raise PictureError(
            f"{folder}: no pictures in it{others}; their names end in {', '.join(sorted(images.SUFFIXES))}"
        )
    by_stem: dict[str, Path] = {}
    for source in sources:
        other = by_stem.setdefault(_as_one(source.stem), source)
        if other is not source:
            names = f"{source.stem}.png"
            if other.stem != source.stem:
                names = f"{other.stem}.png and {names}, which are one file on many disks"
            raise PictureError(f"{folder}: {other.name} and {source.name} would become {names}; rename one of them")
    return [Photograph(source, target / f"{source.stem}.png") for source in sources]


def left_out(folder: Path, target: Path) -> tuple[dict[Path, str], list[Path]]:
    """What ``in_folder`` leaves out: pictures that are not read and folders of pictures, each with the reason; other files.

    Hidden files and what systems leave in folders are in neither; the folder ``target`` is not, either.
    """
    reasons, others = {}, []
    for path in sorted(Path(folder).iterdir()):
        if path.name.startswith(".") or path.name.lower() in LEAVINGS or path.suffix.lower() in images.SUFFIXES:
            continue
        if path.is_dir():
            if not (target.exists() and path.samefile(target)) and (reason := _of_folder(path)):
                reasons[path] = reason
        elif images.looks_like_a_picture(path):
            reasons[path] = f"a picture's name ends in {', '.join(sorted(images.SUFFIXES))}; save it as PNG"
        else:
            others.append(path)
    return reasons, others


def _of_folder(folder: Path) -> str | None:
    """Why the pictures in a folder in the folder are not restored; None if it has none."""
    reason = None
    for path in folder.rglob("*"):
        if path.name.startswith(".") or path.name.lower() in LEAVINGS or not path.is_file():
            continue
        if path.suffix.lower() in images.SUFFIXES:
            return "is a folder in the folder; restore it by a call of its own"
        if reason is None and images.looks_like_a_picture(path):
            reason = (
                f"is a folder in the folder, with pictures that are not read, such as {path.name}: "
                f"a picture's name ends in {', '.join(sorted(images.SUFFIXES))}; save them as PNG"
            )
    return reason


def _as_one(name: str) -> str:
    """What names share that are one file on a disk that tells neither case nor Unicode's forms apart (exFAT, SMB, macOS's)."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def compare_in(photographs: list[Photograph], target: Path) -> None:
    """Have each photograph write its comparison, too: <target>-compare.png, or in a folder <target>/compare/<stem>.png."""
    for photograph in photographs:
        file = photograph.target
        single = target == file
        photograph.comparison = file.with_name(f"{file.stem}-compare.png") if single else target / "compare" / file.name


def check_outputs(photographs: list[Photograph]) -> None:
    """Raises PictureError if a PNG to write is a folder, one of the sources (by any path, link or hard link), or another PNG to write.

    Two names that differ in case or in Unicode's form alone count as one, since they are one file on many disks.
    """
    sources = {_identity(photograph.source): photograph.source for photograph in photographs}
    places: dict[Path, tuple[Path, str]] = {}
    real_folder = cache(Path.resolve)
    for photograph in photographs:
        for output in filter(None, (photograph.target, photograph.comparison)):
            if _is_too_long(output):  # what becomes of this one picture is told when it is written
                continue
            if output.is_dir():
                raise PictureError(
                    f"{output}: is a folder, and a picture would be written there; rename it, or name another target"
                )
            if (source := sources.get(_identity(output))) is not None:
                by = "" if source == output else f", {source}, by another path or a link"
                what = "the comparison" if output is photograph.comparison else "the restored picture"
                raise PictureError(
                    f"{output}: is the picture to restore{by}, and {what} of {photograph.source} would overwrite it; name another target"
                )
            place = temporary.real_place(output)
            other, name = places.setdefault(real_folder(place.parent) / _as_one(place.name), (output, place.name))
            if other is not output:
                on_many = "" if name == place.name else f" on many disks, which take {place.name} for {name}"
                raise PictureError(
                    f"{output}: is the same file as {other}{on_many}, and both would be written; name another target, or remove the link"
                )


def _is_too_long(path: Path) -> bool:
    """Whether the disk does not take so long a name."""
    try:
        path.lstat()
    except OSError as error:
        return error.errno == errno.ENAMETOOLONG
    return False


def _identity(path: Path) -> tuple[int, int] | Path:
    """What two paths of one file share: its device and number; of a file that is not there, its path."""
    try:
        stat = path.stat()
    except OSError:
        return path
    return stat.st_dev, stat.st_ino


def views(spec: Method) -> int:
    """The number of views of a picture that go through the model: 1 without a self-ensemble."""
    from mperceiver.restoring.ensemble import VIEWS  # imports torch, which a wrong argument should not wait for

    return len(VIEWS[spec.self_ensemble])


def restore_each(
    method: str, spec: Method, photographs: list[Photograph], on_share: Callable[[float], None] | None = None
) -> Iterator[PhotographResult]:
    """Restore photographs with the weights of ``method`` as ``spec`` says; yield each result, also a failed one.

    ``on_share``: see ``load_restorer``; it hears of each of a picture's ``views``, and before that of a share of 0, when the model is
    loaded.

    Raises ConfigError, LineageError: the method's weights are missing, or its tiles cannot be cut.
    """
    seed, by_source = spec.sampler.seed, {str(p.source): p for p in photographs}
    now = definition(method, spec)
    for photograph in photographs:
        photograph.method, photograph.definition = method, now
    requests = (RestoreRequest(name, photo.read, photo.write, seed) for name, photo in by_source.items())
    restorer = load_restorer(method, on_share)
    if on_share:
        on_share(0)
    for outcome in restore_all(restorer, spec, requests, alone=True):
        name = outcome.request.name
        if outcome.error and not outcome.error.startswith(name):  # an error of reading already names the file
            outcome.error = f"{name}: {outcome.error}"
        yield PhotographResult(by_source[name], outcome, seed)
