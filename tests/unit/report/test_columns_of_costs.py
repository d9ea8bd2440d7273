"""Columns of what a training and what restoring cost."""

from pathlib import Path
from types import SimpleNamespace

from support import reports
from support.printed import yaml_of

from mperceiver import config, paths
from mperceiver.report.columns import cost, training
from mperceiver.report.grid import Value


def column(key):
    return SimpleNamespace(key=key)


def test_a_training_column(tree):
    phases = [{"share": 0.5, "batch": 2, "crop_px": 8}, {"share": 0.5, "batch": 4, "crop_px": 8}]
    network = {"steps": 1000, "accumulate": 2, "phases": phases, "architecture": "nafnet"}
    reports.dump("runs", "two", {"title": "t", "train": ["toys"], "network": network, "start_from": "one"})
    reports.card("results/runs/one/network.json", "train_network", result={"pictures": 1500, "cpu_seconds": 20.0})
    spec = {
        "network": network | {"steps": 500}
    }  # of the weights that are there; the file asks for another training now
    reports.card("results/runs/two/network.json", "train_network", spec=spec, result={})
    pictures, seconds = (
        lambda method, key=key: training.value(method, "toys", column(key)) for key in ("pictures", "cpu_seconds")
    )
    assert config.trainings("two") == [("two", "network"), ("one", "network")]
    assert pictures("one") == Value(1.5) and seconds("one") == Value(20.0)
    assert pictures("two") == Value(3.0 + 1.5) and seconds("two") == Value(why="not timed")
    assert pictures("input") == Value(why="none")
    reports.card("results/runs/one/network.json", "convert", result={})
    assert pictures("two") == Value(why="not trained here")
    reports.dump("methods", "sent", {"title": "t", "kind": "network", "run": "one", "weights": str(tree / "own/one")})
    assert training.inputs("sent", "toys") == [tree / "own/one/network.json"]
    assert pictures("sent") == Value(why="not trained")


def test_the_training_of_a_predictor_that_only_tells_the_task_is_not_counted(tree):
    phases = [{"batch": 1, "crop_px": 8}]
    stage = {"steps": 4, "phases": phases}
    telling = {"title": "p", "foundation": "toy", "train": ["toys"], "tasks": ["haze", "rain"], "predictor": stage}
    reports.dump("runs", "telling", telling)
    method = {"title": "t", "kind": "network", "run": "two", "task": "predicted", "predictor": "telling"}
    reports.dump("methods", "told", method)
    reports.dump("runs", "two", yaml_of("runs", "two") | {"start_from": "one"})
    cards = ("results/runs/one/network.json", "results/runs/two/network.json", "results/runs/telling/predictor.json")
    for card in cards:
        Path(card).parent.mkdir(exist_ok=True)
        reports.card(card, "train", result={"pictures": 1500, "cpu_seconds": 100.0})
    assert config.method_weights("told")["predictor"] == "telling"
    assert set(map(str, training.inputs("told", "toys"))) == set(cards[:2])
    assert training.value("told", "toys", column("pictures")) == Value(3.0)
    assert training.value("told", "toys", column("cpu_seconds")) == Value(200.0)


def test_a_cost_column(tree):
    assert cost.value("one", "toys", column("parameters")) == Value(why="not measured")
    result = {"parameters": 2_500_000, "sizes": {"64": {"gmac": 1.5, "seconds": 0.25, "gib": 3.0}}}
    reports.card(str(paths.cost_card("one")), "measure", result=result)
    assert cost.value("one", "toys", column("parameters")) == Value(2.5)
    assert [cost.value("one", "toys", column(f"{n}-64")) for n in cost.OF_PICTURE] == [
        Value(1.5),
        Value(0.25),
        Value(3.0),
    ]
    assert cost.value("one", "toys", column("gib-128")) == Value(why="not measured at 128 px: mperceiver measure one")
