"""Why jobs of the last run failed: what SLURM knows of each, the end of its log, the likely cause and the next command."""

import re
from collections import deque
from dataclasses import dataclass
from pathlib import Path

from mperceiver.cluster import runlog
from mperceiver.cluster.ask import ClusterError, ask, pairs

LINES = 8  # of a log
SACCT = ("State", "ExitCode", "NodeList", "Elapsed", "Timelimit", "MaxRSS", "ReqMem")
UNKNOWN = "not known"


@dataclass
class Account:
    """What SLURM tells of a job that has ended."""

    state: str = ""
    node: str = UNKNOWN
    elapsed: str = UNKNOWN
    limit: str = UNKNOWN
    peak: str = f"{UNKNOWN} (no accounting)"
    asked: str = UNKNOWN


def account(slurm_id: str) -> Account:
    """Of sacct; where it gives nothing, of the controller, which forgets a job after MinJobAge; else nothing is known."""
    try:
        text = ask("sacct", "-n", "-P", "-j", slurm_id, "-o", ",".join(SACCT))
        rows = [dict(zip(SACCT, line.split("|"), strict=True)) for line in text.splitlines() if line.strip()]
    except (ClusterError, ValueError):
        rows = []
    if rows:
        first = rows[0]
        peak = max((row["MaxRSS"] for row in rows), key=_bytes)
        return Account(
            first["State"].split()[0],
            first["NodeList"],
            first["Elapsed"],
            first["Timelimit"],
            peak or UNKNOWN,
            first["ReqMem"],
        )
    try:
        told = pairs(ask("scontrol", "-o", "show", "job", slurm_id))
    except ClusterError:
        return Account()
    found = Account(told.get("JobState", ""), told.get("NodeList", UNKNOWN), told["RunTime"], told["TimeLimit"])
    found.asked = told.get("MinMemoryNode", UNKNOWN)
    return found


def _bytes(text: str) -> float:
    """Of sacct's `1234K`."""
    match = re.match(r"([\d.]+)([KMGT]?)", text)
    return float(match[1]) * 1024.0 ** " KMGT".index(match[2] or " ") if match else 0.0


def tail(path: str, lines: int = LINES) -> list[str]:
    """The last lines of a log that are not empty; none if it is not there."""
    try:
        with Path(path).open(errors="replace") as file:
            return list(deque((line.rstrip() for line in file if line.strip()), lines))
    except OSError:
        return []


# (what is seen in the state or in the logs, the likely cause, the next command); the first that fits is told
CAUSES = [
    (
        r"SLURM sbatch failed|Job submission failed",
        "SLURM refused the last attempt",
        "mperceiver doctor --cluster; memory and time grow with each attempt: `mem_mb`, `runtime` in slurm/config.yaml",
    ),
    (
        r"CUDA out of memory|torch\.OutOfMemoryError",
        "the GPU's memory is full",
        "halve `batch` and double `accumulate` in the run's file (the same pictures a step), or a smaller `tile_px` in the method's",
    ),
    (
        r"^OUT_OF_MEMORY$|oom[-_ ]kill|MemoryError|Cannot allocate memory",
        "out of memory",
        "raise `mem_mb` of {rule} in slurm/config.yaml (asked: {mem_mb} MB), then the same snakemake command",
    ),
    (
        r"^TIMEOUT$|DUE TO TIME LIMIT",
        "the time limit",
        "raise `runtime` of {rule} in slurm/config.yaml (asked: {runtime} min); a training goes on from its last state",
    ),
    (
        r"^PREEMPTED$",
        "preempted, and SLURM did not requeue it",
        "the same snakemake command; see mperceiver doctor --cluster",
    ),
    (
        r"^(NODE_FAIL|BOOT_FAIL)$",
        "the node went down",
        "the same snakemake command; the node's name is for the site's administrators: {node}",
    ),
    (
        r"disk is full|No space left|Disk quota",
        "the disk is full",
        "make room (results/restored/ is the largest), then again",
    ),
    (
        r"the work that makes it has not been done|no weights|given weights|mperceiver foundation|brought by hand|by a person",
        "weights or pictures are missing",
        "on the login node: mperceiver doctor",
    ),
    (
        r"cannot be decoded|cannot identify image|truncated|no picture|not a picture",
        "a picture is damaged",
        "its name stands in the log: bring that dataset again (mperceiver download NAME --force), then again",
    ),
    (
        r"loss is (nan|-?inf)|no finite number|is no number",
        "a loss is no number",
        "the log names the step and the pictures; docs/training.md, `A loss that is no number`",
    ),
    (
        r"mperceiver: (command )?not found|No module named",
        "the environment is not the same on the compute node",
        "start snakemake by `uv run` in a checkout that all nodes see; mperceiver doctor --cluster",
    ),
    (
        r"Connection|resolve|HF_HUB_OFFLINE|offline",
        "it wanted the network, which compute nodes lack",
        "stage it on the login node: snakemake --profile slurm --until download foundation",
    ),
    (r"CUDA error|no kernel image|NVIDIA driver", "the GPU or its driver", "mperceiver doctor --cluster; node {node}"),
    (
        r"^CANCELLED$|CANCELLED AT",
        "cancelled from outside: scancel, Ctrl-C or an administrator",
        "the same snakemake command",
    ),
]


