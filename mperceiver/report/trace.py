"""Where a number or a file came from: the chain of cards, from a table's cell down to the files of a package."""

import shlex
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from mperceiver import config, lineage, paths, printing
from mperceiver.files import sha256
from mperceiver.report.columns import own_cell
from mperceiver.report.grid import Cell, Column, Row, TableError, printed
from mperceiver.report.tables import build
from mperceiver.report.tables.layout import blocks_of
from mperceiver.report.verify import verify_all, verify_cards
from mperceiver.wording import did_you_mean, first_few

MOST_CARDS = 5  # in a command of a message
SHOWN_OUTPUTS = 3  # a card with more outputs names only their number
RESULTS = f"{paths.RESULTS}/"


@dataclass
class Node:
    """One line of a chain, with what it depends on below it."""

    kind: str  # a card's verb, or one of: cell, value, file, source
    name: str
    facts: list[str] = field(default_factory=list)
    children: list["Node"] = field(default_factory=list)

    def __rich_console__(self, console, options):
        """On a terminal a tree, wrapped to its width; elsewhere plain lines, not wrapped (print with soft_wrap=True)."""
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
        """The chain as plain text, a line for each node. ``first`` and ``rest`` precede the first and all other lines."""
        lines = [f"{first}{self.kind:<7} {self.name}" + "".join(f"  {fact}" for fact in self.facts)]
        for index, child in enumerate(self.children):
            last = index == len(self.children) - 1
            lines += child.lines(rest + ("└─ " if last else "├─ "), rest + ("   " if last else "│  "))
        return lines


class Traced(NamedTuple):
    """A chain, which of its files are not as their cards say, and notes; without verification no file is examined."""

    chain: Node
    problems: list[str]
    notes: list[str]


def trace(
    target: str, method: str | None = None, dataset: str | None = None, task: str | None = None, verify: bool = False
) -> Traced:
    """The chain of a table's cell (``target`` a table's name), of a whole table, or of a card or the output beside it.

    ``verify`` hashes every file of the chain again. Raises LineageError where there is no such card, or where a cell is named in
    part, ConfigError or TableError for a cell that the table does not have.
    """
    if method is not None and dataset is not None:
        return _trace_cell(target, method, dataset, task, verify)
    if (method, dataset, task) != (None, None, None):
        raise lineage.LineageError(_half_a_cell(target, method, dataset, task, verify))
    card = str(card_of(target))
    verified = verify_cards([card]) if verify else None
    return Traced(_node(card, sha256(card), set()), *((verified.problems, verified.notes) if verified else ([], [])))


def print_trace(
    target: str, method: str | None = None, dataset: str | None = None, task: str | None = None, verify: bool = False
) -> None:
    """Print the chain that ``trace`` returns.

    Raises what ``trace`` raises, and with ``verify`` LineageError if a file is not as its card says; it lists all of them.
    """

    traced = trace(target, method, dataset, task, verify)
    printing.console(soft_wrap=True).print(traced.chain)
    _tell(traced.problems, traced.notes)
    if verify:
        printing.say("verified: every file of the chain is what its card says")


def print_verified(fresh: bool = False) -> None:
    """Verify everything in data/ and results/ and say so.

    Raises LineageError if a file is not as its card says, and lists all such files; also if there is no card.
    """
    verified = verify_all(fresh)
    if not (verified.cards or verified.problems):
        raise lineage.LineageError(
            f"{Path.cwd()}: no card in {paths.DATA}/ or {paths.RESULTS}/, so there is nothing to verify. Run the command where something "
            "was made, or get what somebody made: dvc pull"
        )
    _tell(verified.problems, verified.notes)
    known = (
        f", {verified.cached} of them unchanged in size and time since they were last hashed" if verified.cached else ""
    )
    printing.say(f"verified: {verified.files} files of {verified.cards} cards are what the cards say{known}")


def _tell(problems: list[str], notes: list[str]) -> None:
    """Print notes. Raises LineageError, with the notes in its message, if there are problems; each begins with the name of its card."""
    noted = [f"note: {note}" for note in notes]
    if problems:
        cards = dict.fromkeys(problem.partition(": ")[0] for problem in problems)
        commands = [f"to make again: {command}" for command in _making_again([*cards])]
        counted = f"{len(problems)} file(s) are not as their cards say. Next:"
        lines = [*problems, *noted, counted, *commands, "to get back what was made: dvc pull"]
        raise lineage.LineageError("\n".join(lines))
    for note in noted:
        printing.say(note, error=True)


