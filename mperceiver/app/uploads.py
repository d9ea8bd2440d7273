"""The files that people upload: read for the page, and removed when every page that they were uploaded to is closed."""

import contextlib
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mperceiver import images
from mperceiver.images import PictureError
from mperceiver.restoring.photographs import Photograph

MOST_PIXELS = 40_000_000  # of a photograph


@dataclass
class Uploaded(Photograph):
    """A photograph that is also kept as it was read, for the page to show; not larger than MOST_PIXELS."""

    before: Path = Path()

    def read(self) -> np.ndarray:
        """The pixels, uint8 (H, W, 3). Raises PictureError, which has the file's name without its folder on this machine."""
        try:
            return self._read()
        except PictureError as error:
            raise PictureError(str(error).replace(str(self.source), self.source.name)) from None

    def _read(self) -> np.ndarray:
        if self.source.suffix.lower() not in images.SUFFIXES:
            raise PictureError(f"{self.source}: a picture's name ends in {', '.join(sorted(images.SUFFIXES))}")
        if not self.source.is_file():
            raise PictureError(f"{self.source}: the file is not here any more; upload it again")
        pixels = super().read()
        if pixels.shape[0] * pixels.shape[1] > MOST_PIXELS:
            raise PictureError(
                f"{self.source}: {pixels.shape[1]}x{pixels.shape[0]} is more than {MOST_PIXELS:,} pixels, the most that this "
                "page takes; restore it on the command line: mperceiver restore"
            )
        self.before.write_bytes(images.encode(pixels, None, **self.metadata))
        return pixels


class Uploads:
    """Who uploaded which files. Two people who upload the same file have one file together."""

    def __init__(self) -> None:
        self._files: dict[str, set[Path]] = {}  # of each person
        self._lock = threading.Lock()

    def remember(self, person: str, files: Iterable[Path]) -> None:
        """These files are this person's, too, until ``forget``."""
        with self._lock:
            self._files.setdefault(person, set()).update(files)

    def forget(self, person: str) -> None:
        """Remove a person's files, each with its folder if that is empty then; not those that another person has, too."""
        with self._lock:
            files = self._files.pop(person, set()).difference(*self._files.values())
            for file in files:
                with contextlib.suppress(OSError):  # gone already, or beside another file
                    file.unlink(missing_ok=True)
                    file.parent.rmdir()
