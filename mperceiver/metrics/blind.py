"""NIQE and BRISQUE: how natural a restored picture looks, without its ground truth."""

import math
from collections.abc import Callable
from functools import cache

import numpy as np

from mperceiver.config.protocols import Protocol
from mperceiver.metrics import noncommercial
from mperceiver.metrics.metric import Metric, Values
from mperceiver.metrics.pictures import Pictures, as_tensor, levels
from mperceiver.metrics.weights import WeightsError, weights_file

NIQE_SIDE = 192  # px; NIQE's statistics are over blocks of 96 px, at least two a side
BRISQUE_FEATURES = 36
BRISQUE_SIDE = 32  # px; BRISQUE looks at the picture at half its size too


def niqe(restored: Pictures, gt: Pictures | None, protocol: Protocol) -> Values:
    """NIQE (Mittal et al., doi:10.1109/LSP.2012.2227726) of the full-range luma as pyiqa computes it, with the authors'
    parameters. None for a picture below NIQE_SIDE px a side, or whose blocks are too flat for the statistics.
    """
    import torch

    calculate_niqe = noncommercial.niqe_module().calculate_niqe
    pictures = levels(restored, protocol)
    if min(pictures.shape[1:3]) < NIQE_SIDE:
        return [None] * len(pictures)
    mean, covariance = _pristine_statistics()

    def value(picture: np.ndarray) -> float:
        try:
            return calculate_niqe(
                as_tensor(picture[None]), mu_pris_param=mean, cov_pris_param=covariance, color_space="yiq"
            ).item()
        except torch.linalg.LinAlgError:  # no block has a texture that the statistics could be fitted to
            return math.nan

    return _finite(value, pictures)


def brisque(restored: Pictures, gt: Pictures | None, protocol: Protocol) -> Values:
    """BRISQUE (Mittal et al., doi:10.1109/TIP.2012.2214050) of the luma as pyiqa computes it, with the authors' support
    vector machine. None for a picture below BRISQUE_SIDE px a side.
    """
    pyiqa_brisque = noncommercial.brisque_module().brisque
    pictures = levels(restored, protocol)
    if min(pictures.shape[1:3]) < BRISQUE_SIDE:
        return [None] * len(pictures)
    coefficients, vectors, rho = _support_vectors()
    return _finite(
        lambda x: pyiqa_brisque(as_tensor(x[None]), sv_coef=coefficients, sv=vectors, rho=rho).item(), pictures
    )


METRICS = {
    "niqe": Metric("NIQE", 2, higher_is_better=False, needs_target=False, score=niqe),
    "brisque": Metric("BRISQUE", 2, higher_is_better=False, needs_target=False, score=brisque),
}


def _finite(value: Callable[[np.ndarray], float], pictures: np.ndarray) -> Values:
    """The value of each picture by itself, None where it is no finite number.

    Of several pictures at once, pyiqa's sums take other paths: the value of a picture would depend on those beside it.
    """
    import torch

    with torch.inference_mode():
        values = [value(picture) for picture in pictures]
    return [one if math.isfinite(one) else None for one in values]


@cache
def _pristine_statistics() -> tuple:
    """Mean (36,) and covariance (36, 36) of NIQE's features over undistorted photographs."""
    import torch

    with np.load(weights_file("niqe", "statistics.npz"), allow_pickle=False) as file:
        return torch.from_numpy(file["mu_pris_param"]), torch.from_numpy(file["cov_pris_param"])


@cache
def _support_vectors() -> tuple:
    """(coefficients (n, 1), support vectors (n, 36), rho) of the authors' BRISQUE model, a text of libsvm."""
    import torch

    path = weights_file("brisque", "live.svm")
    head, _, body = path.read_text(encoding="utf-8").partition("\nSV\n")
    try:
        rho = float(dict(line.split(" ", 1) for line in head.splitlines())["rho"])
        rows = [line.split() for line in body.splitlines()]
        vectors = torch.zeros(len(rows), BRISQUE_FEATURES)  # libsvm leaves zeros out
        for number, row in enumerate(rows):
            for index, value in (pair.split(":") for pair in row[1:]):
                vectors[number, int(index) - 1] = float(value)
        return torch.tensor([[float(row[0])] for row in rows]), vectors, rho
    except (KeyError, ValueError, IndexError) as error:
        raise WeightsError(f"{path}: not a libsvm model of BRISQUE ({error})") from None
