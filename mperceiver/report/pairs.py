"""Single prepared pictures, by dataset and picture id."""

from typing import TYPE_CHECKING

from mperceiver import paths

if TYPE_CHECKING:
    import numpy as np

    from mperceiver.data.read.loader import PreparedDataset


class PreparedPairs:
    """Prepared datasets, each opened once."""

    def __init__(self) -> None:
        self._open: dict[str, tuple[PreparedDataset, dict[str, int]] | None] = {}

    def pair(self, dataset: str, picture: str) -> "tuple[np.ndarray, np.ndarray | None] | None":
        """Input and ground truth, each uint8 (H, W, 3); None where the dataset is not here or has no such picture.

        A real picture without ground truth has None in its place.
        """
        if dataset not in self._open:
            self._open[dataset] = _open(dataset)
        opened = self._open[dataset]
        if opened is None:
            return None
        pairs, index = opened
        return (pairs.lq(index[picture]), ground_truth(pairs, index[picture])) if picture in index else None


def _open(dataset: str) -> "tuple[PreparedDataset, dict[str, int]] | None":
    from mperceiver.data.read.loader import PreparedDataset

    if not paths.prepared_file(dataset).is_file():
        return None
    pairs = PreparedDataset(dataset)
    return pairs, {name: i for i, name in enumerate(pairs.ids)}


def ground_truth(pairs: "PreparedDataset", index: int) -> "np.ndarray | None":
    """The ground truth of a prepared picture, uint8 (H, W, 3); None for a real picture that has none."""
    return pairs.gt(index) if pairs.has("gt", index) else None
