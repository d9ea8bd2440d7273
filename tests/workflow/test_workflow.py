"""The workflow run: what it plans, and the tiny world built, edited, damaged and killed for real."""

import contextlib
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
from support import PROJECT, warm
from support.workflow import WARM, plan, run, snakemake

from mperceiver import files, lineage

ALL_IN_ONE = ("aio-3", "aio-5", "all-weather", "cdd-11")  # docs/benchmarks.md

pytestmark = pytest.mark.usefixtures("commands")


@pytest.mark.parametrize(
    "arguments",
    [[], ["--configfile", "config/benchmarks.yaml"], ["--profile", "slurm"]]
    + [["--configfile", f"config/{name}.yaml"] for name in ALL_IN_ONE],
    ids=["demo", "benchmarks", "slurm", *ALL_IN_ONE],
)
def test_dry_run_of_a_fresh_checkout(arguments, tmp_path):
    for name in ("Snakefile", "workflow", "profiles", "slurm", "config"):
        source = PROJECT / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, tmp_path / name)
    jobs = plan(tmp_path, *arguments, snakefile=tmp_path / "Snakefile")
    assert jobs.keys() >= {
        "download",
        "prepare",
        "encode",
        "train_branches",
        "train_drm",
        "restore",
        "score",
        "table",
        "report",
    }
    assert ("figure" in jobs) == ("--configfile" not in arguments), "--configfile chooses the experiment"
    if any(f"config/{name}.yaml" in arguments for name in ALL_IN_ONE):
        assert (jobs["train_network"], jobs["train_drm"], jobs["table"]) == (8, 1, 1)  # WGWS-Net has two stages


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--config", "title=Other", "seed=3"], "--config title, seed: does nothing, since every setting is read from a file in config/"),
        (["--profile", "slurm", "--config", "title=Other"], "--config title: does nothing"),
        (
            ["--configfile", "config/paper.yaml", "config/demo.yaml"],
            "--configfile config/paper.yaml, config/demo.yaml: of several experiments only the last would be built",
        ),
        (
            ["--configfile=config/paper.yaml", "--configfile", "config/demo.yaml"],
            "--configfile config/paper.yaml, config/demo.yaml: of several experiments only the last would be built",
        ),
    ],
)  # fmt: skip
def test_options_that_would_do_nothing_are_refused(arguments, words, tmp_path):
    for name in ("Snakefile", "workflow", "profiles", "slurm", "config"):
        source = PROJECT / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, tmp_path / name)
    refused = snakemake(tmp_path, "-n", *arguments, snakefile=tmp_path / "Snakefile")
    assert refused.returncode and words in refused.stdout, refused.stdout


def describe(world: Path, path: str, text: str) -> None:
    (world / "config" / path).write_text(text, encoding="utf-8")


def leftovers(folder: Path) -> list[Path]:
    """Hidden files, such as temporary ones, other than Snakemake's time stamps, checksum caches and lists of a folder's files."""
    kept = (".snakemake_timestamp", files.CHECKSUM_CACHE, files.MANIFEST)
    return [path for path in folder.rglob(".*") if path.name not in kept]


@pytest.mark.slow
def test_everything_is_made_once(built):
    expected = ["results/report/demo/index.html", "results/report/demo.json", "data/latents/tiny/tiny-train.arrow"]
    expected += [f"results/tables/tiny.{suffix}" for suffix in ("html", "csv", "tex", "json")]
    expected += [
        f"results/figures/{name}.{suffix}" for name in ("tiny-comparison", "tiny-curves") for suffix in ("png", "json")
    ]
    expected += [f"results/runs/tiny/{stage}.safetensors" for stage in ("predictor", "branches", "drm")]
    methods = ["ceiling", "ceiling-drm", "input", "tiny", "tiny-few", "tiny-net", "tiny-plus"]
    expected += [f"results/scores/{method}/tiny-test.{suffix}" for method in methods for suffix in ("csv", "json")]
    assert [path for path in expected if not (built / path).is_file()] == []
    assert leftovers(built / "data") + leftovers(built / "results") == []
    assert not any((built / "results/resume").rglob("*.*"))
    for log in (built / "results/logs").rglob("*.log"):
        assert "Traceback" not in log.read_text(encoding="utf-8"), log
    assert plan(built) == {}


