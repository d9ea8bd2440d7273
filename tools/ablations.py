"""Record the controls and ablations in docs/ablations.md, after `snakemake --cores all --configfile config/ablations.yaml`:
uv run python -m tools.ablations"""

from pathlib import Path

import pandas as pd

from mperceiver import config, files, paths
from tools.blocks import commit_of, fill, table_lines
from tools.headline import heading, printed

PAGE, TABLE = Path("docs/ablations.md"), "demo-ablation"


def table() -> str:
    """The table as Markdown: the first metric of each task, and every metric of their average."""
    spec = config.load("tables", TABLE)
    cells = pd.read_csv(paths.table_file(TABLE, "csv"))
    metrics = spec.columns[0].metrics
    average = cells[cells["dataset"] == "average"].set_index(["method", "metric"])
    columns = []
    for column in spec.columns:
        of_task = cells[cells["task"] == column.task].set_index(["method", "metric"])
        columns.append((f"{column.label}: {heading(metrics[0])}", of_task, metrics[0]))
    columns += [(f"Average: {heading(metric)}", average, metric) for metric in metrics]
    rows = []
    for group in spec.rows:
        rows.append([f"*{group.title}*", *[""] * len(columns)])
        for method in group.methods:
            numbers = [printed(numbers[["mean", "rank"]], method, metric) for _, numbers, metric in columns]
            rows.append([config.load("methods", method).title, *numbers])
    lines = table_lines(["", *(head for head, _, _ in columns)], rows, numbers=True)
    return "\n".join([*lines, "", f"Best in bold. Made at commit {commit_of(paths.table_file(TABLE, 'json'))}."])


if __name__ == "__main__":
    files.write_text(PAGE, fill(PAGE.read_text(encoding="utf-8"), "ablation table", table()))
