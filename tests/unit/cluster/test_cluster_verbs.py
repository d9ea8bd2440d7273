"""orphans, why-failed and doctor --cluster with scripts in place of SLURM's programs. On a real cluster: tests/system/slurm/."""

import base64
import errno
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from support import PROJECT
from typer.testing import CliRunner

from mperceiver import cli, config, images, lineage, messages, paths
from mperceiver.cluster import ClusterError, ask, causes, jobs, orphans, preflight, profile, runlog, why
from mperceiver.data.read.loader import PreparedDataset
from mperceiver.models import towers
from mperceiver.training import slurm
from mperceiver.training.latents import CachedLatents
from mperceiver.training.nonfinite import BatchRecord, StepRecord
from mperceiver.training.schedule import TrainingError

LOG = """\
[Tue Nov 24 01:00:34 2026]
localrule download:
    output: data/raw/rain.json (update)
    jobid: 6
    wildcards: dataset=rain
[Tue Nov 24 01:00:34 2026]
rule restore:
    input: data/prepared/rain.json
    output: results/restored/ours/rain.json, results/restored/ours/rain
    log: results/logs/restore/ours/rain.log
    jobid: 13
    wildcards: method=ours, dataset=rain
    resources: tmpdir=<TBD>, mem_mb=8000, mem=8 GB, slurm_partition=gpu, runtime=240, gpu=1
Shell command: mperceiver restore ours rain --threads 4 > results/logs/restore/ours/rain.log 2>&1
Job 13 has been submitted with SLURM jobid 41 (log: {folder}/slurm/41.log).
[Tue Nov 24 01:10:34 2026]
rule score:
    log: results/logs/score/ours/rain.log
    jobid: 14
    wildcards: method=ours, dataset=rain
    resources: mem_mb=8000, runtime=120
Job 14 has been submitted with SLURM jobid 40_2 (log: {folder}/slurm/40.log).
Error in rule score:
    message: SLURM-job '40_2' failed, SLURM status is: 'CANCELLED'. For further error details see the log.
    jobid: 14
    log: results/logs/score/ours/rain.log (check log file(s) for error details)
    external_jobid: 40_2
Trying to restart job 14.
Finished jobid: 14 (Rule: score)
Error in rule restore:
    message: SLURM-job '41' failed, SLURM status is: '{state}'. For further error details see the log.
    jobid: 13
    output: results/restored/ours/rain.json, results/restored/ours/rain
    log: results/logs/restore/ours/rain.log, {folder}/slurm/41.log (check log file(s) for error details)
    shell:
        mperceiver restore ours rain --threads 4 > results/logs/restore/ours/rain.log 2>&1
        (command exited with non-zero exit code)
    external_jobid: 41
Logfile {folder}/slurm/41.log:
================================================================================
rule restore:
    jobid: 0
    wildcards: method=ours, dataset=rain
Error in rule restore:
    message: None
    jobid: 0
    log: results/logs/restore/ours/rain.log (check log file(s) for error details)
================================================================================
Error in rule download:
    message: None
    jobid: 6
    log: results/logs/download/rain.log (check log file(s) for error details)
"""
SHOWN = "JobId=41 JobState={state} RunTime=01:02:03 TimeLimit=04:00:00 NodeList=g7 MinMemoryNode=8000M Comment=x"


