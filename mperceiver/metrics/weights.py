"""Weights of metrics: files of a staged foundation, held to the digests in its card, and read without running any of them."""

import pickle
from pathlib import Path

import numpy as np

from mperceiver import lineage, paths
from mperceiver.files import staged_again, verify_checksums


class WeightsError(RuntimeError):
    """The weights of a metric are missing or not what they should be; the message names the file and the next command."""


def weights_digests(foundation: str) -> dict[Path, str]:
    """The files of a staged foundation and their SHA-256, each as the foundation's card names it.

    Raises WeightsError if the foundation is not staged, ChecksumError if a file was changed since.
    """
    card, folder = paths.foundation_card(foundation), paths.foundation_folder(foundation)
    command = f"mperceiver foundation {foundation}"
    if not card.is_file() or not folder.is_dir():
        raise WeightsError(f"{folder}: the weights of a metric are missing; stage them once: {command}")
    digests = {file: entry["sha256"] for file, entry in lineage.read_card(card)["result"]["files"].items()}
    verify_checksums(folder, digests, staged_again(command))
    return {folder / file: digest for file, digest in digests.items()}


def weights_file(foundation: str, name: str) -> Path:
    """One file of a staged foundation. Raises WeightsError, ChecksumError: see ``weights_digests``."""
    path = paths.foundation_folder(foundation) / name
    if path not in weights_digests(foundation):
        raise WeightsError(
            f"{paths.foundation_card(foundation)}: names no {name}; stage it again: mperceiver foundation {foundation}"
        )
    return path


_reconstruct = np.empty(0).__reduce__()[0]  # of numpy.core or numpy._core, by the version of numpy
ALLOWED = {
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy._core.multiarray", "_reconstruct"): _reconstruct,
}


class _ArraysOnly(pickle.Unpickler):
    """Builds dicts, lists, numbers, text and NumPy arrays, and nothing else."""

    def find_class(self, module: str, name: str):
        if (module, name) not in ALLOWED:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}")
        return ALLOWED[module, name]


def read_tensors(path: Path) -> dict:
    """The tensors that torch saved in a file. Raises WeightsError if it is damaged, or could run code."""
    import torch

    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except OSError:
        raise
    except Exception as error:  # zipfile, pickle and torch raise a dozen classes, which have nothing in common
        raise WeightsError(f"{path}: not a file of tensors, or a damaged one ({error})") from None


def read_arrays(path: Path) -> dict:
    """The arrays of a pickle that holds nothing else. Raises WeightsError for a pickle that could run code."""
    try:
        with path.open("rb") as file:
            return _ArraysOnly(file).load()
    except OSError:
        raise
    except Exception as error:  # a pickle that is damaged can make its reader raise anything
        raise WeightsError(f"{path}: not a pickle of arrays only ({error})") from None
