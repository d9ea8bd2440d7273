"""Tables: methods down, datasets and metrics across, from the score cards.

``build`` makes the table as data, ``write`` prints it three times (HTML, tidy CSV, LaTeX) from that one thing. As in the
paper the best value of a column is red and the second best blue. Two values that print alike share a rank, and the next
one to print differently has the next rank. No torch here, not even lazily.
"""

import csv
import io
import math
from dataclasses import dataclass, field, replace
from pathlib import Path

from mperceiver import config, lineage
from mperceiver.metrics import METRICS
from mperceiver.report.latex import to_tex

TEMPLATES = Path(__file__).parent / "templates"
CSV_HEADER = ["group", "method", "dataset", "task", "metric", "mean", "low", "high", "n", "rank", "protocol"]


class TableError(ValueError):
    """A table cannot be printed honestly; the message says which column and what to do."""


@dataclass(frozen=True)
class Row:
    group: str
    method: str
    title: str
    ranked: bool = True  # false: it was shown the ground truth (kind vae), so it is a ceiling and no competitor


@dataclass(frozen=True)
class Column:
    label: str
    dataset: str
    task: str | None
    metric: str
    average: bool = False

    @property
    def place(self) -> str:
        """The dataset and task in one name without ambiguity: names never hold two hyphens in a row."""
        return f"{self.dataset}--{self.task}" if self.task else self.dataset


@dataclass(frozen=True)
class Cell:
    mean: float | None = None
    low: float | None = None
    high: float | None = None
    n: int = 0
    protocol: str = ""
    why: str = ""  # why there is no mean
    text: str = ""  # the mean as printed
    rank: int | None = None


@dataclass(frozen=True)
class Built:
    """A table as data; ``cells[i][j]`` is row i, column j."""

    name: str
    title: str
    caption: str
    rows: list[Row]
    columns: list[Column]
    cells: list[list[Cell]]
    protocols: dict[str, str] = field(default_factory=dict)  # name: its title, in words

    @property
    def groups(self) -> list[tuple[str, list[int]]]:
        """(heading, row indices), in order."""
        return _runs([row.group for row in self.rows])

    @property
    def heads(self) -> list[tuple[str, list[int]]]:
        """(label, column indices) of the columns that share a dataset, in order."""
        keys = [(c.average, c.dataset, c.task, c.label) for c in self.columns]
        return [(key[3], indices) for key, indices in _runs(keys)]

    @property
    def progress(self) -> tuple[int, int]:
        """(cells that have been run, all cells); a cell is a method on a dataset and task, whatever its metrics."""
        seen = {
            (i, c.place): self.cells[i][j].n > 0
            for j, c in enumerate(self.columns)
            if not c.average
            for i in range(len(self.rows))
        }
        return sum(seen.values()), len(seen)


def _runs(keys: list) -> list[tuple]:
    found: list[tuple] = []
    for index, key in enumerate(keys):
        if found and found[-1][0] == key:
            found[-1][1].append(index)
        else:
            found.append((key, [index]))
    return found


# ---------------------------------------------------------------- building


def score_card(method: str, dataset: str) -> Path:
    """Where the scores of a method on a dataset are told of."""
    return Path("results/scores") / method / f"{dataset}.json"


def build(name: str) -> Built:
    """The table ``config/tables/{name}.yaml`` with the scores there are.

    Raises ConfigError for a bad configuration, TableError where one column would hold two protocols, LineageError for a
    broken card. A score that is not there is a cell that says why.
    """
    return fill(name, config.load("tables", name))


def fill(name: str, table: config.Table) -> Built:
    """``build`` for a table that may stand in no file (the bars of a figure)."""
    scores = {pair: _scores(*pair) for pair in config.cells(table)}
    methods = {m: config.load("methods", m) for rows in table.rows for m in rows.methods}
    rows = [
        Row(group.title, m, methods[m].title, methods[m].kind != "vae") for group in table.rows for m in group.methods
    ]
    columns = [Column(c.label, c.dataset, c.task, metric) for c in table.columns for metric in c.metrics]
    grid = [[_cell(scores[row.method, c.dataset], c) for c in columns] for row in rows]
    for j, column in enumerate(columns):
        _one_protocol(
            f"table {name}, column {column.label} ({column.place})",
            {row.method: scores[row.method, column.dataset] for row, line in zip(rows, grid, strict=True) if line[j].n},
        )
    if table.average:
        for metric in dict.fromkeys(c.metric for c in columns):
            at = [j for j, c in enumerate(columns) if c.metric == metric and not c.average]
            used = {
                f"{r.method} on {columns[j].dataset}": scores[r.method, columns[j].dataset] for r in rows for j in at
            }
            _one_protocol(f"table {name}, column Average", {k: v for k, v in used.items() if v})
            columns.append(Column("Average", "average", None, metric, average=True))
            for line in grid:
                line.append(_average([line[j] for j in at], metric))
    for j, column in enumerate(columns):
        ranks = rank(
            [line[j].mean if row.ranked else None for row, line in zip(rows, grid, strict=True)], column.metric
        )
        for line, place in zip(grid, ranks, strict=True):
            line[j] = replace(line[j], rank=place)
    used = dict.fromkeys(cell.protocol for line in grid for cell in line if cell.protocol)
    used = used or dict.fromkeys(config.load("datasets", c.dataset).protocol for c in table.columns)
    protocols = {p: config.load("protocols", p).title for p in used}
    return Built(name, table.title, table.caption, rows, columns, grid, protocols)


