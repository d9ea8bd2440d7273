"""Typing mistakes in tables, figures, experiments and datasets: told when the work is planned, with file, key and the nearest name."""

from pathlib import Path

import pytest
from support.configs import SOURCES, describe

from mperceiver import config
from mperceiver.config import ConfigError, checks
from mperceiver.config.experiments import Experiment
from mperceiver.report import columns, figures

TABLE = "title: t\ncaption: c\nrows: [{title: r, methods: [input]}]\ncolumns: [%s]\n"
FIGURE = "title: t\ncaption: c\n"
PAPER = "table,task,dataset,method_type,method,metric,value,higher_is_better\n1,deraining,Rain1400,all-in-one,Ours,PSNR,33.0,true\n"
REPORTED = "{dataset: pairs, label: l, reported: {table: %s, task: %s, dataset: %s}}"


@pytest.fixture
def planned(world):
    describe("datasets", "clean", SOURCES)
    describe(
        "datasets", "pairs", "title: t\nlicence: l\nfrom: [clean]\ndegradations: {haze: {haze: {}}, rain: {rain: {}}}\n"
    )
    describe("protocols", "rgb", "title: t\nmetrics: [psnr, ssim]\n")
    describe("methods", "input", "title: t\nkind: identity\n")
    describe("methods", "net", "title: t\nkind: network\nrun: net\n")
    describe("methods", "told", "title: t\nkind: network\nrun: net\ntask: predicted\npredictor: ours\n")
    describe("methods", "ours", "title: t\nkind: mperceiver\nrun: ours\n")
    describe("methods", "uniform", "title: t\nlike: ours\nprobabilities: uniform\n")
    describe("methods", "both", "title: t\nkind: mean\nmethods: [ours, net]\n")
    describe("methods", "theirs", "title: t\nkind: reported\nreported: Ours\n")
    Path(config.REPORTED).parent.mkdir(parents=True)
    Path(config.REPORTED).write_text(PAPER, encoding="utf-8")
    return world


@pytest.mark.parametrize(
    ("column", "words"),
    [
        ("{dataset: pairs, task: hase, label: l}", r"tables/t.yaml: columns, l: task: pairs has no pictures of hase \(did you mean haze\?\)"),
        ("{dataset: [pairs, clean], task: haze, label: l}", "columns, l: task: clean has no pictures of haze; there is clean"),
        ("{dataset: pairs, label: l, metrics: [psnr, lpips]}", "metrics: lpips is not computed on pairs, whose protocol rgb has psnr, ssim"),
        ("{dataset: pairs, label: l, metrics: []}", "metrics: List should have at least 1 item"),
        ("{dataset: pairs, label: l, kind: trainin}", r"kind: there is no kind of column trainin \(did you mean training\?\)"),
        ("{dataset: pair, label: l}", r"datasets/pair.yaml: no such file; it is named in config/tables/t.yaml, line 4: .*The nearest datasets: pairs"),
        (REPORTED % (2, "deraining", "Rain1400"), r"columns, l: reported.table: .* has no table 2; there is 1"),
        (REPORTED % (1, "derain", "Rain1400"), r"reported.task: table 1 in .* has no derain \(did you mean deraining\?\)"),
        (REPORTED % (1, "deraining", "Rain140"), r"reported.dataset: table 1, deraining in .* has no Rain140 \(did you mean Rain1400\?\)"),
    ],
)  # fmt: skip
def test_a_column_that_cannot_be(planned, column, words):
    describe("tables", "t", TABLE % column)
    with pytest.raises(ConfigError, match=words):
        config.check(Experiment(title="t", tables=["t"]))


def test_a_method_that_the_paper_does_not_have(planned):
    describe("tables", "t", TABLE % (REPORTED % (1, "deraining", "Rain1400")))
    describe("methods", "input", "title: t\nkind: identity\nreported: Our\n")
    with pytest.raises(
        ConfigError, match=r"methods/input.yaml: reported: .* has no method Our \(did you mean Ours\?\)"
    ):
        config.check(Experiment(title="t", tables=["t"]))
    describe("methods", "input", "title: t\nkind: identity\nreported: Ours\n")
    config.check(Experiment(title="t", tables=["t"]))


