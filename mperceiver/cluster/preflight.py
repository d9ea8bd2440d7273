"""Is the cluster fit for the profile: what 500 jobs would stumble over, asked before they are queued.

Each finding is `ok`, `wrong` (the run would fail or hang), or `unknown` (it could not be asked now; worth a look).
"""

import getpass
import os
import re
import secrets
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from mperceiver import config
from mperceiver.cluster import jobs
from mperceiver.cluster.ask import ClusterError, ask

PROFILE = Path("slurm/config.yaml")
PROGRAMS = ("sbatch", "srun", "squeue", "scancel", "scontrol", "sinfo", "sacct")  # the plugin wants sacct to be there
PATIENCE_S = 60  # for a node that is free
LEAST_JOB_AGE_S = 190  # the plugin looks every 180 s at the most
CUDA = "import torch; print('CUDA', torch.cuda.device_count(), torch.cuda.get_device_name() if torch.cuda.is_available() else '')"


@dataclass(frozen=True)
class Finding:
    """What was asked after, what is known of it, and what to do."""

    subject: str
    state: str
    detail: str


@dataclass(frozen=True)
class Wanted:
    """What the profile asks of one partition."""

    partition: str  # "" for the cluster's default
    minutes: int
    gpus: int  # of a node
    nodes: int
    model: str


def examine(profile: Path = PROFILE) -> Iterator[Finding]:
    """One finding after the other, cheap ones first. Raises ConfigError if the profile cannot be read."""
    settings = config.plain(profile)
    absent = [name for name in PROGRAMS if not shutil.which(name)]
    yield _said("programs", not absent, "all there" if not absent else f"not on the PATH: {', '.join(absent)}")
    try:
        told = _settings()
    except ClusterError as error:
        yield Finding("controller", "wrong", str(error))
        return
    yield Finding("controller", "ok", f"{told.get('ClusterName', '')}, SLURM {told.get('SLURM_VERSION', '')}")
    yield from _controller(told, settings)
    for wanted in wants(settings):
        yield _partition(wanted)
    yield from _site(settings, told)
    yield _environment()
    yield _queue()
    partitions = sorted({(wanted.partition, wanted.gpus > 0, wanted.model) for wanted in wants(settings)})
    for partition, with_gpu, model in partitions:
        yield from _node(partition, with_gpu, model)


def wants(settings: dict) -> list[Wanted]:
    """What a profile asks of the partitions: one for each kind of jobs."""
    default = settings.get("default-resources", {})
    found = {}
    for own in [{}, *settings.get("set-resources", {}).values()]:
        all_of = default | own
        model, count = _gpus(all_of)
        minutes = int(re.findall(r"\d+", str(all_of.get("runtime", 0)))[-1])  # `attempt * 120`: the first attempt's
        wanted = Wanted(str(all_of.get("slurm_partition", "")), minutes, count, int(all_of.get("nodes", 1)), model)
        found[wanted] = None
    return list(found)


def _gpus(resources: dict) -> tuple[str, int]:
    """Type and number of a node's GPUs: `gpu: 1` with `gpu_model`, or `gres: gpu:a100:8`."""
    gres = str(resources.get("gres", "")).split(":")
    if gres[0] == "gpu":
        return (gres[1], int(gres[2])) if len(gres) == 3 else ("", int(gres[1]) if len(gres) == 2 else 1)
    return str(resources.get("gpu_model", "")), int(resources.get("gpu", 0))


def _said(subject: str, fine: bool, detail: str) -> Finding:
    return Finding(subject, "ok" if fine else "wrong", detail)


def _settings() -> dict[str, str]:
    lines = ask("scontrol", "show", "config").splitlines()
    return {key.strip(): value.strip() for key, _, value in (line.partition("=") for line in lines) if value}


def _number(text: str) -> int:
    return int(re.match(r"\d*", text)[0] or 0)


def _accounting(told: dict[str, str]) -> str:
    """The plugin that keeps accounts; "" where nobody does."""
    kind = told.get("AccountingStorageType", "")
    return "" if kind in ("(null)", "accounting_storage/none") else kind


