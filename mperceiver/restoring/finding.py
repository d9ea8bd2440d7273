"""Which photographs are restored and where they are written: a file or a folder of them, checked before anything is written."""

import errno
import os
import re
import shlex
import unicodedata
from collections.abc import Iterator
from functools import cache
from itertools import islice
from pathlib import Path

from mperceiver import images, temporary
from mperceiver.images import PictureError
from mperceiver.restoring.photographs import Photograph

WEB_ADDRESS = re.compile(r"(https?|ftp)://?(.+)", re.IGNORECASE)
LEAVINGS = {"desktop.ini", "thumbs.db", "ehthumbs.db"}  # files that systems leave in folders
MOST_LOOKED_AT = 1000  # files of a folder in the folder: a link may lead to a whole disk


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

    Raises PictureError if ``source`` does not exist, is a web address, or has a name that does not end like a picture's, or if
    ``target`` is a folder or does not end in .png.
    """
    source, target = Path(source), Path(target)
    is_there = source.exists()  # False for a link in a circle, too
    if not is_there and (address := WEB_ADDRESS.match(str(source))):
        url = f"{address[1]}://{address[2]}"  # a Path has made one slash of two
        raise PictureError(f"{url}: is a web address; download the picture first: curl -LO {shlex.quote(url)}")
    if not is_there and source.is_symlink():
        raise PictureError(
            f"{source}: is a link to {source.readlink()}, which leads to no file; name the picture itself"
        )
    if source.suffix.lower() not in images.SUFFIXES:
        other = "" if is_there else "; there is no file or folder of this name either"
        if is_there and images.looks_like_a_picture(source):
            other = "; save it as PNG"
        raise PictureError(f"{source}: a picture's name ends in {', '.join(sorted(images.SUFFIXES))}{other}")
    if not is_there:
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
    sources = sorted(path for path in folder.iterdir() if _is_picture(path) and not os.path.isdir(path))
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
        if path.name.startswith(".") or path.name.lower() in LEAVINGS:
            continue
        if os.path.isdir(path):  # unlike path.is_dir(), False for a link into a folder without permission
            if reason := _of_folder(path, target):
                reasons[path] = reason
        elif _is_picture(path):
            continue
        elif images.looks_like_a_picture(path):
            reasons[path] = f"a picture's name ends in {', '.join(sorted(images.SUFFIXES))}; save it as PNG"
        else:
            others.append(path)
    return reasons, others


def _of_folder(folder: Path, target: Path) -> str | None:
    """Why the pictures in a folder in the folder are not restored; None if there are none among its first files.

    What is in ``target``, what may not be looked at, and what links lead to in it, counts as not there.
    """
    reason = None
    for path in islice(_files_in(folder, target), MOST_LOOKED_AT):
        if path.name.startswith(".") or path.name.lower() in LEAVINGS or not os.path.isfile(path):
            continue
        if _is_picture(path):
            return "is a folder in the folder; restore it by a call of its own"
        if reason is None and images.looks_like_a_picture(path):
            reason = (
                f"is a folder in the folder, with pictures that are not read, such as {path.name}: "
                f"a picture's name ends in {', '.join(sorted(images.SUFFIXES))}; save them as PNG"
            )
    return reason


def _files_in(folder: Path, target: Path) -> Iterator[Path]:
    """The files in a folder and in the folders in it, but for those in ``target``."""
    place = os.path.realpath(target)
    for above, folders, names in os.walk(folder):
        if os.path.realpath(above) == place:
            folders.clear()
        else:
            yield from (Path(above, name) for name in sorted(names))


def _is_picture(path: Path) -> bool:
    """Whether a name is that of a picture that is read, and not hidden."""
    return path.suffix.lower() in images.SUFFIXES and not path.name.startswith(".")


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
    """Raises PictureError if a PNG to write is a folder, in a folder without permission, a source (by any path or link), or another such PNG.

    Two names that differ in case or in Unicode's form alone count as one, since they are one file on many disks.
    """
    sources = {_identity(photograph.source): photograph.source for photograph in photographs}
    may_write = cache(lambda folder: os.access(folder, os.W_OK | os.X_OK))
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
            if not may_write(folder := _existing_folder(output)):
                if os.statvfs(folder).f_flag & os.ST_RDONLY:
                    raise PictureError(f"{output}: the disk of {folder} is mounted read-only; name another target")
                raise PictureError(
                    f"{output}: this user may not write into {folder}; name another target, or see whose folder it is: "
                    f"ls -ld {shlex.quote(str(folder))}"
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


def _existing_folder(path: Path) -> Path:
    """The folder of a file to write or, if it is not there yet, the nearest folder above it that is."""
    return next(folder for folder in temporary.real_place(path).parents if folder.is_dir())


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
