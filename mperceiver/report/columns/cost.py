"""Columns of kind ``cost``: a method's parameters, or with `px` its work, time and memory at a picture of that side."""

from pathlib import Path

from mperceiver import lineage, paths
from mperceiver.config.tables import ColumnGroup
from mperceiver.report.grid import Column, Measure, Value

HAS_PICTURES = False
OF_PICTURE = {
    "gmac": Measure("GMAC", 1, False),
    "seconds": Measure("Seconds", 2, False, "s"),
    "gib": Measure("Memory", 2, False, "GiB"),
}


def measures(group: ColumnGroup) -> dict[str, Measure]:
    """Three columns for a size of picture; the parameters, in millions, without one."""
    if group.px is None:
        return {"parameters": Measure("Parameters (M)", 2, False)}
    return {f"{name}-{group.px}": measure for name, measure in OF_PICTURE.items()}


def inputs(method: str, dataset: str) -> list[Path]:
    """The card of the costs."""
    return [paths.cost_card(method)]


def value(method: str, dataset: str, column: Column) -> Value:
    """What `mperceiver measure` measured; the dataset does not matter."""
    card = paths.cost_card(method)
    if not card.is_file():
        return Value(why="not measured")
    costs = lineage.read_card(card)["result"]
    if column.key == "parameters":
        return Value(costs["parameters"] / 1e6)
    name, _, px = column.key.partition("-")
    if px not in costs["sizes"]:
        return Value(why=f"not measured at {px} px: mperceiver measure {method}")
    return Value(costs["sizes"][px][name])
