"""Which files and cards each job reads, and the check of an experiment."""

import pytest
from support.configs import SOURCES, STAGE, describe

from mperceiver import config
from mperceiver.config import ConfigError
from mperceiver.config.experiments import Experiment


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
    describe("datasets", "e", SOURCES)
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
    lpips = "data/foundations/lpips-vgg.json"  # of the perceptual loss
    assert config.stage_inputs("full", "drm") == ["config/runs/full.yaml", *data, *before, lpips]
    assert config.stage_inputs("net", "network") == ["config/runs/net.yaml", "data/prepared/d.json", lpips]
    few_shot = config.stage_inputs("further", "drm")
    assert few_shot[-4:] == [before[0], "results/runs/part/branches.json", lpips, "results/runs/full/drm.json"]
    assert config.stage_inputs("part", "branches")[1:3] == ["data/prepared/d.json", "data/prepared/e.json"]


def test_a_stage_without_the_one_before_it_is_refused(runs):
    describe("runs", "lame", f"title: t\nfoundation: f\ntrain: [d]\nbranches: {STAGE}\n")
    with pytest.raises(ConfigError, match=r"runs/lame.yaml: stage branches needs a predictor; train or reuse one"):
        config.stage_inputs("lame", "branches")


def test_a_stage_without_a_foundation_is_refused(runs):
    describe("runs", "lame", f"like: net\npredictor: {STAGE}\n")
    with pytest.raises(ConfigError, match=r"runs/lame.yaml: stage predictor needs a `foundation`"):
        config.stage_inputs("lame", "predictor")


@pytest.mark.parametrize(
    ("stage", "keys", "words"),
    [
        (
            "branches",
            "phases: [{share: 0.5, batch: 1, crop_px: 16}, {share: 0.5, batch: 1, crop_px: 64}]",
            r"branches.phases: crop_px 64 is larger than the crops of cut, 32 px",
        ),
        ("drm", "phases: [{batch: 1, crop_px: 64}]", r"drm.phases: crop_px 64 is larger than the crops of cut, 32 px"),
        ("drm", "phases: [{batch: 1, crop_px: 16}], judged_crops: 4", r"drm.judged_crops is 4, but cut has 2 crop"),
    ],
)
def test_what_the_cached_crops_cannot_give_is_refused_when_it_is_planned(runs, stage, keys, words):
    describe("datasets", "cut", SOURCES + "encode: {crop_px: 32, crops: 2}\n")
    describe("runs", "asks", f"title: t\nfoundation: f\ntrain: [cut]\nlatents: {{steps: 1}}\npredictor: {STAGE}\n"
             f"branches: {STAGE}\ndrm: {STAGE}\n{stage}: {{steps: 1, {keys}}}\n".replace(f"{stage}: {STAGE}\n", ""))  # fmt: skip
    with pytest.raises(ConfigError, match=f"runs/asks.yaml: {words}"):
        config.stage_inputs("asks", stage)


def test_a_weight_of_a_degradation_without_pictures_is_refused(runs):
    tasks = config.load("datasets", "d").tasks
    weighted = STAGE.replace("{", "{task_weights: {TASK: 2}, ", 1)
    describe("runs", "right", f"like: net\nnetwork: {{architecture: nafnet, {weighted[1:]}\n".replace("TASK", tasks[0]))
    assert config.stage_inputs("right", "network")[0] == "config/runs/right.yaml"
    describe("runs", "wrong", f"like: net\nnetwork: {{architecture: nafnet, {weighted[1:]}\n".replace("TASK", "fog"))
    with pytest.raises(
        ConfigError, match=r"runs/wrong.yaml: network.task_weights: there are no pictures of fog to train on"
    ):
        config.stage_inputs("wrong", "network")


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
    with pytest.raises(ConfigError, match="`reuse` is circular: left -> right -> left"):
        config.weights_of("left")


