"""What the last Snakemake of this folder wrote about its jobs: .snakemake/log/."""

import re
from dataclasses import dataclass
from pathlib import Path

from mperceiver.cluster.ask import ClusterError

LOGS = Path(".snakemake/log")
BLOCK = re.compile(
    r"^(?P<head>(?:local)?rule \w+|Error in rule \w+):\n(?P<body>(?:    .*\n?|\n(?=    ))*)", re.MULTILINE
)
LINE = re.compile(r"^    ([\w-]+): ?(.*)$", re.MULTILINE)
FINISHED = re.compile(r"^Finished jobid: (\d+)", re.MULTILINE)
STATE = re.compile(r"SLURM status is: '([^']+)'")


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
    last: int = 0  # where the last attempt's failure stands


def newest() -> Path:
    """The log of the last head of this folder that had something to do. Raises ClusterError if there is none.

    An unlocking, which `orphans` does too, and a head that was refused write logs without a job.
    """
    found = sorted(LOGS.glob("*.snakemake.log"), reverse=True)
    if not found:
        raise ClusterError(f"{LOGS.resolve()}: no log of Snakemake's; type this where snakemake was typed")
    return next((path for path in found if BLOCK.search(path.read_text(errors="replace"))), found[0])


def failures(text: str) -> list[Failure]:
    """The jobs that failed in a head's log, in the order of their first failure.

    The end of a failed job's log stands in it too, with what the Snakemake inside of the job wrote. That one knows no
    external_jobid, and numbers jobs anew.
    """
    blocks = [(block["head"].split()[-1], block, dict(LINE.findall(block["body"]))) for block in BLOCK.finditer(text)]
    outside = {rule for rule, block, told in blocks if "external_jobid" in told}
    described: dict[tuple[str, str], dict[str, str]] = {}
    found: dict[str, Failure] = {}
    for rule, block, told in blocks:
        number = told.get("jobid", "")
        if not block["head"].startswith("Error"):
            described[number, rule] = told
            continue
        if "external_jobid" not in told and rule in outside and "sbatch" not in told.get("message", ""):
            continue
        before = described.get((number, rule), {})
        failure = found.setdefault(number, Failure(number, rule, before.get("wildcards", ""), [], {}))
        failure.asked = dict(word.split("=", 1) for word in before.get("resources", "").split(", ") if "=" in word)
        failure.slurm_id = told.get("external_jobid", "")
        paths = [path.strip() for path in told.get("log", "").partition(" (check")[0].split(",") if path.strip()]
        failure.slurm_log = next((path for path in paths if Path(path).stem == failure.slurm_id), "")
        failure.logs = [path for path in paths if path != failure.slurm_log]
        failure.message = told.get("message", "")
        failure.attempts += 1
        failure.last = block.start()
        state = STATE.search(failure.message)
        failure.state = state[1] if state else ""
    for match in FINISHED.finditer(text):
        if match[1] in found:
            found[match[1]].mended = match.start() > found[match[1]].last
    return list(found.values())
