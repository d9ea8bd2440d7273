"""Results that somebody else made: git clone, dvc pull, what an edit makes again there, DVC's experiments, and what is damaged."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from support import PROJECT, warm
from support.workflow import WARM, plan, run

from mperceiver import commits, config, files, shipped
from mperceiver.report import differences, verify
from tools import dvc_stages

pytestmark = pytest.mark.slow
LAST = {"table": 1, "report": 1, "all": 1}
SCORED = {"score": 7, "figure": 1} | LAST
RESTORED = {"restore": 7} | SCORED
IGNORED = "/data/\n/results/\n/.snakemake/\n/dvc_plots/\n"


def variables(home: Path) -> dict[str, str]:
    """The environment of git and dvc: nothing of this machine's settings, and an author."""
    who = {f"GIT_{role}_{what}": "a@b" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    folders = {name: str(home / name.lower()) for name in ("DVC_SITE_CACHE_DIR", "DVC_GLOBAL_CONFIG_DIR")}
    without = {key: value for key, value in WARM.items() if not key.startswith("GIT_")}
    return without | who | folders | {"GIT_CONFIG_GLOBAL": os.devnull, "DVC_NO_ANALYTICS": "1"}


def do(folder: Path, *words: str, code: int = 0) -> str:
    """Run a command and return what it printed on standard output, or if it is to fail, all that it printed."""
    home = next(path for path in (folder, *folder.parents) if path.name.startswith("shared"))
    done = subprocess.run(words, cwd=folder, env=variables(home), capture_output=True, encoding="utf-8", timeout=600)
    assert (done.returncode != 0) == bool(code), f"{words}: {done.stdout}{done.stderr}"
    return done.stdout + (done.stderr if code else "")


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("shared")


@pytest.fixture(scope="module")
def origin(built, home) -> Path:
    """The tiny world as a git repository whose results are in a DVC remote, a folder beside it."""
    world = Path(shutil.copytree(built, home / "origin"))
    shutil.rmtree(world / ".snakemake")
    (world / ".gitignore").write_text(IGNORED, encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(world)
        stages = dvc_stages.text("config/demo.yaml", f"snakemake --snakefile {PROJECT}/Snakefile --cores 2")
    (world / "dvc.yaml").write_text(stages, encoding="utf-8")
    do(world, "git", "init", "-q", "-b", "main")
    do(world, "dvc", "init", "-q")
    do(world, "dvc", "remote", "add", "-q", "-d", "lab", str(home / "remote"))
    do(world, "dvc", "commit", "-q", "--force")
    do(world, "git", "add", "-A")
    do(world, "git", "commit", "-qm", "Results")
    do(world, "dvc", "push", "-q")
    return world


@pytest.fixture(scope="module")
def clone(origin, home) -> Path:
    """A fresh clone with its results pulled. A test that changes a file puts it back."""
    do(home, "git", "clone", "-q", str(origin), "clone")
    do(home / "clone", "dvc", "pull", "-q")
    return home / "clone"


# ---------------------------------------------------------------- nothing, and exactly what an edit reaches


def test_nothing_is_to_be_done_in_a_pulled_clone(clone, monkeypatch):
    assert not (clone / ".snakemake").exists()
    before = {path: files.sha256(path) for path in (clone / "results").rglob("*.json")}
    assert plan(clone) == {}
    assert {path: files.sha256(path) for path in before} == before
    monkeypatch.chdir(clone)
    verified = verify.verify_all(fresh=True)
    assert verified.problems == [] and verified.cards == len(config.cards_here()) + 1 > 25


def edited(path: str, old: str, new: str):
    return path, lambda text: re.sub(old, new, text, count=1, flags=re.MULTILINE)


@pytest.mark.parametrize(
    ("edit", "jobs"),
    [
        (edited("config/runs/tiny.yaml", "^", "# a comment\n"), {}),
        (edited("config/datasets/tiny-test.yaml", "licence: .*", "licence: another"), {}),
        (edited("config/datasets/tiny-test.yaml", "^crops: 2", "crops: 2\nprotocol: y"), SCORED),
        (edited("config/datasets/tiny-test.yaml", "^crops: 2", "crops: 2\nseed: 1"), {"prepare": 1} | RESTORED),
        (
            edited("config/datasets/tiny-train.yaml", "^every", "encode: {crop_px: 32, flip: true}\nevery"),
            {
                "encode": 1,
                "train_predictor": 1,
                "train_branches": 1,
                "train_drm": 2,
                "restore": 4,
                "score": 4,
                "figure": 2,
            }
            | LAST,
        ),
        (edited("config/protocols/rgb.yaml", "^title: .*", "title: RGB\nborder_px: 2"), SCORED),
        (edited("config/protocols/rgb.yaml", "^title: .*", "title: Another title"), LAST),
        (
            edited("config/protocols/rgb.yaml", "^title: .*", "title: RGB\nmetrics: [psnr, ssim, lpips, niqe]"),
            {"foundation": 1} | SCORED,
        ),
        (edited("config/methods/tiny-net.yaml", "^title: .*", "title: Another title"), {"figure": 1} | LAST),
        (edited("config/methods/tiny-plus.yaml", "flip4", "geometric8"), {"restore": 1, "score": 1} | LAST),
        (
            edited("config/runs/tiny.yaml", "steps: 4", "steps: 5"),  # of stage 3
            {"train_drm": 2, "restore": 4, "score": 4, "figure": 2} | LAST,
        ),
        (edited("config/tables/tiny.yaml", "^title: .*", "title: Another title"), LAST),
        (edited("config/demo.yaml", "^title: .*", "title: Another title"), {"report": 1, "all": 1}),
    ],
)
def test_an_edit_in_a_pulled_clone_makes_again_exactly_what_hangs_on_it(clone, edit, jobs):
    (clone / "config/protocols/y.yaml").write_text("title: On Y\nchannel: y\n", encoding="utf-8")
    shutil.copy(PROJECT / "config/foundations/niqe.yaml", clone / "config/foundations")
    path, change = edit
    text = (clone / path).read_text(encoding="utf-8")
    assert change(text) != text
    try:
        (clone / path).write_text(change(text), encoding="utf-8")
        assert plan(clone) == jobs
    finally:
        (clone / path).write_text(text, encoding="utf-8")
    assert plan(clone) == {}, "put back, there is nothing to be done again"


def test_another_lock_file_makes_nothing_again_and_cards_tell(clone, tmp_path, monkeypatch):
    """A checkout of the same code whose uv.lock is another one: nothing is planned; what it makes all the same says so."""
    checkout = tmp_path / "shared-checkout"
    for name in ("mperceiver", "workflow", "profiles", "config"):
        shutil.copytree(PROJECT / name, checkout / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(PROJECT / "Snakefile", checkout)
    text = (PROJECT / "uv.lock").read_text(encoding="utf-8")
    (checkout / "uv.lock").write_text(text + "# a newer package\n", encoding="utf-8")
    do(checkout, "git", "init", "-q")
    do(checkout, "git", "add", "-A", "-f")
    do(checkout, "git", "commit", "-qm", "Another lock file")
    there = {"snakefile": checkout / "Snakefile", "variables": warm.cold() | {"PYTHONPATH": str(checkout)}}
    card = clone / "results/scores/input/tiny-test.json"
    whole, times = card.read_bytes(), os.stat(card)
    try:
        assert plan(clone, **there) == {}
        run(clone, "--force", "results/scores/input/tiny-test.json", **there)
        before, after = json.loads(whole), json.loads(card.read_bytes())
        assert after["lock"] == files.sha256(checkout / "uv.lock") != before["lock"]
        same = ("code", "spec", "inputs", "outputs", "result")
        assert [after[key] for key in same] == [before[key] for key in same]
        (clone / "old.json").write_bytes(whole)
        monkeypatch.chdir(clone)
        found = differences.differences("old.json", "results/scores/input/tiny-test.json")
        assert [(one.what, one.effect) for one in found if "lock" in one.what] == [
            ("uv.lock is another one", differences.NOT)
        ]
    finally:
        (clone / "old.json").unlink(missing_ok=True)
        card.write_bytes(whole)
        os.utime(card, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert plan(clone) == {}


# ---------------------------------------------------------------- what is damaged


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    "path",
    [
        "results/runs/tiny/drm.safetensors",
        "results/restored/tiny/tiny-test/astronaut-0-haze.png",
        "results/scores/tiny/tiny-test.csv",
        "data/raw/astronaut/astronaut.png",
        "data/prepared/tiny-test.arrow",
        "data/latents/tiny/tiny-train.arrow",
        "results/restored/tiny/tiny-test.json",
        "results/metrics/demo/metrics.json",
        "data/foundations/lpips-alex/trunk.ckpt",
    ],
)
def test_a_flipped_byte_is_named(clone, monkeypatch, path):
    monkeypatch.chdir(clone)
    whole, times = Path(path).read_bytes(), os.stat(path)
    flip(Path(path))
    try:
        problems = verify.verify_all().problems
    finally:
        Path(path).write_bytes(whole)
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert any(path in problem for problem in problems), problems
    assert all(path in problem or "not a card" in problem for problem in problems), "and nothing else is named"


def test_a_card_that_is_gone_edited_or_of_another_repository_is_named(clone, monkeypatch):
    monkeypatch.chdir(clone)
    card = Path("results/scores/tiny/tiny-test.json")
    text = card.read_text(encoding="utf-8")
    try:
        card.unlink()
        assert f"results/tables/tiny.json: input {card} is missing" in verify.verify_all().problems
        better = json.loads(text)
        better["result"]["means"]["psnr"] += 1
        card.write_text(json.dumps(better), encoding="utf-8")
        assert any(f"results/tables/tiny.json: input {card} was" in problem for problem in verify.verify_all().problems)
        shutil.copy("results/scores/tiny-net/tiny-test.json", card)
        assert any(
            problem.startswith(f"{card}: is the card of results/scores/tiny-net/tiny-test.csv")
            for problem in verify.verify_all().problems
        )
        card.write_text(json.dumps(json.loads(text) | {"commit": "f" * 40}), encoding="utf-8")
        verified = verify.verify_all()
        assert any(f"first {card} (ffffffffffff)" in note for note in verified.notes) and verified.problems
    finally:
        card.write_text(text, encoding="utf-8")
    assert verify.verify_all().problems == []


def names_in(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_a_push_that_was_interrupted(origin, home):
    """DVC sends the list of a folder (.dir) last. A remote that got some files and no list: the pull fails and names the folders,
    and the same push again sends the rest."""
    remote, half = home / "remote", home / "half"
    shutil.copytree(remote, half)
    sent = sorted(path for path in (half / "files/md5").rglob("*") if path.is_file())
    lists = [path for path in sent if path.name.endswith(".dir")]
    gone = [path for path in sent if path not in lists][::2]
    assert lists and len(gone) > 20
    for path in (*lists, *gone):
        path.unlink()
    do(origin, "dvc", "remote", "add", "-q", "--local", "half", str(half))

    def clone_of_half(name: str) -> Path:
        do(home, "git", "clone", "-q", str(origin), name)
        do(home / name, "dvc", "remote", "add", "-q", "--local", "half", str(half))
        return home / name

    late = clone_of_half("late")
    said = do(late, "dvc", "pull", "-r", "half", code=1)
    assert "Missing cache files" in said and "results/runs" in said and "data/latents" in said
    assert f"{len(gone) + len(lists)} files pushed" in do(origin, "dvc", "push", "-r", "half")
    assert names_in(half) == names_in(remote)
    do(late, "dvc", "pull", "-q", "-r", "half")
    assert plan(late) == {}
    shutil.rmtree(late)

    # A remote that lost files afterwards keeps its lists, which DVC believes: without them it looks at every file.
    gone[0].unlink()
    said = do(clone_of_half("later"), "dvc", "pull", "-r", "half", code=1)
    assert re.search(r"\d+ files failed to download", said) and gone[0].name in said
    assert "Everything is up to date" in do(origin, "dvc", "push", "-r", "half")
    for path in lists:
        path.unlink()
    do(origin, "dvc", "push", "-q", "-r", "half")
    assert names_in(half) == names_in(remote)
    do(home / "later", "dvc", "pull", "-q", "-r", "half")
    assert plan(home / "later") == {}
    do(origin, "dvc", "remote", "remove", "-q", "--local", "half")
    shutil.rmtree(home / "later")


# ---------------------------------------------------------------- DVC's own commands


def test_experiments_metrics_and_plots(clone):
    do(clone, "git", "stash", "-q", "--include-untracked")  # y.yaml and niqe.yaml
    do(clone, "dvc", "exp", "run", "-q", "-n", "longer", "-S", "config/runs/tiny-net.yaml:network.steps=5")
    assert "steps: 5" in (clone / "config/runs/tiny-net.yaml").read_text(encoding="utf-8")
    assert plan(clone) == {}
    shown = do(clone, "dvc", "exp", "show", "--csv", "--drop", ".*sha256.*")
    assert "longer" in shown and "tiny-net.tiny-test/haze.psnr" in shown
    changed = json.loads(do(clone, "dvc", "exp", "diff", "--json", "main", "longer"))
    assert changed["params"]["config/runs/tiny-net.yaml"]["network.steps"]["diff"] == 1
    assert list(changed["params"]) == ["config/runs/tiny-net.yaml"]
    moved = json.loads(do(clone, "dvc", "metrics", "diff", "--json"))
    assert list(moved) == ["results/metrics/demo/metrics.json"], "no whole cards"
    assert {name.split(".")[0] for name in moved["results/metrics/demo/metrics.json"]} == {"tiny-net"}
    page = do(clone, "dvc", "plots", "diff", "-o", "dvc_plots", "HEAD")
    html = Path(page.strip().removeprefix("file://")).read_text(encoding="utf-8")
    assert "tiny-net: network" in html and "PSNR per task" in html
    do(clone, "git", "checkout", "-q", ".")
    do(clone, "dvc", "checkout", "-q", "--force")
    assert "diff" not in do(clone, "dvc", "metrics", "diff", "--json"), "back at what the commit says"
    assert (clone / "results/benchmarks/train_network/tiny-net.tsv").exists(), (
        "of the experiment; no checkout removes it"
    )
    assert plan(clone) == {}


def test_one_checkpoint_from_another_checkout(origin, home):
    other = home / "other"
    other.mkdir()
    do(other, "git", "init", "-q")
    do(other, "dvc", "init", "-q")
    name = "results/runs/tiny-net/network.safetensors"
    do(other, "dvc", "get", "-q", str(origin), name, "-o", "got.safetensors")
    do(other, "dvc", "import", "-q", str(origin), name, "-o", "imported.safetensors")
    assert {files.sha256(other / f"{way}.safetensors") for way in ("got", "imported")} == {files.sha256(origin / name)}
    assert "rev_lock" in (other / "imported.safetensors.dvc").read_text(encoding="utf-8")


def test_a_tag_names_released_weights(origin, home):
    """`dvc artifacts get` takes the version of a tag, whatever was committed since."""
    first = files.sha256(origin / "results/runs/tiny-net/network.safetensors")
    head = do(origin, "git", "rev-parse", "HEAD").strip()
    do(origin, "git", "tag", "-a", "tiny-net@v1.0.0", "-m", "The first weights")
    weights = origin / "results/runs/tiny-net/network.safetensors"
    whole, times = weights.read_bytes(), os.stat(weights)
    try:
        flip(weights)
        do(origin, "dvc", "commit", "-q", "--force", "train")
        do(origin, "git", "commit", "-qam", "Other weights")
        do(origin, "dvc", "push", "-q")
        taker = home / "taker"
        taker.mkdir()
        do(taker, "dvc", "artifacts", "get", "-q", str(origin), "tiny-net", "--rev", "v1.0.0", "-o", "released")
        assert files.sha256(taker / "released/network.safetensors") == first
        card = json.loads((taker / "released/network.json").read_text(encoding="utf-8"))
        assert card["outputs"] == {"results/runs/tiny-net/network.safetensors": first}
        said = do(taker, "dvc", "artifacts", "get", str(origin), "tiny-net", "--rev", "v2.0.0", code=1)
        assert "tiny-net @ v2.0.0" in said
    finally:
        weights.write_bytes(whole)
        os.utime(weights, ns=(times.st_atime_ns, times.st_mtime_ns))
        do(origin, "git", "reset", "-q", "--hard", head)
        do(origin, "dvc", "checkout", "-q", "--force")


def test_a_shallow_clone_knows_its_commit_and_says_what_it_lacks(origin, home, monkeypatch):
    (origin / "config/note.txt").write_text("another commit\n", encoding="utf-8")
    do(origin, "git", "add", "-A")
    do(origin, "git", "commit", "-qm", "Note")
    do(home, "git", "clone", "-q", "--depth", "1", f"file://{origin}", "shallow")
    shallow = home / "shallow"
    (shallow / "mperceiver").mkdir()
    (shallow / "mperceiver/commits.py").touch()
    do(shallow, "git", "add", "-f", "mperceiver")
    do(shallow, "git", "commit", "-qm", "As if it were this project")
    monkeypatch.setattr(shipped, "PACKAGE", shallow / "mperceiver")
    monkeypatch.chdir(shallow)
    head = do(shallow, "git", "rev-parse", "HEAD").strip()
    first = do(origin, "git", "rev-parse", "HEAD~1").strip()
    assert commits.current.__wrapped__() == (head, False)
    assert commits.not_here({head, first}) == {first}
    with pytest.raises(commits.CommitError, match="git fetch --unshallow"):
        commits.files_between(first, head, "config")
