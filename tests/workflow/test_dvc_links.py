"""After `dvc commit` with links of every type the next run makes outputs again, and DVC's cache keeps its bytes."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from support import PROJECT, TINY, warm

from mperceiver import files, protection

# Root passes over a file's rights; these commands run without that privilege.
UNPRIVILEGED = ["setpriv", "--bounding-set", "-all", "--inh-caps=-all"] if os.geteuid() == 0 else []
STAGE = """stages:
  evaluate:
    cmd: snakemake --cores 1 --forcerun restore score --allowed-rules restore score -- results/scores/input/tiny-test.json
    deps: [config/methods]
    outs: [{results/restored: {persist: true}}, {results/scores: {persist: true}}]
"""


def sh(world: Path, *words: str, code: int = 0) -> str:
    done = subprocess.run(words, cwd=world, env=warm.cold(), capture_output=True, encoding="utf-8", errors="replace")
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture
def protected(tmp_path, monkeypatch) -> Path:
    """A card, a table and a picture of a folder, all hard links as DVC leaves them, and a file that somebody protected."""
    monkeypatch.chdir(tmp_path)
    for name in (
        "results/scores/m/d.json",
        "results/costs/m.json",
        "results/tables/t.html",
        "results/restored/m/d/a.png",
        "data/prepared/own.json",
    ):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text(name, encoding="utf-8")
        Path(name).chmod(0o444)
        if "own" not in name:
            (tmp_path / "cache").mkdir(exist_ok=True)
            os.link(name, tmp_path / "cache" / Path(name).name)
    return tmp_path


def test_only_links_in_a_repository_of_dvcs_are_released(protected):
    assert protection.release_outputs() == 0
    Path(".dvc").mkdir()
    assert protection.release_outputs() == 3
    modes = {str(p): p.stat().st_mode & 0o777 for p in Path().rglob("*") if p.is_file() and "cache" not in p.parts}
    assert {
        modes.pop(name) for name in ("results/scores/m/d.json", "results/costs/m.json", "results/tables/t.html")
    } == {0o644}
    assert set(modes.values()) == {0o444}, "a folder's pictures go with the folder; what somebody protected stays so"
    files.write_text("results/tables/t.html", "new")
    assert (protected / "cache/t.html").read_text(encoding="utf-8") == "results/tables/t.html"


@pytest.mark.slow
@pytest.mark.skipif(
    UNPRIVILEGED != [] and not shutil.which("setpriv"), reason="needs setpriv for a run without root's rights"
)
def test_a_run_after_dvc_commit(tmp_path):
    shutil.copytree(TINY / "config", tmp_path / "config")
    for name in ("workflow", "profiles"):
        shutil.copytree(PROJECT / name, tmp_path / name)
    shutil.copy(PROJECT / "Snakefile", tmp_path)
    sh(tmp_path, "snakemake", "--cores", "1", "results/scores/input/tiny-test.json")
    for words in ("git init -q .", "dvc init -q", "dvc config cache.type hardlink", "dvc config core.analytics false"):
        sh(tmp_path, *words.split())
    (tmp_path / "dvc.yaml").write_text(STAGE, encoding="utf-8")
    sh(tmp_path, "dvc", "commit", "--force", "-q")
    card, scores = tmp_path / "results/restored/input/tiny-test.json", tmp_path / "results/scores/input/tiny-test.csv"
    before = card.read_bytes(), scores.read_bytes()
    assert not card.stat().st_mode & 0o222 and card.stat().st_nlink == 2
    sh(tmp_path, *UNPRIVILEGED, "dvc", "repro", "--force", "-q")
    assert (card.read_bytes(), scores.read_bytes()) == before and not card.stat().st_mode & 0o222
    cached = [path for path in (tmp_path / ".dvc/cache/files/md5").rglob("*") if path.is_file()]
    assert cached and all(path.name in files_md5(path) for path in cached)


def files_md5(path: Path) -> str:
    """MD5 of a file in DVC's cache, as the end of its name has it."""
    import hashlib

    digest = hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()[2:]
    return f"{digest} {digest}.dir"
