"""`make demo` in words."""

import re
import stat
from pathlib import Path

from support import PROJECT

from tools import demo

OUTPUT = """Building DAG of jobs...
Job stats:
job      count
-----  -------
all          1
total        4

[Sat Nov 28 12:00:00 2026]
rule train_drm:
    input: config/runs/demo.yaml
    output: results/runs/demo/drm.safetensors
    jobid: 2
    wildcards: run=demo
    resources: tmpdir=/tmp

[Sat Nov 28 12:10:00 2026]
Finished jobid: 2 (Rule: train_drm)
1 of 4 steps (25%) done

[Sat Nov 28 12:10:00 2026]
rule score:
    input: results/restored/demo/demo-tasks.json
    wildcards: method=demo, dataset=demo-tasks

[Sat Nov 28 12:10:00 2026]
localrule report:
    input: config/demo.yaml
    jobid: 1

[Sat Nov 28 12:10:00 2026]
localrule all:
    input: results/report/demo.json
"""


def test_each_rule_has_words_for_its_wildcards():
    rules = "".join(path.read_text(encoding="utf-8") for path in (PROJECT / "workflow/rules").glob("*.smk"))
    for name, body in re.findall(r"^rule (\w+):\n(.*?)(?=^rule |\Z)", rules, re.MULTILINE | re.DOTALL):
        assert set(re.findall(r"{(\w+)}", demo.WORDS[name])) <= set(re.findall(r"wildcards\.(\w+)", body)), name


def test_what_snakemake_tells():
    told = list(demo.jobs(OUTPUT.splitlines(keepends=True)))
    assert told == [
        (0, 4),
        ("train_drm", {"run": "demo"}),
        (1, 4),
        ("score", {"method": "demo", "dataset": "demo-tasks"}),
        ("report", {}),
    ]


def program(text: str, code: int, monkeypatch) -> None:
    """A `snakemake` on the PATH that prints a text and exits with a code."""
    Path("bin").mkdir()
    Path("bin/text").write_text(text, encoding="utf-8")
    file = Path("bin/snakemake")
    file.write_text(f"#!/bin/sh\ncat {Path('bin/text').absolute()}\nexit {code}\n", encoding="utf-8")
    file.chmod(file.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{Path('bin').absolute()}:/usr/bin:/bin")


def test_jobs_are_told_in_words(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    program(OUTPUT, 0, monkeypatch)
    assert demo.run(["--cores", "all"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "[1 of 3] training the detail refinement module of demo",
        "[2 of 3] scoring demo on demo-tasks",
        "[3 of 3] writing the report",
    ]
    assert demo.LOG.read_text(encoding="utf-8") == OUTPUT


def test_a_failure_shows_what_snakemake_said(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    program(OUTPUT + "Error in rule score:\n    the reason\n", 1, monkeypatch)
    assert demo.run([]) == 1
    error = capsys.readouterr().err
    assert "the reason" in error and "results/logs/demo.log" in error and "continues where it stopped" in error


def test_a_second_run_says_that_there_is_nothing_to_do(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    program(
        "Building DAG of jobs...\nNothing to be done (all requested files are present and up to date).\n",
        0,
        monkeypatch,
    )
    assert demo.run([]) == 0
    assert capsys.readouterr().out.startswith("Nothing to be done")


def test_the_progress_of_a_training_is_the_last_line_of_its_log(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert demo.last_line("train_drm", {"run": "demo"}) == ""
    log = Path("results/logs/train_drm/demo.log")
    log.parent.mkdir(parents=True)
    log.write_text("a note\ndemo drm: step 50/2600 loss 0.1 ETA 500 s\na warning\n", encoding="utf-8")
    assert demo.last_line("train_drm", {"run": "demo"}) == "demo drm: step 50/2600 loss 0.1 ETA 500 s"
