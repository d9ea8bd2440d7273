"""The README's promise: without pyiqa and what only it brings, all metrics but NIQE, BRISQUE and FID work."""

import ast
import csv
import importlib.metadata
import json
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
from support import PROJECT
from support.pairs import write_rows
from support.weights import link_weights

from mperceiver import commits, images, lineage

# The verb score in a process that can import none of these modules.
PROGRAM = """
import json, sys

refused = set(json.loads(sys.argv[1]))

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in refused:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Refuse())
from mperceiver import cli, commits, lineage
commits.current = lambda: ("0" * 40, False)
sys.argv = ["mperceiver", "score", "input", sys.argv[2], "--workers", "1"]
cli.app()
"""


def brought_by_pyiqa_alone() -> set[str]:
    """The modules of pyiqa and of the distributions that uv.lock installs for its sake alone."""
    packages: dict[str, list[dict]] = {}
    for package in tomllib.loads((PROJECT / "uv.lock").read_text(encoding="utf-8"))["package"]:
        packages.setdefault(package["name"], []).append(package)

    def needed(without: str | None) -> set[str]:
        names, waiting = set(), ["mperceiver"]
        while waiting:
            name = waiting.pop()
            if name in names or name == without:
                continue
            names.add(name)
            for dependency in (d for package in packages[name] for d in package.get("dependencies", [])):
                waiting.append(dependency["name"])
                for extra in dependency.get("extra", []):
                    for package in packages[dependency["name"]]:
                        waiting += [d["name"] for d in package.get("optional-dependencies", {}).get(extra, [])]
        return names

    alone = needed(None) - needed("pyiqa")
    assert "pyiqa" in alone and "facexlib" in alone and "torch" not in alone
    owners = importlib.metadata.packages_distributions()
    canonical = {module: {name.lower().replace("_", "-") for name in names} for module, names in owners.items()}
    return {module for module, names in canonical.items() if names <= alone and "/" not in module}


@pytest.fixture(scope="module")
def refused() -> set[str]:
    return brought_by_pyiqa_alone()


def score(dataset: str, refused: set[str]) -> subprocess.CompletedProcess:
    words = [sys.executable, "-c", PROGRAM, json.dumps(sorted(refused)), dataset]
    return subprocess.run(words, capture_output=True, text=True)


@pytest.fixture
def world(tmp_path, monkeypatch, metric_weights) -> Path:
    """Two photographs, blurred and darkened, to be scored by RealBlur's, the demo's and the no-reference protocol."""
    from scipy.ndimage import gaussian_filter
    from skimage import data

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(commits, "current", lambda: ("0" * 40, False))
    link_weights(tmp_path, metric_weights)
    for folder in ("config/datasets", "config/methods", "config/protocols", "data/prepared"):
        Path(folder).mkdir(parents=True)
    Path("config/methods/input.yaml").write_text("title: input\nkind: identity\n", encoding="utf-8")
    rows = []
    for name, photograph in {"a": data.astronaut(), "b": data.coffee()}.items():
        gt = photograph[:240, :240]
        lq = (0.8 * gaussian_filter(gt.astype(float), (1, 1, 0))).round().astype(np.uint8)
        rows.append((name, "motion-blur", images.encode(lq), images.encode(gt)))
    for protocol in ("rgb", "rgb-realblur", "no-reference"):
        for path in (protocol, "rgb"):
            Path(f"config/protocols/{path}.yaml").write_text(
                (PROJECT / f"config/protocols/{path}.yaml").read_text(encoding="utf-8"), encoding="utf-8"
            )
        text = f"title: {protocol}\nlicence: none\nsources: [{{source: local, folder: none}}]\nprotocol: {protocol}\n"
        Path(f"config/datasets/{protocol}.yaml").write_text(text, encoding="utf-8")
        write_rows(protocol, rows)
        for name, _, lq, _ in rows:
            path = Path(f"results/restored/input/{protocol}/{name}.png")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(lq)
        restored = f"results/restored/input/{protocol}.json"
        lineage.begin("restore", {}, [f"data/prepared/{protocol}.json"]).write_card(restored)
    return tmp_path


@pytest.mark.parametrize(
    ("protocol", "metrics"), [("rgb", ["psnr", "ssim", "lpips"]), ("rgb-realblur", ["psnr", "ssim"])]
)
def test_a_dataset_is_scored(world, refused, protocol, metrics):
    done = score(protocol, refused)
    assert done.returncode == 0, done.stderr
    with open(f"results/scores/input/{protocol}.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["id"] for row in rows] == ["a", "b"]
    assert all(float(row[metric]) > 0 for row in rows for metric in metrics)


def test_the_three_metrics_say_what_they_need(world, refused):
    done = score("no-reference", refused)
    assert done.returncode == 1 and "NIQE needs the package pyiqa" in done.stderr and "uv add pyiqa" in done.stderr
    assert "Traceback" not in done.stderr


def test_nothing_else_imports_what_only_pyiqa_brings(refused):
    """Imports inside functions too; tests and docs are names that pyiqa's wheel has at its top."""
    importers = set()
    for path in (PROJECT / "mperceiver").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            if any(name.partition(".")[0] in refused for name in names):
                importers.add(path.relative_to(PROJECT / "mperceiver").as_posix())
    assert importers == {"metrics/noncommercial.py"}


def test_one_distribution_has_opencv():
    """pyiqa asks for another beside it, which would write the same folder."""
    assert importlib.metadata.packages_distributions()["cv2"] == ["opencv-python-headless"]
