"""The folder of the site while it is written."""

import hashlib
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mperceiver import images
from mperceiver.config.experiments import Experiment
from mperceiver.files import write_text

if TYPE_CHECKING:
    import numpy as np


@dataclass
class SiteFolder:
    """Writes pages and puts the files beside them that they show, so that the folder is complete in itself."""

    folder: Path
    experiment: Experiment
    templates: Any  # a jinja2.Environment
    # Digest of a picture's pixels -> its path in the site.
    _places: dict[bytes, str] = field(init=False, default_factory=dict)

    def page(self, path: str, template: str, **values) -> None:
        """Write one page. Its template finds the way back to the site's folder in ``root``."""
        root = "../" * path.count("/")
        text = self.templates.get_template(template).render(root=root, site=self.experiment, **values)
        write_text(self.folder / path, text)

    def copy(self, file: Path | str) -> str:
        """Copy a file of the working directory into the site, once; return its path in the site."""
        place = f"files/{file}"
        if self._is_new(place):
            shutil.copyfile(file, self.folder / place)
        return place

    def add_text(self, file: Path | str, text: str) -> str:
        """Write a text into the site where ``copy`` puts a file of the working directory; return its path in the site."""
        place = f"files/{file}"
        write_text(self.folder / place, text)
        return place

    def add_picture(self, place: str, pixels: "np.ndarray") -> str:
        """Write a picture, uint8 (H, W, 3), into the site as WebP without loss; return its path in the site.

        That is ``place``, unless a picture of the same pixels is there: pages share one file. So do the tasks of a dataset, whose
        ground truths are often the same, and a method that returns its input.
        """
        digest = hashlib.sha256(repr(pixels.shape).encode() + pixels.tobytes()).digest()
        if digest not in self._places:
            if not self._is_new(place):
                raise ValueError(f"{place}: two pictures of one name")
            (self.folder / place).write_bytes(images.encode_small(pixels))
            self._places[digest] = place
        return self._places[digest]

    def _is_new(self, place: str) -> bool:
        (self.folder / place).parent.mkdir(parents=True, exist_ok=True)
        return not (self.folder / place).exists()
