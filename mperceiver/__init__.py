"""MPerceiver: all-in-one image restoration with a frozen Stable Diffusion (CVPR 2024).

``mperceiver.load("small").restore(picture)`` restores a picture; see ``mperceiver.library``.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mperceiver.library import LoadedMethod

__version__ = "0.1.0"


def load(method: str) -> "LoadedMethod":
    """A method with its weights, on the GPU where there is one.

    Args:
        method: stem of config/methods/<method>.yaml in the working directory; where that has no config/methods/ (or config/foundations/),
            of a file that ships with the package.

    Raises:
        ConfigError, LineageError, PictureError: there is no such method, its weights are missing, or it cannot restore photographs.
    """
    # Imported by name: every module imports this one, so that an import here would be an arrow from all of them to the library.
    return import_module("mperceiver.library").LoadedMethod(method)
