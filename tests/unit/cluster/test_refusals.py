"""why-failed knows what Snakemake itself refuses or takes back: its errors are made by its own classes here."""

import re
from pathlib import Path
from types import SimpleNamespace

import pytest
import snakemake
from snakemake import exceptions
from typer.testing import CliRunner

from mperceiver.cli import app
from mperceiver.cluster.refusals import refusals


class Rule:
    name, lineno, snakefile = "restore", 1, "restore.smk"

    def __str__(self) -> str:
        return self.name


RULE = Rule()
JOB = SimpleNamespace(rule=RULE, output=[], wildcards=None)
MADE = {
    "MissingOutputException": (
        exceptions.MissingOutputException("x.json", rule=RULE, jobid=3),
        "does not see its outputs",
    ),
    "MissingInputException": (exceptions.MissingInputException(JOB, ["a.zip"]), "no rule makes is missing"),
    "ProtectedOutputException": (exceptions.ProtectedOutputException(JOB, ["x.json"]), "write-protected"),
    "ImproperOutputException": (exceptions.ImproperOutputException(JOB, ["x"]), "a folder lies where a file"),
    "IncompleteFilesException": (exceptions.IncompleteFilesException(["x.json"]), "was killed while it wrote"),
    "LockException": (exceptions.LockException(), "another snakemake works in this folder"),
    "MissingRuleException": (exceptions.MissingRuleException("results/x.json"), "no rule makes that file"),
    "ChildIOException": (exceptions.ChildIOException("a", "a/b"), "inside another rule's output"),
}


@pytest.mark.parametrize("name", MADE)
def test_each_of_snakemakes_own_errors_is_known(name):
    error, cause = MADE[name]
    text = "Building DAG of jobs...\n" + exceptions.format_exception_to_string(error, {}) + "\n"
    (refusal,) = refusals(text)
    assert refusal.name == name and cause in refusal.cause and refusal.next and refusal.lines


def test_the_wording_of_a_late_output_is_still_snakemakes():
    source = (Path(snakemake.__file__).parent / "dag.py").read_text(encoding="utf-8")
    assert "has older modification time" in source


CLOCK = """\
[Sat Nov 28 11:56:02 2026]
localrule restore:
    input: config/methods/input.yaml
    jobid: 0
WorkflowError in rule restore in file "/w/workflow/rules/restore.smk", line 1:
Output results/a.json has older modification time (11:56) than input config/methods/input.yaml (13:55). This could indicate
Removing output files of failed job restore since they might be corrupted:
results/restored/input/tiny-test.json
WorkflowError:
At least one job did not complete successfully.
"""


@pytest.fixture
def log(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path(".snakemake/log").mkdir(parents=True)

    def write(number: int, text: str) -> None:
        Path(f".snakemake/log/{number}.snakemake.log").write_text(text, encoding="utf-8")

    return write


def why() -> tuple[int, str]:
    result = CliRunner().invoke(app, ["why-failed"])
    return result.exit_code, result.output


def test_outputs_that_were_taken_back_are_told(log):
    log(1, CLOCK)
    code, output = why()
    assert code == 1 and "no job failed" not in output
    assert "snakemake: WorkflowError of rule restore" in output and "config/methods/input.yaml" in output
    assert "ahead of the clock" in output and output.count("cause") == 1


def test_a_refused_head_is_the_last_run_and_unlocking_is_none(log):
    log(1, CLOCK)
    log(2, "LockException:\nError: Directory cannot be locked. Please make sure\n/w\n")
    log(3, "Unlocked working directory.\n")
    code, output = why()
    assert code == 1 and "2.snakemake.log" in output and "snakemake --unlock" in output


def test_the_projects_own_words_in_an_input_function(log):
    text = 'InputFunctionException in rule score in file "/w/score.smk", line 1:\nError:\n  ConfigError: no method nafnett\n'
    log(1, text + "Wildcards:\n  method=nafnett\nTraceback:\n  File 'x', line 3, in f\n")
    assert re.search(r"cause +no method nafnett\n", why()[1])


def test_what_a_jobs_command_printed_is_none_of_snakemakes():
    assert refusals("Traceback (most recent call last):\nRuntimeError: CUDA error\nValueError: \n  x\n") == []
    assert refusals("WorkflowError:\nAt least one job did not complete successfully.\n") == []
    assert refusals("Error in rule restore:\n    jobid: 3\n") == []


INNER = """\
CalledProcessError in file "/w/workflow/rules/train.smk", line 40:
Command 'set -euo pipefail;  mperceiver train_network a' died with <Signals.SIGTERM: 15>.
Logfile results/logs/train_network/a.log:
==========
ValueError: of the command
==========
MissingOutputException in rule train_network in file "/w/workflow/rules/train.smk", line 40:
Job 0 completed successfully, but some output files are missing.
"""


def test_what_the_head_copies_of_a_jobs_log_is_not_the_heads():
    copied = f"Logfile /w/slurm/41.log:\n{'=' * 10}\n{INNER}{'=' * 10}\n"
    assert refusals(copied) == [] and refusals(copied + copied) == []
    both = refusals(
        f"Error in rule train_network:\n    jobid: 3\n{copied}LockException:\nError: Directory cannot be locked.\n"
    )
    assert [refusal.name for refusal in both] == ["LockException"]
    assert refusals(copied.removesuffix("=" * 10 + "\n")) == [], "a log that was cut"
    assert [refusal.name for refusal in refusals(INNER)] == ["MissingOutputException"], "of the job itself"
