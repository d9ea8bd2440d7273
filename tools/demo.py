"""`make demo` in words: run Snakemake, say which job runs, and print the tables at the end: uv run python -m tools.demo [ARGUMENT...]

The arguments are Snakemake's. What Snakemake itself prints goes to results/logs/demo.log, and to the terminal if it fails.
"""

import re
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO

from mperceiver import config, paths
from mperceiver.config.experiments import Experiment
from mperceiver.printing import console, say
from mperceiver.report.terminal import terminal_tables

EXPERIMENT = Path("config/demo.yaml")
LOG = paths.RESULTS / "logs/demo.log"
LINE_SECONDS = 15  # between two lines about a training
LAST_LINES = 60  # of Snakemake's, shown if it fails
WORDS = {  # rule -> what it does, with the rule's wildcards
    "download": "getting the pictures of {dataset}",
    "foundation": "staging the weights of {foundation}",
    "prepare": "making the pairs of {dataset}",
    "encode": "caching the latents of {dataset}",
    "train_predictor": "training the degradation predictor of {run}",
    "train_branches": "training the textual and the visual branch of {run}",
    "train_drm": "training the detail refinement module of {run}",
    "train_network": "training the network of {run}",
    "command": "running the program of {method} on {dataset}",
    "restore": "restoring {dataset} with {method}",
    "measure": "measuring what restoring costs with {method}",
    "score": "scoring {method} on {dataset}",
    "table": "printing the table {table}",
    "figure": "drawing the figure {figure}",
    "report": "writing the report",
}


def describe(rule: str, wildcards: dict[str, str]) -> str:
    """What a job does, in words."""
    return WORDS[rule].format_map(wildcards)


def jobs(lines: Iterable[str]) -> Iterator[tuple[str, dict[str, str]] | tuple[int, int]]:
    """What Snakemake's output tells: (rule, wildcards) when a job starts, and (done, all) when the numbers of jobs change."""
    rule = None
    for line in lines:
        started = re.match(r"(?:local)?rule (\w+):", line)
        if rule and (started or not line.strip()):  # the end of the description of a job without wildcards
            yield rule, {}
            rule = None
        if started and started[1] in WORDS:
            rule = started[1]
        elif rule and (values := re.match(r"    wildcards: (.+)", line)):
            yield rule, dict(pair.split("=", 1) for pair in values[1].split(", "))
            rule = None
        elif planned := re.match(r"total +(\d+)$", line):
            yield 0, int(planned[1])
        elif ended := re.match(r"(\d+) of (\d+) steps", line):
            yield int(ended[1]), int(ended[2])


def last_line(rule: str, wildcards: dict[str, str]) -> str:
    """The last line of a training's log with its step and the time that is left; empty where there is none yet."""
    try:
        text = (paths.RESULTS / f"logs/{rule}/{wildcards['run']}.log").read_text(encoding="utf-8")
    except OSError:
        return ""
    return next((line for line in reversed(text.splitlines()) if " step " in line or " crops, " in line), "")


def tell_trainings(trainings: list[tuple[str, dict[str, str]]], ended: threading.Event) -> None:
    """Print how far each training is, every LINE_SECONDS, until ``ended``. ``trainings`` grows meanwhile."""
    told = set()
    while not ended.wait(LINE_SECONDS):
        for line in {last_line(*training) for training in trainings} - told - {""}:
            told.add(line)
            say(f"    {line}")


def run(arguments: list[str]) -> int:
    """Run Snakemake with its arguments and say what it does; return its exit code."""
    LOG.parent.mkdir(parents=True, exist_ok=True)
    kept: list[str] = []
    trainings: list[tuple[str, dict[str, str]]] = []
    ended = threading.Event()
    command = ["snakemake", *arguments]
    with (
        LOG.open("w", encoding="utf-8") as log,
        subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8", errors="replace"
        ) as snakemake,
    ):

        def read(stream: IO[str]) -> Iterator[str]:
            for line in stream:
                log.write(line)
                log.flush()
                kept.append(line)
                yield line

        teller = threading.Thread(target=tell_trainings, args=(trainings, ended), daemon=True)
        teller.start()
        number, total = 0, 0
        assert snakemake.stdout is not None
        for event in jobs(read(snakemake.stdout)):
            if isinstance(event[0], int):
                total = int(event[1])
                continue
            rule, wildcards = event
            number += 1
            say(f"[{number} of {total - 1}] {describe(rule, wildcards)}")  # `all`, the last, does nothing
            if rule.startswith("train_"):
                trainings.append((rule, wildcards))
        code = snakemake.wait()
        ended.set()
        teller.join()
    if code:
        say("".join(kept[-LAST_LINES:]), error=True)
        say(
            f"The whole output of Snakemake: {LOG}. After a repair, the same command continues where it stopped.",
            error=True,
        )
    elif any("Nothing to be done" in line for line in kept):
        say("Nothing to be done: all results are there, and nothing that they depend on has changed.")
    return code


def print_tables() -> None:
    """Print the experiment's tables, and where the report is."""
    terminal = console()
    for name in config.parse(EXPERIMENT, Experiment).tables:
        for table in terminal_tables(name, terminal.width):
            terminal.print(table)
    say(f"The report: {paths.report_folder(EXPERIMENT.stem).absolute() / 'index.html'}")


if __name__ == "__main__":
    code = run(sys.argv[1:])
    if code == 0:
        print_tables()
    sys.exit(code)
