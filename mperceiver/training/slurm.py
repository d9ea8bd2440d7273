"""What a training asks of SLURM: its tasks, which of them it is, and to be put back in the queue when it was stopped."""

import os
import re
import subprocess
import sys
import time

ANSWER_S = 20  # a busy controller takes its time, and KillWait is 30 s by default
HOLD_S = 600  # a requeued job is killed within KillWait, 30 s by default; who is forgotten gives the nodes back


def spread(verb: str, run: str, threads: int, shares: int) -> None:
    """In the script of a job that was given several tasks: become an `srun` of as many processes as can share a step.

    ``shares``: what their number must divide. Returns where there is nothing to start: outside of SLURM, within a step or a
    launcher, in a job of one task. Raises subprocess.CalledProcessError if SLURM does not tell of its job.
    """
    job = os.environ.get("SLURM_JOB_ID")
    if not job or "SLURM_STEP_ID" in os.environ or "RANK" in os.environ:
        return
    told = dict(re.findall(r"(NumNodes|NumTasks|CPUs/Task)=(\d+)", _ask("scontrol", "-o", "show", "job", job)))
    tasks, nodes = int(told.get("NumTasks", 1)), int(told.get("NumNodes", 1))
    processes = max(number for number in range(1, tasks + 1) if shares % number == 0)
    if tasks > processes:
        print(f"{verb} {run}: accumulate is {shares}, so {processes} of the job's {tasks} tasks are used", flush=True)
    if processes > 1:
        nodes = min(nodes, processes)
        counts = {"nodes": nodes, "ntasks": processes, "ntasks-per-node": -(-processes // nodes)}
        counts["cpus-per-task"] = int(told.get("CPUs/Task", 1))  # a step does not take it from its job
        words = ["srun", *(f"--{name}={count}" for name, count in counts.items()), "--kill-on-bad-exit=1"]
        words += [sys.executable, "-m", "mperceiver.cli", verb, run, "--threads", str(threads)]
        os.execvp("srun", words)  # its signals are then the processes'


def tell_ranks() -> None:
    """Say in torch's words which process this is, if it is one of several tasks of an `srun`.

    A launcher inside of the task (torchrun, accelerate launch) has told its own world already.
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
    environment.setdefault("MASTER_PORT", str(20000 + (7 * job + step) % 20000))  # two trainings on a node differ
    if "MASTER_ADDR" not in environment:
        nodes = _ask("scontrol", "show", "hostnames", environment["SLURM_STEP_NODELIST"])
        environment["MASTER_ADDR"] = nodes.split()[0]


def _gpu(local: int) -> int:
    """The GPU of a node's n-th task: with --gpus-per-task it sees only its own."""
    import torch

    return local % (torch.cuda.device_count() or local + 1)


def requeue() -> bool:
    """After a SIGTERM: put this process's job back in the queue; whether SLURM has taken it.

    A job that is RUNNING was stopped by its time limit or by a preemption and shall go on later. One that is COMPLETING was
    cancelled: requeued, it would come back to life. False as well outside of SLURM, and where it gives no answer.
    """
    job = os.environ.get("SLURM_JOB_ID")
    if not job:
        return False
    try:
        if _ask("squeue", "-h", "-j", job, "-o", "%T").split() != ["RUNNING"]:
            return False
        _ask("scontrol", "requeue", job)
    except (OSError, subprocess.SubprocessError) as error:
        detail = (getattr(error, "stderr", None) or str(error)).strip()
        print(f"SLURM did not requeue job {job}: {detail}", flush=True)
        return False
    return True


def hold() -> None:
    """Wait to be killed, as a requeued job is: one that ends by itself before would count as failed."""
    end = time.monotonic() + HOLD_S
    while time.monotonic() < end:  # a sleep ends early when a signal comes
        time.sleep(min(1.0, HOLD_S))


def _ask(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=ANSWER_S).stdout
