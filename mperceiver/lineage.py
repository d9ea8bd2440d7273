"""Cards: how an output was made, and from what.

Every output has a small JSON card beside it, written last. It names the verb, the commit, whether code or configuration
differed from it (dirty), the code (hash of the package's sources), the spec (the keys of the configuration that were read), inputs
{path: SHA-256}, outputs {path: SHA-256}, the seed, versions, the lock (hash of uv.lock), the device, and the result (small
facts worth reading). It has no times and no host names, so that equal work at one commit gives equal cards. An input that has
a card of its own is named by that card, so cards form a chain from a table's cell down to the downloaded files.
"""

import contextlib
import hashlib
import importlib.metadata
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from mperceiver import commits, paths, shipped
from mperceiver.files import MANIFEST, folder_digest, members, read_manifest, sha256, write_json, write_manifest
from mperceiver.printing import masked_data

SOURCES = {".py", ".j2"}  # suffixes of the package's sources
VERSIONS = ["torch", "diffusers", "transformers", "open_clip_torch", "numpy", "scipy", "pillow", "lpips", "spandrel"]


class LineageError(RuntimeError):
    """A card cannot be written, read or followed. The message names the card and says what to do."""


class Part(str):
    """The part of a configuration file that a rule reads; as text, the file's path.

    A card names it by its label ('config/datasets/a.yaml#prepare') with its own digest in place of the file's SHA-256, so that a
    change elsewhere in the file is no change of an input.

    Attributes:
        label: its name in cards.
        files: the file, and the files it takes keys from.
    """

    label: str
    files: list[str]
    _digest: Callable[[], str]

    def __new__(cls, path: str, label: str, files: list[str], digest: Callable[[], str]) -> "Part":
        """``digest`` is called when the digest is first asked for."""
        part = super().__new__(cls, path)
        part.label, part.files, part._digest = label, files, cache(digest)
        return part

    @property
    def digest(self) -> str:
        """SHA-256 of the part's values."""
        return self._digest()


# ---------------------------------------------------------------- code, versions