def _making_again(cards: list[str]) -> list[str]:
    """The commands that make cards again: one for all of them, and one for each report, whose experiment Snakemake must be told."""
    of_rules = [card for card in cards if paths.folder_of(card)]
    if len(of_rules) > MOST_CARDS:
        of_rules = ["CARD ...  (the cards that the lines above begin with)"]
    together = [paths.making_again(*of_rules)] if of_rules else []
    return together + [command for card in cards if not paths.folder_of(card) and (command := paths.command_for(card))]


def command(table: str, method: str, dataset: str, task: str | None = None) -> str:
    """The command line that traces a cell."""
    return f"mperceiver trace {table} --method {method} --dataset {dataset}" + (f" --task {task}" if task else "")


def _half_a_cell(target: str, method: str | None, dataset: str | None, task: str | None, verify: bool) -> str:
    """What to type instead of a target and some of a cell's names."""
    options = {"--method": method, "--dataset": dataset, "--task": task}
    given = " and ".join(option for option, value in options.items() if value is not None)
    last = " --verify" if verify else ""
    if not config.NAME.fullmatch(target):  # the path of a card or of an output
        whole = f"mperceiver trace {shlex.quote(target)}{last}"
        return f"{target} is no table and has no cells, so that {given} would have no effect: {whole}"
    cell = command(target, method or "METHOD", dataset or "DATASET", task) + last
    return f"{given} alone would have no effect, since a cell has a method and a dataset: {cell}"


def _trace_cell(name: str, method: str, dataset: str, task: str | None, verify: bool) -> Traced:
    root = Node("cell", " / ".join(part for part in (name, method, dataset, task) if part))
    values = _values(name, method, dataset, task)
    if len(values) == 1:
        root.facts = next(iter(values.values()))
    else:
        root.children = [Node("value", place.rpartition("--")[2], facts) for place, facts in values.items()]

    scores = [paths.scores_card(member, dataset) for member in config.members(method)]
    above, problems, notes = root, [], []
    card = str(paths.table_file(name, "json"))
    if Path(card).is_file():
        # Of all that the table depends on, only this cell's part is shown. Its prepared pairs are listed below its scores.
        others = (RESULTS, "config/methods/", "config/runs/", f"{paths.PREPARED}/")
        above = _node(card, sha256(card), set(), without=others)
        root.children.append(above)
        problems += _changes(card, scores) if verify else []
    listed: set[str] = set()
    below = []
    for score in scores:
        if score.is_file():
            below.append(_node(str(score), sha256(score), listed))
            if verify:
                verified = verify_cards([score])
                problems += [problem for problem in verified.problems if problem not in problems]
                notes += [note for note in verified.notes if note not in notes]
        else:
            below.append(Node("score", str(score), ["not run", f"next: {paths.making(score)}"]))
    above.children = [*above.children, *below] if above is root else [*below, *above.children]
    return Traced(root, problems, notes)


def _values(name: str, method: str, dataset: str, task: str | None) -> dict[str, list[str]]:
    """Place of the columns -> the numbers of a method there. The method is a row, or a run that a row is the mean of.

    Raises TableError where the table has no such cell.
    """
    filled = [
        (row, column)
        for block in blocks_of(name, config.load("tables", name))
        for row in block.rows
        for column in block.columns
    ]
    named = [at for at in filled if at[0].method == method] or [at for at in filled if method in at[0].members]
    there = [(row, column) for row, column in named if dataset in column.datasets and task in (None, column.task)]
    if not there:
        raise TableError(_no_such_cell(name, filled, method, dataset, task))
    places: dict[str, list[tuple[Column, Cell]]] = {}
    for column, cell in _cells(name, method, there).items():
        places.setdefault(column.place, []).append((column, cell))
    return {place: _facts(numbers) for place, numbers in places.items()}


def _cells(name: str, method: str, there: list[tuple[Row, Column]]) -> dict[Column, Cell]:
    """The cells of a method at some places of a table. Only where one is a mean of several numbers is the table filled."""
    columns = list(dict.fromkeys(column for _, column in there))
    if any(method not in row.members for row, _ in there) or any(column.average for column in columns):
        cells = build(name).cells
        return {column: cells[row, column] for row, column in there}
    if all(len(column.datasets) == 1 for column in columns):
        return {column: own_cell(method, column) for column in columns}
    from mperceiver.report.tables.fill import method_cells

    return dict(zip(columns, method_cells(method, columns), strict=True))