@pytest.mark.slow
def test_snakemakes_own_report(built):
    made_of = snakemake(built, "--report", "own.html")
    assert made_of.returncode == 0, made_of.stdout
    text = (built / "own.html").read_text(encoding="utf-8")
    (built / "own.html").unlink()
    named = ["tiny.html", "tiny-comparison.png", "tiny-curves.png"]
    assert [name for name in named if name not in text] == []
    assert "config/tables/tiny.yaml" in text and "config/figures/tiny-curves.yaml" in text  # the captions, filled in


@pytest.mark.slow
def test_a_cell_leads_to_a_package_file(built, monkeypatch):
    words = "mperceiver trace tiny --method tiny --dataset tiny-test --task haze --verify".split()
    traced = subprocess.run(words, cwd=built, env=WARM, capture_output=True, text=True)
    output = traced.stdout
    assert traced.returncode == 0, output[-3000:] + traced.stderr
    assert "package:skimage/data/astronaut.png" in output and "results/runs/tiny/drm.json" in output
    assert "data/foundations/lpips-alex/trunk.ckpt" in output  # the weights of a metric
    monkeypatch.chdir(built)
    verbs = {card["verb"] for card in lineage.chain("results/report/demo.json").values()}
    rules = (PROJECT / "workflow/rules").glob("*.smk")
    # This report shows no costs and no outside program.
    assert verbs | {"measure", "command"} == {
        name for file in rules for name in re.findall(r"^rule (\w+):", file.read_text(encoding="utf-8"), re.MULTILINE)
    }


@pytest.mark.slow
def test_what_an_edit_reaches(world, tmp_path):
    checkout = tmp_path / "checkout"
    for name in ("workflow", "profiles"):
        shutil.copytree(PROJECT / name, checkout / name)
    snakefile = Path(shutil.copy(PROJECT / "Snakefile", checkout))
    rules = checkout / "workflow/rules/train.smk"
    rules.write_text(
        "# another comment\n" + rules.read_text(encoding="utf-8").replace(" > {log}", "  > {log}"), encoding="utf-8"
    )
    assert plan(world, snakefile=snakefile) == {}, "a space in a rule's text reaches nothing"

    describe(
        world,
        "methods/tiny-plus.yaml",
        (world / "config/methods/tiny-plus.yaml").read_text(encoding="utf-8").replace("flip4", "geometric8"),
    )
    assert plan(world) == {"restore": 1, "score": 1, "table": 1, "report": 1, "all": 1}
    text = (world / "config/runs/tiny-net.yaml").read_text(encoding="utf-8")
    describe(world, "runs/tiny-net.yaml", text.replace("steps: 4", "steps: 5"))
    jobs = plan(world)
    assert jobs == {"train_network": 1, "restore": 2, "score": 2, "table": 1, "figure": 2, "report": 1, "all": 1}
    describe(world, "methods/tiny.yaml", "title: A typing error\nkind: mperceiver\nrun: tinny\n")
    wrong = snakemake(world, "-n")
    assert (
        wrong.returncode
        and "config/runs/tinny.yaml: no such file" in wrong.stdout
        and "The nearest runs: tiny" in wrong.stdout
    )


@pytest.mark.slow
def test_a_deleted_score_is_made_again_alike(world):
    card = world / "results/scores/tiny/tiny-test.json"
    before = json.loads(card.read_text(encoding="utf-8"))
    for suffix in (".json", ".csv"):
        card.with_suffix(suffix).unlink()
    assert plan(world) == {}, "Snakemake does not miss what stands under a finished table"
    verify = ["mperceiver", "trace", "tiny", "--verify"]
    done = subprocess.run(verify, cwd=world, env=WARM, capture_output=True, text=True)
    assert done.returncode and "results/scores/tiny/tiny-test.json is missing" in done.stderr
    run(world, "results/scores/tiny/tiny-test.json")
    after = json.loads(card.read_text(encoding="utf-8"))
    for card in (before, after):  # the sources may have been edited while this ran
        del card["commit"], card["dirty"], card["code"]
    assert after == before


