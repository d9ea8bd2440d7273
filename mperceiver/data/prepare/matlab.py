"""Pictures in an array of a MATLAB file, as some datasets publish them."""

from pathlib import Path

import numpy as np

from mperceiver.data import DataError


def extract_array(file: Path, name: str, key: str | None, target: Path) -> tuple[int, ...]:
    """Write an array of a MATLAB file as .npy (N, H, W, 3), uint8, which processes can map; returns that shape.

    Args:
        file: the MATLAB file, of a version before 7.3.
        name: what errors call the file.
        key: the array's name; None where it is the only one.
        target: the .npy file to write.

    Raises DataError: the file is damaged or too new, or has no such array of pictures.
    """
    from scipy.io import loadmat, whosmat

    try:
        arrays = [array for array, _, _ in whosmat(file)]
        key = key or (arrays[0] if len(arrays) == 1 else None)
        if key not in arrays:
            raise DataError(f"{name}: has no array {key or 'that is its only one'}, but {', '.join(arrays)}")
        array = loadmat(file, variable_names=[key])[key]
    except NotImplementedError:  # SciPy raises it for HDF5
        raise DataError(
            f"{name}: saved by MATLAB 7.3 or later, which cannot be read here; in MATLAB: load it, then save(..., '-v7')"
        ) from None
    except DataError:
        raise
    except Exception as error:  # SciPy and zlib raise many classes for damaged bytes
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise DataError(f"{name}: not a whole MATLAB file ({error}); download it again") from None
    if array.dtype != np.uint8 or array.ndim < 4 or array.shape[-1] != 3:
        raise DataError(f"{name}: {key} is {array.dtype} {array.shape}, not uint8 (..., H, W, 3)")
    pictures = array.reshape(-1, *array.shape[-3:])
    np.save(target, pictures)
    return pictures.shape
