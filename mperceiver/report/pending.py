"""What of a table has not been run yet: what each part waits for, and the command that runs it."""

from dataclasses import dataclass, field
from pathlib import Path

from mperceiver import config, paths
from mperceiver.report.grid import FilledTable


@dataclass
class Pending:
    """The cells of one method that wait for the same things."""

    title: str  # the method's
    waits_for: tuple[str, ...]  # in words, in the order in which they are made
    columns: list[str] = field(default_factory=list)  # labels
    cards: list[str] = field(default_factory=list)  # of the missing scores
    by_hand: list[str] = field(default_factory=list)  # datasets that a person has to download

    @property
    def commands(self) -> list[str]:
        """The commands that run these cells, one a line."""
        doctor = [f"mperceiver doctor {' '.join(self.by_hand)}"] if self.by_hand else []
        return [*doctor, paths.making(*self.cards)]


def pending(table: FilledTable) -> list[Pending]:
    """The cells of a table that have no scores, in the table's order."""
    waiting: dict[tuple[str, tuple[str, ...]], Pending] = {}
    for row, column, _ in table.filled():
        for method, dataset in _unscored(row.members, column.datasets) if not column.average else ():
            waits_for, by_hand = _waits_for(method, dataset)
            cells = waiting.setdefault((row.method, waits_for), Pending(row.title, waits_for))
            _add(cells.columns, column.label)
            _add(cells.cards, str(paths.scores_card(method, dataset)))
            for name in by_hand:
                _add(cells.by_hand, name)
    return list(waiting.values())


def _add(names: list[str], name: str) -> None:
    if name not in names:
        names.append(name)


def _unscored(members: tuple[str, ...], datasets: tuple[str, ...]) -> list[tuple[str, str]]:
    """(method, dataset) of the scores that a row's cell lacks; none for a row of published numbers, which has no members."""
    pairs = [(member, dataset) for member in members for dataset in datasets]
    return [pair for pair in pairs if config.covers(*pair) and not paths.scores_card(*pair).is_file()]


def _waits_for(method: str, dataset: str) -> tuple[tuple[str, ...], list[str]]:
    """What the scores of a method on a dataset wait for, in words, and the datasets that a person has to download for it."""
    words, by_hand = [], []
    if not paths.prepared_card(dataset).is_file():
        absent = [name for name in config.origins(dataset) if not paths.raw_card(name).is_file()]
        by_hand = [name for name in absent if config.load("datasets", name).access == "manual"]
        words.append(f"the pictures of {dataset}" + (", to be downloaded by hand" if by_hand else ""))
    foundation = config.method_foundation(method)
    if foundation and not paths.foundation_card(foundation).is_file():
        words.append(f"the foundation {foundation}")
    absent = [card for card in config.weights_cards(method) if not Path(card).is_file()]
    words += [f"the training of {run}" for run in dict.fromkeys(Path(card).parent.name for card in absent)]
    if not words:
        words = ["scoring" if paths.restored_card(method, dataset).is_file() else "restoring"]
    return tuple(words), by_hand
