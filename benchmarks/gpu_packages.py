"""The packages that a GPU machine without network lacks: fetches their wheels, and proves that the list is complete.

    uv run python benchmarks/gpu_packages.py pack [--python 3.12]   the wheels, as uv.lock has them, into benchmarks/wheels/
    uv run python benchmarks/gpu_packages.py check                  on this machine

The machine has the packages in PRESENT, and what those need. `check` makes an environment in which nothing else can be imported
but the standard library, installs the wheels without an index, and there runs what benchmarks/gpu.sh runs, as a trial on the
processor. It cannot show what another version of torch or Python would change.
"""

import argparse
import importlib.metadata
import os
import re
import subprocess
import sys
import tempfile
import tomllib
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
WHEELS = ROOT / "benchmarks/wheels"
PRESENT = (
    "accelerate opencv-python-headless pandas pillow psutil pyarrow pytest pyyaml regex requests rich safetensors scikit-image "
    "scikit-learn scipy sentencepiece setuptools tensorboard tifffile timm torch torchvision transformers typer zipp"
).split()
MISSING = (
    "annotated-types diffusers ftfy imagecodecs importlib-metadata open-clip-torch pydantic pydantic-core spandrel "
    "typing-inspection wcwidth"
).split()
PLATFORMS = ("manylinux_2_28_x86_64", "manylinux_2_27_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64")


def locked(python: str) -> list[str]:
    """``name==version`` of each missing package: what is installed here for this Python, else the newest version of uv.lock."""
    if python == f"{sys.version_info.major}.{sys.version_info.minor}":
        return [f"{name}=={importlib.metadata.version(name)}" for name in MISSING]
    lock = tomllib.loads((ROOT / "uv.lock").read_text(encoding="utf-8"))
    versions: dict[str, list[str]] = {}
    for package in lock["package"]:
        versions.setdefault(package["name"], []).append(package.get("version", "0"))
    return [f"{name}=={max(versions[name], key=_numbers)}" for name in MISSING]


def _numbers(version: str) -> list[int]:
    return [int(part) for part in re.findall(r"\d+", version)]


def pack(folder: Path, python: str) -> None:
    """Download the wheels for x86-64 and one version of Python, and nothing that they need."""
    platforms = [word for platform in PLATFORMS for word in ("--platform", platform)]
    flags = ["--no-deps", "--only-binary=:all:", "--implementation", "cp", "--python-version", python]
    with tempfile.TemporaryDirectory() as scratch:  # uv has no command for it, and the project's environment has no pip
        venv.create(scratch, with_pip=True)
        pip = [f"{scratch}/bin/python", "-m", "pip", "--disable-pip-version-check", "download", "-q"]
        subprocess.run([*pip, *flags, *platforms, "-d", str(folder), *locked(python)], check=True)
    size = sum(path.stat().st_size for path in folder.iterdir()) / 1e6
    print(f"{folder}: {len(list(folder.iterdir()))} wheels, {size:.1f} MB")


def closure(names: list[str]) -> list[importlib.metadata.Distribution]:
    """Distributions of these names and of all that they need here; extras are not counted."""
    distributions: dict[str, importlib.metadata.Distribution] = {}
    waiting = list(names)
    while waiting:
        name = re.sub(r"[-_.]+", "-", waiting.pop()).lower()
        if name in distributions or name in MISSING:
            continue
        try:
            distributions[name] = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            continue  # needed elsewhere, by its marker
        for requirement in distributions[name].requires or []:
            if "extra ==" not in requirement:
                waiting.append(re.split(r"[^A-Za-z0-9._-]", requirement, maxsplit=1)[0])
    return list(distributions.values())


def link(distributions: list[importlib.metadata.Distribution], site: Path) -> None:
    """Make the distributions importable from ``site``, by a symbolic link for each of their top folders and files."""
    for distribution in distributions:
        for file in distribution.files or []:
            top = file.parts[0]
            source = Path(str(distribution.locate_file(top)))
            if top not in ("..", "__pycache__") and not (site / top).exists():
                (site / top).symlink_to(source)


def check() -> None:
    """Raise CalledProcessError if something is missing in a clean environment."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        wheels = folder / "wheels"
        wheels.mkdir()
        pack(wheels, f"{sys.version_info.major}.{sys.version_info.minor}")
        venv.create(folder / "venv", with_pip=True)
        python = folder / "venv/bin/python"
        site = next((folder / "venv/lib").glob("python*/site-packages"))
        link(closure(PRESENT), site)
        environment = {"PATH": f"{folder / 'venv/bin'}:/usr/bin:/bin", "HOME": scratch, "OMP_NUM_THREADS": "1"}
        for name in MISSING:  # none of them is there by another way
            module = {"open-clip-torch": "open_clip"}.get(name, name.replace("-", "_"))
            absent = subprocess.run([python, "-c", f"import {module}"], env=environment, capture_output=True)
            assert absent.returncode != 0, f"{name} is there before its wheel is installed"
        subprocess.run(
            ["bash", str(ROOT / "benchmarks/gpu.sh"), "--dry-run", str(folder / "results")],
            env=environment
            | {name: os.environ[name] for name in ("PARTS", "TMPDIR") if name in os.environ}
            | {"WHEELS": str(wheels)},
            check=True,
        )
    print("complete: nothing but the packages of the machine and the wheels is needed")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("what", choices=["pack", "check"])
    parser.add_argument("--python", default="3.12", help="the machine's version of Python (default: %(default)s)")
    options = parser.parse_args()
    if options.what == "check":
        check()
    else:
        WHEELS.mkdir(exist_ok=True)
        pack(WHEELS, options.python)


if __name__ == "__main__":
    main()
