"""The recipe of the weights that ship (config/runs/small.yaml) from nothing, on generated pictures: seconds a job, last losses.

    uv run python benchmarks/small.py [--steps N] [--crops N] [--pictures N]

The recipe's photographs cannot be fetched without a network. So this benchmark trains on generated pictures (dead leaves) alone, and
without the perceptual loss, whose weights are a package of their own. The weights differ from those that ship; the seconds of a step do
not. Everything runs in a temporary copy of the project, which gets a commit of its own. A job's line is printed when the job has ended.
"""

import argparse
import csv
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]
COPIED = ("mperceiver", "config", "assets", "uv.lock", "pyproject.toml")
GIT = ("git", "-c", "user.name=benchmark", "-c", "user.email=benchmark@localhost")


def lay_out(folder: Path, steps: int | None, crops: int | None, pictures: int | None) -> None:
    """Copy the project, commit the copy, and change what this benchmark changes."""
    for name in COPIED:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, folder / name)
    change(
        folder / "config/datasets/small-train.yaml", **{"from": ["dead-leaves"]}, **({"crops": crops} if crops else {})
    )
    leaves = folder / "config/datasets/dead-leaves.yaml"
    if pictures:
        source = yaml.safe_load(leaves.read_text(encoding="utf-8"))["sources"][0]
        change(leaves, sources=[source | {"count": pictures}], expected=pictures)
    run = yaml.safe_load((folder / "config/runs/small.yaml").read_text(encoding="utf-8"))
    losses = run["drm"]["losses"] | {"perceptual": 0}
    stages = {stage: run[stage] | ({"steps": steps} if steps else {}) for stage in ("predictor", "branches", "drm")}
    for stage in stages.values():
        if steps and "warmup_steps" in stage:
            stage["warmup_steps"] = 0
    change(folder / "config/runs/small.yaml", **stages | {"drm": stages["drm"] | {"losses": losses}})
    for command in (("init", "-q"), ("add", "-A"), ("commit", "-q", "-m", "A copy for a benchmark")):
        subprocess.run([*GIT, *command], cwd=folder, check=True)


def change(path: Path, **keys: object) -> None:
    """Set keys of a YAML file."""
    changed = yaml.safe_load(path.read_text(encoding="utf-8")) | keys
    path.write_text(yaml.safe_dump(changed, sort_keys=False), encoding="utf-8")  # the order of a task's layers matters


def last_row(curve: Path) -> str:
    """The last line of a curve, as key=value."""
    rows = list(csv.DictReader(curve.read_text(encoding="utf-8").splitlines()))
    return "  ".join(f"{key}={value}" for key, value in rows[-1].items())


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--steps", type=int, help="of each stage, instead of the recipe's")
    parser.add_argument("--crops", type=int, help="training crops, instead of the recipe's")
    parser.add_argument("--pictures", type=int, help="generated pictures, instead of the dataset's")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        lay_out(folder, options.steps, options.crops, options.pictures)
        environment = os.environ | {"PYTHONPATH": os.pathsep.join([scratch, os.environ.get("PYTHONPATH", "")])}
        for job in (
            ("foundation", "mini-lite"),
            ("download", "dead-leaves"),
            ("prepare", "dead-leaves"),
            ("prepare", "small-train"),
            ("encode", "mini-lite", "small-train"),
            ("train_predictor", "small"),
            ("train_branches", "small"),
            ("train_drm", "small"),
        ):
            start = time.perf_counter()
            command = [sys.executable, "-m", "mperceiver.cli", *job]
            ended = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
            print(f"{' '.join(job)}: {time.perf_counter() - start:.1f} s", flush=True)
            if ended.returncode:
                sys.exit(ended.stdout[-2000:] + ended.stderr[-4000:])
            if job[0].startswith("train_"):
                print("  " + last_row(folder / f"results/runs/small/{job[0].removeprefix('train_')}.csv"), flush=True)


if __name__ == "__main__":
    main()
