"""The files of config/ that come with the project: each loads, and what one refers to is there."""

import re
import textwrap
from pathlib import Path

import pytest
from support import PROJECT
from support.shipped import copy_shipped

from mperceiver import config, paths
from mperceiver.config.base import Model
from mperceiver.config.experiments import Experiment
from mperceiver.config.figures import OF_PREDICTOR
from mperceiver.config.files import models_in
from mperceiver.data import CLEAN
from mperceiver.metrics import METRICS

WORLDS = {"config": "", "tests/tiny/config": "tests/tiny"}


@pytest.fixture(params=WORLDS)
def shipped(request, tmp_path, monkeypatch):
    """A working directory with the configuration that comes with the project."""
    monkeypatch.chdir(tmp_path)
    copy_shipped(request.param, WORLDS[request.param])
    return tmp_path


def experiments() -> list[Experiment]:
    return [config.parse(path, Experiment) for path in sorted(Path("config").glob("*.yaml"))]


def everything(kind: str) -> dict:
    return {name: config.load(kind, name) for name in config.names(kind)}


def test_every_file_loads(shipped):
    assert experiments()
    for kind in config.KINDS:
        assert set(everything(kind)) == set(config.names(kind))
    files = set(Path("config").rglob("*.y*ml"))
    kinds = {config.path_of(kind, name) for kind in config.KINDS for name in config.names(kind)}
    assert files == kinds | set(Path("config").glob("*.yaml")), "a file that no model reads"


def test_planning_changes_no_model(shipped):
    """Who loads a file shares its model with all others."""

    def dumped() -> dict:
        return {(kind, name): spec.model_dump() for kind in config.KINDS for name, spec in everything(kind).items()}

    before = dumped()
    path = sorted(Path("config").glob("*.yaml"), key=lambda path: path.stem != "demo")[0]
    config.check(config.parse(path, Experiment))
    assert config.report_inputs(path)
    assert dumped() == before


def test_shipped_weights_are_measured_not_trained(monkeypatch):
    """What a method restores with is what its costs are measured of; else asking for them would train its run."""
    monkeypatch.chdir(PROJECT)
    weights = [f"assets/runs/small/{stage}.json" for stage in ("predictor", "branches", "drm")]
    assert config.weights_cards("small") == weights
    assert set(config.weights_cards("small")) <= set(config.measure_inputs("small"))
    assert not [name for name in config.measure_inputs("small") if "results/runs" in name]


def test_names_that_are_referred_to_exist(shipped):
    wanted: set[tuple[str, str, str]] = set()

    def refer(by: str, kind: str, *names: str | None) -> None:
        wanted.update((by, kind, name) for name in names if name)

    for experiment in experiments():
        refer(experiment.title, "tables", *experiment.tables)
        refer(experiment.title, "figures", *experiment.figures)
    for name, foundation in everything("foundations").items():
        if foundation.build:
            refer(name, "datasets", *foundation.build.pictures, foundation.build.degradations)
    for name, dataset in everything("datasets").items():
        refer(name, "datasets", *dataset.from_)
        refer(name, "protocols", dataset.protocol)
    for name, run in everything("runs").items():
        refer(name, "datasets", *run.train)
        refer(name, "foundations", run.foundation)
        refer(name, "runs", run.start_from, *run.reuse.values())
    for name, method in everything("methods").items():
        refer(name, "runs", method.run)
        refer(name, "foundations", method.foundation)
    for name, table in everything("tables").items():
        refer(name, "methods", *(method for block in table.parts for rows in block.rows for method in rows.methods))
        refer(name, "datasets", *(dataset for column in columns_of(table) for dataset in column.datasets))
    for name, figure in everything("figures").items():
        refer(name, "methods", *figure.methods)
        refer(name, "runs", *figure.runs)
        refer(name, "datasets", *(panel.dataset for panel in figure.panels))
        refer(name, "datasets", *(dataset for column in figure.columns for dataset in column.datasets))
    existing = {kind: set(config.names(kind)) for kind in config.KINDS}
    assert not [(by, kind, name) for by, kind, name in sorted(wanted) if name not in existing[kind]]


def test_pairs_are_made_of_clean_pictures_by_known_degradations(shipped):
    from mperceiver.degradations import DEGRADATIONS
    from mperceiver.degradations.mix import alternatives

    for name, dataset in everything("datasets").items():
        assert config.prepare_inputs(name)[0] == f"config/datasets/{name}.yaml"  # raises for what it cannot be made of
        for task, layers in dataset.degradations.items():
            drawn = {way for layer in layers.items() for way in alternatives(*layer)}
            assert drawn <= set(DEGRADATIONS) and bool(drawn) == (task != CLEAN), f"{name}, {task}"


def columns_of(table) -> list:
    return [column for block in table.parts for column in block.columns]


def test_columns_exist_in_their_datasets_and_protocols(shipped):
    columns = [(name, c) for name, table in everything("tables").items() for c in columns_of(table)]
    columns += [
        (name, c)
        for name, figure in everything("figures").items()
        if figure.kind not in OF_PREDICTOR
        for c in figure.columns
    ]
    assert columns
    for name, column in columns:
        for dataset in (config.load("datasets", dataset) for dataset in column.datasets):
            assert column.task is None or column.task in dataset.tasks, f"{name}: {column.label}"
            protocol = config.load("protocols", dataset.protocol)
            assert set(column.metrics) <= set(protocol.metrics), f"{name}: {column.label}"


