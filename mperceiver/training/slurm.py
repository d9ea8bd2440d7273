"""What a training asks of SLURM: to start its tasks, which task a process is, and to requeue the job that was stopped."""

import os
import re
import shutil
import sys
import time

from mperceiver.printing import say
from mperceiver.programs import ProgramError, answer
from mperceiver.training.cores import sharers

ANSWER_S = 20  # a busy controller answers slowly, and KillWait is 30 s by default
# SLURM ends a requeued job within KillWait, 30 s by default. Processes that still run after WAIT_S exit and free the nodes.
WAIT_S = 600

NO_JOB = re.compile(r"Invalid job id|not found|No such file")
STEP = ("SLURM_STEP_NUM_TASKS", "SLURM_PROCID", "SLURM_LOCALID", "SLURM_JOB_ID", "SLURM_STEP_ID")
INTERACTIVE_STEP = "4294967290"  # SLURM_INTERACTIVE_STEP of slurm.h


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
        told = answer("scontrol", "-o", "show", "job", job, seconds=ANSWER_S)
    except ProgramError as error:
        no_job = error.why == "missing" or NO_JOB.search(error.reason)
        if os.environ.get("SLURM_NTASKS", "1") != "1" and not no_job:
            raise SlurmError(
                f"{verb} {run}: SLURM does not say which tasks job {job} has ({error.reason}). The controller may be busy or down: "
                "see scontrol ping, then run the same command again"
            ) from None
        _alone(verb, run, f"SLURM_JOB_ID={job}, but SLURM tells nothing of such a job ({error})")
        return
    state = re.search(r"JobState=(\w+)", told)
    if state and state[1] not in ("RUNNING", "SUSPENDED", "COMPLETING"):
        _alone(verb, run, f"SLURM_JOB_ID={job}, but that job is {state[1]}")
        return
    granted = dict(re.findall(r"(NumNodes|NumTasks|CPUs/Task)=(\d+)", told))
    tasks, nodes = int(granted.get("NumTasks", 1)), int(granted.get("NumNodes", 1))
    processes = sharers(accumulate, tasks)
    if tasks > processes:
        say(f"{verb} {run}: accumulate is {accumulate}, so {processes} of the job's {tasks} tasks are used")
    if processes > 1 and not shutil.which("srun"):
        _alone(verb, run, f"job {job} has {tasks} tasks, but there is no srun here")
    elif processes > 1:
        nodes = min(nodes, processes)
        options = {"nodes": nodes, "ntasks": processes, "ntasks-per-node": -(-processes // nodes)}
        # A job step does not inherit this option from its job.
        options["cpus-per-task"] = int(granted.get("CPUs/Task", 1))
        command = ["srun", *(f"--{name}={count}" for name, count in options.items()), "--kill-on-bad-exit=1"]
        command += [sys.executable, "-m", "mperceiver.cli", verb, run, "--threads", str(threads)]
        os.execvp("srun", command)  # signals to this process then reach the tasks


def export_ranks() -> None:
    """If this process is one of several tasks of an `srun`, set the environment variables from which torch reads its rank.

    A launcher that runs inside the task (torchrun, accelerate launch) has set them already. Raises SlurmError if the first node is not known.
    """
    environment = os.environ
    if {"RANK", "WORLD_SIZE"} <= environment.keys() or environment.get("SLURM_STEP_NUM_TASKS", "1") == "1":
        return
    try:
        tasks, place, local, job, step = (int(environment[name]) for name in STEP)
    except (KeyError, ValueError) as error:
        say(
            f"SLURM_STEP_NUM_TASKS is set, but {error} is missing or no number: training in this process alone",
            error=True,
        )
        return
    if is_interactive():
        say(
            f"an interactive step of {tasks} tasks: the others run no training, so this process trains alone",
            error=True,
        )
        return
    environment |= {"RANK": str(place), "WORLD_SIZE": str(tasks), "LOCAL_RANK": str(_gpu(local))}
    # Computed from the job and the step, because two trainings on one node need two ports.
    environment.setdefault("MASTER_PORT", str(20000 + (7 * job + step) % 20000))
    if "MASTER_ADDR" not in environment:
        environment["MASTER_ADDR"] = _first_node(environment.get("SLURM_STEP_NODELIST", ""))


def is_interactive() -> bool:
    """Whether this process was started from a shell inside a job step: `srun --pty`, or the step that `salloc` starts."""
    return "SLURM_PTY_PORT" in os.environ or os.environ.get("SLURM_STEP_ID") == INTERACTIVE_STEP


def _first_node(nodes: str) -> str:
    """The first of SLURM's list of nodes, such as gpu[03-05,7],cpu1. Raises SlurmError for an empty list."""
    try:
        return answer("scontrol", "show", "hostnames", nodes, seconds=ANSWER_S).split()[0]
    except (ProgramError, IndexError):
        first = re.match(r"([\w.-]+)(?:\[(\w+))?", nodes)
        if not first:
            raise SlurmError(
                f"SLURM_STEP_NODELIST={nodes!r} names no node, so the tasks cannot meet; run the same command again"
            ) from None
        return first[1] + (first[2] or "")


def _alone(verb: str, run: str, reason: str) -> None:
    say(f"{verb} {run}: {reason}: training in this process alone", error=True)


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
        if answer("squeue", "-h", "-j", job, "-o", "%T", seconds=ANSWER_S).split() != ["RUNNING"]:
            return False
        answer("scontrol", "requeue", job, seconds=ANSWER_S)
    except ProgramError as error:
        say(f"SLURM did not requeue job {job}: {error}")
        return False
    return True


def wait_to_be_ended() -> None:
    """Wait until SLURM ends this process; return after ``WAIT_S``. A requeued job that ends by itself would count as failed."""
    time.sleep(WAIT_S)  # goes on after a SIGTERM, whose handler returns
