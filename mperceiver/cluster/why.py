"""`mperceiver why-failed`: what SLURM knows of each failed job, the end of its log, the likely cause and the next command."""

import re
from collections import deque
from dataclasses import dataclass
from pathlib import Path

from mperceiver.cluster import runlog
from mperceiver.cluster.ask import ClusterError, ask, fields
from mperceiver.cluster.causes import likely_cause
from mperceiver.cluster.refusals import refusals
from mperceiver.cluster.runlog import FailedJob
from mperceiver.printing import say

LOG_LINES = 8  # of a command's log, printed
SLURM_LOG_LINES = 40  # of SLURM's log, searched
SLURM_ERROR = re.compile(r"slurmstepd|oom|srun: error|CANCELLED|not found")
SACCT = ("State", "ExitCode", "NodeList", "Elapsed", "Timelimit", "MaxRSS", "ReqMem")
NOT_KNOWN = "not known"


@dataclass
class EndedJob:
    """What SLURM knows of a job that has ended."""

    state: str = ""
    node: str = NOT_KNOWN
    elapsed: str = NOT_KNOWN  # days-hours:minutes:seconds
    limit: str = NOT_KNOWN  # the same format
    peak_memory: str = f"{NOT_KNOWN} (no accounting)"
    asked_memory: str = NOT_KNOWN


def ended_job(slurm_id: str) -> EndedJob:
    """Ask sacct for a job; without accounting ask the controller, which forgets a job after MinJobAge seconds."""
    try:
        answer = ask("sacct", "-n", "-P", "-j", slurm_id, "-o", ",".join(SACCT))
        rows = [dict(zip(SACCT, line.split("|"), strict=True)) for line in answer.splitlines() if line.strip()]
    except (ClusterError, ValueError):
        rows = []
    if rows:  # the first is the job, the others are its steps, which have the peak of memory
        job = rows[0]
        peak = max((row["MaxRSS"] for row in rows), key=_bytes)
        state = job["State"].split()[0]  # of "CANCELLED by 0"
        return EndedJob(state, job["NodeList"], job["Elapsed"], job["Timelimit"], peak or NOT_KNOWN, job["ReqMem"])
    try:
        known = fields(ask("scontrol", "-o", "show", "job", slurm_id))
    except ClusterError:
        return EndedJob()
    return EndedJob(
        state=known.get("JobState", ""),
        node=known.get("NodeList", NOT_KNOWN),
        elapsed=known.get("RunTime", NOT_KNOWN),
        limit=known.get("TimeLimit", NOT_KNOWN),
        asked_memory=known.get("MinMemoryNode", NOT_KNOWN),
    )


def _bytes(text: str) -> float:
    """Bytes of sacct's `1234K`; 0 for an empty text."""
    match = re.match(r"([\d.]+)([KMGT]?)", text)
    return float(match[1]) * 1024.0 ** " KMGT".index(match[2] or " ") if match else 0.0


def last_lines(path: str, count: int) -> list[str]:
    """The last lines of a log that are not empty; none if there is no such file."""
    try:
        with Path(path).open(encoding="utf-8", errors="replace") as file:
            return list(deque((line.rstrip() for line in file if line.strip()), count))
    except OSError:
        return []


def describe(failed: FailedJob) -> str:
    """What is printed of a failed job: several lines."""
    ended = ended_job(failed.slurm_id) if failed.slurm_id else EndedJob()
    lines = [line for path in failed.logs for line in last_lines(path, LOG_LINES)]
    slurm_lines = last_lines(failed.slurm_log, SLURM_LOG_LINES) if failed.slurm_log else []
    slurm_errors = [line for line in slurm_lines if SLURM_ERROR.search(line)]
    known = {"rule": failed.rule, "node": ended.node, "mem_mb": NOT_KNOWN, "runtime": NOT_KNOWN} | failed.resources
    states = ended.state, failed.state, failed.message
    refused = refusals("\n".join(slurm_lines))  # by the Snakemake inside the job, after its command
    if refused:
        cause, next_command = refused[0].cause, refused[0].next
    else:
        cause, next_command = likely_cause(states, [*lines, *slurm_errors], failed.logs, known)

    attempts = f"{failed.failed_attempts} attempt{'s' if failed.failed_attempts > 1 else ''} failed"
    outcome = ", then one succeeded" if failed.succeeded_later else ""
    # RUNNING and PENDING are states of a later attempt.
    state = ended.state if ended.state not in ("", "RUNNING", "PENDING") else failed.state
    asked = ended.asked_memory if ended.asked_memory != NOT_KNOWN else f"{known['mem_mb']} MB"
    logs = [path for path in (*failed.logs, failed.slurm_log) if path]
    return "\n".join(
        [
            f"{failed.rule} {failed.wildcards}: {attempts}{outcome}",
            f"  SLURM    job {failed.slurm_id or 'none'}, {state or 'state not known'}, node {ended.node}",
            f"  time     {ended.elapsed} of {ended.limit}",
            f"  memory   peak {ended.peak_memory}, asked {asked}",
            *(f"  log      {path}" for path in logs),
            *(f"           {line}" for line in [*lines, *slurm_errors[-3:]]),
            f"  cause    {cause}",
            f"  next     {next_command}",
        ]
    )


def print_failed_jobs() -> bool:
    """Print the failed jobs of the last run, and what Snakemake itself refused.

    Returns whether every failed job has succeeded in a later attempt, and nothing was refused.

    Raises:
        ClusterError: no Snakemake has run in this folder.
    """
    log = runlog.newest_log()
    text = log.read_text(errors="replace", encoding="utf-8")
    failed, refused = runlog.failed_jobs(text), refusals(text)
    failed.sort(key=lambda job: job.succeeded_later)
    if not failed and not refused:
        say(f"{log}: no job failed")
    else:
        say("\n\n".join([str(log), *map(describe, failed), *(refusal.describe() for refusal in refused)]))
    return all(job.succeeded_later for job in failed) and not refused
