"""Which outputs are up to date, as their cards tell, and setting the times by which Snakemake plans accordingly.

Snakemake compares times. `git clone` and `dvc pull` give times in no order, and an edit of one key gives a whole file a new time.
A card says what its output was made from, by content; ``settle`` makes the times agree with it, in both directions.
"""

import os
from pathlib import Path
from typing import NamedTuple

from mperceiver import lineage, paths
from mperceiver.clock import FOLDER_TIME
from mperceiver.config.base import ConfigError
from mperceiver.config.graph import benchmark_of, cards_here, inputs_of
from mperceiver.config.shown import report_inputs
from mperceiver.files import sha256
from mperceiver.lineage import Part
from mperceiver.printing import say

SECOND_NS = 1_000_000_000


class Change(NamedTuple):
    """An input that is not what a card says: its path or label, and its digests; None: there was none."""

    name: str
    recorded: str | None
    now: str | None


def changes(card: Path | str, inputs: list[str], digests: dict[str, str] | None = None) -> list[Change]:
    """The inputs of a card that have changed since its output was made; empty if the output is up to date.

    Args:
        card: path of the card.
        inputs: what its rule reads now (``inputs_of``). A file that is not there is passed over: it cannot be compared.
        digests: {path: SHA-256} of files and folders that were hashed before; this function adds to it.

    Raises:
        LineageError: there is no such card.
    """
    recorded, found = lineage.read_card(card)["inputs"], []
    digests = {} if digests is None else digests

    def of_file(path: str) -> str:
        if path not in digests:
            digests[path] = sha256(path)
        return digests[path]

    for entry in inputs:
        if isinstance(entry, Part):
            was = recorded.get(entry.label)
            # Cards of an earlier version name whole files.
            whole = was is None and all(recorded.get(file) == of_file(file) for file in entry.files)
            if was != entry.digest and not whole:
                found.append(Change(entry.label, was or recorded.get(str(entry)), entry.digest))
        elif Path(entry).exists() and recorded.get(entry) != of_file(entry):
            found.append(Change(entry, recorded.get(entry), of_file(entry)))
    return found


def settle(experiment: Path | str | None = None) -> int:
    """Set the times of outputs so that Snakemake makes again what its card says is out of date, and nothing else.

    An output whose card names exactly what its rule reads now gets at least the time of its newest input; an output whose card
    names something else gets a time before its inputs. No byte changes.

    Args:
        experiment: the experiment's file, for the report's card; none: the report is left as it is.

    Returns:
        the number of outputs that got another time. If a file belongs to somebody else, a line on standard error says so.
    """
    inputs = {}
    for card in cards_here():
        try:
            inputs[card] = inputs_of(card)
        except (ConfigError, TypeError):  # the card of a thing whose file is gone, or of no job: nobody asks for it
            continue
    if experiment is not None and (report := paths.report_card(Path(experiment).stem)).is_file():
        inputs[str(report)] = report_inputs(experiment)
    digests: dict[str, str] = {}
    count, refused = 0, []
    for card in _from_below(inputs):
        try:
            count += _settle_card(Path(card), inputs[card], digests)
        except lineage.LineageError:  # no card: Snakemake makes what is missing
            continue
        except OSError as error:
            refused.append(error.filename or card)
    if refused:
        say(
            f"{len(refused)} output(s), such as {refused[0]}, have times that do not agree with their cards and cannot be set "
            "here; Snakemake may make them again. Run `snakemake -n` as their owner",
            error=True,
        )
    return count


def _from_below(inputs: dict[str, list[str]]) -> list[str]:
    """The cards, each after those that it depends on."""
    order: dict[str, None] = {}

    def visit(card: str) -> None:
        for entry in inputs[card]:
            if str(entry) in inputs and str(entry) not in order:
                visit(str(entry))
        order[card] = None

    for card in inputs:
        if card not in order:
            visit(card)
    return list(order)


def _settle_card(card: Path, inputs: list[str], digests: dict[str, str]) -> int:
    """Set the times of one card and its outputs; the number of those that changed."""
    times = [os.stat(file).st_mtime_ns for entry in inputs for file in _files(entry) if os.path.exists(file)]
    if not times:
        return 0
    # A file of the card's name beside it is an output of the rule as well, such as a curve, which no card names. So is the benchmark TSV.
    # No checkout brings that back: it is of the last job that ran here, and may be older than the other outputs.
    beside = [*card.parent.glob(f"{card.stem}.*"), benchmark_of(card)]
    outputs = dict.fromkeys([*map(Path, lineage.read_card(card)["outputs"]), *beside])
    files = [path / FOLDER_TIME if (path / FOLDER_TIME).is_file() else path for path in outputs if path.exists()]
    if changes(card, inputs, digests):
        oldest = min(times)
        if any(path.stat().st_mtime_ns < oldest for path in files):
            return 0
        _set_time(card, oldest - SECOND_NS)
        return 1
    newest = max(times)
    old = [path for path in files if path.lstat().st_mtime_ns < newest or path.stat().st_mtime_ns < newest]
    for path in old:
        _set_time(path, newest)
    return len(old)


def _files(entry: str) -> list[str]:
    return entry.files if isinstance(entry, Part) else [entry]


def _set_time(path: Path, time_ns: int) -> None:
    os.utime(path, ns=(time_ns, time_ns))
    if path.is_symlink():
        os.utime(path, ns=(time_ns, time_ns), follow_symlinks=False)
