"""Likely causes of a failed job: a pattern that its state or its logs show, the cause, and the next command."""

import re
from collections.abc import Iterable
from typing import NamedTuple

from mperceiver import paths
from mperceiver.cluster.profile import PROFILE

SAME = "the same snakemake command"


class Cause(NamedTuple):
    """A cause, found by a regular expression, and the next command.

    ``next`` may use {rule}, {node}, and the resources {mem_mb} and {runtime} that the job asked for.
    """

    pattern: str
    cause: str
    next: str


# The cause is the first whose pattern is found in the job's state or in a line of its logs.
CAUSES = [
    Cause(
        r"SLURM sbatch failed|Job submission failed",
        "SLURM refused the last attempt",
        f"mperceiver doctor --cluster; each attempt asks for more memory and time: `mem_mb`, `runtime` in {PROFILE}",
    ),
    Cause(
        r"CUDA out of memory|torch\.OutOfMemoryError",
        "the GPU's memory is full",
        "halve `batch` and double `accumulate` in the run's file (a step then uses as many pictures as before), "
        "or give the method a smaller `tile_px`",
    ),
    Cause(
        r"^OUT_OF_MEMORY$|oom[-_ ]kill|MemoryError|Cannot allocate memory",
        "out of memory",
        f"raise `mem_mb` of {{rule}} in {PROFILE} (asked: {{mem_mb}} MB), then {SAME}",
    ),
    Cause(
        r"^TIMEOUT$|DUE TO TIME LIMIT",
        "the time limit",
        f"raise `runtime` of {{rule}} in {PROFILE} (asked: {{runtime}} min), then {SAME}; a training resumes from its saved state",
    ),
    Cause(
        r"^PREEMPTED$",
        "SLURM preempted the job and did not put it back in the queue",
        f"{SAME}; mperceiver doctor --cluster says whether the cluster allows requeueing",
    ),
    Cause(
        r"^(NODE_FAIL|BOOT_FAIL)$",
        "the node went down",
        f"{SAME}; if it happens again, tell the administrators the node: {{node}}",
    ),
    Cause(
        r"disk is full|No space left|Disk quota",
        "the disk is full",
        f"free space ({paths.RESTORED}/ is the largest folder), then {SAME}",
    ),
    Cause(
        r"cannot be decoded|cannot identify image",
        "a picture is damaged",
        f"the log names the picture: download its dataset again (mperceiver download NAME --force), then {SAME}",
    ),
    Cause(
        # the commands that errors of missing files advise
        r"\bsnakemake --cores all (-f )?(data|results)/|\bmperceiver (foundation|download|prepare|encode) ",
        "weights or pictures are missing or damaged",
        "the command that the log names, on the login node; mperceiver doctor checks every source",
    ),
    Cause(
        r" is (nan|-?inf)\b",
        "a loss or a gradient is not a finite number",
        "the log names the step and the pictures; what to do about it: docs/training.md",
    ),
    Cause(
        r"mperceiver: (command )?not found|No module named",
        "the compute node does not have the same environment",
        "start snakemake by `uv run` in a checkout that all nodes see; mperceiver doctor --cluster checks it",
    ),
    Cause(
        r"Connection|resolve|HF_HUB_OFFLINE|offline",
        "the command asked for the network, which compute nodes lack",
        "download on the login node: snakemake --profile slurm --until download foundation",
    ),
    Cause(
        r"CUDA error|no kernel image|NVIDIA driver",
        "the GPU or its driver",
        "mperceiver doctor --cluster; the node was {node}",
    ),
    Cause(
        r"^CANCELLED$|CANCELLED AT",
        "the job was cancelled from outside: by scancel, Ctrl-C or an administrator",
        SAME,
    ),
]
ERROR = re.compile(r"(?i)(error|\w*Error): ")


def likely_cause(states: Iterable[str], lines: list[str], logs: list[str], known: dict[str, str]) -> tuple[str, str]:
    """(cause, next command) of a failed job.

    Args:
        states: what SLURM and the head say of the job.
        lines: the last lines of its logs.
        logs: their paths.
        known: rule, node, mem_mb and runtime of the job.
    """
    texts = [*states, *lines]
    for cause in CAUSES:
        if any(re.search(cause.pattern, text) for text in texts):
            return cause.cause, cause.next.format(**known)
    error = next((line for line in reversed(lines) if ERROR.match(line)), "")
    return error or "not recognised", f"read {' '.join(logs) or 'the log'}, then {SAME}"
