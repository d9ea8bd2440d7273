"""The workflow on a real SLURM cluster: it is built, and disturbed in every way that one machine can simulate.

The cluster keeps no accounts, as many small clusters: sacct is installed and fails in all tests.
"""

import re
import subprocess
import time

import numpy as np
import pytest
from safetensors.numpy import load_file

pytestmark = pytest.mark.cluster


def show(job: str) -> dict[str, str]:
    text = slurm("scontrol", "-o", "show", "job", job)
    return dict(word.split("=", 1) for word in text.split() if "=" in word)


def slurm(*words: str) -> str:
    return subprocess.run(words, capture_output=True, text=True, check=True, timeout=60).stdout.strip()


def comments() -> dict[str, str]:
    """{comment of a job, which names its rule and wildcards: its id}; of an array the task's id."""
    lines = slurm("squeue", "-h", "--states=all", "-o", "%k|%i").splitlines()
    return dict(line.split("|") for line in lines)


def submissions(run: str) -> int:
    return slurm("squeue", "-h", "--states=all", "-o", "%k").splitlines().count(f"rule_train_network_wildcards_{run}")


def same(world, run: str, straight: dict) -> None:
    """The disturbed training has the weights of the undisturbed one, and no resume state or temporary file is left."""
    weights = load_file(world.weights(run))
    assert weights.keys() == straight.keys()
    assert all(np.array_equal(weights[name], straight[name]) for name in straight)
    assert not any((world.root / "results/resume" / run).rglob("*.pt"))
    left = [path for path in (world.root / "results").rglob(".*") if path.name != ".snakemake_timestamp"]
    assert [path for path in left if run in str(path)] == []


# ---------------------------------------------------------------- undisturbed


def test_the_workflow_is_built(built):
    assert (built.root / "results/report/demo/index.html").is_file()
    again = built.head()
    assert "Nothing to be done" in again.end()
    assert subprocess.run(["sacct"], capture_output=True).returncode != 0


def test_the_resources_that_slurm_was_asked_for(built):
    """Two preparations were one array; jobs that asked for a GPU have one, in the right partition, with the profile's time limit."""
    jobs = comments()
    assert re.search(r"Submitted array job with .*individual task IDs are 1-2\.", built.first.output)
    encode, train = (
        next(show(i) for c, i in jobs.items() if c.startswith(name)) for name in ("rule_encode", "rule_train_drm")
    )
    assert encode["Partition"] == "gpu" and encode["TresPerJob"] == "gres:gpu:1"
    assert (train["NumNodes"], train["TresPerNode"], train["TimeLimit"]) == ("2", "gres:gpu:1", "00:30:00")
    score = next(show(i) for c, i in jobs.items() if c.startswith("rule_score"))
    assert score["Partition"] == "cpu" and not any(key.startswith("Tres") for key in score)


def test_two_nodes_are_one_process(built):
    """Two processes on two nodes that share each step give the weights of one process, up to rounding."""
    lines = {
        "branches: ": "reuse: {predictor: tiny}\nbranches: {steps: 6, accumulate: 2, phases: [{batch: 2, crop_px: 16}]}"
    }
    for run in ("two-nodes", "one-process"):
        built.describe(run, "tiny", **lines | {"predictor: ": "predictor: null"})
    built.head("results/runs/two-nodes/branches.json").end()
    job = show(comments()["rule_train_branches_wildcards_two-nodes"])
    assert (job["NumNodes"], job["NumTasks"]) == ("2", "2")
    log = (built.root / "results/logs/train_branches/two-nodes.log").read_text(encoding="utf-8")
    assert log.count("step 6/6") == 1 and "tasks are used" not in log
    built.run("mperceiver", "train_branches", "one-process", "--threads", "1")
    two, one = (
        load_file(built.root / f"results/runs/{run}/branches.safetensors") for run in ("two-nodes", "one-process")
    )
    assert two.keys() == one.keys()
    assert all(np.allclose(two[name], one[name], rtol=1e-3, atol=1e-5) for name in one)


# ---------------------------------------------------------------- a disturbed training


def test_requeued(built, straight):
    head = built.training("requeued")
    job = built.job("requeued")
    slurm("scontrol", "requeue", job)
    built.go_on(job)
    head.end()
    assert show(job)["Restarts"] == "1" and submissions("requeued") == 1
    same(built, "requeued", straight)


def test_its_time_limit_is_reached(built, straight):
    """SLURM sends SIGTERM before the limit; the training saves its state and requeues its job, and no attempt is used up.

    SLURM looks at the limits every 30 s. It sends SIGTERM 120 s before the limit (slurm/config.yaml), or up to 30 s earlier where
    it would be late the next time. The new limit is 90 to 150 s away: the signal is due at SLURM's next look, and the training has a
    minute to save its state.
    """
    head = built.training("limited")
    job, before = built.job("limited"), built.steps("limited")
    hours, minutes, seconds = map(int, show(job)["RunTime"].split(":"))
    slurm("scontrol", "update", f"JobId={job}", f"TimeLimit={(3600 * hours + 60 * minutes + seconds + 150) // 60}")
    built.wait_until(job, "PENDING")
    slurm("scontrol", "update", f"JobId={job}", "TimeLimit=30")
    built.go_on(job)
    output = head.end()
    assert show(job)["Restarts"] == "1" and submissions("limited") == 1 and "Error in rule" not in output
    log = (built.root / "results/logs/train_network/limited.log").read_text(encoding="utf-8")
    assert int(re.search(r"resuming after step (\d+)", log)[1]) > before  # from the state that was saved at the signal
    same(built, "limited", straight)


