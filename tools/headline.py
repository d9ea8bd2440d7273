"""Fill the README's table and picture with the demo's results (run `make demo` first): uv run python -m tools.headline"""

import shutil
from pathlib import Path

import pandas as pd

from mperceiver import config, files, paths
from mperceiver.metrics import METRICS
from tools.blocks import commit_of, fill, table_lines

TABLES = {"demo-tasks": "Nine degradations", "demo-mid6": "Six mixes, none trained on"}
FIGURE = "demo-comparison"


def averages(table: str) -> pd.DataFrame:
    """The mean over a table's columns, and its rank; index: (method, metric)."""
    cells = pd.read_csv(paths.table_file(table, "csv"))
    return cells[cells["dataset"] == "average"].set_index(["method", "metric"])[["mean", "rank"]]


def heading(metric: str) -> str:
    return f"{METRICS[metric].label} {'↑' if METRICS[metric].higher_is_better else '↓'}"


def printed(cells: pd.DataFrame, method: str, metric: str) -> str:
    """A mean as Markdown, the best in bold; a dash where the table has no such number."""
    if (method, metric) not in cells.index or pd.isna(cells.loc[(method, metric), "mean"]):
        return "–"
    mean, rank = cells.loc[(method, metric)]
    text = f"{mean:.{METRICS[metric].decimals}f}"
    return f"**{text}**" if rank == 1 else text


def table() -> str:
    """The README's table as Markdown, with the sentence below it."""
    cells = {name: averages(name) for name in TABLES}
    specs = {name: config.load("tables", name) for name in TABLES}
    metrics = {name: spec.columns[0].metrics for name, spec in specs.items()}
    methods = dict.fromkeys(method for spec in specs.values() for rows in spec.rows for method in rows.methods)
    heads = [
        f"{title}: {heading(metric)}" if metric == metrics[name][0] else heading(metric)
        for name, title in TABLES.items()
        for metric in metrics[name]
    ]
    rows = []
    for method in methods:
        numbers = [printed(cells[name], method, metric) for name in TABLES for metric in metrics[name]]
        rows.append([config.load("methods", method).title, *numbers])
    commits = " and ".join(dict.fromkeys(commit_of(paths.table_file(name, "json")) for name in TABLES))
    return "\n".join(
        [
            *table_lines(["", *heads], rows, numbers=True),
            "",
            "Means over the tasks, on pictures never trained on; best in bold. "
            f"Made by `make demo` at commit {commits}. "
            "Where a number comes from: `mperceiver trace demo-tasks --method demo --dataset demo-tasks`.",
        ]
    )


def picture() -> str:
    """The README's picture as Markdown; copies it beside the documents."""
    shutil.copyfile(paths.figure_file(FIGURE, "png"), "docs/demo.png")
    return f"![{config.load('figures', FIGURE).title}](docs/demo.png)"


if __name__ == "__main__":
    readme = Path("README.md")
    files.write_text(
        readme, fill(fill(readme.read_text(encoding="utf-8"), "demo table", table()), "demo picture", picture())
    )