def cause(failure: runlog.Failure, found: Account, lines: list[str]) -> tuple[str, str]:
    """The likely cause and the next command."""
    words = {"rule": failure.rule, "node": found.node, "mem_mb": UNKNOWN, "runtime": UNKNOWN} | failure.asked
    for pattern, why, after in CAUSES:
        if any(re.search(pattern, text) for text in (found.state, failure.state, failure.message, *lines)):
            return why, after.format(**words)
    own = next((line for line in reversed(lines) if re.match(r"(?i)(error|\w*Error): ", line)), "")
    return (
        own or "the log's last lines say",
        f"read {' '.join(failure.logs) or 'the log'}, then the same snakemake command",
    )


def shown(failures: list[runlog.Failure]) -> str:
    """What is printed of them."""
    parts = []
    for failure in failures:
        found = account(failure.slurm_id) if failure.slurm_id else Account()
        lines = [line for path in failure.logs for line in tail(path)]
        extra = tail(failure.slurm_log, 40) if failure.slurm_log else []
        killed = [line for line in extra if re.search(r"slurmstepd|oom|srun: error|CANCELLED|not found", line)]
        why, after = cause(failure, found, [*lines, *killed])
        attempts = f"{failure.attempts} attempt{'s' * (failure.attempts > 1)} failed"
        state = found.state if found.state not in ("", "RUNNING", "PENDING") else failure.state
        memory = found.asked if found.asked != UNKNOWN else f"{failure.asked.get('mem_mb', '?')} MB"
        parts.append(
            "\n".join(
                [
                    f"{failure.rule} {failure.wildcards}: {attempts}{', then one went well' if failure.mended else ''}",
                    f"  SLURM    job {failure.slurm_id or 'none'}, {state or 'state not known'}, node {found.node}",
                    f"  time     {found.elapsed} of {found.limit}",
                    f"  memory   peak {found.peak}, asked {memory}",
                    *(
                        f"  log      {path}"
                        for path in [*failure.logs, *([failure.slurm_log] * bool(failure.slurm_log))]
                    ),
                    *(f"           {line}" for line in [*lines, *killed[-3:]]),
                    f"  cause    {why}",
                    f"  next     {after}",
                ]
            )
        )
    return "\n\n".join(parts)


def why_failed() -> tuple[str, bool]:
    """What to print of the last run's failed jobs, and whether any has not gone well since. Raises ClusterError."""
    log = runlog.newest()
    found = runlog.failures(log.read_text(errors="replace"))
    if not found:
        return f"{log}: no job failed", False
    found.sort(key=lambda failure: failure.mended)
    return f"{log}\n\n{shown(found)}", any(not failure.mended for failure in found)
