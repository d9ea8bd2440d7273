"""What of a table has not been run yet: what it waits for, and the command that runs it."""

from dataclasses import dataclass
from pathlib import Path

from mperceiver import config
from mperceiver.report import tables
from mperceiver.report.grid import Built


@dataclass
class Undone:
    """Cells of one method that wait for the same things."""

    title: str  # the method's
    waits: tuple[str, ...]  # in words, first things first
    columns: list[str]  # labels
    cards: list[str]  # of the scores to be
    by_hand: list[str]  # datasets that a person has to bring

    @property
    def commands(self) -> list[str]:
        """What runs them, a line each."""
        ask = [f"mperceiver doctor {' '.join(self.by_hand)}"] if self.by_hand else []
        return [*ask, f"snakemake --cores all {' '.join(self.cards)}"]


def undone(table: Built) -> list[Undone]:
    """The cells of a table that have no scores, in the table's order."""
    found: dict[tuple[str, tuple[str, ...]], Undone] = {}
    for i, j, _ in table.there():
        row, column = table.rows[i], table.columns[j]
        pairs = [(m, d) for m in config.members(row.method) for d in column.datasets] if not column.average else []
        for method, dataset in pairs:
            card = tables.score_card(method, dataset)
            if card.is_file():
                continue
            waits, by_hand = _waits(method, dataset)
            mine = found.setdefault((row.method, waits), Undone(row.title, waits, [], [], []))
            for known, new in ((mine.columns, [column.label]), (mine.cards, [str(card)]), (mine.by_hand, by_hand)):
                known += [one for one in new if one not in known]
    return list(found.values())


def _waits(method: str, dataset: str) -> tuple[tuple[str, ...], list[str]]:
    """What the scores of a method on a dataset wait for, in words; the datasets below it that come by hand and are not here."""
    lacking = [Path(path) for path in config.restore_inputs(method, dataset) if not Path(path).is_file()]
    runs = list(dict.fromkeys(path.parent.name for path in lacking if path.parts[0] == "results"))
    foundations = [path.stem for path in lacking if path.parts[:2] == ("data", "foundations")]
    words = [f"the foundation {name}" for name in foundations] + [f"the training of {name}" for name in runs]
    by_hand = []
    if not Path(f"data/prepared/{dataset}.json").is_file():
        absent = [name for name in config.origins(dataset) if not Path(f"data/raw/{name}.json").is_file()]
        by_hand = [name for name in absent if config.load("datasets", name).access == "manual"]
        words.insert(0, f"the pictures of {dataset}" + (", which a person has to bring" if by_hand else ""))
    if not words:
        there = Path(f"results/restored/{method}/{dataset}.json").is_file()
        words = ["scoring" if there else "restoring"]
    return tuple(words), by_hand
