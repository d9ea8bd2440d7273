"""The tables' numbers as small files for `dvc metrics` and `dvc plots`: results/metrics/<experiment>/.

A card holds more than numbers, and `dvc metrics diff` would print all of it.
"""

from pathlib import Path
from typing import Any

from mperceiver import config, csvs
from mperceiver.files import write_json, write_text
from mperceiver.report.grid import FilledTable

METRICS = "metrics.json"
BARS = "psnr-per-task.csv"
STEPS = "quality-by-steps.csv"


def write(folder: Path, tables: list[FilledTable]) -> None:
    """Write three files into ``folder``: every mean of the tables, PSNR of each method and task, and quality against steps.

    metrics.json is {method: {dataset: {metric: mean}}} with ``dataset`` or ``dataset/task`` as the second key. The CSVs have the
    columns place, method, psnr, and steps, method, dataset, metric, value, the latter of methods that sample.
    """
    cells = {
        (row.method, column.place.replace("--", "/"), column.key): cell.mean
        for table in tables
        for row, column, cell in table.filled()
        if cell.mean is not None and not column.average
    }
    numbers: dict[str, dict[str, dict[str, float]]] = {}
    for (method, place, metric), mean in cells.items():
        numbers.setdefault(method, {}).setdefault(place, {})[metric] = round(mean, 6)
    write_json(folder / METRICS, numbers)
    bars = [[place, method, mean] for (method, place, metric), mean in cells.items() if metric == "psnr"]
    write_text(folder / BARS, csvs.to_csv(["place", "method", "psnr"], bars))
    sampling = {name: config.load("methods", name) for name in numbers}
    by_steps: list[list[Any]] = [
        [sampling[method].sampler.steps, method, place, metric, mean]
        for (method, place, metric), mean in cells.items()
        if sampling[method].kind == "mperceiver"
    ]
    by_steps.sort(key=lambda row: row[0])
    write_text(folder / STEPS, csvs.to_csv(["steps", "method", "dataset", "metric", "value"], by_steps))
