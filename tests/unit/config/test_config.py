"""Configuration: every file there is loads, mistakes are told by name, and what depends on what."""

import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from support import PROJECT

from mperceiver import config, paths
from mperceiver.config import ConfigError
from mperceiver.config.base import Model
from mperceiver.config.experiments import Experiment
from mperceiver.config.files import models_in
from mperceiver.metrics import METRICS
from mperceiver.report import tables

WORLDS = {"config": PROJECT, "tests/tiny/config": PROJECT / "tests/tiny"}
STAGE = "{steps: 1, phases: [{batch: 1, crop_px: 16}]}"
SOURCES = "title: t\nlicence: l\nsources: [{source: generated, generator: dead-leaves, count: 1, size_px: 16}]\n"

READY = "title: t\nlicence: l\nfrom: [a]\npairs: "


@pytest.fixture
def world(tmp_path, monkeypatch):
    """An empty working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(params=WORLDS)
def shipped(request, monkeypatch):
    """A working directory that comes with the project."""
    monkeypatch.chdir(WORLDS[request.param])
    return WORLDS[request.param]


def describe(kind: str, name: str, text: str) -> None:
    path = config.path_of(kind, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def refusal(kind: str, name: str) -> str:
    """What is told of a file that is refused; it always names the file."""
    with pytest.raises(ConfigError) as caught:
        config.load(kind, name)
    assert f"config/{kind}/{name}.yaml" in str(caught.value)
    return str(caught.value)


def experiments() -> list[Experiment]:
    return [config.parse(path, Experiment) for path in sorted(Path("config").glob("*.yaml"))]


def everything(kind: str) -> dict:
    return {name: config.load(kind, name) for name in config.names(kind)}


# ---------------------------------------------------------------- the files that come with the project


def test_every_file_loads(shipped):
    assert experiments()
    for kind in config.KINDS:
        assert set(everything(kind)) == set(config.names(kind))
    files = set(Path("config").rglob("*.y*ml"))
    kinds = {config.path_of(kind, name) for kind in config.KINDS for name in config.names(kind)}
    assert files == kinds | set(Path("config").glob("*.yaml")), "a file that no model reads"


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
    there = {kind: set(config.names(kind)) for kind in config.KINDS}
    assert not [(by, kind, name) for by, kind, name in sorted(wanted) if name not in there[kind]]


def test_pairs_are_made_of_clean_pictures_by_known_degradations(shipped):
    from mperceiver.degradations import DEGRADATIONS
    from mperceiver.degradations.mix import ways_of

    for name, dataset in everything("datasets").items():
        assert config.prepare_inputs(name)[0] == f"config/datasets/{name}.yaml"  # raises for what it cannot be made of
        for task, layers in dataset.degradations.items():
            drawn = {way for layer in layers.items() for way in ways_of(*layer)}
            assert drawn and drawn <= set(DEGRADATIONS), f"{name}, {task}"


def columns_of(table) -> list:
    return [column for block in table.parts for column in block.columns]


def test_columns_exist_in_their_datasets_and_protocols(shipped):
    columns = [(name, c) for name, table in everything("tables").items() for c in columns_of(table)]
    columns += [
        (name, c)
        for name, figure in everything("figures").items()
        if figure.kind != "probabilities"
        for c in figure.columns
    ]
    assert columns
    for name, column in columns:
        for dataset in (config.load("datasets", dataset) for dataset in column.datasets):
            assert column.task is None or column.task in dataset.tasks, f"{name}: {column.label}"
            protocol = config.load("protocols", dataset.protocol)
            assert set(column.metrics) <= set(protocol.metrics), f"{name}: {column.label}"


def test_what_the_paper_reports_is_found(shipped):
    """Every reported place and method of the tables has a number, and every number of the paper's tables a place."""
    if not Path(config.REPORTED).is_file():  # the tiny world's tables have none
        return
    reported = tables.reported_numbers()
    places, used = {key[:3] for key in reported}, set()
    for name, table in everything("tables").items():
        for block in table.parts:
            methods = [config.load("methods", m).reported for rows in block.rows for m in rows.methods]
            methods = {one for m in methods for one in ([m] if isinstance(m, str) else m)}
            for column in [*block.columns, *([block] if block.average_reported else [])]:
                where = getattr(column, "reported", None) or getattr(column, "average_reported", None)
                if where is None:
                    continue
                place = (where.table, where.task, where.dataset)
                assert place in places, f"{name}: {place}"
                metrics = {METRICS[m].label for m in getattr(column, "metrics", block.columns[0].metrics)}
                used |= {(*place, method, metric) for method in methods for metric in metrics} & reported.keys()
    assert sorted(reported.keys() - used) == []
    assert len(reported) == 737  # of 739, two of which are dashes