def test_what_is_reported_is_found(shipped):
    """Every reported place and method of the tables has a number, and every number of the files a place in a table."""
    files = config.reported_names()
    if not files:  # the tiny world's tables have none
        return
    numbers = {name: config.reported_numbers(name) for name in files}
    reported = {(one.place, one.method, one.metric) for of_file in numbers.values() for one in of_file}
    places, used = {key[0] for key in reported}, set()
    for name, table in everything("tables").items():
        for block in table.parts:
            names = [config.load("methods", m).reported for rows in block.rows for m in rows.methods]
            methods = {one for m in names for one in ([m] if isinstance(m, str) else m)}
            whole = {rows.reported for rows in block.rows}
            for column in [*block.columns, *([block] if block.average_reported else [])]:
                where = getattr(column, "reported", None) or getattr(column, "average_reported", None)
                if where is None:
                    continue
                assert where.place in places, f"{name}: {where}"
                metrics = {METRICS[m].label for m in getattr(column, "metrics", block.columns[0].metrics)}
                used |= {
                    (place, method, metric)
                    for place, method, metric in reported
                    if place == where.place and metric in metrics and (method in methods or where.file in whole)
                }
    assert sorted(reported - used) == []
    assert {name: len(of_file) for name, of_file in numbers.items()} == {
        "cvpr2024": 737,  # of 739, two of which are dashes
        "survey2026": 1350,
    }


def test_the_pictures_of_figures_can_exist(shipped):
    for name, figure in everything("figures").items():
        for panel in figure.panels:
            dataset = config.load("datasets", panel.dataset)
            origins = [config.load("datasets", origin) for origin in config.pictures_of(panel.dataset)]
            sources = [source for origin in origins for source in origin.sources]
            if dataset.pairs or not sources or any(source.source != "package" for source in sources):
                continue  # ids of downloaded pictures: tests/unit/data/prepare/test_examples.py has some of each set
            tasks = "|".join(dataset.degradations)
            parsed = re.fullmatch(rf"(?P<picture>.+)-(?P<crop>\d+)-(?P<task>{tasks})", panel.picture)
            assert parsed, f"{name}: {panel.picture} is no picture of {panel.dataset}"
            known = {picture for source in sources for picture in source.files}
            assert parsed["picture"] in known, f"{name}: {panel.picture}"
            assert int(parsed["crop"]) * len(known) < (dataset.crops or 1), f"{name}: {panel.picture}"


def test_what_is_tested_on_is_never_trained_on(shipped):
    """Splits of one archive are told apart by their pairing (tests/unit/data/prepare/test_examples.py); here by their names."""

    def pictures(name: str) -> set[str]:
        dataset = config.load("datasets", name)
        if dataset.pairs or not dataset.from_:
            return {name}
        return {origin for other in dataset.from_ for origin in pictures(other)}

    trained = {origin for run in everything("runs").values() for name in run.train for origin in pictures(name)}
    for foundation in everything("foundations").values():
        if foundation.build:
            for name in (*foundation.build.pictures, foundation.build.degradations):
                trained |= pictures(name)
    tested = {
        origin
        for table in everything("tables").values()
        for column in columns_of(table)
        for dataset in column.datasets
        for origin in pictures(dataset)
    }
    assert tested and not trained & tested


def test_everything_a_method_needs_is_there(shipped):
    """What the workflow asks for each of its rules, so that a bad reference fails here and not in a job."""
    for name in config.names("runs"):
        for stage, owner in config.weights_of(name).items():
            assert str(paths.weights_card(owner, stage)) == f"results/runs/{owner}/{stage}.json"
            if owner == name:
                assert config.stage_inputs(name, stage)[0] == f"config/runs/{name}.yaml"
    for table in everything("tables").values():
        for method, dataset in config.cells(table):
            assert config.restore_inputs(method, dataset)[0] == f"config/methods/{method}.yaml"
            assert config.score_inputs(method, dataset)[0] == f"results/restored/{method}/{dataset}.json"
    for name in config.names("figures"):
        assert len(config.figure_inputs(name)) > 1


def test_every_key_is_described():
    def models(model: type[Model]) -> set:
        inside = {part for field in model.model_fields.values() for part in models_in(field.annotation)}
        return {model}.union(*(models(part) for part in inside))

    for model in set().union(*(models(kind) for kind in (Experiment, *config.KINDS.values()))):
        assert model.__doc__ and model.__doc__ != Model.__doc__, model
        assert not [f"{model.__name__}.{name}" for name, field in model.model_fields.items() if not field.description]


BLOCK = re.compile(r"`(config/[\w/-]+\.yaml)`:\n\n( *)```yaml\n(.*?)\n\2```", re.DOTALL)


def test_the_files_that_the_documents_show_load(world):
    """Beside the shipped files; an example that is out of date fails here."""
    # The committed files only: somebody who follows a page has changed an example of that name.
    copy_shipped("config")
    examples = {}
    for page in sorted((PROJECT / "docs").glob("*.md")):
        examples |= {path: textwrap.dedent(text) for path, _, text in BLOCK.findall(page.read_text(encoding="utf-8"))}
    assert len(examples) >= 9
    for path, text in examples.items():
        taken = Path(path).exists() and Path(path).read_text(encoding="utf-8").strip() != text.strip()
        assert not taken, f"{path}: an example with the name of a true file"
        Path(path).write_text(text, encoding="utf-8")
    for path in map(Path, examples):
        if len(path.parts) == 2:
            config.parse(path, Experiment)
            continue
        kind, name = path.parts[1], path.stem
        spec = config.load(kind, name)
        if kind == "methods":
            assert all(config.restore_inputs(member, "demo-tasks") for member in config.members(name))
        if kind == "runs":
            assert all(config.stage_inputs(name, s) for s, owner in config.weights_of(name).items() if owner == name)
        if kind == "tables":
            assert config.cells(spec)
            config.table_inputs(name)
        if kind == "datasets":
            assert config.load("protocols", spec.protocol) and all(config.load("datasets", d) for d in spec.from_)
