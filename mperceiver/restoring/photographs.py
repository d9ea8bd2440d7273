"""Photographs: one file, or a folder of them, restored into PNGs.

A photograph's start noise comes from the sampler's seed alone, so that it is restored to the same bytes wherever it lies,
whatever is restored with it.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from mperceiver import config, files, images
from mperceiver.config.methods import Method
from mperceiver.images import PictureError
from mperceiver.restoring.restore import VIEWS, Job, Outcome, load, restore_all


@dataclass
class Photograph:
    """A file to restore into another; what it has beside its pixels goes along."""

    source: Path
    target: Path
    size: tuple[int, int] | None = None  # W, H, upright
    notes: list[str] = field(default_factory=list)
    kept: dict[str, bytes] = field(default_factory=dict)

    def read(self) -> np.ndarray:
        """Its pixels; the rest is remembered."""
        found = images.read(self.source)
        self.notes, self.kept, self.size = found.notes, found.kept, (found.pixels.shape[1], found.pixels.shape[0])
        return found.pixels

    def write(self, picture: np.ndarray) -> None:
        """Into its target, whole or not at all."""
        with files.whole(self.target) as beside:
            beside.write_bytes(images.encode(picture, **self.kept))


@dataclass
class Result:
    """What became of a photograph: ``error`` says why it was not restored."""

    photograph: Photograph
    outcome: Outcome
    seed: int

    @property
    def error(self) -> str | None:
        return self.outcome.error

    def record(self) -> dict[str, Any]:
        """For machines."""
        found, tiles = self.outcome, self.outcome.tiles
        return {
            "source": str(self.photograph.source),
            "path": None if found.error else str(self.photograph.target),
            "size": self.photograph.size,
            "probabilities": found.probabilities,
            "tiles": tiles and {"count": tiles.count, "px": [tiles.tile[1], tiles.tile[0]], "batch": tiles.batch},
            "seconds": round(found.seconds, 3),
            "seed": self.seed,
            "notes": self.photograph.notes,
            "error": found.error,
        }


def chosen(method: str, **changes: Any) -> Method:
    """A method for photographs, with what the command line says otherwise. Raises PictureError if it needs the truth."""
    spec = config.load("methods", method)
    if spec.kind == "vae":
        raise PictureError(
            f"{method} restores from the ground truth, which a photograph has not; choose another method"
        )
    if config.members(method) != [method]:
        raise PictureError(f"{method} is of kind {spec.kind} and restores nothing itself; choose another method")
    return spec.model_copy(update={key: value for key, value in changes.items() if value is not None})


def in_file(source: Path, target: Path) -> list[Photograph]:
    """One photograph. Raises PictureError if ``source`` is none by its name, ``target`` is no .png or is ``source``."""
    source, target = Path(source), Path(target)
    if source.suffix.lower() not in images.SUFFIXES:
        raise PictureError(f"{source}: pictures end in {', '.join(sorted(images.SUFFIXES))}")
    if not source.exists():
        raise PictureError(f"{source}: no such picture")
    if target.suffix.lower() != ".png":
        raise PictureError(f"{target}: a restored picture is written without loss; let its name end in .png")
    if target.resolve() == source.resolve() or (target.exists() and source.exists() and target.samefile(source)):
        raise PictureError(f"{target}: is the picture to restore; give the restored one another name")
    return [Photograph(source, target)]


def in_folder(folder: Path, target: Path) -> list[Photograph]:
    """The pictures in a folder, by name, to become ``target``/<stem>.png.

    Raises PictureError if there are none, if two would become one file, or if ``target`` is the folder itself.
    """
    folder, target = Path(folder), Path(target)
    if target.exists() and (not target.is_dir() or target.samefile(folder)):
        what = "is the folder to restore" if target.is_dir() else "is a file"
        raise PictureError(f"{target}: {what}; restored pictures need a folder of their own")
    sources = sorted(p for p in folder.iterdir() if p.suffix.lower() in images.SUFFIXES and not p.name.startswith("."))
    if not sources:
        raise PictureError(f"{folder}: no pictures in it; they end in {', '.join(sorted(images.SUFFIXES))}")
    by_stem: dict[str, Path] = {}
    for source in sources:
        other = by_stem.setdefault(source.stem, source)
        if other is not source:
            raise PictureError(
                f"{folder}: {other.name} and {source.name} would both become {source.stem}.png; rename one of them"
            )
    return [Photograph(source, target / f"{source.stem}.png") for source in sources]


def steps(spec: Method) -> int:
    """Of the sampler, over all views of one picture."""
    return spec.sampler.steps * len(VIEWS[spec.self_ensemble])


def restore(
    method: str, spec: Method, photographs: list[Photograph], on_step: Callable[[int], None] | None = None
) -> Iterator[Result]:
    """Restore photographs with ``spec`` of ``method``; yield each one's result, errors too, as it is done.

    ``on_step`` is called with 1 after each step of a sampler, see ``steps``.

    Raises ConfigError, LineageError: the method has no weights yet, or its tiles do not fit the memory.
    """
    seed, by_source = spec.sampler.seed, {str(p.source): p for p in photographs}
    jobs = (Job(name, photograph.read, photograph.write, seed) for name, photograph in by_source.items())
    restorer = load(method)
    if on_step and spec.kind == "mperceiver":
        restorer.on_step = on_step
    for outcome in restore_all(restorer, spec, jobs):
        if outcome.error and not outcome.error.startswith(outcome.job.name):  # what is read names itself
            outcome.error = f"{outcome.job.name}: {outcome.error}"
        yield Result(by_source[outcome.job.name], outcome, seed)