def test_the_pictures_of_figures_can_exist(shipped):
    for name, figure in everything("figures").items():
        for panel in figure.panels:
            dataset = config.load("datasets", panel.dataset)
            origins = [config.load("datasets", origin) for origin in config.pictures_of(panel.dataset)]
            sources = [source for origin in origins for source in origin.sources]
            if dataset.pairs or not sources or any(source.source != "package" for source in sources):
                continue  # ids of downloaded pictures: tests/unit/data/prepare/test_layouts.py has some of each set
            tasks = "|".join(dataset.degradations)
            made = re.fullmatch(rf"(?P<picture>.+)-(?P<crop>\d+)-(?P<task>{tasks})", panel.picture)
            assert made, f"{name}: {panel.picture} is no picture of {panel.dataset}"
            known = {picture for source in sources for picture in source.files}
            assert made["picture"] in known, f"{name}: {panel.picture}"
            assert int(made["crop"]) * len(known) < (dataset.crops or 1), f"{name}: {panel.picture}"


def test_what_is_tested_on_is_never_trained_on(shipped):
    """Splits of one archive are told apart by their pairing (tests/unit/data/prepare/test_layouts.py); here by their names."""

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


def test_everything_a_method_needs_can_be_told(shipped):
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
        inside = {found for field in model.model_fields.values() for found in models_in(field.annotation)}
        return {model}.union(*(models(found) for found in inside))

    for model in set().union(*(models(kind) for kind in (Experiment, *config.KINDS.values()))):
        assert model.__doc__ and model.__doc__ != Model.__doc__, model
        assert not [f"{model.__name__}.{name}" for name, field in model.model_fields.items() if not field.description]


BLOCK = re.compile(r"`(config/[\w/-]+\.yaml)`:\n\n( *)```yaml\n(.*?)\n\2```", re.DOTALL)


def test_the_files_that_the_documents_show_load(world):
    """Beside the files that there are; an example that has grown old fails here."""
    shutil.copytree(PROJECT / "config", "config")
    found = {}
    for page in sorted((PROJECT / "docs").glob("*.md")):
        found |= {path: textwrap.dedent(text) for path, _, text in BLOCK.findall(page.read_text())}
    assert len(found) >= 9
    for path, text in found.items():
        assert not Path(path).exists(), f"{path}: an example with the name of a true file"
        Path(path).write_text(text)
    for path in map(Path, found):
        if len(path.parts) == 2:
            config.parse(path, Experiment)
            continue
        kind, name = path.parts[1], path.stem
        spec = config.load(kind, name)
        if kind == "methods":
            config.restore_inputs(name, "demo-tasks")
        if kind == "runs":
            assert all(config.stage_inputs(name, s) for s, owner in config.weights_of(name).items() if owner == name)
        if kind == "tables":
            assert all(config.load("methods", m) and config.load("datasets", d) for m, d in config.cells(spec))
        if kind == "datasets":
            assert config.load("protocols", spec.protocol) and all(config.load("datasets", d) for d in spec.from_)


# ---------------------------------------------------------------- mistakes