def _no_such_cell(name: str, filled: list[tuple[Row, Column]], method: str, dataset: str, task: str | None) -> str:
    """Which of a cell's names the table does not have, and which it has."""
    file = config.path_of("tables", name)
    of_method = [column for row, column in filled if method in (row.method, *row.members)]
    if not of_method:
        methods = list(dict.fromkeys(row.method for row, _ in filled))
        return (
            f"{file}: no row of method {method}{did_you_mean(method, methods)}. Its methods: {first_few(methods, 20)}"
        )
    tasks: dict[str, dict[str, None]] = {}  # of each dataset
    for column in of_method:
        for of in () if column.average else column.datasets:
            tasks.setdefault(of, {}).update({column.task: None} if column.task else {})
    wrong = f"dataset {dataset}{did_you_mean(dataset, tasks)}"
    if dataset in tasks:
        wrong = f"dataset {dataset}, task {task}{did_you_mean(str(task), tasks[dataset])}"
    places = [of + (f" (tasks {', '.join(its)})" if its else "") for of, its in tasks.items()]
    return f"{file}: method {method} has no cell of {wrong}. Its datasets: {', '.join(places)}"


def _facts(numbers: list[tuple[Column, Cell]]) -> list[str]:
    """The numbers of one place in words, with how many pictures they are of and under which protocol."""
    facts = []
    for column, cell in numbers:
        low, high = ("" if end is None else printed(end, column.measure) for end in (cell.low, cell.high))
        facts.append(f"{column.measure.label} {cell.text or cell.why}" + (f" [{low}, {high}]" if low else ""))
    first = numbers[0][1]
    seen = [f"trained on {first.trained_on} of these pictures, too"] if first.trained_on else []
    seen += [f"not compared, since not prepared here: {first.not_compared}"] if first.not_compared else []
    return facts + ([f"n {first.n}", f"protocol {first.protocol}", *seen] if first.n else [])


def _changes(table_card: str, scores: list[Path]) -> list[str]:
    """What differs from a table's card: the printed table itself, and the scores of one cell that it was printed from."""
    card = lineage.read_card(table_card)
    files = card["outputs"] | {name: card["inputs"][name] for name in map(str, scores) if name in card["inputs"]}
    now = {name: sha256(name) if Path(name).exists() else "is missing" for name in files}
    return [f"{table_card}: {name} {now[name]}" for name, digest in files.items() if now[name] != digest]


def card_of(target: str) -> Path:
    """The card meant by a table's name, a card's path, or the path of an output. Raises LineageError if there is none."""
    path = Path(target)
    guesses = [
        paths.table_file(target, "json"),
        path,
        *([path.with_suffix(".json"), Path(f"{target}.json")] if path.name else []),
    ]
    guesses += [Path(f"{parent}.json") for parent in path.parents]
    for guess in guesses:
        if guess.suffix == ".json" and guess.is_file():
            return guess
    is_table = config.NAME.fullmatch(target) and config.path_of("tables", target).is_file()
    if command := paths.making(guesses[0]) if is_table else paths.command_for(target):
        raise lineage.LineageError(f"{target}: not made yet, or its card is gone; make it: {command}")
    raise lineage.LineageError(
        f"{target}: neither a table{did_you_mean(target, config.names('tables'))}, nor a card, nor a file with a card beside it. The tables: "
        "ls config/tables"
    )


def _node(path: str, digest: str, listed: set[str], without: tuple[str, ...] = ()) -> Node:
    """A card with all that it depends on. A plain file and a package's file are leaves.

    Args:
        digest: SHA-256 that is shown with the path.
        listed: cards already in the chain, whose inputs are not repeated. This function adds to it.
        without: beginnings of the direct inputs that are left out.
    """
    if ":" in path:
        return Node("source", path, [digest[:12]])
    facts = [digest[:12]]
    if "#" in path:  # a part of a configuration file
        return Node("file", path, facts)
    if not Path(path).exists():
        return Node("file", path, [*facts, "not on this machine (dvc pull)"])
    if not path.endswith(".json"):
        return Node("file", path, facts)
    try:
        card = lineage.read_card(path)
    except lineage.LineageError:
        broken = [f"not a card; make it again: rm {path} && {paths.making(path)}"] if paths.is_output(path) else []
        return Node("file", path, facts + broken)
    facts += [f"commit {card['commit'][:12]}"] + (["dirty"] if card["dirty"] else [])
    if path in listed:
        return Node(card["verb"], path, [*facts, "(listed above)"])
    listed.add(path)
    outputs = [f"{file} {sha[:12]}" for file, sha in card["outputs"].items()]
    if outputs:
        facts.append("made " + (", ".join(outputs) if len(outputs) <= SHOWN_OUTPUTS else f"{len(outputs)} files"))
    below = sorted(
        card["inputs"], key=lambda name: (not name.endswith(".json"), ":" in name, not name.startswith(RESULTS), name)
    )
    return Node(
        card["verb"], path, facts, [_node(n, card["inputs"][n], listed) for n in below if not _starts(n, without)]
    )


def _starts(name: str, beginnings: tuple[str, ...]) -> bool:
    return any(name.startswith(beginning) for beginning in beginnings)
