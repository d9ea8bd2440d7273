"""Pictures per second of `prepare`, beside a plain loop that decodes every picture and writes it as PNG; and two workers beside one.

    uv run python benchmarks/prepare.py [--out benchmarks/results/NAME.json]

Measured on the same generated photographs: the loop; `prepare` of clean pictures (checked, hashed, into one Arrow file); of their
parts of a multiple of 500 px (decoded, hashed, written as PNG anew); and of the six mixes of MID6 on crops of 128 px. First with one
worker in CPU seconds, in turn with the loop. Then with as many workers as cores in wall-clock seconds, which mean something on an idle
machine only; so the load is recorded with them.
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

DIFFERENT, SIDE = 8, 512  # pictures that are drawn; the others are turned and mirrored
CROPPED = 4  # one in so many pictures gives a crop for the mixes
DATASETS = {"clean": "leaves", "cut": "even", "mixes": "mixed"}


def seconds(clock: Callable[[], float], work: Callable[[], object]) -> float:
    start = clock()
    work()
    return clock() - start


def loop(folder: Path) -> None:
    """The plain loop: PIL decodes, PIL encodes."""
    from PIL import Image

    Path("copied").mkdir(exist_ok=True)
    for path in sorted(folder.glob("*.png")):
        Image.open(path).convert("RGB").save(Path("copied") / path.name, compress_level=1)


def lay_out(count: int) -> Path:
    """Pictures and configuration in the current folder; returns the folder of the pictures."""
    raw = Path("data/raw/leaves")
    raw.mkdir(parents=True)
    drawn = [np.round(dead_leaves(np.random.default_rng(i), SIDE) * 255).astype(np.uint8) for i in range(DIFFERENT)]
    for i in range(count):
        turned = np.roll(np.rot90(drawn[i % DIFFERENT], i // DIFFERENT % 4), i, axis=0)
        (raw / f"{i:03d}.png").write_bytes(images.encode(np.ascontiguousarray(turned)))
    Path("config/datasets").mkdir(parents=True)
    Path("config/protocols").mkdir()
    Path("config/protocols/rgb.yaml").write_text("title: none\n", encoding="utf-8")
    mid6 = (shared.ROOT / "config/datasets/mid6.yaml").read_text(encoding="utf-8")
    described = {
        "leaves": "sources: [{source: local, folder: /nowhere}]\n",
        "even": "from: [leaves]\nmultiple_px: 500\ndegradations: {clean: {}}\non_the_fly: true\n",
        "mixed": f"from: [leaves]\ncrop_px: 128\ncrops: {count // CROPPED}\n" + mid6[mid6.index("degradations:") :],
    }
    for name, text in described.items():
        Path(f"config/datasets/{name}.yaml").write_text(f"title: {name}\nlicence: none\n{text}", encoding="utf-8")
    lineage.begin("download", {}).write_card("data/raw/leaves.json", outputs=[raw])
    return raw


def main() -> None:
    parser = shared.arguments(__doc__, repeats=3)
    parser.add_argument("--pictures", type=int, default=200, help="number of pictures (default: %(default)s)")
    options = parser.parse_args()
    out = options.out and options.out.resolve()
    with tempfile.TemporaryDirectory() as scratch:
        os.chdir(scratch)
        raw = lay_out(options.pictures)
        measured = {"loop": lambda: seconds(time.process_time, lambda: loop(raw))} | {
            kind: lambda name=name: seconds(time.process_time, lambda: prepare_dataset(name, workers=1))
            for kind, name in DATASETS.items()
        }
        cpu = shared.in_turn(measured, options.repeats)
        clock = {
            kind: {
                str(workers): seconds(time.perf_counter, lambda n=name, w=workers: prepare_dataset(n, workers=w))
                for workers in dict.fromkeys((1, cores()))
            }
            for kind, name in DATASETS.items()
        }
        size = paths.prepared_file("leaves").stat().st_size
    load = os.getloadavg()[0]
    print(f"{options.pictures} pictures of {SIDE}x{SIDE} px, {size / 1e6:.0f} MB; load {load:.1f}")
    for kind, value in cpu.items():
        rows = options.pictures // CROPPED * 6 if kind == "mixes" else options.pictures
        ratio = f"{cpu['loop'] / value:5.2f} x the loop" if kind != "mixes" else ""
        print(f"  {kind:6} {rows / value:7.1f} pictures per CPU second {ratio}")
    for kind, by_workers in clock.items():
        words = ", ".join(f"{workers} workers {value:.2f} s" for workers, value in by_workers.items())
        print(f"  {kind:6} {words}: {by_workers['1'] / by_workers[str(cores())]:.2f} times")
    device = shared.machine("numpy", "pillow", "pyarrow", load=load)
    shared.write(out, device=device, pictures=options.pictures, px=SIDE, cpu_seconds=cpu, clock_seconds=clock)


if __name__ == "__main__":
    main()
