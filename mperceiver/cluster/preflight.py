"""`mperceiver doctor --cluster`: whether the cluster is fit for the profile, asked before hundreds of jobs fail on it."""

import getpass
import os
import re
import shutil
import sys
from collections.abc import Iterator
from typing import Any

from mperceiver import config
from mperceiver.cluster import jobs
from mperceiver.cluster.ask import ClusterError, ask
from mperceiver.cluster.checks import CheckResult, ok_or_wrong
from mperceiver.cluster.nodes import check_node
from mperceiver.cluster.profile import PROFILE, PartitionRequest, partition_requests, resource_sets
from mperceiver.printing import console

# The plugin calls sacct on clusters without accounting, too, where it fails.
PROGRAMS = ("sbatch", "srun", "squeue", "scancel", "scontrol", "sinfo", "sacct")
MIN_JOB_AGE_S = 190  # the plugin looks at the queue at least every 180 s
KILL_WAIT_S = 30  # time for a cancelled training to save its state
DEFAULT_PAUSE_S = 40  # the plugin's own first pause between two looks at the queue


def print_checks() -> bool:
    """Print each check as soon as its result is there, since some wait for a compute node. Returns whether the cluster is fit."""
    from rich.text import Text

    output, is_fit = console(soft_wrap=True), True
    styles = {"ok": "green", "wrong": "red", "unknown": "yellow"}
    for result in check_cluster():
        is_fit &= result.state != "wrong"
        state = Text(f"{result.state:<8}", style=styles[result.state])
        output.print(state + Text(f"{result.subject:<24}{result.detail}"))
    return is_fit


def check_cluster() -> Iterator[CheckResult]:
    """Check the cluster against its profile, quick checks first.

    Raises:
        ConfigError: the profile cannot be read.
    """
    profile = config.read_yaml(PROFILE)
    absent = [name for name in PROGRAMS if not shutil.which(name)]
    detail = (
        f"not on the PATH: {', '.join(absent)}; run this on the cluster's login node" if absent else "all on the PATH"
    )
    yield ok_or_wrong("programs", not absent, detail)
    try:
        settings = _cluster_settings()
    except ClusterError as error:
        yield CheckResult("controller", "wrong", str(error))
        return
    name, version = settings.get("ClusterName", ""), settings.get("SLURM_VERSION", "")
    yield CheckResult("controller", "ok", f"{name}, SLURM {version}")
    yield from _check_settings(settings, profile)
    requests = partition_requests(profile)
    for request in requests:
        yield _check_partition(request)
    if _accounting(settings):
        yield from _check_account(profile)
    yield _check_environment()
    yield _check_queue()
    for partition, with_gpu, model in sorted({(r.partition, r.gpus > 0, r.gpu_model) for r in requests}):
        yield from check_node(partition, with_gpu, model)


# ---------------------------------------------------------------- the controller's settings


def _cluster_settings() -> dict[str, str]:
    pairs = (line.partition("=") for line in ask("scontrol", "show", "config").splitlines())
    return {key.strip(): value.strip() for key, _, value in pairs if value}


def _leading_number(text: str) -> int:
    match = re.match(r"\d+", text)
    return int(match[0]) if match else 0


def _accounting(settings: dict[str, str]) -> str:
    """The plugin that keeps accounts; "" where the cluster keeps none."""
    plugin = settings.get("AccountingStorageType", "")
    return "" if plugin in ("(null)", "accounting_storage/none") else plugin


def _check_settings(settings: dict[str, str], profile: dict[str, Any]) -> Iterator[CheckResult]:
    """The settings of the cluster that the profile relies on."""
    age, pause = _leading_number(settings.get("MinJobAge", "")), profile.get("slurm-init-seconds-before-status-checks")
    least = max(MIN_JOB_AGE_S, 3 * (pause or DEFAULT_PAUSE_S))
    advice = f"; below {least} s SLURM may forget a finished job before the head sees it: ask the administrators"
    yield ok_or_wrong("MinJobAge", age >= least, f"{age} s" + (advice if age < least else ""))

    may_requeue = settings.get("JobRequeue", "1") == "1"
    advice = "not allowed (JobRequeue=0): a training that is preempted or at its time limit ends as failed"
    yield ok_or_wrong("requeue", may_requeue, "allowed" if may_requeue else advice)

    kill_wait = _leading_number(settings.get("KillWait", ""))
    advice = ": a cancelled training may be killed before it has saved its state"
    too_short = kill_wait < KILL_WAIT_S
    yield CheckResult("KillWait", "unknown" if too_short else "ok", f"{kill_wait} s{advice if too_short else ''}")

    mode, plugin = settings.get("PreemptMode", "OFF"), settings.get("PreemptType", "")
    cancels = mode.startswith("CANCEL")
    advice = "; a preempted job is lost, and the head waits for it for ever"
    yield ok_or_wrong("preemption", not cancels, f"{mode} ({plugin})" + (advice if cancels else ""))

    detail = _accounting(settings) or "none, and none is needed; why-failed then does not know a job's peak memory"
    yield CheckResult("accounting", "ok", detail)

    command = profile.get("slurm-status-command")
    advice = f"; with it the head may wait for ever: the comment above slurm-status-command in {PROFILE}"
    yield ok_or_wrong("status command", command == "squeue", f"{command}" + (advice if command != "squeue" else ""))

    if rules := profile.get("slurm-array-jobs"):
        size = settings.get("MaxArraySize", "0")
        yield ok_or_wrong(
            "arrays", _leading_number(size) > 2, f"of the rules {rules}; at most {size} jobs (MaxArraySize)"
        )