@pytest.mark.parametrize(
    ("kind", "text", "key", "near"),
    [
        ("methods", "title: t\nkind: identity\ntile: 3\n", "tile", "title"),
        ("methods", "title: t\nkind: identity\nsampler: {step: 3}\n", "sampler.step", "steps"),
        ("methods", "title: t\nkind: identity\nlik: demo\n", "lik", "like"),
        ("datasets", SOURCES.replace("size_px", "size"), "sources.0.generated.size", "size_px"),
        ("datasets", "title: t\nlicence: l\nform: [a]\n", "form", "from"),
        ("runs", "title: t\ntrain: [a]\nnetwork: {architectur: a, steps: 1, phases: [{}]}\n", "network.architectur", "architecture"),
        ("runs", f"title: t\nfoundation: f\ntrain: [a]\nmodel: {{drm: {{windows: 8}}}}\npredictor: {STAGE}\n", "model.drm.windows", "window"),
        ("tables", "title: t\ncaption: c\nrows: [{titel: r, methods: [m]}]\ncolumns: []\n", "rows.0.titel", "title"),
        ("foundations", "title: t\nlicence: l\nbuild: {vae_width: [1]}\n", "build.vae_width", "vae_widths"),
    ],
)  # fmt: skip
def test_an_unknown_key_is_told_with_the_nearest_one(world, kind, text, key, near):
    describe(kind, "wrong", text)
    assert f"  {key}: unknown key (did you mean `{near}`?)" in refusal(kind, "wrong")


def test_an_unknown_key_like_no_other_is_told_alone(world):
    describe("methods", "wrong", "title: t\nkind: identity\nzzz: 1\n")
    assert refusal("methods", "wrong").endswith("  zzz: unknown key")


@pytest.mark.parametrize(
    ("kind", "text", "key", "told"),
    [
        ("methods", "kind: identity\n", "title", "required"),
        ("methods", "title: t\nkind: magic\n", "kind", "'magic'"),
        ("methods", "title: t\nkind: identity\ntile_px: 0\n", "tile_px", "greater than 0"),
        ("methods", "title: t\nkind: identity\ntile_px: many\n", "tile_px", "'many'"),
        ("methods", "title: t\nkind: identity\nsampler: {eta: 2}\n", "sampler.eta", "less than or equal to 1"),
        ("methods", "title: t\nkind: identity\nsampler: {strength: 0.5}\n", "sampler", "lq_noised"),
        ("methods", "title: t\nkind: mperceiver\n", "(the whole file)", "names its `run`"),
        ("methods", "title: t\nkind: vae\n", "(the whole file)", "names its `foundation`"),
        ("methods", "title: t\nkind: network\nrun: Demo\n", "run", "pattern"),
        ("datasets", "title: t\nlicence: l\n", "(the whole file)", "either `sources`"),
        ("datasets", "title: t\nlicence: l\nfrom: [a]\n", "(the whole file)", "with `degradations` or with `pairs`"),
        ("datasets", READY + "{task: rain, lq: a, gt: {rule: b}}\n", "pairs", "give `match`"),
        ("datasets", READY + "{task: rain, lq: a, gt: {sorted: b, none: c}}\n", "pairs.gt", "exactly one"),
        ("datasets", READY + "{lq: a, gt: {sorted: b}}\n", "pairs", "`task: clean`"),
        ("datasets", READY + "{task: rain, gt: {sorted: b}}\n", "pairs", "give `lq`"),
        ("datasets", READY + "{task: rain, lq: a, keep: '(', gt: {sorted: b}}\n", "pairs.keep", "regular expression"),
        ("datasets", READY + "{task: rain, lq: ../a, gt: {sorted: b}}\n", "pairs.lq.0", "not a safe"),
        ("datasets", SOURCES + "crop_px: 8\n", "(the whole file)", "`crops` and `crop_px`"),
        ("datasets", "title: t\nlicence: l\nsources: [{source: web}]\n", "sources.0", "'web'"),
        ("datasets", "title: t\nlicence: l\nfrom: [a]\ndegradations: {Haze: {haze: {}}}\n", "degradations.Haze.[key]", "pattern"),
        ("runs", f"title: t\ntrain: [a]\npredictor: {STAGE}\n", "(the whole file)", "names its `foundation`"),
        ("runs", f"title: t\nfoundation: f\ntrain: [a]\ndrm: {STAGE}\n", "(the whole file)", "`latents`"),
        ("runs", f"title: t\nfoundation: f\ntrain: [a]\npredictor: {STAGE}\nreuse: {{predictor: b}}\n", "(the whole file)", "both"),
        ("runs", "title: t\nfoundation: f\ntrain: [a]\npredictor: {steps: 1, phases: [{batch: 1, crop_px: 8, share: 0.5}]}\n",
         "predictor", "add up to 0.5"),
        ("protocols", "title: t\nborder_px: -1\n", "border_px", "greater than or equal to 0"),
        ("protocols", "title: t\nmetrics: [vif]\n", "metrics.0", "'vif'"),
        ("protocols", "", "(the whole file)", "None"),
        ("protocols", "- a\n- b\n", "(the whole file)", "['a', 'b']"),
    ],
)  # fmt: skip
def test_a_wrong_value_is_told_by_its_key(world, kind, text, key, told):
    describe(kind, "wrong", text)
    message = refusal(kind, "wrong")
    line = next(line for line in message.splitlines() if line.startswith(f"  {key}: "))
    assert told in line


