"""Photographs to restore, of random pixels."""

from pathlib import Path

import numpy as np
from PIL import Image

from mperceiver import images


def pixels(height: int = 37, width: int = 53, seed: int = 0) -> np.ndarray:
    """Random pixels, uint8 (height, width, 3)."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def photo(name: str, picture: Image.Image | None = None, **options) -> np.ndarray:
    """Write a picture, by default one of random pixels, with PIL's ``options`` of its form; return its pixels."""
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    (picture or Image.fromarray(pixels())).save(name, **options)
    return np.asarray(picture) if picture else images.decode(name)
