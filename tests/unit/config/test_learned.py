"""What a method was trained on, and which prepared pairs a table compares for it."""

from pathlib import Path

import pytest
from support.configs import SOURCES, STAGE, describe

from mperceiver import config


@pytest.fixture
def planned(world):
    """Table `t` with the scores of `ours`, which run `full` trains on `pairs`, and of `shipped`, whose weights are in a folder, on `test`."""
    describe("datasets", "photos", SOURCES)
    for name in ("pairs", "test"):
        describe("datasets", name, "title: t\nlicence: l\nfrom: [photos]\ndegradations: {haze: {haze: {}}}\n")
    describe("protocols", "rgb", "title: t\nmetrics: [psnr]\n")
    describe("runs", "full", f"title: t\ntrain: [pairs]\nnetwork: {{architecture: nafnet, {STAGE[1:]}\n")
    describe("methods", "ours", "title: t\nkind: network\nrun: full\n")
    describe("methods", "shipped", "title: t\nkind: network\nrun: full\nweights: brought/full\n")
    table = "title: t\ncaption: c\nrows: [{title: r, methods: [METHOD]}]\ncolumns: [{dataset: test, label: l, metrics: [psnr]}]\n"
    for method in ("ours", "shipped"):
        describe("tables", method, table.replace("METHOD", method))
    return world


def _make(card: str, *outputs: str) -> None:
    for file in (card, *outputs):
        Path(file).parent.mkdir(parents=True, exist_ok=True)
        Path(file).write_text("{}", encoding="utf-8")


def test_a_training_set_that_will_be_prepared_anyway_is_an_input_from_the_start(planned):
    """Else Snakemake would find another set of inputs after the work than before it, and make every table twice."""
    before = config.table_inputs("ours")
    assert "data/prepared/pairs.json" in before and "data/prepared/test.json" in before
    _make("data/prepared/pairs.json", "data/prepared/pairs.arrow")
    _make("results/runs/full/network.json")
    assert config.table_inputs("ours") == before
    _make("data/prepared/test.json", "data/prepared/test.arrow")
    _make("results/scores/ours/test.json")
    assert config.table_inputs("ours") == before


@pytest.mark.parametrize("here", ["results/runs/full/network.json", "results/restored/ours/test.json"])
def test_a_training_set_that_nothing_else_needs_is_not_asked_for(planned, here):
    _make(here)
    assert "data/prepared/pairs.json" not in config.table_inputs("ours")


def test_weights_in_a_folder_ask_for_no_training_set(planned):
    inputs = config.table_inputs("shipped")
    assert "data/prepared/pairs.json" not in inputs and "data/prepared/test.json" in inputs
    _make("data/prepared/pairs.json")  # its pairs are not here
    assert config.table_inputs("shipped") == inputs
    _make("data/prepared/pairs.json", "data/prepared/pairs.arrow")
    assert {*config.table_inputs("shipped")} - {*inputs} == {"data/prepared/pairs.json"}


def test_what_another_project_trained_on_may_be_no_dataset_here(planned):
    describe(
        "methods",
        "theirs",
        "title: t\nkind: command\ncommand: {run: 'cp {input}/* {output}'}\ntrained_on: [pairs, DIV2K and more]\n",
    )
    assert config.learned_from("theirs") == ["pairs", "DIV2K and more"]
    assert not config.is_prepared("DIV2K and more") and not config.is_prepared("some words " * 30)