def test_all_mistakes_of_a_file_are_told_at_once(world):
    describe("protocols", "wrong", "titel: t\nborder_px: -1\n")
    message = refusal("protocols", "wrong")
    assert "3 problem(s); every key stands in config/README.md" in message
    assert all(key in message for key in ("titel", "title", "border_px"))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("title: [\n", "not valid YAML"),
        ("title: t\nborder_px: 1\nborder_px: 2\n", "`border_px` stands twice"),
        ("title: 2026-13-45\n", "not valid YAML"),
        ("title: !!python/object/apply:os.system [true]\n", "not valid YAML"),
    ],
)
def test_what_is_no_plain_yaml_is_refused(world, text, told):
    describe("protocols", "wrong", text)
    message = refusal("protocols", "wrong")
    assert told in message
    assert told != "`border_px` stands twice" or "line 3" in message


def test_a_file_that_is_not_text_is_refused(world):
    describe("protocols", "wrong", "")
    config.path_of("protocols", "wrong").write_bytes(b"\xff\xfe\x00")
    assert "not valid YAML" in refusal("protocols", "wrong")


def test_a_bare_no_is_the_word(world):
    text = f"title: t\ntrain: [a]\nnetwork: {{architecture: a, precision: no, {STAGE[1:]}\n"
    describe("runs", "net", text)
    assert config.load("runs", "net").network.precision == "no"
    describe("runs", "net", text.replace("precision: no", "precision: yes"))
    assert "network.precision" in refusal("runs", "net")


@pytest.mark.parametrize("name", ["Demo", "a_b", "a--b", "-a", "a-", "../a", "a b", "é", "", "a.yaml", "a\n"])
def test_what_is_no_name_is_refused(world, name):
    with pytest.raises(ConfigError, match="is not a name"):
        config.load("methods", name)


def test_an_unknown_name_is_told_with_the_nearest_ones(world):
    for name in ("demo", "demo-plus", "input"):
        describe("methods", name, "title: t\nkind: identity\n")
    with pytest.raises(
        ConfigError, match=r"config/methods/demo-pluss.yaml: no such file. Known methods: demo-plus, demo "
    ):
        config.load("methods", "demo-pluss")
    with pytest.raises(ConfigError, match="Known methods: demo, demo-plus, input"):
        config.load("methods", "zzzz")
    with pytest.raises(ConfigError, match="Known runs: none"):
        config.load("runs", "demo")


def test_what_was_read_does_not_change(world):
    describe("methods", "a", "title: t\nkind: identity\n")
    with pytest.raises(ValueError, match="frozen"):
        config.load("methods", "a").title = "u"


# ---------------------------------------------------------------- like


BASE = f"""
title: Base
foundation: mini
train: [one, two]
model: {{vp_tokens: 4, drm: {{levels: [2, 1], widths: {{2: 64, 1: 48}}}}}}
predictor: {STAGE}
drm: {STAGE}
latents: {{steps: 3}}
"""


def test_like_takes_what_is_not_given(world):
    describe("runs", "base", BASE)
    describe(
        "runs",
        "other",
        "like: base\ntitle: Other\ntrain: [three]\nmodel: {drm: {widths: {1: 32}}}\npredictor: null\n"
        "drm: {steps: 9}\nreuse: {predictor: base}\n",
    )
    run = config.load("runs", "other")
    assert (run.title, run.foundation, run.train) == ("Other", "mini", ["three"])  # a list is taken whole
    assert (run.model.vp_tokens, run.model.drm.levels, run.model.drm.widths) == (4, [2, 1], {2: 64, 1: 32})
    assert run.predictor is None  # null takes away
    assert (run.drm.steps, run.drm.phases[0].crop_px, run.latents.steps) == (9, 16, 3)
    assert config.load("runs", "base").title == "Base"


