"""Datasets of a test: their files in config/, and the pictures that they name."""

from pathlib import Path

import numpy as np

from mperceiver import images

HEAD = "title: t\nlicence: l\n"


def describe(name: str, text: str) -> None:
    Path(f"config/datasets/{name}.yaml").write_text(HEAD + text, encoding="utf-8")


def picture(seed: int, height: int = 48, width: int = 64) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def put(folder: Path | str, *names: str, height: int = 48, width: int = 64) -> Path:
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for i, name in enumerate(names):
        (folder / name).write_bytes(images.encode(picture(i, height, width)))
    return folder


def local(name: str, folder: str, extra: str = "", more: str = "") -> None:
    describe(name, f"sources:\n  - source: local\n    folder: {folder}\n{extra}{more}")


def generated(name: str, count: int = 3, size_px: int = 48, seed: int = 0) -> None:
    describe(
        name,
        f"sources: [{{source: generated, generator: dead-leaves, count: {count}, size_px: {size_px}}}]\nseed: {seed}\n",
    )


def nothing_in(folder: str) -> bool:
    return not Path(folder).exists() or not list(Path(folder).iterdir())
