"""The workflow run on the tiny world (tests/tiny), and what it plans."""

import re
import subprocess
from pathlib import Path

from support import PROJECT

NOTHING = "Nothing to be done"
WARM: dict[str, str] = {}  # the environment of commands; filled by `commands`


def snakemake(
    world: Path,
    *arguments: str,
    snakefile: Path = PROJECT / "Snakefile",
    mirror: str = "",
    variables: dict[str, str] | None = None,
    **options,
) -> subprocess.CompletedProcess:
    words = ["snakemake", "--snakefile", str(snakefile), *arguments]
    variables = (variables or WARM) | {"MPERCEIVER_MIRROR": mirror}
    to_text = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return subprocess.run(words, cwd=world, env=variables, timeout=600, **to_text, **options)


def run(world: Path, *targets: str, **options) -> str:
    done = snakemake(world, "--cores", "2", *targets, **options)
    assert done.returncode == 0, done.stdout
    return done.stdout


def plan(world: Path, *arguments: str, **options) -> dict[str, int]:
    """Rule -> number of jobs that a dry run would do."""
    done = snakemake(world, "-n", *arguments, **options)
    assert done.returncode == 0, done.stdout
    if NOTHING in done.stdout:
        return {}
    table = done.stdout.partition("Job stats:")[2].partition("total")[0]
    return {rule: int(count) for rule, count in re.findall(r"^(\w+) +(\d+)$", table, re.MULTILINE)}