@pytest.fixture
def programs(tmp_path, monkeypatch):
    """Scripts in place of SLURM's programs on the PATH; a call `programs(squeue="exit 1")` writes or changes them."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    monkeypatch.setenv("CALLS", str(tmp_path / "calls"))
    monkeypatch.setattr(orphans, "POLL_S", 0.01)
    monkeypatch.setattr(jobs, "head_pids", lambda: [])

    def put(**texts: str) -> None:
        for name, text in texts.items():
            (folder / name).write_text(f'#!/bin/sh\necho "{name} $*" >> "$CALLS"\n{text}\n', encoding="utf-8")
            (folder / name).chmod(0o755)

    put(sacct="echo no accounting >&2; exit 1")
    put.calls = lambda: (tmp_path / "calls").read_text(encoding="utf-8").splitlines()
    return put


def run_verb(*words: str) -> tuple[int, str]:
    result = CliRunner(env={"COLUMNS": "300", "NO_COLOR": "1", "TERM": "dumb"}).invoke(cli.app, list(words))
    return result.exit_code, result.output


# ---------------------------------------------------------------- asking


def test_a_program_that_gives_no_answer(programs):
    programs(sinfo="echo slurm_load: Unable to contact slurm controller >&2; exit 1", scontrol="exec sleep 60")
    for command, words in {
        "sbutch": "not on the PATH",
        "sinfo": "Unable to contact",
        "scontrol": "no answer within",
    }.items():
        with pytest.raises(ClusterError, match=words):
            ask.ask(command, seconds=0.5)


@pytest.mark.parametrize(
    ("printed", "advice"),
    [
        (
            "squeue: fatal: Could not establish a configuration source",
            "run the same command on the cluster's login node",
        ),
        ("squeue: fatal: Unable to process configuration file", "run the same command on the cluster's login node"),
        ("slurm_load_jobs error: Unable to contact slurm controller (connect failure)", "see scontrol ping"),
    ],
)
def test_orphans_without_a_cluster_says_what_to_do(programs, printed, advice):
    programs(squeue=f"echo '{printed}' >&2; exit 1")
    code, output = run_verb("orphans")
    assert code == 1 and printed in output and advice in output


# ---------------------------------------------------------------- orphans


def queue(*lines: str) -> str:
    """A script for squeue that prints these lines until scancel is called."""
    text = "\n".join(f"echo '{line}'" for line in lines)
    return f'grep -q "^scancel" "$CALLS" && exit 0\n{text or ":"}'


def own_job(job: str = "7", rule: str = "rule_train_drm_wildcards_demo") -> str:
    return f"{job}|RUNNING|1:00|4:00:00|g1|{rule}|{Path.cwd()}"


def test_only_jobs_of_snakemake_in_this_folder_are_orphans(programs):
    programs(squeue=queue(own_job(), own_job("8", "(null)"), own_job("9")[:-5] + "/elsewhere"))
    code, output = run_verb("orphans")
    assert (
        code == 1 and "train_drm_wildcards_demo" in output and "1 job(s) in the queue belong to this folder" in output
    )
    assert not any(line.startswith(("scancel", "snakemake")) for line in programs.calls())


def test_without_orphans_and_with_a_running_head(programs, monkeypatch):
    programs(squeue=queue())
    assert run_verb("orphans") == (0, "no jobs of this folder are in the queue\n")
    Path(".snakemake/locks").mkdir(parents=True)
    Path(".snakemake/locks/0.input.lock").touch()
    assert "orphans --wait, which removes the lock" in run_verb("orphans")[1]
    monkeypatch.setattr(jobs, "head_pids", lambda: [4711])
    code, output = run_verb("orphans", "--cancel")
    assert code == 1 and "process 4711" in output and "waits for these jobs" in output
    assert run_verb("orphans", "--cancel", "--wait")[0] == 1


def test_a_head_differs_from_a_snakemake_in_a_job(tmp_path, monkeypatch):
    """Both are a Snakemake process in this folder; the one in a job has SLURM's variables."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "snakemake").symlink_to(shutil.which("sleep"))
    outside = {k: v for k, v in os.environ.items() if not k.startswith("SLURM")}
    started = [
        subprocess.Popen([tmp_path / "snakemake", "60"], env=outside | own) for own in ({}, {"SLURM_JOB_ID": "3"})
    ]
    try:
        assert jobs.head_pids() == [started[0].pid]
    finally:
        for process in started:
            process.kill()
            process.wait()


def test_orphans_are_cancelled_and_the_folder_is_unlocked(programs):
    programs(squeue=queue(own_job(), own_job("9")), scancel="", snakemake="")
    code, output = run_verb("orphans", "--cancel")
    assert code == 0 and "kept 0 finished file(s)" in output
    assert "scancel 7 9" in programs.calls() and "snakemake --unlock" in programs.calls()


def test_waiting_keeps_finished_files(programs, tmp_path):
    """Snakemake has marked as incomplete: weights with a card, a folder without one, and a download, which checks itself."""
    programs(squeue=f'[ $(grep -c ^squeue "$CALLS") -gt 2 ] || echo "{own_job()}"', snakemake="")
    marks = Path(".snakemake/incomplete")
    for path in (
        "results/runs/a/drm.safetensors",
        "results/runs/a/drm.json",
        "results/restored/m/d",
        "data/raw/d.json",
    ):
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).touch()
        name = base64.urlsafe_b64encode(path.encode()).decode()
        marks.mkdir(parents=True, exist_ok=True)
        (marks / name).touch()
    code, output = run_verb("orphans", "--wait")
    assert code == 0 and "kept 2 finished file(s)" in output
    assert "snakemake --cleanup-metadata results/runs/a/drm.json results/runs/a/drm.safetensors" in programs.calls()


