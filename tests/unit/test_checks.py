"""The checks of a change: `make`, the hooks before a commit, .ci/run and GitHub's workflow run the same commands."""

import re

import yaml
from support import PROJECT


def recipes() -> dict[str, list[str]]:
    """Makefile target -> its commands, with the programs of the environment named alone."""
    text = (PROJECT / "Makefile").read_text(encoding="utf-8")
    rules = re.findall(r"^([a-z]+):.*\n((?:\t.*\n)+)", text, re.MULTILINE)
    return {name: [line.strip().removeprefix("$(UV) run ") for line in body.splitlines()] for name, body in rules}


def test_the_hooks_are_what_lint_runs():
    (repository,) = yaml.safe_load((PROJECT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))["repos"]
    assert [hook["entry"].removeprefix(".venv/bin/") for hook in repository["hooks"]] == recipes()["lint"]
    assert all(hook["language"] == "system" and not hook["pass_filenames"] for hook in repository["hooks"])


def test_github_runs_what_ci_runs():
    workflow = yaml.safe_load((PROJECT / ".github/workflows/ci.yml").read_text(encoding="utf-8"))
    (job,) = workflow["jobs"].values()
    targets = [include["target"] for include in job["strategy"]["matrix"]["include"]]
    steps = re.findall(
        r"^(?:step|start_beside) .*\bmake ([a-z]+)", (PROJECT / ".ci/run").read_text(encoding="utf-8"), re.MULTILINE
    )
    assert sorted(["install", *targets]) == sorted(steps) and set(steps) < set(recipes())
    assert {"run": "make ${{ matrix.target }}"} in job["steps"]
    assert all(re.fullmatch(r"actions/[a-z-]+@v\d+", step["uses"]) for step in job["steps"] if "uses" in step)


def test_the_makefile_says_what_each_target_does():
    text = (PROJECT / "Makefile").read_text(encoding="utf-8")
    assert re.findall(r"^# make ([a-z-]+) ", text, re.MULTILINE) == re.search(r"\.PHONY: (.*)", text)[1].split()