def test_a_run_that_starts_from_itself_is_refused(runs):
    for one, other in (("left", "right"), ("right", "left")):
        describe("runs", one, f"title: t\nfoundation: f\ntrain: [d]\npredictor: {STAGE}\nstart_from: {other}\n")
    with pytest.raises(ConfigError, match=r"runs/left.yaml: `start_from` is circular: left -> right -> left"):
        config.stage_inputs("left", "predictor")


def test_a_training_dataset_that_is_named_twice_is_refused(runs):
    describe("runs", "twice", f"title: t\nfoundation: f\ntrain: [d, d]\npredictor: {STAGE}\n")
    with pytest.raises(ConfigError, match="train: d is named twice"):
        config.load("runs", "twice")


def test_what_restoring_and_scoring_stand_on(runs):
    assert config.restore_inputs("plain", "d") == [
        "config/methods/plain.yaml",
        "config/runs/part.yaml",
        "data/prepared/d.json",
        "data/foundations/f.json",
        "results/runs/full/predictor.json",
        "results/runs/part/branches.json",
    ]
    # plain is like part, so a change there is a change of it; Snakemake is told of both files.
    methods = ["config/methods/plain.yaml", "config/methods/part.yaml"]
    assert config.files_of_inputs(config.restore_inputs("plain", "d"))[:3] == [*methods, "config/runs/part.yaml"]
    assert config.restore_inputs("input", "d") == ["config/methods/input.yaml", "data/prepared/d.json"]
    assert config.restore_inputs("ceiling", "d")[2:] == ["data/foundations/f.json"]
    with pytest.raises(ConfigError, match="The nearest methods: input"):
        config.restore_inputs("imput", "d")
    describe("protocols", "rgb", "like: base\n")
    describe("protocols", "base", "title: t\n")
    assert config.score_inputs("input", "d") == [
        "results/restored/input/d.json",
        "data/prepared/d.json",
        "config/protocols/rgb.yaml",
        "data/foundations/lpips-alex.json",
    ]
    describe("protocols", "rgb", "title: t\nlpips: vgg\nmetrics: [psnr, brisque, fid, lpips]\n")
    weights = [
        "data/foundations/brisque.json",
        "data/foundations/inception-fid.json",
        "data/foundations/lpips-vgg.json",
    ]
    assert config.score_inputs("input", "d")[3:] == weights
    describe("protocols", "rgb", "title: t\nmetrics: [psnr, ssim]\n")
    assert config.score_inputs("input", "d")[3:] == []
    describe("protocols", "rgb", "title: t\nmetrics: [psnr, musiq]\n")
    with pytest.raises(ConfigError, match=r"metrics.*no metric 'musiq'; the metrics are psnr, ssim"):
        config.score_inputs("input", "d")


def test_what_is_printed_stands_on(runs):
    describe("tables", "t", "title: t\ncaption: c\nrows: [{title: r, methods: [input, net]}]\n"
             "columns: [{dataset: d, label: l}, {dataset: d, task: clean, label: l}]\n")  # fmt: skip
    describe("tables", "u", "like: t\ntitle: u\n")
    scores = ["results/scores/input/d.json", "results/scores/net/d.json"]
    words = ["config/methods/input.yaml", "config/methods/net.yaml", "config/protocols/rgb.yaml"]  # titles are printed
    # a dataset in two columns, once; `net` is trained on it
    assert config.table_inputs("t") == [
        "config/tables/t.yaml",
        *scores,
        "config/runs/net.yaml",
        "data/prepared/d.json",
        *words,
    ]
    assert config.table_inputs("u")[1:] == config.table_inputs("t")[1:]
    describe("figures", "side", "title: t\ncaption: c\nkind: comparison\nmethods: [input, net]\n"
             "panels: [{dataset: d, picture: a}, {dataset: d, picture: b}]\n")  # fmt: skip
    assert config.figure_inputs("side") == ["config/figures/side.yaml", *words[:2], "data/prepared/d.json", *scores]
    describe("figures", "bars", "title: t\ncaption: c\nkind: bars\nmethods: [net]\ncolumns: [{dataset: d, label: l}]\n")
    assert config.figure_inputs("bars") == ["config/figures/bars.yaml", words[1], scores[1]]
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
    for name, message in {"again": "ready has no `sources`", "twice": "mix has no `sources` and no `pairs`"}.items():
        with pytest.raises(ConfigError, match=message):
            config.prepare_inputs(name)