LONG = "title: A training long enough to be killed\nlike: tiny\nreuse: {predictor: tiny}\npredictor: null\ndrm: null\nlatents: null\n"
LONG += "branches: {steps: 30, save_every_steps: 3}\n"


@pytest.mark.slow
def test_killed_in_the_middle_of_a_training(world):
    describe(world, "runs/long.yaml", LONG)
    target = "results/runs/long/branches.json"
    weights = (world / target).with_suffix(".safetensors")
    run(world, target)
    straight = weights.read_bytes()
    shutil.rmtree(weights.parent)

    words = ["snakemake", "--snakefile", str(PROJECT / "Snakefile"), "--cores", "2", target]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    head = subprocess.Popen(words, cwd=world, env=warm.cold(), start_new_session=True, **quiet)
    try:
        until = time.monotonic() + 120
        while not list((world / "results/resume/long").glob("branches-*.pt")):
            assert head.poll() is None and time.monotonic() < until, "the training was to be seen half way"
            time.sleep(0.02)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(head.pid, signal.SIGKILL)
        head.wait()
    assert not weights.exists() and not (world / target).exists()

    locked = snakemake(world, "--cores", "2", target)
    assert locked.returncode and "--unlock" in locked.stdout
    assert snakemake(world, "--unlock").returncode == 0
    run(world, target)
    assert "resuming after step" in (world / "results/logs/train_branches/long.log").read_text(encoding="utf-8")
    assert weights.read_bytes() == straight
    assert not any((world / "results/resume").rglob("*.*")) and leftovers(world / "results") == []


@pytest.mark.slow
def test_what_cannot_be_written_is_not_there(world):
    """A limit on a file's size stands for a full disk: the write fails in the middle of the file."""
    describe(world, "runs/long.yaml", LONG.replace("30", "2"))
    target = "results/runs/long/branches.json"
    size = (world / "results/runs/tiny/branches.safetensors").stat().st_size // 4
    limit = {"preexec_fn": lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))}
    failed = snakemake(world, "--cores", "2", target, variables=warm.cold(), **limit)
    assert failed.returncode and "Error in rule train_branches" in failed.stdout, failed.stdout
    assert not list((world / "results/runs").rglob("long/*"))
    run(world, target)
    assert leftovers(world / "results") == []


@pytest.mark.slow
def test_a_damaged_picture_is_named(world):
    picture = world / "data/raw/astronaut/astronaut.png"
    whole = picture.read_bytes()
    picture.write_bytes(whole[:5000])
    test = (world / "config/datasets/tiny-test.yaml").read_text(encoding="utf-8")
    describe(world, "datasets/tiny-test.yaml", test + "seed: 1\n")
    failed = snakemake(world, "--cores", "2")
    log = (world / "results/logs/prepare/tiny-test.log").read_text(encoding="utf-8")
    assert failed.returncode and "data/raw/astronaut" in log and "mperceiver download --force astronaut" in log
    assert log.strip().splitlines()[-1].strip() in failed.stdout, "the end of the log is shown"
    assert not (world / "data/prepared/tiny-test.arrow").exists() and leftovers(world / "data") == []

    mirror = world / "mirror/two"
    mirror.mkdir(parents=True)
    (mirror / "good.png").write_bytes(whole)
    (mirror / "bad.png").write_bytes(whole[:5000])
    describe(world, "datasets/two.yaml", "title: Two\nlicence: none\nsources: [{source: local, folder: two}]\n")
    failed = snakemake(world, "--cores", "2", "data/raw/two.json", mirror="mirror")
    log = (world / "results/logs/download/two.log").read_text(encoding="utf-8")
    assert failed.returncode and "bad.png" in log and "good.png" not in log and "Traceback" not in log
    assert not (world / "data/raw/two").exists() and leftovers(world / "data") == []