def _scores(method: str, dataset: str) -> dict | None:
    """The `result` of a score card, None where there is no card yet."""
    path = score_card(method, dataset)
    if not path.is_file():
        return None
    result = lineage.read_card(path)["result"]
    if missing := {"n", "protocol", "protocol_sha256", "means", "tasks"} - set(result):
        raise TableError(f"{path}: no {', '.join(sorted(missing))} in its result; score again (snakemake -f {path})")
    return result


def _cell(scores: dict | None, column: Column) -> Cell:
    if scores is None:
        return Cell(why="not run")
    tasks, protocol = scores["tasks"], scores["protocol"]
    # the means over a whole dataset have their interval only where it is one task
    task = column.task or (next(iter(tasks)) if len(tasks) == 1 else None)
    if column.task and column.task not in tasks:
        return Cell(why=f"no pictures of {column.task}", protocol=protocol)
    if task:
        n, value = tasks[task]["n"], tasks[task].get(column.metric)
    else:
        n, mean = scores["n"], scores["means"].get(column.metric)
        value = None if mean is None else {"mean": mean}
    if value is None or value.get("mean") is None:
        return Cell(n=n, protocol=protocol, why=f"no {METRICS[column.metric].label} under {protocol}")
    if math.isnan(value["mean"]):
        return Cell(n=n, protocol=protocol, why="not a number")
    n = value.get("n", n)  # a metric that not every picture has says of how many it is
    return Cell(
        value["mean"], value.get("low"), value.get("high"), n, protocol, "", printed(value["mean"], column.metric)
    )


def _average(cells: list[Cell], metric: str) -> Cell:
    """The mean over the columns, each of the same weight whatever its number of pictures; only where all are there."""
    there = [cell.mean for cell in cells if cell.mean is not None]
    if len(there) < len(cells):
        return Cell(why=f"{len(there)} of {len(cells)} columns")
    mean = math.fsum(there) / len(there)
    return Cell(mean, None, None, sum(cell.n for cell in cells), cells[0].protocol, "", printed(mean, metric))


def _one_protocol(where: str, scores: dict[str, dict]) -> None:
    first: tuple[str, dict] | None = None
    for who, score in scores.items():
        first = first or (who, score)
        if (score["protocol"], score["protocol_sha256"]) != (first[1]["protocol"], first[1]["protocol_sha256"]):
            one, other = (f"{s['protocol']} ({s['protocol_sha256'][:12]})" for s in (first[1], score))
            raise TableError(
                f"{where}: two protocols cannot stand in one column: {first[0]} was scored under {one}, {who} under {other}. "
                "Either a dataset's `protocol` or the protocol itself was changed in between: score both again (snakemake); "
                "or the columns differ by design: give each a table, or drop `average`"
            )


def printed(value: float, metric: str) -> str:
    """A value with the metric's decimals."""
    return f"{value:.{METRICS[metric].decimals}f}" if math.isfinite(value) else ("∞" if value > 0 else "−∞")


def rank(values: list[float | None], metric: str) -> list[int | None]:
    """Ranks from 1 (best) in the metric's direction; values that print alike share one; None stays None."""
    texts = [None if v is None else printed(v, metric) for v in values]
    number = {t: float(t.replace("∞", "inf").replace("−", "-")) for t in texts if t is not None}
    ordered = sorted(set(number.values()), reverse=METRICS[metric].higher_is_better)
    return [None if t is None else ordered.index(number[t]) + 1 for t in texts]


# ---------------------------------------------------------------- printing


def write(name: str) -> Path:
    """Print a table: results/tables/{name}.html, .csv, .tex and the card, whose path is returned."""
    built = build(name)
    stem = Path("results/tables") / name
    pages = {".html": to_html(built), ".csv": to_csv(built), ".tex": to_tex(built)}
    for suffix, text in pages.items():
        lineage.write_text(stem.with_suffix(suffix), text)
    table = config.load("tables", name)
    cards = [card for card in (score_card(*pair) for pair in config.cells(table)) if card.is_file()]
    files = config.files_of("tables", name)
    files += [f for m in dict.fromkeys(row.method for row in built.rows) for f in config.files_of("methods", m)]
    files += [f for protocol in built.protocols for f in config.files_of("protocols", protocol)]
    done, total = built.progress
    card = stem.with_suffix(".json")
    lineage.write_card(
        card,
        verb="table",
        spec=table,
        inputs=[*dict.fromkeys(files), *cards],
        outputs=[stem.with_suffix(suffix) for suffix in pages],
        result={"cells": total, "run": done, "protocols": sorted(built.protocols)},
    )
    return card


def environment():
    """The jinja2 environment of all pages: escapes by default, and an undefined name is an error."""
    import jinja2

    env = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    env.globals["METRICS"] = METRICS
    env.filters["printed"] = printed
    env.filters["sentence"] = lambda words: words if words.endswith((".", "!", "?")) else f"{words}."
    return env


def to_html(built: Built) -> str:
    """A page with the table alone."""
    return environment().get_template("table.html.j2").render(built=built)


def to_csv(built: Built) -> str:
    """The tidy form: a line a cell and metric; numbers as they were computed, empty where there is none."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(CSV_HEADER)
    for row, line in zip(built.rows, built.cells, strict=True):
        for column, c in zip(built.columns, line, strict=True):
            numbers = ["" if x is None else repr(x) for x in (c.mean, c.low, c.high)]
            place = [row.group, row.method, column.dataset, column.task or "", column.metric]
            writer.writerow([*place, *numbers, c.n or "", c.rank or "", c.protocol])
    return out.getvalue()
