"""Orphans: jobs that go on in SLURM's queue after their head was killed. List them, cancel them, or wait for them.

A new head does not know the orphans and would submit the same work a second time.
"""

import base64
import time
from pathlib import Path

from mperceiver import paths
from mperceiver.cluster import jobs
from mperceiver.cluster.ask import ClusterError, ask
from mperceiver.cluster.jobs import QueuedJob
from mperceiver.printing import say

POLL_S = 5.0  # pause between two looks at the queue
CANCEL_S = 600.0  # time for cancelled jobs to end; a training saves its state first
SNAKEMAKE_S = 600.0  # time for snakemake to plan the whole workflow
NEXT = "next: the same snakemake command"


def handle(cancel: bool = False, wait: bool = False) -> None:
    """Print the orphans of this folder; with ``cancel`` or ``wait`` end them and unlock the folder.

    Raises:
        ClusterError: a head of this folder runs on this machine; there are orphans and neither ``cancel`` nor ``wait`` was
            given; or SLURM or Snakemake gives no answer.
    """
    refuse_if_head_runs()
    orphans = jobs.queued_jobs()
    for job in orphans:
        say(f"{job.id:>10} {job.state:<10} {job.elapsed:>10} of {job.limit:<11} {job.node:<12} {job.rule}")
    if cancel or wait:
        if cancel and orphans:
            cancel_jobs(orphans)
        elif wait:
            wait_for_jobs()
        finished = unlock()
        say(f"unlocked this folder and kept {len(finished)} finished file(s); {NEXT}")
    elif orphans:
        raise ClusterError(
            f"{len(orphans)} job(s) in the queue belong to this folder, and no snakemake on this machine waits for them. If one runs "
            "on another login node, leave them to it. Otherwise, before snakemake is started again: mperceiver orphans --wait "
            "(wait for them and keep what they make), or mperceiver orphans --cancel"
        )
    elif jobs.is_locked():
        say("no jobs of this folder are in the queue, but a killed snakemake left its lock on it")
        say("next: mperceiver orphans --wait, which removes the lock and keeps finished files")
    else:
        say("no jobs of this folder are in the queue")


def refuse_if_head_runs() -> None:
    """Raise ClusterError if a head of this folder runs on this machine: the jobs in the queue are its own, no orphans."""
    if pids := jobs.head_pids():
        raise ClusterError(
            f"snakemake (process {pids[0]}) runs in this folder and waits for these jobs. To end them: press Ctrl-C where it "
            f"runs. To let them finish and submit no more: kill {pids[0]}. Only a snakemake that was killed by kill -9 leaves "
            "orphans"
        )


def cancel_jobs(orphans: list[QueuedJob], timeout_s: float = CANCEL_S) -> None:
    """Cancel jobs and wait until they have left the queue.

    Raises:
        ClusterError: a job is still there after ``timeout_s`` seconds.
    """
    ask("scancel", *sorted({job.id for job in orphans}))
    end = time.monotonic() + timeout_s
    while remaining := jobs.queued_jobs():
        if time.monotonic() > end:
            raise ClusterError(
                f"job {remaining[0].id} was cancelled and is still {remaining[0].state} after {timeout_s:.0f} s: see squeue, "
                "then mperceiver orphans --cancel again"
            )
        time.sleep(min(POLL_S, 1))


def wait_for_jobs() -> None:
    """Wait until the last job of this folder has left the queue."""
    while remaining := jobs.queued_jobs():
        say("waiting for " + ", ".join(f"{job.id} ({job.state})" for job in remaining))
        time.sleep(POLL_S)


def unlock() -> list[str]:
    """Remove the killed head's lock, and take finished files off Snakemake's list of incomplete ones.

    An output of this project appears whole and its card last. So a file whose card is there is finished.

    Returns:
        The finished files, relative to the working directory.

    Raises:
        ClusterError: snakemake fails, or a head runs.
    """
    refuse_if_head_runs()
    ask("snakemake", "--unlock", seconds=SNAKEMAKE_S)
    finished = [path for path in _incomplete() if Path(path).exists() and Path(path).with_suffix(".json").is_file()]
    if finished:
        ask("snakemake", "--cleanup-metadata", *finished, seconds=SNAKEMAKE_S)
    return finished


def _incomplete() -> list[str]:
    """Paths that Snakemake has marked as incomplete: a marker's name is the path in base64, cut into folders if it is long.

    Without raw downloads: `download` itself finds out which of its files are whole.
    """
    folder = Path(".snakemake/incomplete")
    incomplete = []
    for marker in sorted(path for path in folder.rglob("*") if path.is_file()) if folder.is_dir() else []:
        name = "".join(part.removeprefix("@") for part in marker.relative_to(folder).parts)
        try:
            path = base64.urlsafe_b64decode(name).decode()
        except ValueError:  # not a marker of the Snakemake that this project knows
            continue
        if not Path(path).is_relative_to(paths.RAW):
            incomplete.append(path)
    return incomplete
