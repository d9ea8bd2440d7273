"""The folder of the site while it is written."""

import shutil
from dataclasses import dataclass
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

    def add_picture(self, place: str, pixels: "np.ndarray") -> str:
        """Write a picture, uint8 (H, W, 3), into the site as WebP without loss, once; return ``place``, its path in the site."""
        if self._is_new(place):
            (self.folder / place).write_bytes(images.encode_small(pixels))
        return place

    def _is_new(self, place: str) -> bool:
        (self.folder / place).parent.mkdir(parents=True, exist_ok=True)
        return not (self.folder / place).exists()