def test_an_orphan_that_does_not_end(programs):
    programs(squeue=f"echo '{own_job()}'", scancel="")
    with pytest.raises(ClusterError, match="job 7 was cancelled and is still RUNNING after 0 s"):
        orphans.cancel_jobs(jobs.queued_jobs(), timeout_s=0)


# ---------------------------------------------------------------- why-failed


def failed(programs, state: str = "FAILED", log: str = "", slurm_log: str = "", **texts: str) -> str:
    """What why-failed prints of a job in a state, whose logs end with these texts."""
    for path, text in {"results/logs/restore/ours/rain.log": log, "slurm/41.log": slurm_log}.items():
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_text(text, encoding="utf-8")
    Path(".snakemake/log").mkdir(parents=True, exist_ok=True)
    Path(".snakemake/log/2026-11-23.snakemake.log").write_text("an older one", encoding="utf-8")
    Path(".snakemake/log/2026-11-24.snakemake.log").write_text(
        LOG.format(state=state, folder=Path.cwd()), encoding="utf-8"
    )
    programs(**{"scontrol": f"echo '{SHOWN.format(state=state)}'"} | texts)
    code, output = run_verb("why-failed")
    assert code == 1
    return output


def test_a_failed_job_is_described(programs):
    output = failed(programs, log="one\n\ntwo\nerror: results/x: no such file\n")
    restored, downloaded, scored = output.split("\n\n")[1:]  # a job that succeeded later comes last
    assert downloaded.startswith("download dataset=rain: 1 attempt failed\n  SLURM    job none")
    for words in (
        "restore method=ours, dataset=rain: 1 attempt failed",
        "job 41, FAILED, node g7",
        "01:02:03 of 04:00:00",
        "peak not known (no accounting), asked 8000M",
        "results/logs/restore/ours/rain.log",
        "           two\n           error: results/x: no such file",
        "cause    error: results/x: no such file",
    ):
        assert words in restored
    assert scored.startswith("score method=ours, dataset=rain: 1 attempt failed, then one succeeded")


@pytest.mark.parametrize(
    ("state", "log", "slurm_log", "words"),
    [
        ("OUT_OF_MEMORY", "", "", "raise `mem_mb` of restore in slurm/config.yaml (asked: 8000 MB)"),
        ("FAILED", "", "slurmstepd: error: Detected 1 oom-kill event(s)", "raise `mem_mb` of restore"),
        ("FAILED", "torch.OutOfMemoryError: CUDA out of memory", "", "a smaller `tile_px`"),
        ("TIMEOUT", "", "", "raise `runtime` of restore in slurm/config.yaml (asked: 240 min)"),
        ("PREEMPTED", "", "", "SLURM preempted the job"),
        ("NODE_FAIL", "", "", "tell the administrators the node: g7"),
        ("CANCELLED", "", "", "cancelled from outside"),
        (
            "FAILED",
            "error: data/prepared/x.json: no such card; make it with: snakemake --cores all data/prepared/x.json",
            "",
            "weights or pictures are missing",
        ),
        ("FAILED", "error: ours predictor: loss is nan at step 1", "", "a loss or a gradient is not a finite number"),
        ("FAILED", "error: rain.arrow: picture 7_3 cannot be decoded", "", "a picture is damaged"),
        ("FAILED", "error: the disk is full (results/a)", "", "free space"),
        ("FAILED", "", "bash: mperceiver: command not found", "start snakemake by `uv run`"),
        ("FAILED", "ValueError: something else", "", "ValueError: something else"),
    ],
)
def test_the_cause_and_the_next_command(programs, state, log, slurm_log, words):
    assert words in failed(programs, state, log, slurm_log).split("\n\n")[1]


