"""Restoring photographs into PNGs, one by one. Which ones, and where their PNGs go, is found by ``finding``.

A restored PNG carries as text the SHA-256 of its source, the name of its method, and the digest of what the method was (see
``definitions``), so that a later call knows whether it is what this call would write. So does a comparison.

The start noise of a photograph comes from the sampler's seed alone, and photographs go through the model one by one, so a
photograph is restored to the same bytes wherever its file lies and whatever is restored with it.
"""

import errno
import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from mperceiver import config, files, images
from mperceiver.config.methods import Method
from mperceiver.config.outside import RESTORED_ELSEWHERE
from mperceiver.images import PictureError
from mperceiver.restoring.definitions import definition
from mperceiver.restoring.restorers import load_restorer
from mperceiver.restoring.stream import RestoreOutcome, RestoreRequest, restore_all

# Keywords of a PNG's text.
SOURCE_SHA256, METHOD, DEFINITION = "mperceiver source SHA-256", "mperceiver method", "mperceiver definition"
OPTIONS = {"tile_px": "--tile", "memory_gib": "--memory-gib"}  # keys of a method that the command has an option for
GAP_PX = 8  # between the two pictures of a comparison


@dataclass
class Photograph:
    """A photograph's file and the PNG to write; the metadata of the file goes into the PNG."""

    source: Path
    target: Path
    method: str = ""
    definition: str = ""  # digest of what the method is
    sha256: str | None = None  # of the source; known once it was read
    size: tuple[int, int] | None = None  # (W, H), upright; known once it was read
    comparison: Path | None = None  # PNG to write with the picture before and after, side by side
    notes: list[str] = field(default_factory=list)  # how reading changed the picture, in words
    metadata: dict[str, bytes] = field(default_factory=dict)  # colour profile and EXIF
    _before: np.ndarray | None = None  # the pixels as they were read, kept for the comparison

    def read(self) -> np.ndarray:
        """The pixels, uint8 (H, W, 3); sets size, notes and metadata. Raises PictureError."""
        data = images.content(self.source)
        photo, self.sha256 = images.read_photograph(data, str(self.source)), hashlib.sha256(data).hexdigest()
        self.notes, self.metadata = photo.notes, photo.metadata
        self.size = (photo.pixels.shape[1], photo.pixels.shape[0])
        self._before = photo.pixels if self.comparison else None
        return photo.pixels

    def write(self, picture: np.ndarray) -> None:
        """Write the restored picture, uint8 (H, W, 3), whole or not at all. Raises PictureError for a name that its disk does not take."""
        try:
            self._write(picture)
        except OSError as error:
            if error.errno != errno.ENAMETOOLONG:
                raise
            raise PictureError(
                f"{self.source}: {error.filename or self.target}: the name is too long for this disk; rename the photograph"
            ) from None

    def _write(self, picture: np.ndarray) -> None:
        text = {SOURCE_SHA256: self.sha256 or "", METHOD: self.method, DEFINITION: self.definition}
        with files.atomic_file(self.target) as beside:
            beside.write_bytes(images.encode(picture, text, **self.metadata))
        if self.comparison is not None and self._before is not None:
            gap = np.full((len(picture), GAP_PX, 3), 255, np.uint8)
            with files.atomic_file(self.comparison) as beside:
                beside.write_bytes(
                    images.encode(np.concatenate([self._before, gap, picture], 1), text, **self.metadata)
                )
            self._before = None

    def is_restored(self, method: str, definition: str) -> bool:
        """Whether every PNG to write is there, and is what ``method``, being what it is now, restored from the source as it is now."""
        outputs = [output for output in (self.target, self.comparison) if output]
        try:
            if not all(file.is_file() for file in (self.source, *outputs)):  # opening a pipe would wait for ever
                return False
            written = [output.read_bytes() for output in outputs]
            expected = {SOURCE_SHA256: files.sha256(self.source), METHOD: method, DEFINITION: definition}
        except OSError:
            return False
        return all(images.text_of(data, key) == value for data in written for key, value in expected.items())


