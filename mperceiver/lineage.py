"""Cards: how an output was made, and from what. No other module runs git.

Every output has a small JSON card beside it, written last. It names the verb, the commit, whether tracked files differed
from it (dirty), the code (hash of the package's sources), the spec (validated configuration), inputs {path: SHA-256},
outputs {path: SHA-256}, the seed, versions, the device, and the result (small facts worth reading). It has no times and no
host names, so that equal work at one commit gives equal cards. An input that has a card of its own is named by that card, so
cards form a chain from a table's cell down to the downloaded files.
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

from pydantic import BaseModel

from mperceiver.files import sha256, write_json
from mperceiver.printing import masked_data

PACKAGE = Path(__file__).resolve().parent
SOURCES = {".py", ".j2"}  # suffixes of the package's sources
VERSIONS = ["torch", "diffusers", "transformers", "open_clip_torch", "numpy", "scipy", "pillow", "lpips", "spandrel"]


class LineageError(RuntimeError):
    """A card cannot be written, read or followed. The message names the card and says what to do."""


# ---------------------------------------------------------------- code, commit, versions


@cache
def code() -> str:
    """SHA-256 over the names and contents of the package's sources."""
    digest = hashlib.sha256()
    for path in sorted(PACKAGE.rglob("*")):
        if path.suffix in SOURCES:
            digest.update(path.relative_to(PACKAGE).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


@cache
def commit() -> tuple[str, bool]:
    """(commit of the project's checkout, whether tracked files differ from it).

    Raises:
        LineageError: the package is not in a git checkout of this project, or git fails.
    """
    try:
        # If the package is installed inside another project's checkout, that checkout's commit would be wrong.
        _git("ls-files", "--error-unmatch", f"{PACKAGE.name}/{Path(__file__).name}")
        head = _git("rev-parse", "HEAD")
        changes = _git("status", "--porcelain", "--untracked-files=no", "--", "mperceiver", "workflow", "config")
        return head, bool(changes)
    except (OSError, subprocess.CalledProcessError) as error:
        detail = getattr(error, "stderr", "") or str(error)
        raise LineageError(
            f"{PACKAGE.parent}: git does not tell the commit ({detail.strip()}). A result without a commit cannot be traced: "
            "run from a git checkout (git clone; uv sync), and if git complains of dubious ownership, "
            "git config --global --add safe.directory <that folder>"
        ) from None


def _git(*arguments: str) -> str:
    """Standard output of a git command in the project's checkout."""
    done = subprocess.run(["git", *arguments], cwd=PACKAGE.parent, capture_output=True, encoding="utf-8", check=True)
    return done.stdout.strip()


def versions() -> dict[str, str]:
    """{package: version} of the installed packages whose version can change numbers."""
    installed = {}
    for package in VERSIONS:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            installed[package] = importlib.metadata.version(package)
    return installed


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
    result: dict[str, Any] | None = None,
    sources: dict[str, str] | None = None,
) -> dict[str, Any]:
    """Write the card of finished work, after all its outputs, and return it.

    Args:
        path: the card's file.
        verb: the command that did the work.
        spec: the configuration: a pydantic model, or plain data with models inside.
        inputs: cards and plain files; they are hashed here.
        outputs: files and folders; they are hashed here.
        seed: the seed of the work, if it has one.
        device: the device it ran on.
        result: small facts worth reading.
        sources: {description with a colon: SHA-256} of inputs outside the working directory, such as a package's file.

    Raises:
        LineageError: git does not tell the commit, or an input or output is missing.
    """
    head, dirty = commit()
    inputs, outputs = list(inputs), list(outputs)
    missing = [str(file) for file in (*inputs, *outputs) if not Path(file).exists()]
    if missing:
        raise LineageError(f"{path}: cannot write the card, files are missing: {', '.join(missing)}")
    card = {
        "verb": verb,
        "commit": head,
        "dirty": dirty,
        "code": code(),
        "spec": _plain_data(spec),
        "inputs": {str(file): sha256(file) for file in inputs} | (sources or {}),
        "outputs": {str(file): sha256(file) for file in outputs},
        "seed": seed,
        "versions": versions(),
        "device": device,
        "result": result or {},
    }
    card = masked_data(card)
    write_json(path, card)
    return card


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
        raise LineageError(f"{path}: no such card; make it with: snakemake {path}") from None
    except (ValueError, KeyError, TypeError):
        raise LineageError(f"{path}: not a card; delete it and make it again: snakemake {path}") from None
    return card


def chain(path: Path | str) -> dict[str, dict[str, Any]]:
    """{path: card} of a card and all the cards it depends on, breadth first."""
    cards: dict[str, dict[str, Any]] = {}
    queue = [str(path)]
    while queue:
        name = queue.pop(0)
        if name not in cards:
            cards[name] = read_card(name)
            queue += [file for file in cards[name]["inputs"] if file.endswith(".json") and Path(file).is_file()]
    return cards


def verify(path: Path | str) -> list[str]:
    """Hash all files along the chain of a card again; a sentence for each that is missing or differs from its card."""
    problems = []
    for name, card in chain(path).items():
        for role in ("inputs", "outputs"):
            for file, recorded in card[role].items():
                if ":" in file:  # outside the working directory
                    continue
                if not Path(file).exists():
                    problems.append(f"{name}: {role[:-1]} {file} is missing")
                elif (actual := sha256(file)) != recorded:
                    problems.append(f"{name}: {role[:-1]} {file} was {recorded[:12]}…, is {actual[:12]}…")
    return problems