def _controller(told: dict[str, str], settings: dict) -> Iterator[Finding]:
    """Settings of the cluster that the profile counts on."""
    age, pause = _number(told.get("MinJobAge", "")), settings.get("slurm-init-seconds-before-status-checks", 40)
    least = max(LEAST_JOB_AGE_S, 3 * pause)
    advice = "" if age >= least else f"; below {least} s a finished job may be forgotten unseen: ask the administrators"
    yield _said("MinJobAge", age >= least, f"{age} s{advice}")
    requeue = told.get("JobRequeue", "1") == "1"
    yield _said(
        "requeue", requeue, "allowed" if requeue else "JobRequeue=0: preempted and stopped trainings end as failed"
    )
    kill = _number(told.get("KillWait", ""))
    short = "" if kill >= 30 else ": short for a training to save its state when it is cancelled"
    yield Finding("KillWait", "ok" if kill >= 30 else "unknown", f"{kill} s{short}")
    mode, kind = told.get("PreemptMode", "OFF"), told.get("PreemptType", "")
    lost = mode.startswith("CANCEL")
    yield _said(
        "preemption", not lost, f"{mode} ({kind})" + ("; a preempted job makes the head wait for ever" if lost else "")
    )
    words = _accounting(told) or "none: not needed; why-failed then knows no peak memory"
    yield Finding("accounting", "ok", words)
    command = settings.get("slurm-status-command")
    yield _said(
        "status by",
        command == "squeue",
        f"{command}" if command == "squeue" else f"{command}; see the profile's comment",
    )
    if arrays := settings.get("slurm-array-jobs"):
        yield _said(
            "arrays", _number(told.get("MaxArraySize", "")) > 2, f"of {arrays}; MaxArraySize {told.get('MaxArraySize')}"
        )


def _partition(wanted: Wanted) -> Finding:
    """Whether a partition is there, up, long enough, and has the nodes and GPUs that are asked of it."""
    subject = f"partition {wanted.partition or '(default)'}"
    options = ["-p", wanted.partition] if wanted.partition else []
    try:
        rows = [line.split("|") for line in ask("sinfo", "-h", *options, "-o", "%R|%a|%l|%D|%G|%T").splitlines()]
    except ClusterError as error:
        return Finding(subject, "wrong", str(error))
    if not rows:
        names = " ".join(sorted(set(ask("sinfo", "-h", "-o", "%R").split())))
        return Finding(subject, "wrong", f"there is none of that name; there are {names}. Edit `site` in {PROFILE}")
    if all(row[1] != "up" for row in rows):
        return Finding(subject, "wrong", f"it is {rows[0][1]}")
    limit = _minutes(rows[0][2])
    if limit is not None and wanted.minutes > limit:
        return Finding(
            subject, "wrong", f"jobs may take {limit} min, the profile asks for {wanted.minutes}. Edit `walltime`"
        )
    usable = [row for row in rows if not re.match(r"(?i)down|drain|fail", row[5]) and _has(row[4], wanted)]
    count = sum(int(row[3]) for row in usable)
    gpus = f" with {wanted.gpus} GPUs{f' of type {wanted.model}' if wanted.model else ''}" if wanted.gpus else ""
    if count < wanted.nodes:
        there = " ".join(sorted({row[4] for row in rows}))
        return Finding(
            subject,
            "wrong",
            f"{wanted.nodes} nodes{gpus} are asked for, {count} are there (GRES: {there}). Edit `site`",
        )
    return Finding(subject, "ok", f"{count} nodes{gpus}, {wanted.minutes} min of {'any' if limit is None else limit}")


def _has(gres: str, wanted: Wanted) -> bool:
    """Whether a node with sinfo's ``gres`` ("gpu:a100:4(S:0-1),nvme:1") has the GPUs."""
    best = 0
    for model, count in re.findall(r"gpu:(?:([^:,(]+):)?(\d+)", gres):
        if not wanted.model or model.lower() == wanted.model.lower():
            best = max(best, int(count))
    return best >= wanted.gpus


