"""Columns of kind ``predictor``: how often a method's degradation predictor is right, how well it is calibrated, and how often it is sure."""

from pathlib import Path

from mperceiver import config
from mperceiver.config.tables import ColumnGroup
from mperceiver.report import predictions
from mperceiver.report.grid import Column, Measure, Value

HAS_PICTURES = False


def measures(group: ColumnGroup) -> dict[str, Measure]:
    """Three columns. Being sure is neither good nor bad by itself: on a picture with nothing wrong it is bad."""
    return {
        "right": Measure("Right", 1, True, "%"),
        "calibration": Measure("Calibration error", 3, False),
        "sure": Measure("Sure", 1, None, "%"),
    }


def inputs(method: str, dataset: str) -> list[Path]:
    """The card of the restored pictures, and the probabilities."""
    return predictions.files_of(method, dataset)


def value(method: str, dataset: str, column: Column) -> Value:
    """Over the pictures of the column's task. Only `sure` is known of pictures whose task is none of the classes."""
    try:
        pictures = predictions.read(method, dataset)
    except FileNotFoundError:
        return Value(why="not restored" if config.load("methods", method).kind == "mperceiver" else "no predictor")
    if column.task:
        pictures = pictures[pictures["task"] == column.task]
    if pictures.empty:
        return Value(why=f"no pictures of {column.task}" if column.task else "no pictures")
    if column.key == "sure":
        return Value(100 * predictions.sure(pictures), n=len(pictures))
    predicted = predictions.predictions(pictures)
    if predicted is None:
        return Value(why="the predictor has no such class")
    number = 100 * predicted.accuracy() if column.key == "right" else predicted.calibration_error()
    return Value(number, n=len(predicted.right))
