"""What the degradation predictor said of the pictures of a dataset, and how often it was right."""

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from mperceiver import paths
from mperceiver.config.base import NOTHING_WRONG, SURE
from mperceiver.csvs import unguarded

if TYPE_CHECKING:
    import pandas as pd

BINS = 10  # of equal width, over the probability of the most probable class


class Predictions(NamedTuple):
    """Of each picture whose task is one of the classes: the probability of the most probable class, and whether it is the task's."""

    confidence: np.ndarray  # float (N,) in [0, 1]
    right: np.ndarray  # bool (N,)

    def accuracy(self) -> float:
        """Share of the pictures whose most probable class is their task's."""
        return float(self.right.mean())

    def bins(self) -> list[tuple[float, float, int]]:
        """(mean confidence, accuracy, number of pictures) of each bin that has pictures, in order of confidence."""
        number = np.minimum((self.confidence * BINS).astype(int), BINS - 1)
        pairs = [(self.confidence[number == k], self.right[number == k]) for k in np.unique(number)]
        return [(float(confidence.mean()), float(right.mean()), len(right)) for confidence, right in pairs]

    def calibration_error(self) -> float:
        """Expected calibration error, in [0, 1]: the mean of |accuracy - confidence| over the bins, each weighted by its pictures.

        Naeini et al., AAAI 2015, doi:10.1609/aaai.v29i1.9602.
        """
        return sum(count * abs(right - confidence) for confidence, right, count in self.bins()) / len(self.right)


def read(method: str, dataset: str) -> "pd.DataFrame":
    """The columns `id`, `task`, and a probability in [0, 1] for each class: a row a picture.

    Of a predictor that has a class for clean pictures, also its probability, `nothing wrong`, which is shared out among the others.

    Raises FileNotFoundError where the method has not restored the dataset, or has no predictor.
    """
    import pandas as pd

    path = paths.probabilities_file(method, dataset)
    texts = {"id": str, "task": str}
    table = pd.read_csv(path, dtype=texts, keep_default_na=False)
    return table.assign(**{column: table[column].map(unguarded) for column in texts})


def classes(pictures: "pd.DataFrame") -> "pd.DataFrame":
    """The probabilities of the degradations alone, a column each."""
    return pictures.drop(columns=["id", "task", NOTHING_WRONG], errors="ignore")


def predictions(pictures: "pd.DataFrame") -> Predictions | None:
    """What was predicted of the pictures whose task is one of the classes; None if there are none."""
    known = pictures[pictures["task"].isin(classes(pictures).columns)]
    if known.empty:
        return None
    of_class = classes(known)
    right = of_class.idxmax(axis=1) == known["task"]
    return Predictions(of_class.max(axis=1).to_numpy(float), right.to_numpy(bool))


def sure(pictures: "pd.DataFrame") -> float:
    """Share of the pictures whose most probable class has a probability of at least SURE."""
    return float((classes(pictures).max(axis=1) >= SURE).mean())


def called_clean(pictures: "pd.DataFrame") -> float | None:
    """Share of the pictures that are clean with a probability of at least SURE; None of a predictor that has no class for them."""
    return float((pictures[NOTHING_WRONG] >= SURE).mean()) if NOTHING_WRONG in pictures else None


def among_most_probable(pictures: "pd.DataFrame", mixed: dict[str, set[str]]) -> "pd.Series":
    """For each picture of a mix, how many of its degradations are among the most probable classes, as many as the mix has.

    Args:
        mixed: task -> its degradations. Those that are no class of the predictor are left out; tasks without any, too.
    """
    import pandas as pd

    of_class = classes(pictures)
    known = {task: names & set(of_class.columns) for task, names in mixed.items()}
    rows = pictures.index[pictures["task"].map(lambda task: bool(known.get(task)))]
    counts = {}
    for row in rows:
        names = known[pictures.at[row, "task"]]
        counts[row] = len(names & set(of_class.loc[row].astype(float).nlargest(len(names)).index))
    return pd.Series(counts, dtype=int)


def files_of(method: str, dataset: str) -> list[Path]:
    """The files that ``read`` depends on: the card of the restored pictures, and the probabilities."""
    return [paths.restored_card(method, dataset), paths.probabilities_file(method, dataset)]
