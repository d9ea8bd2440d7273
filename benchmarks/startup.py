"""CPU seconds that commands take before their work begins: the whole of a command whose work is small, beside `import torch`.

    uv run python benchmarks/startup.py [--folder WORKING_DIRECTORY] [--out benchmarks/results/NAME.json]

`explain` compares three pictures of 128 px; `load` is the model of the method `small`, with the weights that ship, and `restore` a
picture of 768x511 px with it, or one of 1152x868 px, a megapixel. In a working directory with restored pictures, given by --folder,
`score` of one small dataset is measured too, and `snakemake -n` there. All on one thread, in turn, medians. Python's compiled files
are kept, as they are where PYTHONDONTWRITEBYTECODE is not set.
"""

import os
import sys
import tempfile
from pathlib import Path

import numpy as np
import shared

from mperceiver import images

PYTHON = sys.executable
# What `mperceiver restore small` does first, and how it ends.
LOAD = """
from mperceiver.cli.program import to_the_end
def load():
    from mperceiver.cli.base import prepare_torch
    prepare_torch()
    from mperceiver.restoring.restorers import load_restorer
    load_restorer("small")
to_the_end(load)
"""


def programs(folder: Path, pictures: Path) -> dict[str, tuple[Path, list[str]]]:
    """Name -> the folder where a command runs, and its words."""
    mperceiver, snakemake = (str(Path(PYTHON).with_name(name)) for name in ("mperceiver", "snakemake"))
    commands = {
        "import torch": (pictures, [PYTHON, "-c", "import torch"]),
        "mperceiver --help": (pictures, [mperceiver, "--help"]),
        "mperceiver explain": (pictures, [mperceiver, "explain", "restored", "gt", "--psnr", "20.00"]),
        "load": (shared.ROOT, [PYTHON, "-c", LOAD]),
        **{
            name: (pictures, [mperceiver, "restore", "small", photo, "restored.png", "--threads", "1"])
            for name, photo in (("mperceiver restore", "photo.png"), ("mperceiver restore, 1 MP", "megapixel.png"))
        },
    }
    restored = sorted(folder.glob("results/restored/*/*.json"))
    if folder != shared.ROOT and restored:
        smallest = min(restored, key=lambda card: len(list(card.with_suffix("").glob("*.png"))))
        commands["mperceiver score"] = (folder, [mperceiver, "score", smallest.parent.name, smallest.stem])
        commands["snakemake -n"] = (folder, [snakemake, "-n", "--quiet"])
    return commands


def main() -> None:
    parser = shared.arguments(__doc__, repeats=3)
    parser.add_argument("--folder", type=Path, default=shared.ROOT, help="a working directory with restored pictures")
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    with tempfile.TemporaryDirectory() as scratch:
        rng = np.random.default_rng(0)
        for side in ("restored", "gt"):
            (Path(scratch) / side).mkdir()
            for i in range(3):
                picture = rng.integers(0, 256, (128, 128, 3), dtype=np.uint8)
                (Path(scratch) / side / f"{i}.png").write_bytes(images.encode(picture))
        for name, height, width in (("photo.png", 511, 768), ("megapixel.png", 868, 1152)):
            blocks = rng.integers(64, 192, (14, 18, 3), dtype=np.uint8).repeat(64, 0).repeat(64, 1)[:height, :width]
            noisy = blocks + rng.integers(-40, 40, blocks.shape, dtype=np.int8)
            (Path(scratch) / name).write_bytes(images.encode(noisy.astype(np.uint8)))
        commands = programs(options.folder.resolve(), Path(scratch))
        seconds = shared.in_turn(
            {
                name: lambda folder=folder, words=words: shared.cpu_seconds(folder, *words)
                for name, (folder, words) in commands.items()
            },
            options.repeats,
        )
    for name, value in seconds.items():
        limit = f"{shared.STARTUP_LIMITS_S[name]:5.1f}" if name in shared.STARTUP_LIMITS_S else ""
        print(f"{name:20} {value:6.2f} s {limit:>6} {value / seconds['import torch']:6.2f} x import torch")
    shared.write(options.out, device=shared.machine("torch", "diffusers", "transformers"), seconds=seconds)


if __name__ == "__main__":
    main()