def test_messages_of_this_project_are_recognised(tmp_path, monkeypatch):
    """The patterns fit the messages that the package's errors have today."""
    monkeypatch.chdir(tmp_path)
    Path("config/foundations").mkdir(parents=True)
    Path("config/foundations/sd21.yaml").write_text("title: t\nlicence: l\nlocal: elsewhere\n", encoding="utf-8")

    def cause(error: Exception) -> str:
        return causes.likely_cause([], [f"error: {messages.for_user(error)}"], [], {})[0]

    def raised(function: Callable, *arguments: object) -> Exception:
        with pytest.raises(Exception) as caught:
            function(*arguments)
        return caught.value

    assert cause(OSError(errno.ENOSPC, "No space left on device", "a.png")) == "the disk is full"
    missing = "weights or pictures are missing or damaged"
    assert cause(raised(lineage.read_card, paths.prepared_card("rain"))) == missing
    assert cause(raised(Path("data/latents/sd21/a.arrow").read_bytes)) == missing
    assert cause(raised(PreparedDataset, "rain")) == missing
    assert cause(raised(CachedLatents, "sd21", "rain")) == missing
    assert cause(raised(towers.load, "sd21")) == missing
    Path("a.png").write_bytes(b"no picture")
    assert cause(raised(images.decode, "a.png")) == "a picture is damaged"
    batch = BatchRecord([1, 0], ["a"], {"loss": float("nan")})
    for losses, norm in ({"loss": float("nan")}, 1.0), ({"loss": 0.1}, float("inf")):
        record = StepRecord("demo drm", 7, [norm], [batch._replace(losses=losses)], {})
        error = TrainingError(record.message(Path("results/resume/demo")))
        assert cause(error) == "a loss or a gradient is not a finite number"


def test_an_attempt_that_slurm_refused_is_counted(programs):
    refused = "Error in rule restore:\n    message: SLURM sbatch failed. The error message was 'sbatch: error: Memory'.\n    jobid: 13\n"
    Path(".snakemake/log").mkdir(parents=True)
    text = LOG.format(state="FAILED", folder=Path.cwd()) + refused
    (failure,) = (job for job in runlog.failed_jobs(text) if job.rule == "restore")
    assert failure.failed_attempts == 2
    assert causes.likely_cause([failure.message], ["loss is nan"], [], {})[0] == "SLURM refused the last attempt"


def test_with_accounting_the_peak_is_known(programs):
    rows = "OUT_OF_MEMORY|0:125|g7|00:10:00|04:00:00||8000M\nOUT_OF_MEMORY|0:125|g7|00:10:00||7900000K|\n"
    output = failed(programs, sacct=f"printf '{rows}'")
    assert (
        "job 41, OUT_OF_MEMORY, node g7" in output
        and "peak 7900000K, asked 8000M" in output
        and "raise `mem_mb`" in output
    )


def test_a_job_that_slurm_has_forgotten_is_described_by_the_log_of_the_head(programs):
    output = failed(programs, "TIMEOUT", scontrol="echo Invalid job id >&2; exit 1")
    assert "job 41, TIMEOUT, node not known" in output and "raise `runtime`" in output and "asked 8000 MB" in output


def test_no_log_and_no_failed_job(programs):
    code, output = run_verb("why-failed")
    assert code == 1 and "no log of Snakemake here" in output
    Path(".snakemake/log").mkdir(parents=True)
    Path(".snakemake/log/1.snakemake.log").write_text("Nothing to be done", encoding="utf-8")
    assert run_verb("why-failed") == (0, f"{runlog.newest_log()}: no job failed\n")


def test_memory_is_compared_by_size():
    assert why._bytes("900M") < why._bytes("1.5G") and why._bytes("") == 0


# ---------------------------------------------------------------- doctor --cluster

SINFO = "case \"$*\" in *cpu*) echo 'cpu|up|1-00:00:00|4|(null)|idle';; *gpu*) echo 'gpu|up|2-00:00:00|2|{gres}|mixed';; esac"
CONF = "ClusterName = lab\\nSLURM_VERSION = 23.11\\nMinJobAge = {age} sec\\nJobRequeue = 1\\nKillWait = 30 sec\\n"
CONF += "PreemptMode = {preempt}\\nAccountingStorageType = (null)\\nMaxArraySize = 1001\\n"


