"""What is exported: the cards below a table or an experiment, the files that they name, licences and citations."""

import importlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from mperceiver import config, lineage, paths

EXPORTS = paths.RESULTS / "export"


class ExportError(RuntimeError):
    """Something cannot be exported. The message says what, and what to do."""


@dataclass(frozen=True)
class Gathered:
    """Cards by path, nearest first, and the configuration files and CSVs that they were made from."""

    cards: dict[str, dict[str, Any]]

    @property
    def files(self) -> dict[str, str]:
        """{path: SHA-256, or digest of a part} of every file or folder that a card made or read, cards themselves left out."""
        named = {}
        for card in self.cards.values():
            named |= {
                name: digest for name, digest in {**card["inputs"], **card["outputs"]}.items() if name not in self.cards
            }
        return named

    @property
    def configuration(self) -> list[str]:
        """The configuration files that are read, with those that they are `like`, as far as they are there."""
        found: dict[str, None] = {}
        for name in self.files:
            path = Path(name.partition("#")[0])
            if not path.is_file() or path.parts[0] != "config":
                continue
            liked = config.files_of(path.parent.name, path.stem) if path.parent.name in config.KINDS else [str(path)]
            found |= dict.fromkeys(liked)
        return list(found)

    @property
    def datasets(self) -> list[str]:
        """The datasets that are used, downloaded and made."""
        folders = (paths.RAW, paths.PREPARED)
        return sorted({Path(card).stem for card in self.cards if Path(card).parent in folders})

    @property
    def foundations(self) -> list[str]:
        """The foundations that are used."""
        return sorted({Path(card).stem for card in self.cards if Path(card).parent == paths.FOUNDATIONS})


def gather(roots: Iterable[Path | str]) -> Gathered:
    """Everything below some cards. Raises LineageError if one of them is missing."""
    cards: dict[str, dict[str, Any]] = {}
    for root in roots:
        cards |= {name: card for name, card in lineage.chain(root).items() if name not in cards}
    return Gathered(cards)


def credits(gathered: Gathered) -> list[dict[str, str]]:
    """Title, licence, citation and page of every dataset and foundation that is used."""
    used = [("dataset", name, config.load("datasets", name)) for name in gathered.datasets]
    used += [("foundation", name, config.load("foundations", name)) for name in gathered.foundations]
    return [
        {"kind": kind, "name": name, "title": spec.title, "licence": spec.licence, "citation": spec.citation}
        | ({"page": spec.page} if kind == "dataset" and spec.page else {})
        for kind, name, spec in used
    ]


def needed(module: str) -> ModuleType:
    """Import a library of the extra. Raises ExportError with the command that installs it."""
    try:
        return importlib.import_module(module)
    except ImportError:
        raise ExportError(f"{module} is not installed; it is part of an extra: uv sync --extra export") from None
