"""Whether files are what their cards say: of one chain, or of everything in the working directory, hashed in parallel."""

import os
from collections.abc import Iterable
from contextlib import nullcontext
from pathlib import Path
from typing import NamedTuple

from mperceiver import commits, config, lineage, paths
from mperceiver.files import members, read_checksum_cache, sha256, write_checksum_cache
from mperceiver.parallel import cores, in_threads
from mperceiver.progress import progress

FILES_A_JOB = 64  # small files are hashed in groups, since a thread costs more than one of them


class Verified(NamedTuple):
    """The outcome of a verification.

    Attributes:
        problems: a sentence for each file that is missing or differs from its card, nearest card first.
        notes: sentences about cards that are sound but were made from a changed tree, or at a commit that is not here.
        cards, files: how many cards and files were compared; ``cached``: files whose digest was known by size and time.
    """

    problems: list[str]
    notes: list[str]
    cards: int
    files: int
    cached: int


def verify_all(fresh: bool = False) -> Verified:
    """Verify every card in data/ and results/, from the report down. ``fresh``: hash all files, whatever the cache says.

    A digest in the cache (results/.hashed.json) holds while the file's size and modification time stay.
    """
    roots = [str(card) for card in sorted(paths.REPORT.glob("*.json"))]
    return verify_cards([*roots, *reversed(config.cards_here())], cached=not fresh, shown=True)


def verify_cards(roots: Iterable[str | Path], cached: bool = False, shown: bool = False) -> Verified:
    """Verify the chains below some cards; ``shown``: with a progress bar. Raises LineageError if one of the roots is no card."""
    cards: dict[str, dict] = {}
    problems: list[str] = []
    for root in roots:
        if str(root) not in cards:
            try:
                cards |= {name: card for name, card in lineage.chain(root).items() if name not in cards}
            except lineage.LineageError as error:
                problems.append(str(error))
    files = list(dict.fromkeys(file for card in cards.values() for file in _files_of(card)))
    known = _known(files) if cached else {}
    digests = known | hashed([file for file in files if file not in known], shown)
    if cached:
        _remember(digests)

    def digest(path: Path | str) -> str:
        return digests[str(path)] if str(path) in digests else sha256(path)

    for name, card in cards.items():
        problems += lineage.verify_card(name, card, _part_digest, digest)
    return Verified(list(dict.fromkeys(problems)), _notes(cards), len(cards), len(files), len(known))


def _part_digest(label: str) -> str | None:
    try:
        return config.digest_of_label(label)
    except config.ConfigError:
        return "faulty"


def _files_of(card: dict) -> Iterable[str]:
    """Every file that a card names by its SHA-256, those inside folders too, so far as they exist."""
    for name in (*card["inputs"], *card["outputs"]):
        if "#" in name or ":" in name:
            continue
        if os.path.isdir(name):
            yield from (str(Path(name) / member) for member in members(Path(name)))
        elif os.path.isfile(name):
            yield str(Path(name))


def hashed(files: list[str], shown: bool) -> dict[str, str]:
    """{path: SHA-256}, computed by threads; if it is to be ``shown``, with a progress bar in bytes."""
    jobs = [files[start : start + FILES_A_JOB] for start in range(0, len(files), FILES_A_JOB)]
    digests: dict[str, str] = {}
    size = sum(os.path.getsize(file) for file in files)
    with progress("verify", size, "bytes") if shown else nullcontext(lambda _: None) as advance:
        for job, of_job in zip(jobs, in_threads(lambda job: list(map(sha256, job)), jobs, cores()), strict=True):
            digests |= zip(job, of_job, strict=True)
            advance(sum(os.path.getsize(file) for file in job))
    return digests


def _known(files: list[str]) -> dict[str, str]:
    """Digests in the cache of files whose size and time are as they were when they were hashed."""
    entries, known = read_checksum_cache(paths.RESULTS), {}
    for file in files:
        entry = entries.get(_in_cache(file), {})
        stat = os.stat(file)
        if "sha256" in entry and entry.get("stat") == [stat.st_size, stat.st_mtime_ns]:
            known[file] = str(entry["sha256"])
    return known


def _remember(digests: dict[str, str]) -> None:
    if paths.RESULTS.is_dir():
        write_checksum_cache(paths.RESULTS, {_in_cache(file): {"sha256": digest} for file, digest in digests.items()})


def _in_cache(file: str) -> str:
    return f"../{file}"


def _notes(cards: dict[str, dict]) -> list[str]:
    """What is worth knowing of cards that are as they were written."""
    notes = []
    dirty = [name for name, card in cards.items() if card.get("dirty")]
    if dirty:
        notes.append(
            f"{len(dirty)} card(s) were made from code or configuration that was not committed, first {dirty[0]}: their commit "
            "does not tell all"
        )
    elsewhere = commits.not_here({card["commit"] for card in cards.values() if "commit" in card})
    strangers = [name for name, card in cards.items() if card.get("commit") in elsewhere]
    if strangers:
        notes.append(
            f"{len(strangers)} card(s) name a commit that is not in this checkout, first {strangers[0]} "
            f"({cards[strangers[0]]['commit'][:12]}): made in another repository or on a branch that was not fetched; in a shallow "
            "clone: git fetch --unshallow"
        )
    return notes
