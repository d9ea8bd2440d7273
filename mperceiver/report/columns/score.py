"""Columns of kind ``score``: the mean of each metric over a dataset's pictures, or over those of one task."""

import math
from pathlib import Path

from mperceiver import config, paths
from mperceiver.config.tables import ColumnGroup
from mperceiver.metrics import METRICS
from mperceiver.report.grid import NAMES_APART, Column, Measure, Value
from mperceiver.report.overlap import training_overlap
from mperceiver.report.scores import result, why_absent

HAS_PICTURES = True
MEASURES = {name: Measure(m.label, m.decimals, m.higher_is_better, m.unit) for name, m in METRICS.items()}
MAIN = next(iter(MEASURES))  # where there is room for one number a picture, it is that of the first metric


def measures(group: ColumnGroup) -> dict[str, Measure]:
    """A column for each metric."""
    return {name: MEASURES[name] for name in group.metrics}


def inputs(method: str, dataset: str) -> list[Path]:
    """The card of the scores."""
    return [paths.scores_card(method, dataset)]


def value(method: str, dataset: str, column: Column) -> Value:
    """A metric's mean with its 95 % interval. A mean over several tasks has none: the card holds intervals a task."""
    scores = result(method, dataset)
    if scores is None:
        return Value(why=why_absent(dataset) if config.covers(method, dataset) else "not run on this set")
    tasks, protocol, sha256 = scores["tasks"], scores["protocol"], scores["protocol_sha256"]
    if column.task and column.task not in tasks:
        return Value(why=f"no pictures of {column.task}", protocol=protocol, protocol_sha256=sha256)
    task = column.task or (next(iter(tasks)) if len(tasks) == 1 else None)
    n = tasks[task]["n"] if task else scores["n"]
    summary = (tasks[task].get(column.key) if task else _over_tasks(scores, column.key)) or {}
    if (mean := summary.get("mean")) is None:
        asked = column.key in (tasks[task] if task else scores["means"])  # by the protocol, and no picture has a value
        why = "not computable" if asked else f"no {column.measure.label} under {protocol}"
        return Value(n=n, protocol=protocol, protocol_sha256=sha256, why=why)
    if math.isnan(mean):
        return Value(n=n, protocol=protocol, protocol_sha256=sha256, why="not a number")
    overlap = training_overlap(method, dataset, column.task)
    return Value(
        mean=mean,
        low=summary.get("low"),
        high=summary.get("high"),
        n=summary.get("n", n),  # a metric that some pictures do not have says how many its mean is over
        protocol=protocol,
        protocol_sha256=sha256,
        trained_on=overlap.n,
        not_compared=NAMES_APART.join(overlap.absent),
    )


def _over_tasks(scores: dict, metric: str) -> dict:
    """The mean over all pictures of a card, and their number; an older card has no `counts`, so the numbers of its tasks are added."""
    n = scores.get("counts", {}).get(metric)
    if n is None:
        n = sum(_n_of_task(task, metric) for task in scores["tasks"].values())
    return {"mean": scores["means"].get(metric), "n": n}


def _n_of_task(task: dict, metric: str) -> int:
    summary = task.get(metric) or {}
    return 0 if summary.get("mean") is None else summary.get("n", task["n"])
