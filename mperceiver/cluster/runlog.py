"""Read the failed jobs out of a log of Snakemake's head: .snakemake/log/."""

import re
from dataclasses import dataclass, field
from pathlib import Path

from mperceiver.cluster.ask import ClusterError
from mperceiver.cluster.refusals import refusals

LOGS = Path(".snakemake/log")
BLOCK = re.compile(
    r"^(?P<head>(?:local)?rule \w+|Error in rule \w+):\n(?P<body>(?:    .*\n?|\n(?=    ))*)", re.MULTILINE
)
ENTRY = re.compile(r"^    ([\w-]+): ?(.*)$", re.MULTILINE)  # of a block
FINISHED = re.compile(r"^Finished jobid: (\d+)", re.MULTILINE)
STATE = re.compile(r"SLURM status is: '([^']+)'")


@dataclass
class FailedJob:
    """A job of which at least one attempt failed. Resources, logs, state and message are those of the last failed attempt."""

    number: str  # Snakemake's own number of the job, within this run
    rule: str
    wildcards: str
    logs: list[str] = field(default_factory=list)  # of the command
    resources: dict[str, str] = field(default_factory=dict)  # mem_mb, runtime, slurm_partition, ...
    failed_attempts: int = 0
    slurm_id: str = ""  # empty if the job was not submitted
    slurm_log: str = ""
    state: str = ""  # SLURM's, as the head saw it
    message: str = ""  # the head's
    succeeded_later: bool = False  # a later attempt succeeded
    position: int = 0  # of the last failure in the log, in characters


def newest_log() -> Path:
    """The log of the last head of this folder that had jobs to do, or that Snakemake refused.

    Unlocking a folder, as `orphans` does, writes a log without either.

    Raises:
        ClusterError: there is no log.
    """
    logs = sorted(LOGS.glob("*.snakemake.log"), reverse=True)
    if not logs:
        raise ClusterError(
            f"{LOGS.resolve()}: no log of Snakemake here. Run this command in the folder where snakemake was started"
        )
    texts = ((path, path.read_text(errors="replace", encoding="utf-8")) for path in logs)
    return next((path for path, text in texts if BLOCK.search(text) or refusals(text)), logs[0])


def failed_jobs(text: str) -> list[FailedJob]:
    """The failed jobs in a head's log, in the order of their first failure.

    The head copies the end of a failed job's log into its own, and with it what the Snakemake inside the job wrote. That
    Snakemake gives no external_jobid and has its own job numbers; its blocks are left out.
    """
    blocks = [(match["head"].split()[-1], match, dict(ENTRY.findall(match["body"]))) for match in BLOCK.finditer(text)]
    submitted_rules = {rule for rule, _, entries in blocks if "external_jobid" in entries}
    descriptions: dict[tuple[str, str], dict[str, str]] = {}  # of each (job number, rule): its last "rule" block
    failed: dict[str, FailedJob] = {}
    for rule, match, entries in blocks:
        number = entries.get("jobid", "")
        if not match["head"].startswith("Error"):
            descriptions[number, rule] = entries
            continue
        refused = "sbatch" in entries.get("message", "")  # a job that SLURM did not take has no external_jobid either
        if "external_jobid" not in entries and rule in submitted_rules and not refused:
            continue
        description = descriptions.get((number, rule), {})
        job = failed.setdefault(number, FailedJob(number, rule, description.get("wildcards", "")))
        _note_failure(job, entries, description)
        job.position = match.start()
    for finished in FINISHED.finditer(text):
        if finished[1] in failed:
            failed[finished[1]].succeeded_later = finished.start() > failed[finished[1]].position
    return list(failed.values())


def _note_failure(job: FailedJob, entries: dict[str, str], description: dict[str, str]) -> None:
    """Count a failed attempt; ``entries`` are of its "Error in rule" block, ``description`` of the "rule" block before."""
    resources = description.get("resources", "").split(", ")
    job.resources = dict(resource.split("=", 1) for resource in resources if "=" in resource)
    job.slurm_id = entries.get("external_jobid", "")
    paths = [path.strip() for path in entries.get("log", "").partition(" (check")[0].split(",") if path.strip()]
    job.slurm_log = next((path for path in paths if Path(path).stem == job.slurm_id), "")
    job.logs = [path for path in paths if path != job.slurm_log]
    job.message = entries.get("message", "")
    job.failed_attempts += 1
    state = STATE.search(job.message)
    job.state = state[1] if state else ""
