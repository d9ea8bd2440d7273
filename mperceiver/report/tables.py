"""Tables: methods down, datasets and metrics across, from the score cards.

``build`` makes the table as data, ``write`` prints it three times (HTML, tidy CSV, LaTeX) from that one thing. As in the
paper the best value of a column is red and the second best blue. Two values that print alike share a rank, and the next
one to print differently has the next rank. No torch here, not even lazily.
"""

import csv
import io
import math
import statistics
from dataclasses import replace
from itertools import product
from pathlib import Path

from mperceiver import config, files, lineage
from mperceiver.config.methods import Method
from mperceiver.config.tables import Block, Table
from mperceiver.metrics import METRICS
from mperceiver.report.grid import Built, Cell, Column, FilledBlock, Row, printed, rank, signed
from mperceiver.report.latex import to_tex
from mperceiver.report.seen import seen

TEMPLATES = Path(__file__).parent / "templates"
CSV_HEADER = [
    "block",
    "group",
    "method",
    "dataset",
    "task",
    "metric",
    "mean",
    "sd",
    "low",
    "high",
    "n",
    "rank",
    "protocol",
    "reported",
    "seen_in_training",
]


class TableError(ValueError):
    """A table cannot be printed honestly; the message says which column and what to do."""


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


def fill(name: str, table: Table) -> Built:
    """``build`` for a table that may stand in no file (the bars of a figure)."""
    scores = {pair: scores_of(*pair) for pair in config.cells(table)}
    methods = {m: config.load("methods", m) for block in table.parts for rows in block.rows for m in rows.methods}
    rows: list[Row] = []
    columns: list[Column] = []
    blocks: list[FilledBlock] = []
    found: dict[tuple[int, int], Cell] = {}
    for part in table.parts:
        mine = [
            Row(g.title, m, methods[m].title, methods[m].kind != "vae", tuple(config.members(m)))
            for g in part.rows
            for m in g.methods
        ]
        rows += [row for row in dict.fromkeys(mine) if row not in rows]
        at = [rows.index(row) for row in mine]
        block = FilledBlock(
            part.title, at, list(range(len(columns), len(columns) + sum(len(c.metrics) for c in part.columns)))
        )
        columns += [
            Column(c.label, tuple(c.datasets), c.task, m, c.reported, scored=c.scored)
            for c in part.columns
            for m in c.metrics
        ]
        for j in block.columns:
            _one_protocol(
                f"table {name}, column {columns[j].label} ({columns[j].place})", _used(rows, at, [columns[j]], scores)
            )
            found |= {(i, j): _cell(rows[i], columns[j], scores) for i in at}
        if part.average:
            _append_average(name, part, block, rows, columns, found, scores)
        blocks.append(block)
    paper = reported_numbers() if any(column.reported for column in columns) else {}
    for (i, j), cell in found.items():
        number = _of_paper(paper, methods[rows[i].method], columns[j])
        why = cell.why if rows[i].measured else ("not reported" if number is None else "")
        found[i, j] = replace(cell, reported=number, why=why)
    grid = [[found.get((i, j)) for j in range(len(columns))] for i in range(len(rows))]
    for j, column in enumerate(columns):
        at = [i for i in range(len(rows)) if grid[i][j] is not None]
        places = rank([grid[i][j].mean if rows[i].ranked else None for i in at], column.metric)
        for i, place in zip(at, places, strict=True):
            grid[i][j] = replace(grid[i][j], rank=place)
    used = dict.fromkeys(cell.protocol for (_, j), cell in found.items() if cell.protocol and not columns[j].average)
    used = used or dict.fromkeys(
        config.load("datasets", d).protocol for c in columns for d in c.datasets if not c.average
    )
    protocols = {p: config.load("protocols", p).title for p in used}
    both = {(i, columns[j].place): j for (i, j), cell in found.items() if cell.seen and not columns[j].average}
    told = [line for (i, _), j in both.items() for line in _told(rows[i], columns[j])]
    return Built(name, table.title, table.caption, rows, columns, grid, blocks, protocols, told)


def _told(row: Row, column: Column) -> list[str]:
    """What pictures under a column the methods of a row learned from, in words."""
    pairs = [(d, seen(member, d, column.task)) for member in row.members for d in column.datasets]
    return [f"{row.title} on {d}: {found}" for d, found in dict(pairs).items() if found.n]


def _append_average(
    name: str, part: Block, block: FilledBlock, rows: list[Row], columns: list[Column], found: dict, scores: dict
) -> None:
    """Add the mean over a block's columns, a column a metric."""
    for metric in dict.fromkeys(columns[j].metric for j in block.columns):
        at = [j for j in block.columns if columns[j].metric == metric and not columns[j].average]
        if part.average != "mixed":
            _one_protocol(f"table {name}, column Average", _used(rows, block.rows, [columns[j] for j in at], scores))
        label = "Average (over protocols)" if part.average == "mixed" else "Average"
        columns.append(Column(label, ("average",), None, metric, part.average_reported, average=True))
        block.columns.append(len(columns) - 1)
        for i in block.rows:
            means = {m: _average([_of(m, columns[j], scores) for j in at], metric) for m in rows[i].members}
            found[i, len(columns) - 1] = _over(list(means.values()), metric)


def _used(rows: list[Row], at: list[int], columns: list[Column], scores: dict) -> dict[str, dict]:
    """The scores that some columns show, by whose they are."""
    methods = [method for i in at for method in rows[i].members]
    pairs = dict.fromkeys((method, dataset) for method in methods for column in columns for dataset in column.datasets)
    return {f"{m} on {d}": scores[m, d] for m, d in pairs if scores.get((m, d))}