def test_cancelled_from_outside(built, straight):
    """A cancelled job is not requeued; the head submits it again, and the training resumes from its state."""
    head = built.training("cancelled")
    job = built.job("cancelled")
    slurm("scancel", job)
    head.end()
    assert show(job)["JobState"] == "CANCELLED" and submissions("cancelled") == 2
    same(built, "cancelled", straight)
    output = built.run("mperceiver", "why-failed")
    assert f"job {job}, CANCELLED" in output and "then one succeeded" in output and "cancelled from outside" in output


def test_preempted(built, straight):
    head = built.training("preempted")
    job = built.job("preempted")
    node = show(job)["NodeList"]
    other = slurm(
        "sbatch", "--parsable", "-p", "urgent", "--exclusive", "-w", node, "-o", "/dev/null", "--wrap", "sleep 1"
    )
    built.wait_until(other, "COMPLETED")
    built.go_on(job)
    head.end()
    assert show(job)["Restarts"] == "1" and submissions("preempted") == 1
    same(built, "preempted", straight)


def test_its_node_is_lost(built, cluster, straight):
    head = built.training("lost")
    job = built.job("lost")
    node = show(job)["NodeList"]
    cluster.kill_node(node)
    try:
        built.wait_until(job, "PENDING")
    finally:
        cluster.start_node(node)
    built.wait_for_node(node)
    built.go_on(job)
    head.end()
    assert show(job)["Restarts"] == "1" and submissions("lost") == 1
    same(built, "lost", straight)


def test_the_controller_is_started_again(built, cluster, straight):
    head = built.training("restarted")
    job = built.job("restarted")
    cluster.kill_controller()
    time.sleep(1)
    cluster.start_controller()
    built.let_go("restarted")
    head.end()
    assert submissions("restarted") == 1 and show(job)["Restarts"] == "0"
    same(built, "restarted", straight)


# ---------------------------------------------------------------- a killed head


def test_a_killed_head_and_its_orphan_that_is_waited_for(built):
    """The files that the orphan makes are kept: the next head has nothing to do."""
    head = built.training("waited")
    assert "waits for these jobs" in built.run("mperceiver", "orphans", code=1)
    head.kill()
    job = built.job("waited")
    output = built.run("mperceiver", "orphans", code=1)
    assert job in output and "train_network_wildcards_waited" in output and "orphans --wait" in output
    with subprocess.Popen(
        ["mperceiver", "orphans", "--wait"], cwd=built.root, env=built.environment, stdout=subprocess.PIPE, text=True
    ) as waiting:
        lines = [waiting.stdout.readline(), waiting.stdout.readline()]
        built.let_go("waited")
        assert f"waiting for {job} (RUNNING)" in lines[1], lines
        assert "unlocked" in waiting.communicate(timeout=300)[0] and waiting.returncode == 0
    assert "Nothing to be done" in built.head("results/runs/waited/network.json").end()
    assert submissions("waited") == 1 and built.weights("waited").is_file()


def test_a_killed_head_and_its_orphan_that_is_cancelled(built, straight):
    head = built.training("left")
    head.kill()
    job = built.job("left")
    assert "kept 0 finished file(s)" in built.run("mperceiver", "orphans", "--cancel")
    assert show(job)["JobState"] == "CANCELLED"
    assert "no jobs of this folder" in built.run("mperceiver", "orphans")
    assert built.steps("left") > 0
    again = built.head("results/runs/left/network.json")
    again.end()
    assert submissions("left") == 2 and len(again.submitted) == 1
    same(built, "left", straight)


# ---------------------------------------------------------------- why-failed and doctor


def test_why_it_failed(built):
    """A training whose loss is NaN: three attempts, printed as one failed job with node, log, cause and next command."""
    built.describe("broken", **{"  steps: ": "  steps: 40\n  lr: 1.0e+30\n  clip_norm: 1.0e+30"})
    head = built.head("results/runs/broken/network.json")
    head.end(code=1)
    output = built.run("mperceiver", "why-failed", code=1)
    job = head.submitted[-1]
    assert "train_network run=broken: 3 attempts failed" in output and f"job {job}, FAILED, node g" in output
    assert "results/logs/train_network/broken.log" in output and "of 00:30:00" in output and "asked 96000M" in output, (
        output
    )
    assert "cause    a loss or a gradient is not a finite number" in output and "docs/training.md" in output


def test_doctor(built):
    """The cluster is fit, except that its GPUs are not real; a partition that does not exist is reported."""
    output = built.run("mperceiver", "doctor", "--cluster", code=1)
    wrong = [line for line in output.splitlines() if line.startswith("wrong")]
    assert len(wrong) == 1 and "torch sees none" in wrong[0], output
    assert "files on cpu" in output and "2 nodes with 1 GPUs" in output and "MinJobAge" in output
    profile = built.root / "slurm/config.yaml"
    before = profile.read_text(encoding="utf-8")
    try:
        profile.write_text(before.replace("slurm_partition: cpu", "slurm_partition: elsewhere"), encoding="utf-8")
        assert re.search(
            r"partition elsewhere.*there is no partition of this name; there are cpu gpu urgent",
            built.run("mperceiver", "doctor", "--cluster", code=1),
        )
    finally:
        profile.write_text(before, encoding="utf-8")


def test_nothing_is_left_behind(built):
    assert slurm("squeue", "-h", "--states=PENDING,RUNNING") == ""
    assert not list((built.root / ".snakemake/locks").glob("*"))