@cache
def code() -> str:
    """SHA-256 over the names and contents of the package's sources."""
    digest = hashlib.sha256()
    for path in sorted(shipped.PACKAGE.rglob("*")):
        if path.suffix in SOURCES:
            digest.update(path.relative_to(shipped.PACKAGE).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


@cache
def lock() -> str | None:
    """SHA-256 of uv.lock, which names every package of the environment; None if the package was installed without it."""
    path = shipped.PACKAGE.parent / "uv.lock"
    return sha256(path) if path.is_file() else None


def versions() -> dict[str, str]:
    """{package: version} of the installed packages whose version can change numbers."""
    installed = {}
    for package in VERSIONS:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            installed[package] = importlib.metadata.version(package)
    return installed


# ---------------------------------------------------------------- cards


@dataclass(frozen=True)
class Work:
    """Work that has begun: all that its card will say, except what comes out of the work.

    All of it is read at the beginning, since a person may edit a configuration file, or commit, while the work goes on.

    Attributes:
        verb: the command that does the work.
        commit, dirty: as ``commits.current`` tells them.
        spec: the configuration, as JSON data.
        inputs: {path: SHA-256}, or {label: digest} of a part of a file.
        seed: the seed of the work, if it has one.
    """

    verb: str
    commit: str
    dirty: bool
    spec: Any
    inputs: dict[str, str]
    seed: int | None

    def write_card(
        self,
        path: Path | str,
        *,
        outputs: Iterable[Path | str] = (),
        device: str = "cpu",
        result: dict[str, Any] | None = None,
        sources: dict[str, str] | None = None,
    ) -> dict[str, Any]:
        """Write the card of the finished work, after all its outputs, and return it.

        Args:
            path: the card's file.
            outputs: files and folders; they are hashed here.
            device: the device it ran on.
            result: small facts worth reading.
            sources: {description with a colon: SHA-256} of inputs outside the working directory, such as a package's file.

        Raises LineageError if an output is missing.
        """
        outputs = list(outputs)
        missing = [str(file) for file in outputs if not Path(file).exists()]
        if missing:
            raise LineageError(f"{path}: cannot write the card, outputs are missing: {', '.join(missing)}")
        card = {
            "verb": self.verb,
            "commit": self.commit,
            "dirty": self.dirty,
            "code": code(),
            "spec": self.spec,
            "inputs": self.inputs | (sources or {}),
            "outputs": {str(file): write_manifest(file) if Path(file).is_dir() else sha256(file) for file in outputs},
            "seed": self.seed,
            "versions": versions(),
            "lock": lock(),
            "device": device,
            "result": result or {},
        }
        card = masked_data(card)
        write_json(path, card)
        return card


def begin(verb: str, spec: Any, inputs: Iterable[Path | str] = (), *, seed: int | None = None) -> Work:
    """Begin work whose card ``Work.write_card`` writes at the end.

    Args:
        verb: the command that does the work.
        spec: the configuration: a pydantic model, or plain data with models inside.
        inputs: cards, plain files and parts of files; they are hashed here.
        seed: the seed of the work, if it has one.

    Raises:
        FileNotFoundError: an input is missing. CommitError: git does not tell the commit.
    """
    commit, dirty = commits.current()
    digests = ((file.label, file.digest) if isinstance(file, Part) else (str(file), sha256(file)) for file in inputs)
    return Work(verb, commit, dirty, _plain_data(spec), dict(digests), seed)


def _plain_data(spec: Any) -> Any:
    """``spec`` with its pydantic models as JSON data, their keys as in the YAML files."""
    if isinstance(spec, BaseModel):
        return spec.model_dump(mode="json", by_alias=True)
    if isinstance(spec, dict):
        return {key: _plain_data(value) for key, value in spec.items()}
    return spec


def read_card(path: Path | str) -> dict[str, Any]:
    """Read a card. Raises LineageError if the file is missing or is no card."""
    try:
        card = json.loads(Path(path).read_text(encoding="utf-8"))
        card["inputs"], card["outputs"], card["verb"]
    except FileNotFoundError:
        raise LineageError(f"{path}: no such card; make it with: {paths.making(path)}") from None
    except (ValueError, KeyError, TypeError, RecursionError):
        raise LineageError(f"{path}: not a card; delete it and make it again: {paths.making(path)}") from None
    return card


def is_card(path: Path | str) -> bool:
    """Whether a file is a card: a .json file that the workflow makes, even if it is damaged, or another one that `read_card` can read."""
    if Path(path).suffix != ".json":
        return False
    if paths.is_output(path):
        return True
    try:
        read_card(path)
    except (LineageError, OSError):
        return False
    return True


def check_cards(inputs: Iterable[Path | str]) -> None:
    """Raise LineageError for a card among the inputs of a job that is missing or damaged."""
    for path in filter(is_card, inputs):
        read_card(path)


def chain(path: Path | str) -> dict[str, dict[str, Any]]:
    """{path: card} of a card and all the cards it depends on, breadth first."""
    cards: dict[str, dict[str, Any]] = {}
    queue = [str(path)]
    while queue:
        name = queue.pop(0)
        if name not in cards:
            cards[name] = read_card(name)
            queue += [file for file in cards[name]["inputs"] if is_card(file) and Path(file).is_file()]
    return cards


def verify(
    path: Path | str,
    part_digest: Callable[[str], str | None] | None = None,
    digest: Callable[[Path | str], str] = sha256,
) -> list[str]:
    """Hash all files along the chain of a card again.

    Args:
        path: the card.
        part_digest: label of a part of a configuration file -> its digest now, None if there is no such file; without it
            parts are not compared.
        digest: path of a file -> its SHA-256.

    Returns:
        a sentence for each file, or file in a folder, that is missing or differs from its card; the nearest card first.
    """
    problems = []
    for name, card in chain(path).items():
        problems += verify_card(name, card, part_digest, digest)
    return problems


def verify_card(
    name: str,
    card: dict[str, Any],
    part_digest: Callable[[str], str | None] | None = None,
    digest: Callable[[Path | str], str] = sha256,
) -> list[str]:
    """The sentences of ``verify`` for one card, which is at the path ``name``."""
    problems = []
    if card["outputs"] and Path(name).parts[0] in ("data", "results"):
        own = Path(name).with_suffix("")
        if not any(Path(out).with_suffix("") == own or Path(out).is_relative_to(own) for out in card["outputs"]):
            problems.append(f"{name}: is the card of {', '.join(card['outputs'])}, which is another output")
    for role in ("inputs", "outputs"):
        for file, recorded in card[role].items():
            if file.startswith("at-build:"):  # of weights that ship: it was read where they were made
                continue
            if "#" in file:
                now = part_digest(file) if part_digest else recorded
                if now != recorded:
                    state = f"was {recorded[:12]}…, is {now[:12]}…" if now else "is missing"
                    problems.append(f"{name}: {role[:-1]} {file} {state}")
            elif ":" in file:  # outside the working directory
                continue
            elif not Path(file).exists():
                problems.append(f"{name}: {role[:-1]} {file} is missing")
            elif Path(file).is_dir():
                problems += [f"{name}: {role[:-1]} {problem}" for problem in _changed_members(file, recorded, digest)]
            elif (actual := digest(file)) != recorded:
                problems.append(f"{name}: {role[:-1]} {file} was {recorded[:12]}…, is {actual[:12]}…")
    return problems


def _changed_members(folder: str, recorded: str, digest: Callable[[Path | str], str]) -> list[str]:
    """What differs in a folder whose SHA-256 was ``recorded``. Files are named if the folder still has the manifest of that time."""
    now = {file.as_posix(): digest(Path(folder) / file) for file in members(Path(folder))}
    if folder_digest(now) == recorded:
        return []
    was = read_manifest(folder, recorded)
    if was is None:
        return [
            f"{folder} was {recorded[:12]}…, is {folder_digest(now)[:12]}… (its list of files, {folder}/{MANIFEST}, is missing or "
            "was changed, so that the file that differs cannot be named)"
        ]
    problems = []
    for file in sorted(was.keys() | now.keys()):
        if file not in now:
            problems.append(f"{folder}/{file} is missing")
        elif file not in was:
            problems.append(f"{folder}/{file} was not there when the card was written")
        elif was[file] != now[file]:
            problems.append(f"{folder}/{file} was {was[file][:12]}…, is {now[file][:12]}…")
    return problems
