"""Jobs of this working directory in SLURM's queue, and heads: the Snakemake processes that submit them."""

import getpass
import os
import re
from dataclasses import dataclass
from pathlib import Path

from mperceiver.cluster.ask import ask

FORMAT = "%i|%T|%M|%l|%R|%k|%Z"  # squeue: id, state, time used, time limit, node or reason, comment, working directory
COMMENT = re.compile(r"^(?:rule|group)_")  # how the comment begins that Snakemake's SLURM plugin gives a job


@dataclass(frozen=True)
class QueuedJob:
    """A job in SLURM's queue: one line of squeue."""

    id: str
    state: str
    elapsed: str  # days-hours:minutes:seconds
    limit: str  # the same format
    node: str  # while the job is pending: the reason, in parentheses
    rule: str  # rule_<name>_wildcards_<values>


def queued_jobs() -> list[QueuedJob]:
    """The user's unfinished jobs that a Snakemake submitted from this folder.

    Raises:
        ClusterError: squeue gives no answer.
    """
    here = os.path.realpath(Path.cwd())
    jobs = []
    for line in ask("squeue", "-h", "-u", getpass.getuser(), "-o", FORMAT).splitlines():
        *columns, folder = line.strip().split("|")
        if len(columns) == 6 and COMMENT.match(columns[-1]) and os.path.realpath(folder) == here:
            jobs.append(QueuedJob(*columns))
    return jobs


def head_pids() -> list[int]:
    """Process ids of the heads of this folder that run on this machine.

    A SLURM job runs a Snakemake too; it differs from a head by the variables that SLURM sets in its environment.
    """
    pids = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().split(b"\0")
            variables = (folder / "environ").read_bytes().split(b"\0")
            runs_here = (folder / "cwd").readlink() == Path.cwd()
        except OSError:  # the process has ended, or is another user's
            continue
        in_job = any(variable.startswith(b"SLURM_JOB_ID=") for variable in variables)
        is_snakemake = any(Path(word.decode(errors="replace")).name == "snakemake" for word in words[:3])
        if runs_here and is_snakemake and not in_job:
            pids.append(int(folder.name))
    return pids


def is_locked() -> bool:
    """Whether this folder has Snakemake's lock: a head runs, or a killed head left the lock behind."""
    return any(Path(".snakemake/locks").glob("*.lock"))
