"""Cards: what made an output, out of what. The only module that asks git.

Every output has a small JSON card beside it, written last: verb, commit, dirty, code (hash of the package's sources), spec
(the validated config), inputs {path: sha256}, outputs {path: sha256}, seed, versions, device, result. No times and no host
names, so equal work at one commit gives equal cards. An input that has a card of its own is named by that card; so cards
form a chain from a table's cell down to the files of a package.
"""

import contextlib
import hashlib
import importlib.metadata
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

PACKAGE = Path(__file__).resolve().parent
VERSIONS = ["torch", "diffusers", "transformers", "open_clip_torch", "numpy", "scipy", "pillow", "lpips", "spandrel"]


class LineageError(RuntimeError):
    """A card cannot be written, read or followed; the message says which and what to do."""


# ---------------------------------------------------------------- whole files


@contextlib.contextmanager
def whole(path: Path | str) -> Iterator[Path]:
    """A temporary path beside ``path`` that takes its place when the block ends well, and vanishes when it does not.

    The file is flushed to disk before the rename, so that a killed job or a full disk never leaves half of it.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=path.suffix)
    os.close(handle)
    beside = Path(name)
    try:
        yield beside
        with beside.open("rb") as file:
            os.fsync(file.fileno())
        beside.chmod(0o666 & ~_umask())
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


@contextlib.contextmanager
def whole_folder(path: Path | str) -> Iterator[Path]:
    """Like ``whole`` for a folder: the old one, if any, is replaced when the block ends well."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}."))
    try:
        yield beside
        beside.chmod(0o777 & ~_umask())
        take_place(beside, path)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def take_place(new: Path, path: Path) -> None:
    """Put a finished folder at ``path``; the one that is there, if any, goes."""
    old = path.with_name(f".{path.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if path.exists():
        path.replace(old)
    new.replace(path)
    shutil.rmtree(old, ignore_errors=True)


@cache
def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def write_text(path: Path | str, text: str) -> None:
    """Write a text file whole."""
    with whole(path) as beside:
        beside.write_text(text)


# ---------------------------------------------------------------- hashes, code, commit


def sha256(path: Path | str) -> str:
    """SHA-256 of a file; of a folder: over the sorted lines '<sha256>  <relative path>' of its files, hidden ones left out.

    (Snakemake leaves a hidden time stamp in each folder that is an output.)
    """
    path = Path(path)
    if path.is_dir():
        inside = sorted(p.relative_to(path) for p in path.rglob("*") if p.is_file())
        seen = (p for p in inside if not any(part.startswith(".") for part in p.parts))
        lines = "".join(f"{sha256(path / p)}  {p.as_posix()}\n" for p in seen)
        return hashlib.sha256(lines.encode()).hexdigest()
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@cache
def code() -> str:
    """Hash of the package's sources."""
    digest = hashlib.sha256()
    for path in sorted(PACKAGE.rglob("*")):
        if path.suffix in {".py", ".j2"}:
            digest.update(path.relative_to(PACKAGE).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


@cache
def commit() -> tuple[str, bool]:
    """(commit of the project's checkout, whether tracked files differ from it). Raises LineageError without git."""
    try:
        # Installed inside somebody else's checkout, git would tell that one's commit.
        _git("ls-files", "--error-unmatch", f"{PACKAGE.name}/{Path(__file__).name}")
        head = _git("rev-parse", "HEAD")
        return head, bool(
            _git("status", "--porcelain", "--untracked-files=no", "--", "mperceiver", "workflow", "config")
        )
    except (OSError, subprocess.CalledProcessError) as error:
        detail = getattr(error, "stderr", "") or str(error)
        raise LineageError(
            f"{PACKAGE.parent}: git does not tell the commit ({detail.strip()}). A result without a commit cannot be traced: "
            "run from a git checkout (git clone; uv sync), and if git speaks of dubious ownership, "
            "git config --global --add safe.directory <that folder>"
        ) from None


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=PACKAGE.parent, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def versions() -> dict[str, str]:
    """Versions of the packages that decide numbers."""
    found = {}
    for package in VERSIONS:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[package] = importlib.metadata.version(package)
    return found


# ---------------------------------------------------------------- cards


def write_card(
    path: Path | str,
    *,
    verb: str,
    spec: Any,
    inputs: Iterable[Path | str] = (),
    outputs: Iterable[Path | str] = (),
    seed: int | None = None,
    device: str = "cpu",
    result: dict | None = None,
    sources: dict[str, str] | None = None,
) -> dict:
    """Write the card of finished work, last of all its outputs.

    ``inputs``: cards and plain files; ``sources``: {description: sha256} of things that are no files of this working
    directory (a file inside a package). ``spec``: a pydantic model or plain data. ``result``: small facts worth reading.
    Raises LineageError when git cannot be asked or an input is missing.
    """
    head, dirty = commit()
    inputs, outputs = list(inputs), list(outputs)
    missing = [str(p) for p in (*inputs, *outputs) if not Path(p).exists()]
    if missing:
        raise LineageError(f"{path}: cannot write its card, missing: {', '.join(missing)}")
    card = {
        "verb": verb,
        "commit": head,
        "dirty": dirty,
        "code": code(),
        "spec": _plain(spec),
        "inputs": {str(p): sha256(p) for p in inputs} | (sources or {}),
        "outputs": {str(p): sha256(p) for p in outputs},
        "seed": seed,
        "versions": versions(),
        "device": device,
        "result": result or {},
    }
    write_json(path, card)
    return card


def write_json(path: Path | str, data: dict) -> None:
    """Write JSON whole, its keys sorted."""
    write_text(path, json.dumps(data, indent=1, sort_keys=True) + "\n")


def _plain(spec: Any) -> Any:
    if hasattr(spec, "model_dump"):
        return spec.model_dump(mode="json", by_alias=True)
    if isinstance(spec, dict):
        return {key: _plain(value) for key, value in spec.items()}
    return spec


def read_card(path: Path | str) -> dict:
    """Read a card. Raises LineageError for a missing file or one that is no card."""
    try:
        card = json.loads(Path(path).read_text())
        card["inputs"], card["outputs"], card["verb"]
    except FileNotFoundError:
        raise LineageError(f"{path}: no such card; the work it tells of has not been done (snakemake {path})") from None
    except (ValueError, KeyError, TypeError):
        raise LineageError(f"{path}: not a card; remove it and make it again (snakemake {path})") from None
    return card


def chain(path: Path | str) -> dict[str, dict]:
    """Every card that ``path`` stands on, nearest first: {path of the card: card}."""
    found: dict[str, dict] = {}
    waiting = [str(path)]
    while waiting:
        name = waiting.pop(0)
        if name not in found:
            found[name] = read_card(name)
            waiting += [key for key in found[name]["inputs"] if key.endswith(".json") and Path(key).is_file()]
    return found


def verify(path: Path | str) -> list[str]:
    """Re-hash all files along the chain of ``path``; the differences in words, none when all is as it was."""
    problems = []
    for name, card in chain(path).items():
        for role in ("inputs", "outputs"):
            for file, digest in card[role].items():
                if ":" in file:  # a source outside the working directory
                    continue
                if not Path(file).exists():
                    problems.append(f"{name}: {role[:-1]} {file} is missing")
                elif (now := sha256(file)) != digest:
                    problems.append(f"{name}: {role[:-1]} {file} was {digest[:12]}…, is {now[:12]}…")
    return problems
