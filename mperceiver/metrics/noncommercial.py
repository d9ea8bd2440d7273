"""pyiqa, the one dependency that is not for commercial use: the only module that imports it.

NIQE, BRISQUE and the network of FID come from it. Where it is not installed (`uv remove pyiqa`), everything else works.
"""

from types import ModuleType


class MissingPackageError(RuntimeError):
    """A metric needs a package that is not installed; the message names both."""


def niqe_module() -> ModuleType:
    """pyiqa's NIQE. Raises MissingPackageError."""
    try:
        from pyiqa.archs import niqe_arch
    except ModuleNotFoundError as error:
        raise _explained("NIQE", error) from None
    return niqe_arch


def brisque_module() -> ModuleType:
    """pyiqa's BRISQUE. Raises MissingPackageError."""
    try:
        from pyiqa.archs import brisque_arch
    except ModuleNotFoundError as error:
        raise _explained("BRISQUE", error) from None
    return brisque_arch


def inception_module() -> ModuleType:
    """pyiqa's copy of pytorch-fid's Inception blocks. Raises MissingPackageError."""
    try:
        from pyiqa.archs import inception
    except ModuleNotFoundError as error:
        raise _explained("FID", error) from None
    return inception


def _explained(metric: str, error: ModuleNotFoundError) -> Exception:
    if (error.name or "").partition(".")[0] != "pyiqa":  # a package that pyiqa itself lacks
        return error
    return MissingPackageError(
        f"{metric} needs the package pyiqa, which is not installed (its licence forbids commercial use): uv add pyiqa"
    )
