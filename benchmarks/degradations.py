"""Milliseconds per picture of each family of degradations, with its default parameters, and of each mix of MID6, on one core.

    uv run --with albumentations==1.4.24 python benchmarks/degradations.py [--out benchmarks/results/NAME.json]

For comparison: decoding the picture's PNG and encoding it again, which `prepare` does as well; and, where albumentations is
installed, its transforms of the same names. Those are augmentations and compute something simpler.
"""

import io
import os
import statistics
import time
from collections.abc import Callable

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import shared
import yaml
from PIL import Image

from mperceiver.data.raw.generated import dead_leaves
from mperceiver.degradations import DEGRADATIONS
from mperceiver.degradations.mix import degrade

SIZES = {"512x512": (512, 512), "2040x1356": (1356, 2040)}  # the second is a picture of DIV2K
MID6 = shared.ROOT / "config/datasets/mid6.yaml"


def milliseconds(function: Callable, repeats: int) -> float:
    """Median CPU time of ``repeats`` calls, after one call that is not measured; ``function`` is given the call's number."""
    function(0)
    times = []
    for i in range(repeats):
        start = time.process_time()
        function(i + 1)
        times.append(1e3 * (time.process_time() - start))
    return statistics.median(times)


def recoded(png: bytes) -> bytes:
    """Decode a PNG and encode it again."""
    buffer = io.BytesIO()
    Image.open(io.BytesIO(png)).save(buffer, "PNG")
    return buffer.getvalue()


def albumentations_transforms(image: np.ndarray) -> dict[str, Callable]:
    """Albumentations' transforms of ``image`` by family, as strong as our defaults; none where it is not installed."""
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
    """Milliseconds per picture of height x width px: {kind: {name: ms}}."""
    image = np.ascontiguousarray(dead_leaves(np.random.default_rng(0), max(height, width))[:height, :width])
    png = io.BytesIO()
    Image.fromarray(np.round(image * 255).astype(np.uint8)).save(png, "PNG")
    mixes = {
        name: list(layers.items())
        for name, layers in yaml.safe_load(MID6.read_text(encoding="utf-8"))["degradations"].items()
    }
    return {
        "families": {
            name: milliseconds(lambda i, d=degradation: d.apply(image, np.random.default_rng(i)), repeats)
            for name, degradation in DEGRADATIONS.items()
        },
        "mixes": {
            name: milliseconds(lambda i, layers=layers: degrade(image, layers, i), repeats)
            for name, layers in mixes.items()
        },
        "albumentations": {
            name: milliseconds(function, repeats) for name, function in albumentations_transforms(image).items()
        },
        "png": {"decoded and encoded": milliseconds(lambda i: recoded(png.getvalue()), max(1, repeats // 3))},
    }


def main() -> None:
    options = shared.arguments(__doc__, repeats=9).parse_args()
    times = {size: measure(*shape, options.repeats) for size, shape in SIZES.items()}
    for kind in ("families", "albumentations", "mixes", "png"):
        print(f"{kind:24}" + "".join(f"{size:>12}" for size in SIZES) + "   ms")
        for name in times["512x512"][kind]:
            print(f"  {name:22}" + "".join(f"{times[size][kind][name]:12.1f}" for size in SIZES))
    shared.write(options.out, device=shared.machine("numpy", "scipy", "pillow", threads=1), milliseconds=times)


if __name__ == "__main__":
    main()
