"""Jobs of this working directory in SLURM's queue, and the heads that submitted them."""

import base64
import getpass
import os
import re
import time
from dataclasses import dataclass
from pathlib import Path

from mperceiver.cluster.ask import ClusterError, ask

POLL_S = 5.0
COMMENT = re.compile(r"^(?:rule|group)_")  # what the executor plugin writes into the comment of a job


@dataclass(frozen=True)
class Job:
    """One line of squeue."""

    id: str
    state: str
    elapsed: str
    limit: str
    node: str
    rule: str  # rule_<name>_wildcards_<values>


def queued() -> list[Job]:
    """The user's jobs that Snakemake submitted from this folder and that have not ended. Raises ClusterError."""
    here = str(Path.cwd())
    lines = ask("squeue", "-h", "-u", getpass.getuser(), "-o", "%i|%T|%M|%l|%R|%k|%Z").splitlines()
    found = []
    for line in lines:
        *fields, folder = line.strip().split("|")
        if len(fields) == 6 and COMMENT.match(fields[-1]) and os.path.realpath(folder) == os.path.realpath(here):
            found.append(Job(*fields))
    return found


def heads() -> list[int]:
    """Process ids of the Snakemakes on this machine that run in this folder and are no job of SLURM's themselves."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().split(b"\0")
            inside = any(name.startswith(b"SLURM_JOB_ID=") for name in (folder / "environ").read_bytes().split(b"\0"))
            here = (folder / "cwd").readlink() == Path.cwd()
        except OSError:
            continue
        if here and not inside and any(Path(word.decode(errors="replace")).name == "snakemake" for word in words[:3]):
            found.append(int(folder.name))
    return found


def locked() -> bool:
    """Whether a head has locked this folder, or has left its lock behind."""
    return any(Path(".snakemake/locks").glob("*.lock"))


def refuse_a_living_head() -> None:
    """Raises ClusterError where a head of this folder runs on this machine: its jobs are no orphans."""
    if pids := heads():
        raise ClusterError(
            f"snakemake (process {pids[0]}) runs in this folder: these are its own jobs. Ctrl-C there cancels them, "
            f"kill {pids[0]} lets them end; only after kill -9 are there orphans"
        )


def cancel(jobs: list[Job], patience_s: float = 600) -> None:
    """Cancel jobs and wait until they have gone: a training saves first. Raises ClusterError if one stays."""
    ask("scancel", *sorted({job.id for job in jobs}))
    end = time.monotonic() + patience_s
    while left := queued():
        if time.monotonic() > end:
            raise ClusterError(f"job {left[0].id} is still {left[0].state} after {patience_s:.0f} s; see squeue")
        time.sleep(min(POLL_S, 1))


def wait() -> None:
    """Wait until the last job of this folder has left the queue."""
    while left := queued():
        print(", ".join(f"{job.id} {job.state}" for job in left), flush=True)
        time.sleep(POLL_S)


def unlock() -> list[str]:
    """Take the dead head's lock away, and what its jobs finished out of Snakemake's list of unfinished files.

    Returns those files. An output of this project appears whole, its card last: where the card is, the work was done.
    Raises ClusterError if snakemake fails.
    """
    refuse_a_living_head()
    ask("snakemake", "--unlock", seconds=600)
    done = [path for path in _unfinished() if Path(path).exists() and Path(path).with_suffix(".json").is_file()]
    if done:
        ask("snakemake", "--cleanup-metadata", *done, seconds=600)
    return done


def _unfinished() -> list[str]:
    """Paths that Snakemake has marked as being made; the marks' names are their base64, long ones in folders."""
    folder = Path(".snakemake/incomplete")
    found = []
    for mark in sorted(path for path in folder.rglob("*") if path.is_file()) if folder.is_dir() else []:
        name = "".join(part.removeprefix("@") for part in mark.relative_to(folder).parts)
        try:
            found.append(base64.urlsafe_b64decode(name).decode())
        except ValueError:
            continue  # some later Snakemake's
    return [path for path in found if not path.startswith("data/raw/")]  # download goes by its own files
