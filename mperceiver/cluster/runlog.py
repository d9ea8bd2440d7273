"""What the last Snakemake of this folder wrote about its jobs: .snakemake/log/."""

import re
from dataclasses import dataclass, field
from pathlib import Path

from mperceiver.cluster.ask import ClusterError

LOGS = Path(".snakemake/log")
BLOCK = re.compile(
    r"^(?P<head>(?:local)?rule \w+|Error in rule \w+):\n(?P<body>(?:    .*\n?|\n(?=    ))*)", re.MULTILINE
)
LINE = re.compile(r"^    ([\w-]+): ?(.*)$", re.MULTILINE)
FINISHED = re.compile(r"^Finished jobid: (\d+)", re.MULTILINE)
STATE = re.compile(r"SLURM status is: '([^']+)'")
SUBMITTED = re.compile(r"^Job (\d+) has been submitted with SLURM jobid (\w+) \(log: (.+?)\)", re.MULTILINE)


@dataclass
class Failure:
    """A job of which at least one attempt failed."""

    number: str  # Snakemake's own, within this run
    rule: str
    wildcards: str
    logs: list[str]
    asked: dict[str, str]  # resources of the last attempt: mem_mb, runtime, slurm_partition, ...
    attempts: int = 0
    slurm_id: str = ""
    slurm_log: str = ""
    state: str = ""  # as the head saw it
    message: str = ""
    mended: bool = False  # a later attempt went well
    places: list[int] = field(default_factory=list)


def newest() -> Path:
    """The log of the last head of this folder. Raises ClusterError if there is none."""
    found = sorted(LOGS.glob("*.snakemake.log"))
    if not found:
        raise ClusterError(f"{LOGS.resolve()}: no log of Snakemake's; type this where snakemake was typed")
    return found[-1]


def failures(text: str) -> list[Failure]:
    """The jobs that failed in a head's log, in the order of their first failure."""
    described: dict[str, dict[str, str]] = {}
    found: dict[str, Failure] = {}
    for block in BLOCK.finditer(text):
        told = dict(LINE.findall(block["body"]))
        number = told.get("jobid")
        if number is None:
            continue
        if not block["head"].startswith("Error"):
            described[number] = told
            continue
        before = described.get(number, {})
        failure = found.setdefault(
            number, Failure(number, block["head"].split()[-1], before.get("wildcards", ""), [], {})
        )
        failure.asked = dict(word.split("=", 1) for word in before.get("resources", "").split(", ") if "=" in word)
        failure.logs = [path.strip() for path in told.get("log", "").partition(" (check")[0].split(",") if path.strip()]
        failure.message = told.get("message", "")
        failure.attempts += 1
        failure.places.append(block.start())
        state = STATE.search(failure.message)
        failure.state = state[1] if state else ""
        failure.slurm_id = told.get("external_jobid", "")
    for number, slurm_id, log in SUBMITTED.findall(text):
        if number in found and (not found[number].slurm_id or slurm_id == found[number].slurm_id):
            found[number].slurm_id, found[number].slurm_log = slurm_id, log
    for match in FINISHED.finditer(text):
        if match[1] in found:
            found[match[1]].mended = match.start() > found[match[1]].places[-1]
    return list(found.values())