@dataclass
class PhotographResult:
    """A photograph and how its restoration ended."""

    photograph: Photograph
    outcome: RestoreOutcome
    seed: int

    @property
    def error(self) -> str | None:
        """Why it was not restored; None if it was."""
        return self.outcome.error

    def record(self) -> dict[str, Any]:
        """The result as a dictionary of what JSON can hold."""
        outcome, tiles = self.outcome, self.outcome.tiles
        return {
            "source": str(self.photograph.source),
            "path": None if outcome.error else str(self.photograph.target),
            "size": self.photograph.size,
            "probabilities": outcome.probabilities,
            "clean": outcome.clean,
            "tiles": tiles and {"count": tiles.count, "px": [tiles.tile[1], tiles.tile[0]], "batch": tiles.batch},
            "seconds": round(outcome.seconds, 3),
            "seed": self.seed,
            "notes": self.photograph.notes,
            "error": outcome.error,
        }


def method_for_photographs(method: str, **changes: Any) -> Method:
    """The method's specification, with other values for some of its keys (None: its own).

    Raises PictureError if it cannot restore photographs; ConfigError if a value is none that its file could have.
    """
    spec = config.load("methods", method)
    if spec.kind == "vae":
        raise PictureError(f"{method} needs the ground truth, which a photograph does not have; choose another method")
    if spec.kind in RESTORED_ELSEWHERE:
        raise PictureError(
            f"{method} is of kind {spec.kind}: another program restores with it, and only datasets; choose another method"
        )
    if config.members(method) != [method]:
        raise PictureError(f"{method} is of kind {spec.kind} and restores nothing itself; choose another method")
    return config.with_options(spec, {OPTIONS.get(key, key): (key, value) for key, value in changes.items()})


def views(spec: Method) -> int:
    """The number of views of a picture that go through the model: 1 without a self-ensemble."""
    if spec.self_ensemble == "none":
        return 1
    from mperceiver.restoring.ensemble import VIEWS  # imports torch, which a wrong argument should not wait for

    return len(VIEWS[spec.self_ensemble])


def restore_each(
    method: str, spec: Method, photographs: list[Photograph], on_share: Callable[[float], None] | None = None
) -> Iterator[PhotographResult]:
    """Restore photographs with the weights of ``method`` as ``spec`` says; yield each result, also a failed one.

    The model is loaded after the first photograph that can be read. The errors of those before it do not wait for the model.

    ``on_share``: see ``load_restorer``; it hears of each of a picture's ``views``, and before that of a share of 0, when the model is
    loaded.

    Raises ConfigError, LineageError: the method's weights are missing, or its tiles cannot be cut.
    """
    seed, by_source = spec.sampler.seed, {str(p.source): p for p in photographs}
    now = definition(method, spec)
    for photograph in photographs:
        photograph.method, photograph.definition = method, now
    requests = (RestoreRequest(name, photo.read, photo.write, seed) for name, photo in by_source.items())
    for request in requests:
        try:
            picture = [request.read()]
            break
        except PictureError as error:
            yield _result(RestoreOutcome(request, str(error)), by_source)
    else:
        return
    first = replace(request, read=picture.pop)  # it gives the picture away, so that nothing keeps it in memory
    restorer = load_restorer(method, on_share)
    if on_share:
        on_share(0)
    for outcome in restore_all(restorer, spec, chain([first], requests), alone=True):
        yield _result(outcome, by_source)


def _result(outcome: RestoreOutcome, by_source: dict[str, Photograph]) -> PhotographResult:
    name = outcome.request.name
    if outcome.error and not outcome.error.startswith(name):  # an error of reading already names the file
        outcome.error = f"{name}: {outcome.error}"
    return PhotographResult(by_source[name], outcome, outcome.request.seed)