@pytest.fixture
def fit(programs, monkeypatch):
    """Scripts of a cluster that is fit for the project's profile; a call changes some and returns all check results."""
    shutil.copytree(PROJECT / "slurm", "slurm")
    monkeypatch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)

    def put(
        gres: str = "gpu:a100:8(S:0-1)", age: int = 300, preempt: str = "REQUEUE", **texts: str
    ) -> dict[str, tuple[str, str]]:
        node = 'for word in "$@"; do last=$word; done\ncase "$last" in /*) cat "$last";; *torch*) echo CUDA 1 NVIDIA H200;; esac'
        own = {"sinfo": SINFO.format(gres=gres), "scontrol": f"printf '{CONF.format(age=age, preempt=preempt)}'"}
        own |= {"squeue": "", "srun": node, "sbatch": "", "scancel": ""}
        programs(**own | texts)
        return {check.subject: (check.state, check.detail) for check in preflight.check_cluster()}

    return put


def test_a_cluster_that_is_fit(fit):
    checks = fit()
    assert [(subject, detail) for subject, (state, detail) in checks.items() if state != "ok"] == []
    assert checks["CUDA on gpu"][1] == "1 NVIDIA H200" and "Python on cpu" in checks
    assert run_verb("doctor", "--cluster")[0] == 0


def test_a_cluster_that_is_not_fit(fit):
    assert fit(age=60)["MinJobAge"][0] == "wrong"
    assert fit(preempt="CANCEL")["preemption"][0] == "wrong"
    assert "the profile asks for 1 nodes with 8 GPUs, 0 can be used" in fit(gres="gpu:a100:4")["partition gpu"][1]
    assert fit(srun="echo CUDA 0")["files on gpu"][0] == "wrong"  # the node has another folder of that name
    busy = fit(srun="echo srun: error: Unable to allocate resources: Immediate execution impossible >&2; exit 1")
    assert busy["files on gpu"][0] == "unknown" and "no node was free" in busy["files on gpu"][1]
    no_gpu = 'for word in "$@"; do last=$word; done\ncase "$last" in /*) cat "$last";; *) echo CUDA 0;; esac'
    assert "torch sees none" in fit(srun=no_gpu)["CUDA on gpu"][1]
    assert fit(squeue=f"echo '{own_job()}'")["queue"][0] == "wrong"
    assert fit(scontrol="echo Unable to contact >&2; exit 1")["controller"] == (
        "wrong",
        "scontrol show config: Unable to contact",
    )
    assert run_verb("doctor", "--cluster")[0] == 1


def test_a_partition_that_does_not_exist_or_is_too_short(fit):
    names = 'case "$*" in *-p*) ;; *) echo long short;; esac'
    assert "there is no partition of this name; there are long short" in fit(sinfo=names)["partition cpu"][1]
    short = fit(sinfo="echo 'x|up|1:00:00|9|gpu:h100:8|idle'")
    assert short["partition gpu"] == (
        "wrong",
        "jobs may take 60 min, the profile asks for 1440: edit `walltime` in slurm/config.yaml",
    )


def test_what_the_profile_asks_for():
    """The project's own profile, which the tests above and the documents describe."""
    requests = profile.partition_requests(config.read_yaml(PROJECT / "slurm/config.yaml"))
    assert {(w.partition, w.gpus, w.nodes) for w in requests} == {("cpu", 0, 1), ("gpu", 1, 1), ("gpu", 8, 1)}
    assert profile.node_gpus({"gres": "gpu:a100:8"}) == ("a100", 8) and preflight._minutes("1-02:03:04") == 1563


@pytest.mark.parametrize(
    ("runtime", "minutes"),
    [(90, 90), ("120", 120), ("2h", 120), ("1d", 1440), ("90m", 90), ("30s", 1), ("119s", 1), ("1.5 hours", 90), ("'2h'", 120),
     (0, 0), (90.5, 1), ("attempt * 120 + 10", 130), ("attempt * 90.6", 91), ("attempt * 60 // 7", 8), ("min(attempt * 60, 45)", 45),
     ("max(60, attempt * 240) # minutes", 240)],
)  # fmt: skip
def test_a_time_is_read_as_snakemake_reads_it(runtime, minutes):
    from snakemake.resources import Resources

    read = Resources.parse([f"runtime={runtime}"], allow_expressions=True)["runtime"]
    job = {"wildcards": None, "input": None, "attempt": 1, "threads": 1, "rulename": "r", "async_run": None}
    value = read.evaluate(**job).value if read.is_evaluable() else read.value
    assert profile.minutes_of(runtime) == minutes == value


