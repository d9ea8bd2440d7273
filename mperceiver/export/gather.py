"""What is exported: the cards below a table or an experiment, the files that they name, licences and citations."""

import importlib
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from mperceiver import config, lineage, paths
from mperceiver.config.datasets import Dataset
from mperceiver.config.foundations import Foundation
from mperceiver.files import MANIFEST, sha256

TEXT_VERBS = ("table", "score")  # what these made is text, and goes into every bundle


class ExportError(RuntimeError):
    """Something cannot be exported. The message says what, and what to do."""


@dataclass(frozen=True)
class Gathered:
    """Cards by path, nearest first, and the configuration files and CSVs that they were made from."""

    cards: dict[str, dict[str, Any]]

    @property
    def files(self) -> dict[str, str]:
        """{path: SHA-256, or digest of a part} of every file or folder that a card made or read, cards themselves left out."""
        named: dict[str, str] = {}
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
            if not _is_configuration(name):
                continue
            path = Path(name.partition("#")[0])
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
    """Everything below some cards, compared with what the cards say: cards, configuration, tables, scores and lists of folders.

    Other files, such as weights, are compared where they are copied: see ``check_recorded``.

    Raises:
        LineageError: a card is missing. ExportError: as ``check_recorded``. ConfigError: a configuration file has faults.
    """
    cards: dict[str, dict[str, Any]] = {}
    for root in roots:
        cards |= {name: card for name, card in lineage.chain(root).items() if name not in cards}
    gathered = Gathered(cards)
    texts = {name for card in cards.values() if card["verb"] in TEXT_VERBS for name in card["outputs"]}
    small = {name for name in gathered.files if _is_configuration(name) or (name in texts and Path(name).is_file())}
    check_recorded(gathered, small | set(cards))
    return gathered


def check_recorded(gathered: Gathered, names: Collection[str]) -> None:
    """Compare files, folders and parts of configuration files with what every card says of them, and the list in each folder.

    Args:
        gathered: the cards.
        names: what is compared, as the cards name it.

    Raises:
        ExportError: something is missing or was changed. The message names it, the card that says so, and the next command.
    """
    digest = cache(sha256)
    problems: dict[str, list[str]] = {}
    for name, card in gathered.cards.items():
        named = {
            role: {file: was for file, was in card[role].items() if file in names} for role in ("inputs", "outputs")
        }
        sentences = lineage.verify_card(name, named, config.digest_of_label, digest)
        sentences += _changed_lists(name, card)
        if sentences:
            problems[name] = sentences
    if problems:
        raise ExportError(_in_words(problems, next(iter(gathered.cards))))


def _is_configuration(name: str) -> bool:
    """Whether a card's entry is a configuration file, or a part of one, that is there."""
    path = Path(name.partition("#")[0])
    return path.is_file() and path.parts[0] == "config"


def _changed_lists(name: str, card: dict[str, Any]) -> list[str]:
    """A sentence for each folder of a card whose list of files is another one than when the card was written."""
    lists = {f"{folder}/{MANIFEST}": was for folder, was in (card["inputs"] | card["outputs"]).items()}
    return [
        f"{name}: {file} was {was[:12]}…, is {now[:12]}…"
        for file, was in lists.items()
        if Path(file).is_file() and (now := sha256(file)) != was
    ]


def _in_words(problems: dict[str, list[str]], root: str) -> str:
    """The message of an ExportError. ``problems``: card -> what differs from it; ``root``: the card that is exported."""
    sentences = [sentence for of_card in problems.values() for sentence in of_card]
    below = [card for card in problems if card != root]
    above = paths.command_for(root) or paths.making_again(root)
    return "\n".join(
        [
            *sentences,
            f"{len(sentences)} file(s) are not as the cards say, so nothing was exported. Next:",
            f"to make again: {f'{paths.making_again(*below)} && ' if below else ''}{above}",
            "to get back what was made: dvc pull",
        ]
    )


def credits(gathered: Gathered) -> list[dict[str, str]]:
    """Title, licence, citation and page of every dataset and foundation that is used."""
    used: list[tuple[str, str, Dataset | Foundation]] = [
        ("dataset", name, config.load("datasets", name)) for name in gathered.datasets
    ]
    used += [("foundation", name, config.load("foundations", name)) for name in gathered.foundations]
    return [
        {"kind": kind, "name": name, "title": spec.title, "licence": spec.licence, "citation": spec.citation}
        | ({"page": spec.page} if isinstance(spec, Dataset) and spec.page else {})
        for kind, name, spec in used
    ]


def needed(module: str) -> ModuleType:
    """Import a library of the extra. Raises ExportError with the command that installs it."""
    try:
        return importlib.import_module(module)
    except ImportError:
        raise ExportError(f"{module} is not installed; it is part of an extra: uv sync --extra export") from None
