"""Checks that what tables, figures, datasets and runs ask for is there: tasks, metrics, protocols, published numbers, crops.

They are made when the work is planned, not after everything has been restored and scored.
"""

from collections.abc import Iterable
from pathlib import Path

from mperceiver.config.base import ConfigError
from mperceiver.config.datasets import Dataset
from mperceiver.config.figures import OF_PREDICTOR, Figure
from mperceiver.config.files import load, names, path_of
from mperceiver.config.methods import Method
from mperceiver.config.reported import PAPER, path_of_reported, reported_names, reported_numbers
from mperceiver.config.runs import Run, Stage
from mperceiver.config.tables import COST, TRAINING, Block, ColumnGroup, Reported, Table, places_of
from mperceiver.wording import did_you_mean

REPORTED = str(path_of_reported(PAPER))  # the paper's own numbers
KINDS_OF_COLUMN = Path(__file__).parents[1] / "report/columns"  # a module a kind


def check_table(name: str, table: Table) -> None:
    """Raise ConfigError for a column whose kind, task, metrics or published numbers do not exist, and for a method's name that no file
    of published numbers has. The message names the file and the key.
    """
    file = path_of("tables", name)
    kinds = _kinds_of_column()
    for block in table.parts:
        for column in block.columns:
            if column.kind not in kinds:
                raise ConfigError(
                    f"{file}: {_of(column)}: kind: there is no kind of column {column.kind}{_near(column.kind, kinds)}"
                )
            _check_column(file, column)
        places = [(f"{_of(column)}: reported", column.reported) for column in block.columns if column.reported]
        places += [("average_reported", block.average_reported)] if block.average_reported else []
        for key, place in places:
            _check_place(f"{file}: {key}", place)
        for method in dict.fromkeys(method for group in block.rows for method in group.methods if places):
            _check_reported_name(method)
        _check_reported_rows(file, block)


def check_figure(name: str, figure: Figure) -> None:
    """Raise ConfigError for a column that its dataset or protocol does not have, and for a method without what the figure shows."""
    file = path_of("figures", name)
    for column in figure.columns:
        if column.kind != "score":
            raise ConfigError(f"{file}: {_of(column)}: kind: a figure shows scores only; leave `kind` out")
        _check_column(file, column, metrics=figure.kind not in OF_PREDICTOR)
    labels = [column.label for column in figure.columns]
    if twice := next((label for label in labels if labels.count(label) > 1), None):
        raise ConfigError(f"{file}: columns: two are labelled {twice}; give each its own `label`")
    for method in figure.methods:
        if lacking := _lacking(figure, load("methods", method)):
            raise ConfigError(f"{file}: methods: {method} {lacking}")


def _lacking(figure: Figure, method: Method) -> str | None:
    """What a method lacks to be in a figure, in words; None if it lacks nothing."""
    of_kind = f"is of kind {method.kind}"
    if figure.kind == "comparison" and method.kind == "mean":
        return f"{of_kind}; a mean over methods has no pictures: name one of them, such as {method.methods[0]}"
    if figure.kind == "comparison" and method.kind == "reported":
        return f"{of_kind}; it has no pictures, only published numbers"
    if figure.kind == "tradeoff" and method.kind != "mperceiver":
        return f"{of_kind}; it has no sampler, whose steps the figure shows: name methods of kind mperceiver"
    if figure.kind in OF_PREDICTOR:
        if method.kind != "mperceiver" and method.task != "predicted":
            return f"{of_kind}; it has no predictor: name one of kind mperceiver, or of kind network with `task: predicted`"
        if method.probabilities != "predicted":
            return f"has `probabilities: {method.probabilities}`, which are not those of its predictor: name one with `predicted`"
    return None


def check_protocol(dataset: Dataset) -> None:
    """Raise ConfigError if the protocol of a dataset has no file, although preparing the pairs does not read it.

    A configuration without a folder of protocols scores nothing, and its datasets need none.
    """
    if names("protocols"):
        load("protocols", dataset.protocol)


def check_stage(name: str, run: Run, stage: str) -> None:
    """Raise ConfigError if a stage asks for a task that its training datasets lack, or for larger or more crops than they have."""
    settings, file = getattr(run, stage), path_of("runs", name)
    if settings is None:
        return
    if stage == "drm" or (stage == "branches" and run.cached):
        for dataset in run.train:
            _check_crops(f"{file}: {stage}", settings, dataset)
    tasks = list(dict.fromkeys(task for dataset in run.train for task in load("datasets", dataset).tasks))
    for task in settings.task_weights:
        if task not in tasks:
            raise ConfigError(
                f"{file}: {stage}.task_weights: there are no pictures of {task} to train on{_near(task, tasks)}"
            )


