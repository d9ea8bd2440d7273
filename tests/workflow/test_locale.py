"""Files are UTF-8 whatever the locale: under another one the same is planned, and the same cards are made."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support import PROJECT, TINY

LEAVES = """title: Feuilles mortes (élan, Ω, 葉)
licence: Apache-2.0
expected: 2
sources:
  - {source: generated, generator: dead-leaves, count: 2, size_px: 96}
  - {source: manual, page: "https://example.org", terms: "recherche (élan, Ω, 葉)", files: [{name: a.zip}]}
"""
UTF_8 = {"LC_ALL": "C.UTF-8", "PYTHONUTF8": "1"}
ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


@pytest.fixture(scope="module")
def latin_1(tmp_path_factory):
    """The variables of a locale whose encoding is ISO-8859-1, which is made for the test."""
    folder = tmp_path_factory.mktemp("locales")
    make = ["localedef", "-i", "en_US", "-f", "ISO-8859-1", str(folder / "en_US.ISO-8859-1")]
    if not shutil.which("localedef") or subprocess.run(make, capture_output=True).returncode > 1:
        pytest.skip("localedef cannot make a locale here")
    return {"LOCPATH": str(folder), "LC_ALL": "en_US.ISO-8859-1", "PYTHONUTF8": "0"}


def in_locale(folder: Path, locale: dict[str, str], *words: str) -> subprocess.CompletedProcess:
    dropped = ("LC_", "LANG", "PYTHONUTF8", "PYTHONIOENCODING", "PYTHONCOERCECLOCALE")
    rest = {key: value for key, value in os.environ.items() if not key.startswith(dropped)}
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    return subprocess.run(words, cwd=folder, env=rest | {"PATH": path} | locale, capture_output=True, check=True)


def world(folder: Path) -> Path:
    shutil.copytree(TINY / "config", folder / "config")
    (folder / "config/datasets/leaves.yaml").write_text(LEAVES, encoding="utf-8")
    for name in ("workflow", "profiles"):
        shutil.copytree(PROJECT / name, folder / name)
    shutil.copy(PROJECT / "Snakefile", folder)
    return folder


def made(folder: Path, locale: dict[str, str]) -> dict[str, bytes]:
    """The files that a download makes under a locale; names are the paths in the world."""
    in_locale(world(folder), locale, sys.executable, "-m", "mperceiver.cli", "download", "leaves")
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted((folder / "data").rglob("*")) if p.is_file()}


def encoding_of(folder: Path, locale: dict[str, str]) -> str:
    program = "import locale; print(locale.getencoding())"
    return in_locale(folder, locale, sys.executable, "-c", program).stdout.decode().strip()


def test_the_same_cards_under_every_locale(tmp_path, latin_1):
    assert encoding_of(tmp_path, ASCII) == "ANSI_X3.4-1968" and encoding_of(tmp_path, latin_1) == "ISO-8859-1"
    expected = made(tmp_path / "utf-8", UTF_8)
    card = json.loads(expected["data/raw/leaves.json"].decode("utf-8"))
    assert "recherche (élan, Ω, 葉)" in json.dumps(card, ensure_ascii=False)
    assert made(tmp_path / "ascii", ASCII) == expected
    assert made(tmp_path / "latin-1", latin_1) == expected


@pytest.mark.slow
def test_the_same_plan_under_every_locale(tmp_path, latin_1):
    world(tmp_path)
    plans = []
    for locale in (UTF_8, ASCII, latin_1):
        ran = in_locale(
            tmp_path, locale, "snakemake", "-n", "--quiet", "rules", "--", "results/scores/input/tiny-test.json"
        )
        plans.append(re.findall(r"^(\w+) +(\d+)$", ran.stdout.decode("ascii", "replace"), re.MULTILINE))
    assert ("total", "5") in plans[0] and plans[0] == plans[1] == plans[2]