# ---------------------------------------------------------------- the whole graph


@pytest.fixture
def graph(runs):
    """An experiment whose table has a trained method, on pairs made of downloaded pictures, with FID."""
    describe("foundations", "f", "title: t\nlicence: l\nlocal: somewhere\n")
    for name in ("inception-fid", "lpips-vgg"):  # of the metric and of the loss
        describe("foundations", name, "title: t\nlicence: l\nlocal: somewhere\n")
    describe("datasets", "e", SOURCES)
    describe("datasets", "photos", SOURCES)
    describe("datasets", "test", "title: t\nlicence: l\nfrom: [photos]\ndegradations: {haze: {haze: {}}}\n")
    describe("protocols", "rgb", "title: t\nmetrics: [psnr, fid]\n")
    describe("tables", "t", "title: t\ncaption: c\nrows: [{title: r, methods: [further]}]\n"
             "columns: [{dataset: test, label: l, metrics: [psnr]}]\n")  # fmt: skip
    return Experiment(title="t", tables=["t"])


def test_the_inputs_of_each_kind_of_card(graph):
    assert config.inputs_of("results/scores/input/d.json") == config.score_inputs("input", "d")
    assert config.inputs_of("results/restored/input/d.json") == config.restore_inputs("input", "d")
    assert config.inputs_of("results/runs/full/drm.json") == config.stage_inputs("full", "drm")
    assert config.inputs_of("data/prepared/test.json") == ["config/datasets/test.yaml", "data/raw/photos.json"]
    assert config.inputs_of("data/latents/f/d.json") == [
        "config/datasets/d.yaml",
        "data/foundations/f.json",
        "data/prepared/d.json",
    ]
    assert config.inputs_of("data/raw/d.json") == ["config/datasets/d.yaml"]
    assert config.inputs_of("data/foundations/f.json") == ["config/foundations/f.yaml"]
    assert config.inputs_of("config/datasets/d.yaml") == config.inputs_of(config.REPORTED) == []


def test_a_sound_experiment_passes(graph):
    config.check(graph)


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("tables", "t"),
        ("methods", "further"),
        ("datasets", "test"),
        ("datasets", "photos"),  # below a card of data/prepared/
        ("protocols", "rgb"),
        ("foundations", "inception-fid"),  # below a card of data/foundations/
        ("foundations", "lpips-vgg"),
        ("foundations", "f"),
        ("runs", "further"),
        ("runs", "full"),  # two runs further down
        ("datasets", "e"),  # the training pictures of one of them
    ],
)
def test_a_fault_anywhere_below_an_experiment_is_named(graph, kind, name):
    path = config.path_of(kind, name)
    path.write_text(path.read_text(encoding="utf-8") + "nonsense: 1\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=f"{path}: 1 problem.*\n  nonsense: unknown key"):
        config.check(graph)
    path.unlink()
    with pytest.raises(ConfigError, match=f"{path}: no such file"):
        config.check(graph)


def test_a_fault_below_a_figure_is_named(graph):
    text = "title: t\ncaption: c\nkind: comparison\nmethods: [input]\npanels: [{dataset: gone, picture: a}]\n"
    describe("figures", "side", text)
    with pytest.raises(ConfigError, match=r"config/datasets/gone.yaml: no such file"):
        config.check(Experiment(title="t", tables=[], figures=["side"]))
