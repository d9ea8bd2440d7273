"""Scores: the means in their cards, and the scores of single pictures in their CSVs."""

from functools import lru_cache
from typing import TYPE_CHECKING

from mperceiver import config, lineage, paths
from mperceiver.csvs import unguarded
from mperceiver.report.grid import TableError

if TYPE_CHECKING:
    import pandas as pd

INPUT = "input"  # the method that leaves the degraded pictures as they are (config/methods/input.yaml)
KEYS = {"n", "protocol", "protocol_sha256", "means", "tasks"}


def result(method: str, dataset: str) -> dict | None:
    """The `result` of a score card (mperceiver.scoring.datasets.score_dataset describes it); None before the scores exist.

    Raises LineageError for a broken card, TableError for one without a key that tables need.
    """
    card = _card(method, dataset)
    return None if card is None else card["result"]


def state_of_pairs(method: str, dataset: str) -> str | None:
    """SHA-256 of the card of the prepared pairs that a method was scored on; None before the scores exist, or if their card names none.

    Raises what ``result`` raises.
    """
    card = _card(method, dataset)
    return None if card is None else card["inputs"].get(str(paths.prepared_card(dataset)))


def _card(method: str, dataset: str) -> dict | None:
    card = paths.scores_card(method, dataset)
    if not card.is_file():
        return None
    status = card.stat()
    return _read(str(card.absolute()), status.st_mtime_ns, status.st_size, str(card))


@lru_cache(maxsize=4096)
def _read(_path: str, _written: int, _size: int, card: str) -> dict:
    """A table asks for the same card once for each metric, so the card is cached by its modification time and size."""
    content = lineage.read_card(card)
    if missing := KEYS - set(content["result"]):
        raise TableError(
            f"{card}: no {', '.join(sorted(missing))} in its result; score again: {paths.making_again(card)}"
        )
    return content


def why_absent(dataset: str) -> str:
    """Why there are no scores on a dataset: a person has to download its data first, or nothing has been run yet."""
    if paths.prepared_card(dataset).is_file():
        return "not run"
    sources = [config.load("datasets", name) for name in config.origins(dataset)]
    return "manual download" if any(source.access == "manual" for source in sources) else "not run"


def per_picture(method: str, dataset: str, task: str | None = None) -> "pd.DataFrame":
    """A row a picture (index: its id), with its task and a column of float64 for each metric, NaN where it has none.

    Empty before the scores exist.
    """
    import pandas as pd

    path = paths.scores_file(method, dataset)
    if not path.is_file():
        return pd.DataFrame({"task": pd.Series(dtype=str)}, index=pd.Index([], dtype=str, name="id"))
    pictures = pd.read_csv(path, dtype=str, keep_default_na=False, index_col="id")
    pictures.index, pictures["task"] = pictures.index.map(unguarded), pictures["task"].map(unguarded)
    metrics = pictures.columns.drop("task")
    pictures[metrics] = pictures[metrics].replace("", "nan").astype(float)
    return pictures if task is None else pictures[pictures["task"] == task]
