"""Pictures and megabytes per second of `prepare`, compared with a plain loop that decodes every picture and writes it as PNG.

    uv run python benchmarks/prepare.py [--out benchmarks/results/NAME.json]

All on the same generated photographs: `prepare` of clean pictures (checked, hashed, into one Arrow file), `prepare` of the six
mixes of MID6 on crops of 128 px, and the loop. First with one worker, then with one for each core.
"""

import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import shared

from mperceiver import images, lineage, paths
from mperceiver.data.prepare.dataset import prepare_dataset
from mperceiver.data.raw.generated import dead_leaves
from mperceiver.parallel import cores

COUNT, SIDE = 48, 512


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def loop(folder: Path) -> None:
    """The plain loop: PIL decodes, PIL encodes."""
    from PIL import Image

    Path("copied").mkdir(exist_ok=True)
    for path in sorted(folder.glob("*.png")):
        Image.open(path).convert("RGB").save(Path("copied") / path.name, compress_level=1)


def main() -> None:
    options = shared.arguments(__doc__).parse_args()
    out = options.out and options.out.resolve()
    with tempfile.TemporaryDirectory() as scratch:
        os.chdir(scratch)
        raw = Path("data/raw/leaves")
        raw.mkdir(parents=True)
        for i in range(COUNT):
            picture = dead_leaves(np.random.default_rng(i), SIDE)
            (raw / f"{i:03d}.png").write_bytes(images.encode(np.round(picture * 255).astype(np.uint8)))
        Path("config/datasets").mkdir(parents=True)
        Path("config/protocols").mkdir()
        Path("config/protocols/rgb.yaml").write_text("title: none\n", encoding="utf-8")
        source = "sources: [{source: local, folder: /nowhere}]\n"
        Path("config/datasets/leaves.yaml").write_text(f"title: leaves\nlicence: none\n{source}", encoding="utf-8")
        mid6 = (shared.ROOT / "config/datasets/mid6.yaml").read_text(encoding="utf-8")
        mixes = mid6[mid6.index("degradations:") :]
        cut = f"crop_px: 128\ncrops: {COUNT}\n"
        Path("config/datasets/mixed.yaml").write_text(
            f"title: mixed\nlicence: none\nfrom: [leaves]\n{cut}{mixes}", encoding="utf-8"
        )
        lineage.write_card("data/raw/leaves.json", verb="download", spec={}, outputs=[raw])
        megabytes = sum(path.stat().st_size for path in raw.iterdir()) / 1e6
        pixels = {"loop": COUNT * SIDE**2, "clean": COUNT * SIDE**2, "mixes": 6 * COUNT * 128**2}
        rows = {"loop": {"seconds": seconds(lambda: loop(raw)), "pictures": COUNT}}
        for workers in dict.fromkeys((1, cores())):
            for kind, name in (("clean", "leaves"), ("mixes", "mixed")):
                elapsed = seconds(lambda name=name, workers=workers: prepare_dataset(name, workers=workers))
                count = COUNT * (6 if kind == "mixes" else 1)
                rows[f"{kind}, {workers} worker{'s' * (workers > 1)}"] = {"seconds": elapsed, "pictures": count}
        print(
            f"{megabytes:.0f} MB of PNG, {COUNT} pictures of {SIDE}x{SIDE} px; {paths.prepared_file('leaves').stat().st_size / 1e6:.0f} MB prepared"
        )
        for name, row in rows.items():
            row["pictures_per_s"] = row["pictures"] / row["seconds"]
            row["megapixels_per_s"] = pixels[name.split(",")[0]] / 1e6 / row["seconds"]
            if "mixes" not in name:
                row["mb_per_s"] = megabytes / row["seconds"]
                row["of_the_loop"] = rows["loop"]["seconds"] / row["seconds"]
            print(
                f"  {name:20} {row['pictures_per_s']:7.1f} pictures/s {row['megapixels_per_s']:6.1f} Mpx/s {row['seconds']:6.2f} s"
            )
    shared.write(out, device=shared.machine("numpy", "pillow", "pyarrow"), rows=rows)


if __name__ == "__main__":
    main()
