"""Columns of kind ``training``: how many pictures a method's weights were trained on, and in how much CPU time."""

from pathlib import Path
from typing import Any

from mperceiver import config, lineage
from mperceiver.config.tables import ColumnGroup
from mperceiver.report.grid import Column, Measure, Value

HAS_PICTURES = False
CONVERTED = "convert"  # verb of the card of weights that were made of a published checkpoint


def measures(group: ColumnGroup) -> dict[str, Measure]:
    """Two columns: of all stages of the method's run, and of the runs that it started from."""
    return {"pictures": Measure("Pictures (k)", 1, True), "cpu_seconds": Measure("CPU time", 0, False, "s")}


def inputs(method: str, dataset: str) -> list[Path]:
    """The cards of the weights."""
    return list(config.training_cards(method).values())


def value(method: str, dataset: str, column: Column) -> Value:
    """The sum over the trainings; the dataset does not matter. Only a training whose length is CPU time has told it."""
    cards = inputs(method, dataset)
    if not cards:
        return Value(why="none")
    if not all(card.is_file() for card in cards):
        return Value(why="not trained")
    cards_of = {training: lineage.read_card(card) for training, card in config.training_cards(method).items()}
    if any(card["verb"] == CONVERTED for card in cards_of.values()):
        return Value(why="not trained here")
    results = [card["result"] for card in cards_of.values()]
    if column.key == "cpu_seconds":
        timed = all("cpu_seconds" in result for result in results)
        return Value(sum(result["cpu_seconds"] for result in results)) if timed else Value(why="not timed")
    pictures = [card["result"].get("pictures") or planned(card["spec"][stage]) for (_, stage), card in cards_of.items()]
    return Value(sum(pictures) / 1000)


def planned(stage: dict[str, Any]) -> float:
    """Pictures of a training of as many steps as ``stage`` says, which is a stage of a run as a card holds it."""
    return stage["steps"] * stage["accumulate"] * sum(phase["share"] * phase["batch"] for phase in stage["phases"])