def test_like_goes_on_and_is_told(world):
    describe("methods", "a", "title: A\nkind: identity\ntile_px: 32\n")
    describe("methods", "b", "like: a\ntitle: B\n")
    describe("methods", "c", "like: b\noverlap_px: 8\n")
    method = config.load("methods", "c")
    assert (method.title, method.tile_px, method.overlap_px) == ("B", 32, 8)
    assert config.files_of("methods", "c") == [f"config/methods/{name}.yaml" for name in "cba"]


def test_like_reads_another_experiment_too(world):
    for name, text in (("demo", "title: Demo\ntables: [a]\nfigures: [b]\n"), ("more", "like: demo\ntables: [a, c]\n")):
        Path("config").mkdir(exist_ok=True)
        Path(f"config/{name}.yaml").write_text(text)
    more = config.parse(Path("config/more.yaml"), Experiment)
    assert (more.title, more.tables, more.figures) == ("Demo", ["a", "c"], ["b"])


@pytest.mark.parametrize(
    ("like", "told"),
    [
        ("b", "`like` goes round in a circle: config/methods/a.yaml -> config/methods/b.yaml -> config/methods/a.yaml"),
        ("a", "`like` goes round in a circle"),
        ("nobody", "like: nobody: there is no config/methods/nobody.yaml"),
        ("../a", "like: '../a' is not a name"),
        ("3", "like: 3 is not a name"),
    ],
)
def test_like_nothing_that_can_be_is_refused(world, like, told):
    describe("methods", "a", f"title: t\nkind: identity\nlike: {like}\n")
    describe("methods", "b", "like: a\n")
    with pytest.raises(ConfigError, match=re.escape(told)):
        config.load("methods", "a")
    with pytest.raises(ConfigError, match=re.escape(told)):
        config.files_of("methods", "a")


def test_a_mistake_below_is_told_of_the_file_that_was_asked_for(world):
    describe("methods", "a", "title: t\nkind: identity\ntile_px: -1\n")
    describe("methods", "b", "like: a\n")
    assert "tile_px" in refusal("methods", "b")


# ---------------------------------------------------------------- what depends on what


@pytest.fixture
def runs(world):
    """full has all three stages; part takes two of full's; further takes them from part; net is a baseline."""
    describe(
        "runs",
        "full",
        f"title: t\nfoundation: f\ntrain: [d]\nlatents: {{steps: 1}}\npredictor: {STAGE}\nbranches: {STAGE}\ndrm: {STAGE}\n",
    )
    describe("runs", "part", f"title: t\nfoundation: f\ntrain: [d, e]\nbranches: {STAGE}\nreuse: {{predictor: full}}\n")
    describe("runs", "further", f"title: t\nfoundation: f\ntrain: [e]\nlatents: {{steps: 1}}\ndrm: {STAGE}\n"
             "reuse: {predictor: part, branches: part}\nstart_from: full\n")  # fmt: skip
    describe("runs", "net", f"title: t\ntrain: [d]\nnetwork: {{architecture: nafnet, {STAGE[1:]}\n")
    for name, run in (("full", "full"), ("part", "part"), ("further", "further")):
        describe("methods", name, f"title: t\nkind: mperceiver\nrun: {run}\n")
    describe("methods", "plain", "like: part\ndrm: false\n")
    describe("methods", "net", "title: t\nkind: network\nrun: net\n")
    describe("methods", "input", "title: t\nkind: identity\n")
    describe("methods", "ceiling", "title: t\nkind: vae\nfoundation: f\n")
    describe("datasets", "d", SOURCES)
    describe("protocols", "rgb", "title: t\n")
    return world


