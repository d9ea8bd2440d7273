"""Columns of kind ``training``: how many pictures a method's weights were trained on, and in how much CPU time."""

from pathlib import Path

from mperceiver import config, lineage, paths
from mperceiver.config.runs import Stage
from mperceiver.config.tables import ColumnGroup
from mperceiver.report.grid import Column, Measure, Value

HAS_PICTURES = False


def measures(group: ColumnGroup) -> dict[str, Measure]:
    """Two columns: of all stages of the method's run, and of the runs that it started from."""
    return {"pictures": Measure("Pictures (k)", 1, True), "cpu_seconds": Measure("CPU time", 0, False, "s")}


def inputs(method: str, dataset: str) -> list[Path]:
    """The cards of the weights."""
    return list(_cards(method).values())


def _cards(method: str) -> dict[tuple[str, str], Path]:
    """(run, stage) -> card of the weights; those that the method's file names itself in place of its run's.

    The predictor of another run, which tells the task (`predictor`), is not of the method's own training.
    """
    cards = {training: paths.weights_card(*training) for training in trainings(method)}
    runs, files = config.method_weights(method), config.weights_files(method)
    named = {(runs[stage], stage): file.with_suffix(".json") for stage, file in files.items()}
    return cards | {training: card for training, card in named.items() if training in cards}


def value(method: str, dataset: str, column: Column) -> Value:
    """The sum over the trainings; the dataset does not matter. Only a training whose length is CPU time has told it."""
    cards = inputs(method, dataset)
    if not cards:
        return Value(why="none")
    if not all(card.is_file() for card in cards):
        return Value(why="not trained")
    found = [lineage.read_card(card)["result"] for card in cards]
    if column.key == "cpu_seconds":
        timed = all("cpu_seconds" in result for result in found)
        return Value(sum(result["cpu_seconds"] for result in found)) if timed else Value(why="not timed")
    specs = [getattr(config.load("runs", run), stage) for run, stage in trainings(method)]
    pictures = [result.get("pictures") or planned(spec) for result, spec in zip(found, specs, strict=True)]
    return Value(sum(pictures) / 1000)


def trainings(method: str) -> list[tuple[str, str]]:
    """(run, stage) of all trainings below a method's run, the runs that it started from among them.

    The run in `predictor` is not below it.
    """
    spec = config.load("methods", method)
    waiting = [spec.run] if spec.run else []
    found: dict[tuple[str, str], None] = {}
    for run in waiting:  # grows as it is read
        found |= dict.fromkeys((trainer, stage) for stage, trainer in config.weights_of(run).items())
        starts = [config.load("runs", trainer).start_from for trainer in config.weights_of(run).values()]
        waiting += [start for start in dict.fromkeys(starts) if start and start not in waiting]
    return list(found)


def planned(spec: Stage) -> float:
    """Pictures of a training of ``spec.steps`` steps."""
    return spec.steps * spec.accumulate * sum(phase.share * phase.batch for phase in spec.phases)
