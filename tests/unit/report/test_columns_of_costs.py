"""Columns of what a training and what restoring cost."""

from types import SimpleNamespace

from support import reports

from mperceiver import paths
from mperceiver.report.columns import cost, training
from mperceiver.report.grid import Value


def column(key):
    return SimpleNamespace(key=key)


def test_a_training_column(tree):
    phases = [{"share": 0.5, "batch": 2, "crop_px": 8}, {"share": 0.5, "batch": 4, "crop_px": 8}]
    network = {"steps": 1000, "accumulate": 2, "phases": phases, "architecture": "nafnet"}
    reports.dump("runs", "two", {"title": "t", "train": ["toys"], "network": network, "start_from": "one"})
    reports.card("results/runs/one/network.json", "train_network", result={"pictures": 1500, "cpu_seconds": 20.0})
    reports.card("results/runs/two/network.json", "train_network", result={})
    pictures, seconds = (
        lambda method, key=key: training.value(method, "toys", column(key)) for key in ("pictures", "cpu_seconds")
    )
    assert training.trainings("two") == [("two", "network"), ("one", "network")]
    assert pictures("one") == Value(1.5) and seconds("one") == Value(20.0)
    assert pictures("two") == Value(6.0 + 1.5) and seconds("two") == Value(why="not timed")
    assert pictures("input") == Value(why="none")
    reports.dump("methods", "sent", {"title": "t", "kind": "network", "run": "one", "weights": str(tree / "own")})
    assert training.inputs("sent", "toys") == [tree / "own/network.json"]
    assert pictures("sent") == Value(why="not trained")


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