def _check_crops(where: str, settings: Stage, dataset: str) -> None:
    """Raise ConfigError if a stage asks for larger crops than a dataset caches, or for more of each picture."""
    spec = load("datasets", dataset)
    side, count = (spec.encode.crop_px, spec.encode.crops) if spec.encode else (spec.crop_px, 1)
    if side is not None and (larger := [phase.crop_px for phase in settings.phases if phase.crop_px > side]):
        raise ConfigError(
            f"{where}.phases: crop_px {larger[0]} is larger than the crops of {dataset}, {side} px: see `encode` and `crop_px` in "
            f"{path_of('datasets', dataset)}"
        )
    if settings.judged_crops > count:
        raise ConfigError(
            f"{where}.judged_crops is {settings.judged_crops}, but {dataset} has {count} crop(s) of each picture: lower it, or raise "
            f"`encode.crops` in {path_of('datasets', dataset)}"
        )


def _check_column(file: Path, column: ColumnGroup, metrics: bool = True) -> None:
    """Raise ConfigError unless the datasets of a column have its task, and their protocols its metrics."""
    for name in column.datasets:
        dataset = load("datasets", name)
        if column.kind in (COST, TRAINING):
            continue
        if column.task is not None and column.task not in dataset.tasks:
            raise ConfigError(
                f"{file}: {_of(column)}: task: {name} has no pictures of {column.task}{_near(column.task, dataset.tasks)}"
            )
        computed = load("protocols", dataset.protocol).metrics
        for metric in column.metrics if metrics and column.kind == "score" else ():
            if metric not in computed:
                raise ConfigError(
                    f"{file}: {_of(column)}: metrics: {metric} is not computed on {name}, whose protocol {dataset.protocol} has "
                    f"{', '.join(computed)}. Ask for one of these, or give {path_of('datasets', name)} a protocol with {metric}"
                )


def _check_place(where: str, place: Reported) -> None:
    """Raise ConfigError unless the published numbers of a column are in their file."""
    file = path_of_reported(place.file)
    places = {number.place[1:] for number in reported_numbers(place.file)}
    tables = {table for table, _, _ in places}
    if str(place.table) not in tables:
        raise ConfigError(f"{where}.table: {file} has no table {place.table}{_near(str(place.table), tables)}")
    tasks = {task for table, task, _ in places if table == str(place.table)}
    if place.task not in tasks:
        raise ConfigError(f"{where}.task: table {place.table} in {file} has no {place.task}{_near(place.task, tasks)}")
    datasets = {dataset for *of, dataset in places if of == [str(place.table), place.task]}
    if place.dataset not in datasets:
        raise ConfigError(
            f"{where}.dataset: table {place.table}, {place.task} in {file} has no {place.dataset}"
            f"{_near(place.dataset, datasets)}"
        )


def _check_reported_name(method: str) -> None:
    """Raise ConfigError unless each name by which a method asks for published numbers is in a file of such numbers."""
    asked = load("methods", method).reported
    files = reported_names() if asked else []
    known = {number.method for file in files for number in reported_numbers(file)}
    for name in [asked] if isinstance(asked, str) else asked:
        if name not in known:
            raise ConfigError(
                f"{path_of('methods', method)}: reported: {' and '.join(map(str, map(path_of_reported, files))) or REPORTED} has no "
                f"method {name}{_near(name, known)}"
            )


def _check_reported_rows(file: Path, block: Block) -> None:
    """Raise ConfigError unless each group of reported rows has columns with numbers of its file."""
    shown = {place.file for place in places_of(block)}
    for group in block.rows:
        if group.reported is not None and group.reported not in shown:
            raise ConfigError(
                f"{file}: rows, {group.title}: reported: no column has `reported: {{file: {group.reported}, ...}}`, so its rows would be empty"
                f"{_near(group.reported, reported_names())}"
            )


def _kinds_of_column() -> list[str]:
    return sorted(path.stem for path in KINDS_OF_COLUMN.glob("*.py") if path.stem != "__init__")


def _of(column: ColumnGroup) -> str:
    return f"columns, {column.label}"


def _near(word: str, known: Iterable[str]) -> str:
    """The end of a message: the nearest of the known words, and all of them if they are few."""
    words = sorted(known)
    few = f"; there {'is' if len(words) == 1 else 'are'} {', '.join(words)}" if 0 < len(words) <= 12 else ""
    return did_you_mean(word, words) + few