@pytest.mark.parametrize(
    "runtime",
    ["1h30m", "1:30:00", "input.size_mb // 10", "attempt * threads", "attempt * '2h'", "2**9", "1 / 0", "1e999", "attempt - 5",
     "two", "", None, True, "__import__('os')", "max(attempt)"],
)  # fmt: skip
def test_a_time_that_is_unknown_is_never_a_number(runtime):
    assert profile.minutes_of(runtime) is None
    (request,) = profile.partition_requests({"default-resources": {"runtime": runtime}})
    assert (request.minutes, request.runtime) == (None, str(runtime))


@pytest.mark.parametrize(("walltime", "asked"), [("1d", 1440), ("2h", 120), ("attempt * 60 + 10", 70)])
def test_a_time_with_a_unit_is_compared_with_the_limit(fit, walltime, asked):
    text = profile.PROFILE.read_text(encoding="utf-8")
    profile.PROFILE.write_text(text.replace("&walltime 1440", f"&walltime {walltime}"), encoding="utf-8")
    sinfo = (
        "case \"$*\" in *cpu*) echo 'cpu|up|infinite|4|(null)|idle';; *) echo 'gpu|up|1:00:00|2|gpu:a100:8|idle';; esac"
    )
    state, detail = fit(sinfo=sinfo)["partition gpu"]
    assert state == "wrong" and f"jobs may take 60 min, the profile asks for {asked}:" in detail


def test_a_time_that_only_snakemake_can_evaluate_is_told_and_the_other_checks_go_on(fit):
    text = profile.PROFILE.read_text(encoding="utf-8")
    profile.PROFILE.write_text(text.replace("&walltime 1440", "&walltime input.size_mb // 10"), encoding="utf-8")
    found = fit()
    state, detail = found["partition gpu"]
    assert (
        state == "unknown" and "how many minutes `runtime: input.size_mb // 10` is, only Snakemake can tell" in detail
    )
    assert "queue" in found


# ---------------------------------------------------------------- a training uses its job's tasks


@pytest.mark.parametrize(
    ("shares", "tasks", "nodes", "expected"),
    [(16, 8, 1, "--nodes=1 --ntasks=8 --ntasks-per-node=8"), (8, 2, 2, "--nodes=2 --ntasks=2 --ntasks-per-node=1"),
     (4, 6, 3, "--nodes=3 --ntasks=4 --ntasks-per-node=2"), (1, 8, 2, None), (8, 1, 1, None)],
)  # fmt: skip
def test_one_process_for_each_task_that_can_share_a_step(programs, monkeypatch, capsys, shares, tasks, nodes, expected):
    programs(scontrol=f"echo JobId=5 NumNodes={nodes} NumCPUs=32 NumTasks={tasks} CPUs/Task=4", srun="exit 1")
    for name in ("SLURM_STEP_ID", "RANK"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SLURM_JOB_ID", "5")
    commands = []
    monkeypatch.setattr(os, "execvp", lambda program, words: commands.append(words))
    slurm.relaunch_with_srun("train_drm", "demo", 4, shares)
    if expected is None:
        assert commands == []
    else:
        ours = [sys.executable, "-m", "mperceiver.cli", "train_drm", "demo", "--threads", "4"]
        assert commands == [["srun", *expected.split(), "--cpus-per-task=4", "--kill-on-bad-exit=1", *ours]]
    assert ("tasks are used" in capsys.readouterr().out) == (shares % tasks != 0)


def test_a_job_that_slurm_does_not_describe(programs, monkeypatch):
    programs(scontrol="echo Unable to contact slurm controller >&2; exit 1")
    for name in ("SLURM_STEP_ID", "RANK"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SLURM_JOB_ID", "5")
    monkeypatch.setenv("SLURM_NTASKS", "2")
    with pytest.raises(slurm.SlurmError, match=r"train_drm demo: .* job 5 has \(Unable to contact .*scontrol ping"):
        slurm.relaunch_with_srun("train_drm", "demo", 4, 8)


def test_nothing_is_started_in_a_step_in_a_launcher_or_without_slurm(programs, monkeypatch):
    monkeypatch.setattr(os, "execvp", lambda *_: pytest.fail("started"))
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    slurm.relaunch_with_srun("train_drm", "demo", 4, 8)
    monkeypatch.setenv("SLURM_JOB_ID", "5")
    for name in ("SLURM_STEP_ID", "RANK"):
        monkeypatch.setenv(name, "0")
        slurm.relaunch_with_srun("train_drm", "demo", 4, 8)
        monkeypatch.delenv(name)