def scores_of(method: str, dataset: str) -> dict | None:
    """The `result` of a score card, None where there is no card yet."""
    path = score_card(method, dataset)
    if not path.is_file():
        return None
    result = lineage.read_card(path)["result"]
    if missing := {"n", "protocol", "protocol_sha256", "means", "tasks"} - set(result):
        raise TableError(f"{path}: no {', '.join(sorted(missing))} in its result; score again (snakemake -f {path})")
    return result


def _cell(row: Row, column: Column, scores: dict) -> Cell:
    return _over([_of(member, column, scores) for member in row.members], column.metric)


def _over(cells: list[Cell], metric: str) -> Cell:
    """The cell of a row out of its members': mean and standard deviation of several, only where all are there."""
    if len(cells) < 2:
        return cells[0] if cells else Cell()
    mean, means = _average(cells, metric, "runs"), [cell.mean for cell in cells]
    if mean.mean is None or not all(map(math.isfinite, means)):
        return mean
    return replace(mean, sd=statistics.stdev(means), n=cells[0].n)


def _of(method: str, column: Column, scores: dict) -> Cell:
    """A method's cell; of several datasets the mean of their means, only where all are there."""
    cells = [_one(scores[method, dataset], method, dataset, column) for dataset in column.datasets]
    return cells[0] if len(cells) == 1 else _average(cells, column.metric, "datasets")


def cell(method: str, column: Column) -> Cell:
    """A method's cell under a column of some table, whether or not the table has such a row; without a rank."""
    return _of(method, column, {(method, dataset): scores_of(method, dataset) for dataset in column.datasets})


def reported_numbers() -> dict[tuple[int, str, str, str, str], float]:
    """The paper's numbers: (table, task, dataset, method, metric's label) -> value."""
    with Path(config.REPORTED).open(newline="") as file:
        return {
            (int(row["table"]), row["task"], row["dataset"], row["method"], row["metric"]): float(row["value"])
            for row in csv.DictReader(file)
            if row["value"]
        }


def _of_paper(paper: dict, method: Method, column: Column) -> float | None:
    where, label = column.reported, METRICS[column.metric].label
    names = [method.reported] if isinstance(method.reported, str) else method.reported
    if where is None:
        return None
    found = (paper.get((where.table, where.task, where.dataset, name, label)) for name in names)
    return next((number for number in found if number is not None), None)


def _one(scores: dict | None, method: str, dataset: str, column: Column) -> Cell:
    if scores is None:
        return Cell(why=_absent(dataset))
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
    text = printed(value["mean"], column.metric)
    mine = seen(method, dataset, column.task).n
    return Cell(value["mean"], None, value.get("low"), value.get("high"), n, protocol, "", text, seen=mine)


def _absent(dataset: str) -> str:
    """Why a dataset has not been scored."""
    if Path(f"data/prepared/{dataset}.json").is_file():
        return "not run"
    sources = [config.load("datasets", name) for name in config.origins(dataset)]
    return "data by hand" if any(source.access == "manual" for source in sources) else "not run"


def _average(cells: list[Cell], metric: str, of: str = "columns") -> Cell:
    """The mean of some cells, each of the same weight whatever its number of pictures; only where all are there."""
    there = [cell.mean for cell in cells if cell.mean is not None]
    whys = {cell.why for cell in cells if cell.why}
    if len(there) < len(cells):
        return Cell(why=whys.pop() if not there and len(whys) == 1 else f"{len(there)} of {len(cells)} {of}")
    mean = math.fsum(there) / len(there)
    protocol = " + ".join(sorted({cell.protocol for cell in cells}))
    n, mine = sum(cell.n for cell in cells), sum(cell.seen for cell in cells)
    return Cell(mean, None, None, None, n, protocol, "", printed(mean, metric), seen=mine)


def _one_protocol(where: str, scores: dict[str, dict]) -> None:
    first: tuple[str, dict] | None = None
    for who, score in scores.items():
        first = first or (who, score)
        if (score["protocol"], score["protocol_sha256"]) != (first[1]["protocol"], first[1]["protocol_sha256"]):
            one, other = (f"{s['protocol']} ({s['protocol_sha256'][:12]})" for s in (first[1], score))
            raise TableError(
                f"{where}: two protocols cannot stand in one column: {first[0]} was scored under {one}, {who} under {other}. "
                "Either a dataset's `protocol` or the protocol itself was changed in between: score both again (snakemake); "
                "or the columns differ by design: give each a table, drop `average`, or say `average: mixed`"
            )


# ---------------------------------------------------------------- printing


def write(name: str) -> Path:
    """Print a table: results/tables/{name}.html, .csv, .tex and the card, whose path is returned."""
    built = build(name)
    stem = Path("results/tables") / name
    pages = {".html": to_html(built), ".csv": to_csv(built), ".tex": to_tex(built)}
    for suffix, text in pages.items():
        files.write_text(stem.with_suffix(suffix), text)
    table = config.load("tables", name)
    inputs = [path for path in config.table_inputs(name) if Path(path).is_file()]
    done, total = built.progress
    card = stem.with_suffix(".json")
    lineage.write_card(
        card,
        verb="table",
        spec=table,
        inputs=inputs,
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
    env.filters["signed"] = signed
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
    for block in built.blocks:
        for i, j in product(block.rows, block.columns):
            row, column, c = built.rows[i], built.columns[j], built.cells[i][j]
            numbers = (c.mean, c.sd, c.low, c.high, c.reported)
            mean, sd, low, high, paper = ("" if x is None else repr(x) for x in numbers)
            place = [block.title, row.group, row.method, column.dataset, column.task or "", column.metric]
            writer.writerow([*place, mean, sd, low, high, c.n or "", c.rank or "", c.protocol, paper, c.seen or ""])
    return out.getvalue()