def test_weights_are_those_of_the_run_that_trained_them(runs):
    assert config.weights_of("full") == {"predictor": "full", "branches": "full", "drm": "full"}
    assert config.weights_of("part") == {"predictor": "full", "branches": "part"}
    assert config.weights_of("further") == {"predictor": "full", "branches": "part", "drm": "further"}
    assert config.weights_of("net") == {"network": "net"}


def test_a_method_needs_the_weights_it_uses(runs):
    assert config.method_weights("further") == {"predictor": "full", "branches": "part", "drm": "further"}
    assert config.method_weights("plain") == {"predictor": "full", "branches": "part"}
    assert config.method_weights("net") == {"network": "net"}
    assert config.method_weights("input") == config.method_weights("ceiling") == {}
    with pytest.raises(ConfigError, match=r"methods/part.yaml: run part trains no drm; set `drm: false`"):
        config.method_weights("part")
    assert [config.method_foundation(m) for m in ("full", "ceiling", "net", "input")] == ["f", "f", None, None]


def test_what_a_stage_stands_on(runs):
    data = ["data/prepared/d.json", "data/foundations/f.json", "data/latents/f/d.json"]
    before = ["results/runs/full/predictor.json", "results/runs/full/branches.json"]
    assert config.stage_inputs("full", "predictor") == ["config/runs/full.yaml", *data]
    assert config.stage_inputs("full", "branches") == ["config/runs/full.yaml", *data, *before[:1]]
    assert config.stage_inputs("full", "drm") == ["config/runs/full.yaml", *data, *before]
    assert config.stage_inputs("net", "network") == ["config/runs/net.yaml", "data/prepared/d.json"]
    few_shot = config.stage_inputs("further", "drm")
    assert few_shot[-3:] == [before[0], "results/runs/part/branches.json", "results/runs/full/drm.json"]
    assert config.stage_inputs("part", "branches")[1:3] == ["data/prepared/d.json", "data/prepared/e.json"]


def test_a_stage_without_the_one_before_it_is_refused(runs):
    describe("runs", "lame", f"title: t\nfoundation: f\ntrain: [d]\nbranches: {STAGE}\n")
    with pytest.raises(ConfigError, match=r"runs/lame.yaml: stage branches needs a predictor; train or reuse one"):
        config.stage_inputs("lame", "branches")


def test_reuse_of_what_is_not_there_is_refused(runs):
    describe("runs", "lame", f"title: t\nfoundation: f\ntrain: [d]\nbranches: {STAGE}\nreuse: {{predictor: net}}\n")
    with pytest.raises(ConfigError, match=r"runs/lame.yaml: reuse.predictor: run net has no predictor stage"):
        config.weights_of("lame")
    describe("runs", "lame", f"title: t\nfoundation: f\ntrain: [d]\npredictor: {STAGE}\nstart_from: net\n")
    with pytest.raises(ConfigError, match=r"runs/lame.yaml: start_from: run net has no predictor stage"):
        config.stage_inputs("lame", "predictor")
    for one, other in (("left", "right"), ("right", "left")):
        describe(
            "runs", one, f"title: t\nfoundation: f\ntrain: [d]\nbranches: {STAGE}\nreuse: {{predictor: {other}}}\n"
        )
    with pytest.raises(ConfigError, match="`reuse` goes round in a circle: left -> right -> left"):
        config.weights_of("left")


def test_what_restoring_and_scoring_stand_on(runs):
    assert config.restore_inputs("plain", "d") == [
        "config/methods/plain.yaml",
        "config/methods/part.yaml",  # it is like that one, so a change there is a change of this
        "data/prepared/d.json",
        "data/foundations/f.json",
        "results/runs/full/predictor.json",
        "results/runs/part/branches.json",
    ]
    assert config.restore_inputs("input", "d") == ["config/methods/input.yaml", "data/prepared/d.json"]
    assert config.restore_inputs("ceiling", "d")[2:] == ["data/foundations/f.json"]
    with pytest.raises(ConfigError, match="Known methods: input"):
        config.restore_inputs("imput", "d")
    describe("protocols", "rgb", "like: base\n")
    describe("protocols", "base", "title: t\n")
    assert config.score_inputs("input", "d") == [
        "results/restored/input/d.json",
        "data/prepared/d.json",
        "config/protocols/rgb.yaml",
        "config/protocols/base.yaml",
    ]