# ---------------------------------------------------------------- partitions


def _check_partition(request: PartitionRequest) -> CheckResult:
    """Whether a partition exists, is up, allows the time, and has the nodes and GPUs that are asked of it."""
    subject = f"partition {request.partition or '(default)'}"
    options = ["-p", request.partition] if request.partition else []
    try:
        rows = [line.split("|") for line in ask("sinfo", "-h", *options, "-o", "%R|%a|%l|%D|%G|%T").splitlines()]
        names = " ".join(sorted(set(ask("sinfo", "-h", "-o", "%R").split()))) if not rows else ""
    except ClusterError as error:
        return CheckResult(subject, "wrong", str(error))
    edit = f"edit `site` in {PROFILE}"
    if not rows:
        return CheckResult(subject, "wrong", f"there is no partition of this name; there are {names}: {edit}")
    if all(row[1] != "up" for row in rows):
        return CheckResult(subject, "wrong", f"it is {rows[0][1]}: ask the administrators, or {edit}")
    limit = _minutes(rows[0][2])
    if limit is not None and request.minutes is not None and request.minutes > limit:
        detail = f"jobs may take {limit} min, the profile asks for {request.minutes}: edit `walltime` in {PROFILE}"
        return CheckResult(subject, "wrong", detail)
    usable = [row for row in rows if not re.match(r"(?i)down|drain|fail", row[5]) and _has_gpus(row[4], request)]
    count = sum(int(row[3]) for row in usable)
    model = f" of type {request.gpu_model}" if request.gpu_model else ""
    gpus = f" with {request.gpus} GPUs{model}" if request.gpus else ""
    if count < request.nodes:
        generic_resources = " ".join(sorted({row[4] for row in rows}))
        detail = (
            f"the profile asks for {request.nodes} nodes{gpus}, {count} can be used (GRES: {generic_resources}): {edit}"
        )
        return CheckResult(subject, "wrong", detail)
    allowed = "no limit" if limit is None else f"{limit} min"
    if request.minutes is None:
        detail = (
            f"{count} nodes{gpus}; allowed {allowed}; how many minutes `runtime: {request.runtime}` is, only Snakemake can tell. To have it "
            f"compared, write minutes (120), one number with a unit (90m, 2h, 1d), or arithmetic with attempt (attempt * 120 + 10) in {PROFILE}"
        )
        return CheckResult(subject, "unknown", detail)
    return CheckResult(subject, "ok", f"{count} nodes{gpus}; asked {request.minutes} min, allowed {allowed}")


def _has_gpus(gres: str, request: PartitionRequest) -> bool:
    """Whether a node has the GPUs; ``gres`` as sinfo prints it: "gpu:a100:4(S:0-1),nvme:1"."""
    most = 0
    for model, count in re.findall(r"gpu:(?:([^:,(]+):)?(\d+)", gres):
        if not request.gpu_model or model.lower() == request.gpu_model.lower():
            most = max(most, int(count))
    return most >= request.gpus


def _minutes(text: str) -> int | None:
    """Minutes of SLURM's `days-hours:minutes:seconds`; None for no limit."""
    match = re.fullmatch(r"(?:(\d+)-)?(?:(\d+):)?(\d+):(\d+)", text)
    if not match:
        return None
    days, hours, minutes, _ = (int(part or 0) for part in match.groups())
    return (days * 24 + hours) * 60 + minutes


# ---------------------------------------------------------------- the user


def _check_account(profile: dict[str, Any]) -> Iterator[CheckResult]:
    """Whether the user may charge the account and use the QoS that the profile names."""
    try:
        answer = ask("sacctmgr", "-n", "-P", "show", "assoc", f"user={getpass.getuser()}", "format=account,qos")
    except ClusterError as error:
        yield CheckResult("account", "unknown", str(error))
        return
    rows = [line.split("|") for line in answer.splitlines()]
    allowed = {
        "slurm_account": {row[0] for row in rows},
        "qos": {name for row in rows for name in row[1].split(",")},
    }
    for key, names in allowed.items():
        for name in sorted({str(resources[key]) for resources in resource_sets(profile) if key in resources}):
            advice = f"{name} is none of yours; yours are {' '.join(sorted(names))}: edit `site` in {PROFILE}"
            yield ok_or_wrong(key, name in names, name if name in names else advice)


def _check_environment() -> CheckResult:
    if os.environ.get("PYTHONDONTWRITEBYTECODE"):
        advice = "PYTHONDONTWRITEBYTECODE is set, so each job compiles all that it imports, some ten seconds: unset it"
        return CheckResult("environment", "unknown", advice)
    return CheckResult("environment", "ok", sys.executable)


def _check_queue() -> CheckResult:
    """Whether earlier jobs of this folder are in the queue without a head."""
    queued, pids = jobs.queued_jobs(), jobs.head_pids()
    if queued and not pids:
        detail = f"{len(queued)} job(s) in the queue belong to this folder, and no snakemake here waits for them: mperceiver orphans"
        return CheckResult("queue", "wrong", detail)
    detail = f"{len(queued)} job(s) of this folder" + (
        f"; snakemake (process {pids[0]}) waits for them" if pids else ""
    )
    return CheckResult("queue", "ok", detail)
