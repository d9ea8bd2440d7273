"""The clean pictures from which a small foundation learns."""

import numpy as np
import torch
from torch import Tensor

from mperceiver.data.read.loader import PreparedDataset


class PicturePool:
    """Clean pictures in memory as uint8. A crop is drawn from a dataset, each equally likely, then from one of its pictures."""

    def __init__(self, datasets: list[str]) -> None:
        readers = [PreparedDataset(name) for name in datasets]
        self.datasets = [[reader.gt(i) for i in range(len(reader))] for reader in readers]

    def crops(self, rng: np.random.Generator, count: int, side: int) -> np.ndarray:
        """Random square crops, uint8 (count, side, side, 3), about half of them mirrored."""
        crops = np.empty((count, side, side, 3), np.uint8)
        for i in range(count):
            pictures = self.datasets[rng.integers(len(self.datasets))]
            picture = pictures[rng.integers(len(pictures))]
            top, left = rng.integers(picture.shape[0] - side + 1), rng.integers(picture.shape[1] - side + 1)
            crop = picture[top : top + side, left : left + side]
            crops[i] = crop[:, ::-1] if rng.random() < 0.5 else crop
        return crops

    def tensor(self, rng: np.random.Generator, count: int, side: int) -> Tensor:
        """The same as float32 (count, 3, side, side) in [0, 1]."""
        return torch.from_numpy(self.crops(rng, count, side)).permute(0, 3, 1, 2).float() / 255
