"""Reading pictures of 16 bits a value, for datasets that keep them (`pairs.bits`) and for `explain`. All other readers round to 8 bits."""

from pathlib import Path

import numpy as np

from mperceiver.images import forms
from mperceiver.images.limits import PictureError
from mperceiver.images.png import bits_of, rounded, values_of
from mperceiver.images.reading import content, read_photograph

ROUNDED = "bit rounded to 8"  # the end of a note that a picture had more than 8 bits


def decode_deep(source: bytes | Path | str, name: str | None = None) -> np.ndarray:
    """Decode a picture to uint16 RGB (H, W, 3), 0 to 65,535; v of 8 bits becomes 257 v. Arguments, errors: ``decode_exact``."""
    picture = decode_exact(source, name)
    return picture if picture.dtype == np.uint16 else picture.astype(np.uint16) * 257


def decode_exact(source: bytes | Path | str, name: str | None = None, notes: list[str] | None = None) -> np.ndarray:
    """Decode a picture to RGB (H, W, 3) of the bits that its file has: uint8, or uint16 of 0 to 65,535.

    Args:
        source: the file's content, or its path.
        name: what errors call the picture; its path by default.
        notes: gets how reading changed the picture, in words.

    Raises:
        PictureError: as ``decode``; also for a picture of more than 8 bits that is no plain PNG of 16 bits, upright, in RGB or
            grey: it would lose them.
    """
    name = name or (str(source) if not isinstance(source, bytes) else "picture")
    data = source if isinstance(source, bytes) else content(source, name)
    photograph = read_photograph(data, name)
    eight = photograph.pixels
    if notes is not None:
        notes += [note for note in photograph.notes if not note.endswith(ROUNDED)]
    if not any(note.endswith(ROUNDED) for note in photograph.notes):
        return eight
    values = values_of(data, name) if forms.form_of(data) == "PNG" else None
    if values is not None:
        values = np.ascontiguousarray(np.broadcast_to(values, (*values.shape[:2], 3)))
    if values is None or values.shape != eight.shape or not np.array_equal(rounded(values), eight):
        raise PictureError(
            f"{name}: its values have more than 8 bits, which are kept of upright PNG files of RGB or grey only; save it as one. "
            "A dataset without `bits: 16` in its `pairs` rounds it to 8 bits"
        )
    return values


def is_deep(data: bytes) -> bool:
    """Whether a file is a PNG of 16 bits a value; ``data`` may be its first bytes."""
    return bits_of(data) == 16
