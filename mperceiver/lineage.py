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
import subprocess
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

from mperceiver.files import sha256, write_json

PACKAGE = Path(__file__).resolve().parent
VERSIONS = ["torch", "diffusers", "transformers", "open_clip_torch", "numpy", "scipy", "pillow", "lpips", "spandrel"]


class LineageError(RuntimeError):
    """A card cannot be written, read or followed; the message says which and what to do."""


# ---------------------------------------------------------------- hashes, code, commit


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
