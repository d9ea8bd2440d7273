"""The pictures of a figure's columns with what the predictor said of them, for the kinds of figures that show it."""

from pathlib import Path

import pandas as pd

from mperceiver import paths
from mperceiver.config.figures import Figure
from mperceiver.config.tables import ColumnGroup
from mperceiver.report import predictions
from mperceiver.report.figures.common import FigureError


def pictures_of(method: str, column: ColumnGroup) -> pd.DataFrame:
    """The pictures of a column's datasets and task, a row each, as ``predictions.read`` gives them.

    Raises FigureError where the method has not restored a dataset.
    """
    pictures = pd.concat([_read(method, dataset) for dataset in column.datasets])
    return pictures if column.task is None else pictures[pictures["task"] == column.task]


def _read(method: str, dataset: str) -> pd.DataFrame:
    try:
        return predictions.read(method, dataset)
    except FileNotFoundError as error:
        raise FigureError(
            f"{error.filename}: no such file; restore first: {paths.making(paths.restored_card(method, dataset))}"
        ) from None


def inputs_of(figure: Figure) -> list[Path]:
    """The files that the pictures of all columns are read from, each once."""
    datasets = dict.fromkeys(dataset for column in figure.columns for dataset in column.datasets)
    return [file for dataset in datasets for file in predictions.files_of(figure.methods[0], dataset)]