def _minutes(text: str) -> int | None:
    """Of SLURM's `1-00:00:00`; None for no limit."""
    match = re.fullmatch(r"(?:(\d+)-)?(?:(\d+):)?(\d+):(\d+)", text)
    if not match:
        return None
    days, hours, minutes, _ = (int(part or 0) for part in match.groups())
    return (days * 24 + hours) * 60 + minutes


def _site(settings: dict, told: dict[str, str]) -> Iterator[Finding]:
    """Account and QoS, where the cluster keeps accounts."""
    resources = [settings.get("default-resources", {}), *settings.get("set-resources", {}).values()]
    if not _accounting(told):
        return
    try:
        lines = ask(
            "sacctmgr", "-n", "-P", "show", "assoc", f"user={getpass.getuser()}", "format=account,qos"
        ).splitlines()
    except ClusterError as error:
        yield Finding("account", "unknown", str(error))
        return
    rows = [line.split("|") for line in lines]
    for key, names in (
        ("slurm_account", {row[0] for row in rows}),
        ("qos", {q for row in rows for q in row[1].split(",")}),
    ):
        for asked in sorted({str(one[key]) for one in resources if key in one}):
            fine = asked in names
            yield _said(
                key, fine, asked if fine else f"{asked} is none of yours: {' '.join(sorted(names))}. Edit `site`"
            )


def _environment() -> Finding:
    recompiles = bool(os.environ.get("PYTHONDONTWRITEBYTECODE"))
    words = "PYTHONDONTWRITEBYTECODE is set: every job compiles all it imports, some ten seconds each; unset it"
    return Finding("environment", "unknown" if recompiles else "ok", words if recompiles else sys.executable)


def _queue() -> Finding:
    """Jobs of this folder that somebody submitted before."""
    found, pids = jobs.queued(), jobs.heads()
    if not found or pids:
        return Finding(
            "queue", "ok", f"{len(found)} jobs of this folder" + (f", of the head {pids[0]}" if pids else "")
        )
    return Finding(
        "queue", "wrong", f"{len(found)} jobs of this folder have no head here: mperceiver orphans, before a new one"
    )


def _node(partition: str, with_gpu: bool, model: str) -> Iterator[Finding]:
    """From a compute node: does it see this folder, can it run the verbs, does it see a GPU."""
    where = partition or "(default)"
    token = Path(f".seen-{secrets.token_hex(4)}")
    options = ["--nodes=1", "--ntasks=1", "--time=5", f"--immediate={PATIENCE_S}", "--quiet", "--export=ALL"]
    options += [f"--partition={partition}"] if partition else []
    options += [f"--gpus={model + ':' if model else ''}1"] if with_gpu else []

    def on_node(*command: str) -> str:
        return ask("srun", *options, *command, seconds=PATIENCE_S + 240)

    token.write_text(token.name)
    try:
        seen = _tried(f"files on {where}", lambda: on_node("cat", str(token.absolute())))
    finally:
        token.unlink()
    if isinstance(seen, Finding):
        yield seen
        return
    fine = seen.strip() == token.name
    yield _said(
        f"files on {where}",
        fine,
        "this folder is seen there" if fine else "this folder is not shared: move the checkout",
    )
    program = CUDA if with_gpu else "import mperceiver.config; print('imported')"
    ran = _tried(f"{'CUDA' if with_gpu else 'Python'} on {where}", lambda: on_node(sys.executable, "-c", program))
    if isinstance(ran, Finding):
        yield ran
    elif with_gpu:
        words = ran.split("CUDA", 1)[-1].strip().split(maxsplit=1)
        found = bool(words) and words[0] != "0"
        detail = (
            " ".join(words) if found else "a GPU was given, torch sees none there: its driver, or a torch without CUDA"
        )
        yield _said(f"CUDA on {where}", found, detail)
    else:
        yield Finding(f"Python on {where}", "ok", sys.executable)


def _tried(subject: str, question: Callable[[], str]) -> str | Finding:
    try:
        return question()
    except ClusterError as error:
        busy = re.search(r"(?i)immediate|no answer|busy", str(error))
        words = f"no node was free within {PATIENCE_S} s; ask again later" if busy else str(error)
        return Finding(subject, "unknown" if busy else "wrong", words)
