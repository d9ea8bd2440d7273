"""Degradations: milliseconds a picture for each family with its default numbers and for each mix of MID6, on one core.

    uv run --with albumentations==1.4.24 python benchmarks/degradations.py [--out benchmarks/results/NAME.json]

Beside them, for scale: what decoding the picture's PNG and encoding it again costs, which `prepare` does as well, and, where it is
installed, what albumentations takes for families of the same name. Those are augmentations, not physics: the laws differ.
"""

import argparse
import io
import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import PIL
import scipy
import yaml
from PIL import Image

from mperceiver.data.raw.generated import dead_leaves
from mperceiver.degradations import DEGRADATIONS
from mperceiver.degradations.mix import degrade

SIZES = {"512x512": (512, 512), "2040x1356": (1356, 2040)}  # the second is a picture of DIV2K
MID6 = Path(__file__).resolve().parents[1] / "config/datasets/mid6.yaml"


def milliseconds(function: Callable, repeats: int) -> float:
    """Median processor time of ``repeats`` calls after a first one that does not count."""
    function(0)
    found = []
    for i in range(repeats):
        start = time.process_time()
        function(i + 1)
        found.append(1e3 * (time.process_time() - start))
    return statistics.median(found)


def copied(png: bytes) -> bytes:
    """A PNG decoded and encoded again."""
    buffer = io.BytesIO()
    Image.open(io.BytesIO(png)).save(buffer, "PNG")
    return buffer.getvalue()


def public(image: np.ndarray) -> dict[str, Callable]:
    """What a public generator does to ``image`` by family, at strengths like our defaults; none where it is not installed."""
    try:
        import albumentations
        import cv2
    except ImportError:
        return {}
    cv2.setNumThreads(1)
    kinds = {
        "haze": albumentations.RandomFog(p=1),
        "snow": albumentations.RandomSnow(p=1),
        "rain": albumentations.RandomRain(p=1),
        "motion-blur": albumentations.MotionBlur(blur_limit=(27, 27), p=1),
        "defocus": albumentations.Defocus(radius=(3, 3), alias_blur=(0.3, 0.3), p=1),
        "gaussian-blur": albumentations.GaussianBlur(blur_limit=(21, 21), sigma_limit=(1.2, 1.2), p=1),
        "gaussian-noise": albumentations.GaussNoise(std_range=(25 / 255, 25 / 255), p=1),
        "jpeg": albumentations.ImageCompression(quality_range=(10, 10), p=1),
    }
    return {name: lambda i, t=transform: t(image=image) for name, transform in kinds.items()}


def measure(height: int, width: int, repeats: int) -> dict[str, dict[str, float]]:
    image = np.ascontiguousarray(dead_leaves(np.random.default_rng(0), max(height, width))[:height, :width])
    png = io.BytesIO()
    Image.fromarray(np.round(image * 255).astype(np.uint8)).save(png, "PNG")
    mixes = {name: list(layers.items()) for name, layers in yaml.safe_load(MID6.read_text())["degradations"].items()}
    return {
        "families": {
            name: milliseconds(lambda i, f=function: f(image, np.random.default_rng(i)), repeats)
            for name, function in DEGRADATIONS.items()
        },
        "mixes": {
            name: milliseconds(lambda i, layers=layers: degrade(image, layers, i), repeats)
            for name, layers in mixes.items()
        },
        "albumentations": {name: milliseconds(function, repeats) for name, function in public(image).items()},
        "png": {"decoded and encoded": milliseconds(lambda i: copied(png.getvalue()), max(1, repeats // 3))},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path)
    parser.add_argument("--repeats", type=int, default=9)
    options = parser.parse_args()
    found = {size: measure(*shape, options.repeats) for size, shape in SIZES.items()}
    for kind in ("families", "albumentations", "mixes", "png"):
        print(f"{kind:24}" + "".join(f"{size:>12}" for size in SIZES) + "   ms")
        for name in found["512x512"][kind]:
            print(f"  {name:22}" + "".join(f"{found[size][kind][name]:12.1f}" for size in SIZES))
    if options.out:
        versions = {"numpy": np.__version__, "scipy": scipy.__version__, "pillow": PIL.__version__}
        device = {"machine": platform.machine(), "threads": 1} | versions
        options.out.write_text(json.dumps({"device": device, "milliseconds": found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
