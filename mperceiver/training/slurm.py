"""What a training asks of SLURM: to start its tasks, which task a process is, and to requeue the job that was stopped."""

import os
import re
import subprocess
import sys
import time

from mperceiver.printing import say

ANSWER_TIMEOUT_S = 20  # a busy controller answers slowly, and KillWait is 30 s by default
# SLURM ends a requeued job within KillWait, 30 s by default. If SLURM has not ended us by then, exit and free the nodes.
WAIT_S = 600


class SlurmError(RuntimeError):
    """SLURM gave no answer; the message says to what question and what to do."""


def relaunch_with_srun(verb: str, run: str, threads: int, accumulate: int) -> None:
    """In the batch script of a job with several tasks, replace this process by an `srun` of as many processes as can share a step.

    Returns where there is nothing to start: outside of SLURM, inside a job step or a launcher, in a job with one task.

    Args:
        accumulate: batches of a step; the number of processes must divide it.

    Raises SlurmError if SLURM does not describe its job.
    """
    job = os.environ.get("SLURM_JOB_ID")
    if not job or "SLURM_STEP_ID" in os.environ or "RANK" in os.environ:
        return
    try:
        answer = _ask("scontrol", "-o", "show", "job", job)
    except (OSError, subprocess.SubprocessError) as error:
        raise SlurmError(
            f"{verb} {run}: SLURM does not say which tasks job {job} has ({_reason(error)}). The controller may be busy or down: "
            "see scontrol ping, then run the same command again"
        ) from None
    granted = dict(re.findall(r"(NumNodes|NumTasks|CPUs/Task)=(\d+)", answer))
    tasks, nodes = int(granted.get("NumTasks", 1)), int(granted.get("NumNodes", 1))
    processes = max(number for number in range(1, tasks + 1) if accumulate % number == 0)
    if tasks > processes:
        say(f"{verb} {run}: accumulate is {accumulate}, so {processes} of the job's {tasks} tasks are used")
    if processes > 1:
        nodes = min(nodes, processes)
        options = {"nodes": nodes, "ntasks": processes, "ntasks-per-node": -(-processes // nodes)}
        options["cpus-per-task"] = int(granted.get("CPUs/Task", 1))  # a step does not inherit it from its job
        command = ["srun", *(f"--{name}={count}" for name, count in options.items()), "--kill-on-bad-exit=1"]
        command += [sys.executable, "-m", "mperceiver.cli", verb, run, "--threads", str(threads)]
        os.execvp("srun", command)  # signals to this process then reach the tasks


def export_ranks() -> None:
    """If this process is one of several tasks of an `srun`, set the environment variables from which torch reads its rank.

    A launcher that runs inside the task (torchrun, accelerate launch) has set them already.
    """
    environment = os.environ
    if "RANK" in environment or int(environment.get("SLURM_STEP_NUM_TASKS", "1")) < 2:
        return
    job, step = int(environment["SLURM_JOB_ID"]), int(environment["SLURM_STEP_ID"])
    environment |= {
        "RANK": environment["SLURM_PROCID"],
        "WORLD_SIZE": environment["SLURM_STEP_NUM_TASKS"],
        "LOCAL_RANK": str(_gpu(int(environment["SLURM_LOCALID"]))),
    }
    environment.setdefault(
        "MASTER_PORT", str(20000 + (7 * job + step) % 20000)
    )  # two trainings on one node need two ports
    if "MASTER_ADDR" not in environment:
        nodes = _ask("scontrol", "show", "hostnames", environment["SLURM_STEP_NODELIST"])
        environment["MASTER_ADDR"] = nodes.split()[0]


def _gpu(local_rank: int) -> int:
    """The number of the GPU that a node's task uses. With --gpus-per-task every task sees only its own GPU, as number 0."""
    import torch

    return local_rank % (torch.cuda.device_count() or local_rank + 1)


def requeue() -> bool:
    """After a SIGTERM: ask SLURM to put this job back into its queue; return whether SLURM did.

    A job in state RUNNING was stopped by its time limit or by a preemption and is requeued. A job in state COMPLETING was
    cancelled by a user and must not come back. False also outside of SLURM, and where SLURM does not answer.
    """
    job = os.environ.get("SLURM_JOB_ID")
    if not job:
        return False
    try:
        if _ask("squeue", "-h", "-j", job, "-o", "%T").split() != ["RUNNING"]:
            return False
        _ask("scontrol", "requeue", job)
    except (OSError, subprocess.SubprocessError) as error:
        say(f"SLURM did not requeue job {job}: {_reason(error)}")
        return False
    return True


def wait_to_be_ended() -> None:
    """Wait until SLURM ends this process; return after ``WAIT_S``. A requeued job that ends by itself would count as failed."""
    end = time.monotonic() + WAIT_S
    while time.monotonic() < end:  # a signal ends a sleep early
        time.sleep(min(1.0, WAIT_S))


def _ask(*command: str) -> str:
    return subprocess.run(
        command, capture_output=True, encoding="utf-8", errors="backslashreplace", check=True, timeout=ANSWER_TIMEOUT_S
    ).stdout


def _reason(error: Exception) -> str:
    """Why a program of SLURM's failed: what it printed, or the exception's own words."""
    return (getattr(error, "stderr", None) or str(error)).strip()
