"""Where a number or a file came from: the chain of cards, from a table's cell down to the files of a package."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from mperceiver import config, lineage
from mperceiver.files import sha256
from mperceiver.metrics import METRICS
from mperceiver.report import grid, tables

SHOWN_OUTPUTS = 3


@dataclass
class Node:
    """One line of a chain and what it stands on."""

    kind: str  # a card's verb, or: cell, file, source
    name: str
    facts: list[str] = field(default_factory=list)
    children: list["Node"] = field(default_factory=list)

    def __rich_console__(self, console, options):
        """A tree that is wrapped to a terminal; elsewhere plain lines that are not (print with soft_wrap=True)."""
        from rich.segment import Segment

        if console.is_terminal:
            yield from console.render(self.tree(), options.update(no_wrap=False, overflow="fold"))
        else:
            for line in self.lines():
                yield Segment(line)
                yield Segment.line()

    def tree(self):
        """The chain as a rich Tree."""
        from rich.text import Text
        from rich.tree import Tree

        label = Text.assemble((self.kind, "bold"), "  ", self.name, *((f"  {fact}", "dim") for fact in self.facts))
        tree = Tree(label)
        tree.children = [child.tree() for child in self.children]
        return tree

    def lines(self, first: str = "", rest: str = "") -> list[str]:
        """The chain as plain text, a line a node, never wrapped."""
        found = [f"{first}{self.kind:<7} {self.name}" + "".join(f"  {fact}" for fact in self.facts)]
        for index, child in enumerate(self.children):
            last = index == len(self.children) - 1
            found += child.lines(rest + ("└─ " if last else "├─ "), rest + ("   " if last else "│  "))
        return found


class Traced(NamedTuple):
    chain: Node
    problems: list[str]  # what is not as it was; empty unless verified


def trace(
    target: str, method: str | None = None, dataset: str | None = None, task: str | None = None, verify: bool = False
) -> Traced:
    """The chain of a table's cell (``target`` a table's name), of a whole table, or of a card or the output beside it.

    ``verify`` hashes every file of the chain anew. Raises LineageError where there is no such card, ConfigError or
    TableError for a cell that the table does not have.
    """
    if method or dataset:
        if not (method and dataset):
            raise lineage.LineageError("a cell has a method and a dataset: give --method and --dataset, or neither")
        return _cell(target, method, dataset, task, verify)
    path = str(_card_of(target))
    return Traced(_node(path, sha256(path), set()), lineage.verify(path) if verify else [])


def command(table: str, method: str, dataset: str, task: str | None = None) -> str:
    """The command line that traces a cell."""
    return f"mperceiver trace {table} --method {method} --dataset {dataset}" + (f" --task {task}" if task else "")


def _cell(table: str, method: str, dataset: str, task: str | None, verify: bool) -> Traced:
    built = tables.build(table)
    rows = [i for i, row in enumerate(built.rows) if row.method == method]
    rows = rows or [i for i, row in enumerate(built.rows) if method in row.members]
    places = [(d, c.task) for c in built.columns for d in c.datasets if not c.average]
    at = [
        (i, j)
        for i, j, _ in built.there()
        if i in rows and dataset in built.columns[j].datasets and task in (None, built.columns[j].task)
    ]
    if not at:
        raise tables.TableError(
            f"{config.path_of('tables', table)}: no cell for method {method}, dataset {dataset}"
            + (f", task {task}" if task else "")
            + f". Methods: {', '.join(dict.fromkeys(r.method for r in built.rows))}. "
            f"Datasets: {', '.join(dict.fromkeys(d + (f' --task {t}' if t else '') for d, t in places))}"
        )
    row = built.rows[at[0][0]]
    line = built.cells[at[0][0]]
    if row.method != method:  # one of the runs that the row is a mean of
        line = [None if c.average else tables.cell(method, c) for c in built.columns]
    shown: dict[str, list[int]] = {}
    for _, j in at:
        shown.setdefault(built.columns[j].place, []).append(j)
    values = {place: _values(built, line, list(dict.fromkeys(found))) for place, found in shown.items()}
    root = Node("cell", " / ".join(x for x in (table, method, dataset, task) if x))
    if len(values) == 1:
        root.facts = next(iter(values.values()))
    else:
        root.children = [Node("value", place.rpartition("--")[2], facts) for place, facts in values.items()]

    scores = [str(tables.score_card(member, dataset)) for member in config.members(method)]
    card = f"results/tables/{table}.json"
    above, problems = root, []
    if Path(card).is_file():
        # of all that the table stands on only this cell's part
        printed = _node(card, sha256(card), set(), without=("results/", "config/methods/"))
        root.children.append(printed)
        above = printed
        if verify:  # the printed table itself, and that it was printed from the scores that are there now
            told = lineage.read_card(card)
            files = told["outputs"] | {k: v for k, v in told["inputs"].items() if k in scores}
            problems += [f"{card}: {file} {_now(file)}" for file, digest in files.items() if _now(file) != digest]
    place, seen = 0 if above is not root else len(root.children), set()
    for score in scores:
        if Path(score).is_file():
            above.children.insert(place, _node(score, sha256(score), seen))
            problems += [problem for problem in (lineage.verify(score) if verify else []) if problem not in problems]
        else:
            above.children.insert(place, Node("score", score, ["not run", f"next: snakemake {score}"]))
        place += 1
    return Traced(root, problems)


def _values(built: grid.Built, line: list[grid.Cell], at: list[int]) -> list[str]:
    """The numbers of a cell, a text a metric, with how many pictures they are of and under which protocol."""
    facts = []
    for cell, metric in ((line[j], built.columns[j].metric) for j in at):
        interval = "" if cell.low is None else f" [{grid.printed(cell.low, metric)}, {grid.printed(cell.high, metric)}]"
        facts.append(f"{METRICS[metric].label} {cell.text or cell.why}{interval}")
    first = line[at[0]]
    return facts + ([f"n {first.n}", f"protocol {first.protocol}"] if first.n else [])


def _now(file: str) -> str:
    return sha256(file) if Path(file).exists() else "is missing"


def _card_of(target: str) -> Path:
    """The card meant by a table's name, a card's path, or the path of an output."""
    path = Path(target)
    guesses = [Path("results/tables") / f"{target}.json", path, path.with_suffix(".json"), Path(f"{target}.json")]
    guesses += [Path(f"{parent}.json") for parent in path.parents]
    for guess in guesses:
        if guess.suffix == ".json" and guess.is_file():
            return guess
    raise lineage.LineageError(
        f"{target}: neither a table's name with a card in results/tables, nor a card, nor a file with a card beside it. "
        "Known tables: "
        + (", ".join(p.stem for p in sorted(Path("results/tables").glob("*.json"))) or "none yet (snakemake)")
    )


def _node(path: str, digest: str, seen: set[str], without: tuple[str, ...] = ()) -> Node:
    """A card with all below it; a plain file or a package's file is a leaf. ``seen`` cards are not told twice.

    ``without``: beginnings of direct inputs that are left out.
    """
    if ":" in path:
        return Node("source", path, [digest[:12]])
    facts = [digest[:12]]
    if not Path(path).exists():
        return Node("file", path, [*facts, "not here (dvc pull)"])
    try:
        card = lineage.read_card(path) if path.endswith(".json") else None
    except lineage.LineageError:
        card = None
    if card is None:
        return Node("file", path, facts)
    facts += [f"commit {card['commit'][:12]}"] + (["dirty"] if card["dirty"] else [])
    if path in seen:
        return Node(card["verb"], path, [*facts, "(told above)"])
    seen.add(path)
    outputs = [f"{file} {sha[:12]}" for file, sha in card["outputs"].items()]
    if outputs:
        facts.append("made " + (", ".join(outputs) if len(outputs) <= SHOWN_OUTPUTS else f"{len(outputs)} files"))
    order = sorted(card["inputs"], key=lambda k: (not k.endswith(".json"), ":" in k, not k.startswith("results/"), k))
    below = [_node(k, card["inputs"][k], seen) for k in order if not k.startswith(without or ("\0",))]
    return Node(card["verb"], path, facts, below)