def test_what_is_printed_stands_on(runs):
    describe("tables", "t", "title: t\ncaption: c\nrows: [{title: r, methods: [input, net]}]\n"
             "columns: [{dataset: d, task: haze, label: l}, {dataset: d, task: rain, label: l}]\n")  # fmt: skip
    describe("tables", "u", "like: t\ntitle: u\n")
    scores = ["results/scores/input/d.json", "results/scores/net/d.json"]
    words = ["config/methods/input.yaml", "config/methods/net.yaml", "config/protocols/rgb.yaml"]  # titles are printed
    assert config.table_inputs("t") == ["config/tables/t.yaml", *scores, *words]  # a dataset in two columns, once
    assert config.table_inputs("u") == ["config/tables/u.yaml", "config/tables/t.yaml", *scores, *words]
    describe("figures", "side", "title: t\ncaption: c\nkind: comparison\nmethods: [input, net]\n"
             "panels: [{dataset: d, picture: a}, {dataset: d, picture: b}]\n")  # fmt: skip
    assert config.figure_inputs("side") == ["config/figures/side.yaml", "data/prepared/d.json", *scores]
    describe("figures", "bars", "title: t\ncaption: c\nkind: bars\nmethods: [net]\ncolumns: [{dataset: d, label: l}]\n")
    assert config.figure_inputs("bars") == ["config/figures/bars.yaml", scores[1]]
    describe("figures", "curves", "title: t\ncaption: c\nkind: curves\nruns: [part, net]\n")
    assert config.figure_inputs("curves") == [  # the curves that a run drew itself, not those it reuses
        "config/figures/curves.yaml",
        "results/runs/part/branches.json",
        "results/runs/net/network.json",
    ]


def test_pictures_of(runs):
    describe("datasets", "pairs", "title: t\nlicence: l\nfrom: [d]\ndegradations: {haze: {haze: {}}}\n")
    assert config.pictures_of("pairs") == config.pictures_of("d") == ["d"]
    describe("datasets", "archive", SOURCES)
    ready = (
        "title: t\nlicence: l\nfrom: [archive]\npairs: {task: rain, lq: a/*.png, match: a/(.*), gt: {rule: 'b/\\1'}}\n"
    )
    describe("datasets", "ready", ready)
    describe("datasets", "mix", "title: t\nlicence: l\nfrom: [ready, d]\ndegradations: {haze: {haze: {}}}\n")
    assert config.pictures_of("ready") == ["ready"], "two splits of one archive have no picture in common"
    assert config.prepare_inputs("ready") == ["config/datasets/ready.yaml", "data/raw/archive.json"]
    assert config.prepare_inputs("mix")[1:] == ["data/prepared/ready.json", "data/raw/d.json"]
    assert config.prepare_inputs("d") == ["config/datasets/d.yaml", "data/raw/d.json"]
    describe("datasets", "again", ready.replace("archive", "ready"))
    describe("datasets", "twice", "title: t\nlicence: l\nfrom: [mix]\ndegradations: {haze: {haze: {}}}\n")
    for name, told in {"again": "ready has no `sources`", "twice": "mix has no `sources` and no `pairs`"}.items():
        with pytest.raises(ConfigError, match=told):
            config.prepare_inputs(name)


def test_mirrors(monkeypatch):
    experiment = Experiment(title="t", tables=[], mirror=["~/data", "/shared"])
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.delenv("MPERCEIVER_MIRROR", raising=False)
    assert config.mirrors() == []
    assert config.mirrors(experiment) == [Path("/home/me/data"), Path("/shared")]
    monkeypatch.setenv("MPERCEIVER_MIRROR", "/first:~/second:")
    assert config.mirrors(experiment)[:2] == [Path("/first"), Path("/home/me/second")]


# ---------------------------------------------------------------- cost


def test_config_is_light():
    """Snakemake imports it at each start and in each cluster job."""
    heavy = ["torch", "numpy", "pandas", "matplotlib", "pyarrow", "scipy", "PIL", "snakemake"]
    program = f"import sys; from mperceiver import config; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], cwd=PROJECT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