def test_names_without_a_file_say_who_names_them(planned):
    describe("tables", "t", TABLE % "{dataset: pairs, label: l}")
    text = "title: >\n  A text of two lines, in which\n  rgbb is no name\n"
    rest = "licence: l\nfrom: [clean]\ndegradations: {haze: {haze: {}}}\nprotocol: rgbb\n"
    describe("datasets", "pairs", text + rest)
    message = r"protocols/rgbb.yaml: no such file; it is named in config/datasets/pairs.yaml, line 7: `protocol: rgbb`\. The nearest protocols: rgb"
    with pytest.raises(ConfigError, match=message):
        config.check(Experiment(title="t", tables=["t"]))
    with pytest.raises(ConfigError, match=message):
        config.prepare_inputs("pairs")  # the first that is done with it
    Path("config/night.yaml").write_text("title: Night\ntables: []\nfigures: [nigth]\n", encoding="utf-8")
    with pytest.raises(
        ConfigError, match=r"figures/nigth.yaml: no such file; it is named in config/night.yaml, line 3"
    ):
        config.check(config.parse(Path("config/night.yaml"), Experiment))


@pytest.mark.parametrize(
    ("figure", "words"),
    [
        ("kind: comparison\nmethods: [input]\n", "comparison needs `panels`"),
        ("kind: curves\n", "curves needs `runs`"),
        ("kind: bars\n", "bars needs `methods` and `columns`"),
        ("kind: bars\nmethods: [input]\ncolumns: [{dataset: pairs, label: l}, {dataset: pairs, label: m, metrics: [ssim]}]\n", "begin with the same"),
        ("kind: prompts\nruns: [a, b]\n", "one run"),
        ("kind: probabilities\nmethods: [a, b]\ncolumns: [{dataset: pairs, label: l}]\n", "probabilities is that of one method"),
        ("kind: probabilities\nmethods: [input]\ncolumns: [{dataset: pairs, label: l}]\n", "input is of kind identity"),
        ("kind: reliability\nmethods: [input]\ncolumns: [{dataset: pairs, label: l}]\n", "input is of kind identity.*no predictor"),
        ("kind: reliability\nmethods: [net]\ncolumns: [{dataset: pairs, label: l}]\n", "f.yaml: methods: net is of kind network; it has no predictor"),
        ("kind: probabilities\nmethods: [both]\ncolumns: [{dataset: pairs, label: l}]\n", "both is of kind mean; it has no predictor"),
        ("kind: reliability\nmethods: [uniform]\ncolumns: [{dataset: pairs, label: l}]\n", "uniform has `probabilities: uniform`, which are not"),
        ("kind: tradeoff\nmethods: [ours, net]\ncolumns: [{dataset: pairs, label: l}]\n", "methods: net is of kind network; it has no sampler"),
        ("kind: tradeoff\nmethods: [both]\ncolumns: [{dataset: pairs, label: l}]\n", "both is of kind mean; it has no sampler"),
        ("kind: comparison\nmethods: [both]\npanels: [{dataset: pairs, picture: a}]\n", "both is of kind mean; .*: name one of them, such as ours"),
        ("kind: comparison\nmethods: [theirs]\npanels: [{dataset: pairs, picture: a}]\n", "theirs is of kind reported; it has no pictures"),
        ("kind: curves\nruns: [net]\nmethods: [ours]\n", "`methods` does nothing in a figure of kind curves"),
        ("kind: bars\nmethods: [input]\nzoom_px: 8\ncolumns: [{dataset: pairs, label: l}]\n", "`zoom_px` does nothing in a figure of kind bars"),
        ("kind: bars\nmethods: [input]\ncolumns: [{dataset: pairs, task: hase, label: l}]\n", r"figures/f.yaml: columns, l: task: .*haze\?"),
        ("kind: bars\nmethods: [input]\ncolumns: [{dataset: pairs, kind: cost, label: l}]\n", "a figure shows scores only"),
    ],
)  # fmt: skip
def test_a_figure_that_cannot_be(planned, figure, words):
    describe("figures", "f", FIGURE + figure)
    with pytest.raises(ConfigError, match=words):
        config.figure_inputs("f")


@pytest.mark.parametrize(
    "figure",
    [
        "kind: reliability\nmethods: [told]\ncolumns: [{dataset: pairs, label: l}]\n",
        "kind: probabilities\nmethods: [ours]\ncolumns: [{dataset: pairs, label: l}]\n",
        "kind: bars\nmethods: [both, theirs]\ncolumns: [{dataset: pairs, label: l}]\n",
        "kind: comparison\nmethods: [input, net]\nzoom_px: 8\npanels: [{dataset: pairs, picture: a}]\n",
    ],
)
def test_a_figure_that_can_be(planned, figure):
    describe("figures", "f", FIGURE + figure)
    assert config.figure_inputs("f")


def test_kinds_have_a_module_of_their_name():
    """So that planning, which imports no column, knows which kinds there are."""
    assert checks._kinds_of_column() == sorted(columns.KINDS)
    assert set(figures.KINDS) == set(config.KINDS["figures"].model_fields["kind"].annotation.__args__)
