"""prepare: pictures and megabytes a second, beside a plain loop that decodes every picture and writes it again as PNG.

    uv run python benchmarks/prepare.py [--out benchmarks/results/NAME.json]

In one run, on the same generated photographs: `prepare` of clean pictures (checked, hashed, into one Arrow file), `prepare` of
the six mixes of MID6 on 128-px crops of them, and the loop. One worker, then as many as there are cores.
"""

import argparse
import json
import os
import platform
import tempfile
import time
from pathlib import Path

import numpy as np

from mperceiver import images, lineage, paths
from mperceiver.data.prepare.dataset import prepare_dataset
from mperceiver.data.raw.generated import dead_leaves
from mperceiver.parallel import cores

PROJECT = Path(__file__).resolve().parents[1]
COUNT, SIDE = 48, 512


def seconds(work) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def loop(folder: Path) -> None:
    """What anyone would write: PIL in, PIL out."""
    from PIL import Image

    Path("copied").mkdir(exist_ok=True)
    for path in sorted(folder.glob("*.png")):
        Image.open(path).convert("RGB").save(Path("copied") / path.name, compress_level=1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
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
        Path("config/protocols/rgb.yaml").write_text("title: none\n")
        source = "sources: [{source: local, folder: /nowhere}]\n"
        Path("config/datasets/leaves.yaml").write_text(f"title: leaves\nlicence: none\n{source}")
        mid6 = (PROJECT / "config/datasets/mid6.yaml").read_text()
        mixes = mid6[mid6.index("degradations:") :]
        cut = f"crop_px: 128\ncrops: {COUNT}\n"
        Path("config/datasets/mixed.yaml").write_text(f"title: mixed\nlicence: none\nfrom: [leaves]\n{cut}{mixes}")
        lineage.write_card("data/raw/leaves.json", verb="download", spec={}, outputs=[raw])
        megabytes = sum(path.stat().st_size for path in raw.iterdir()) / 1e6
        pixels = {"loop": COUNT * SIDE**2, "clean": COUNT * SIDE**2, "mixes": 6 * COUNT * 128**2}
        found = {"loop": {"seconds": seconds(lambda: loop(raw)), "pictures": COUNT}}
        for workers in dict.fromkeys((1, cores())):
            for kind, name in (("clean", "leaves"), ("mixes", "mixed")):
                took = seconds(lambda name=name, workers=workers: prepare_dataset(name, workers=workers))
                rows = COUNT * (6 if kind == "mixes" else 1)
                found[f"{kind}, {workers} worker{'s' * (workers > 1)}"] = {"seconds": took, "pictures": rows}
        print(
            f"{megabytes:.0f} MB of PNG, {COUNT} pictures of {SIDE}x{SIDE} px; {paths.prepared_file('leaves').stat().st_size / 1e6:.0f} MB prepared"
        )
        for name, row in found.items():
            row["pictures_per_s"] = row["pictures"] / row["seconds"]
            row["megapixels_per_s"] = pixels[name.split(",")[0]] / 1e6 / row["seconds"]
            if "mixes" not in name:
                row["mb_per_s"] = megabytes / row["seconds"]
                row["of_the_loop"] = found["loop"]["seconds"] / row["seconds"]
            print(
                f"  {name:20} {row['pictures_per_s']:7.1f} pictures/s {row['megapixels_per_s']:6.1f} Mpx/s {row['seconds']:6.2f} s"
            )
    if out:
        device = {"machine": platform.machine(), "cores": cores()}
        out.write_text(json.dumps({"device": device, "rows": found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
