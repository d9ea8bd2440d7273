"""Milliseconds per picture of each family of degradations, with its default parameters, and of each mix of MID6, on one core.

    uv run --with albumentations==1.4.24 python benchmarks/degradations.py [--out benchmarks/results/NAME.json]

For comparison: decoding the picture's PNG and encoding it again, which `prepare` does as well; and, where albumentations is
installed, its transforms of the same names. Those are augmentations and compute something simpler.
"""

import io
import itertools
import os
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


def milliseconds(functions: dict[str, Callable], repeats: int) -> dict[str, float]:
    """Median CPU time of each function, which is given a random number's seed; see ``shared.in_turn``."""
    seeds = itertools.count()

    def measure(function: Callable) -> float:
        start = time.process_time()
        function(next(seeds))
        return 1e3 * (time.process_time() - start)

    return shared.in_turn({name: lambda f=function: measure(f) for name, function in functions.items()}, repeats)


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
    peers = albumentations_transforms(image)
    families: dict[str, float] = {}
    theirs: dict[str, float] = {}
    for name, degradation in DEGRADATIONS.items():
        ours = {"ours": lambda i, d=degradation: d.apply(image, np.random.default_rng(i))}
        both = milliseconds(ours | ({"theirs": peers[name]} if name in peers else {}), repeats)
        families[name] = both["ours"]
        if name in peers:
            theirs[name] = both["theirs"]
    return {
        "families": families,
        "mixes": milliseconds(
            {name: lambda i, layers=layers: degrade(image, layers, i) for name, layers in mixes.items()}, repeats
        ),
        "albumentations": theirs,
        "png": milliseconds({"decoded and encoded": lambda i: recoded(png.getvalue())}, max(1, repeats // 3)),
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
