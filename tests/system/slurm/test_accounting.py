"""A cluster that keeps accounts (slurmdbd and MariaDB): what is known in addition, and that nothing depends on it."""

import re
import signal
import subprocess

import pytest
from support import clusters

pytestmark = pytest.mark.cluster


@pytest.fixture(scope="module")
def cluster():
    if reason := clusters.missing(with_accounts=True):
        pytest.fail(reason)
    with clusters.running(with_accounts=True) as running:
        yield running


@pytest.fixture(scope="module")
def world(cluster, new_world):
    """A world whose pictures are downloaded and not prepared; the profile's jobs are charged to an account."""
    world = new_world("accounts")
    profile = world.root / "slurm/config.yaml"
    text, count = re.subn(
        r"(?m)^(    slurm_partition: .*)$", r"\1\n    slurm_account: lab", profile.read_text(encoding="utf-8")
    )
    assert count == 3  # jobs without a GPU, with one, with several
    profile.write_text(text, encoding="utf-8")
    for name in ("leaves", "astronaut"):
        world.run("mperceiver", "download", name)
    return world


def accounted(*fields: str) -> list[dict[str, str]]:
    words = ["sacct", "-X", "-n", "-P", "-a", "-o", ",".join(fields)]
    output = subprocess.run(words, capture_output=True, text=True, check=True, timeout=60).stdout
    return [dict(zip(fields, line.split("|"), strict=True)) for line in output.splitlines()]


def test_a_training_is_in_the_accounts(world):
    world.head("results/runs/tiny-net/network.json").end()
    clusters.until(
        lambda: all(job["State"] == "COMPLETED" for job in accounted("State")),
        30,
        "all jobs accounted for",
        lambda: accounted("JobID", "State"),
    )
    jobs = accounted("Comment", "Account")
    assert {job["Account"] for job in jobs} == {"lab"}
    assert "rule_train_network_wildcards_tiny-net" in {job["Comment"] for job in jobs}


def test_more_jobs_of_an_array_than_slots(world):
    """Without workflow/rules/head.smk the plugin would drop the jobs of an array for which no slot is free, and wait for them for ever."""
    names = ["leaves", "astronaut", "tiny-test"]
    output = world.head(*(f"data/prepared/{name}.json" for name in names), options=("--jobs", "1")).end()
    assert "3 of 3 steps" in output or "4 of 4 steps" in output, output
    jobs = [job["Comment"] for job in accounted("Comment")]
    assert all(f"rule_prepare_wildcards_{name}" in jobs for name in names)


def test_doctor_checks_the_account(world):
    output = world.run("mperceiver", "doctor", "--cluster", code=1)
    assert re.search(r"ok +accounting +accounting_storage/slurmdbd", output), output
    profile = world.root / "slurm/config.yaml"
    before = profile.read_text(encoding="utf-8")
    profile.write_text(before.replace("slurm_account: lab", "slurm_account: nobody"), encoding="utf-8")
    try:
        assert "nobody is none of yours; yours are lab root" in world.run("mperceiver", "doctor", "--cluster", code=1)
    finally:
        profile.write_text(before, encoding="utf-8")


def test_why_failed_prints_the_peak_memory(world):
    """This cluster samples memory every second, and the training runs longer than that before its loss is NaN."""
    world.describe("broken", **{"  steps: ": "  steps: 60\n  lr: 1.0e+30\n  clip_norm: 1.0e+30"})
    world.head("results/runs/broken/network.json").end(code=1)
    peak = r"memory   peak (\d+)K, asked 96000M"

    def said() -> str:
        return world.run("mperceiver", "why-failed", code=1)

    clusters.until(lambda: re.search(peak, said()), 60, "the accounts say the peak", said)
    output = said()
    assert (
        "train_network run=broken: 3 attempts failed" in output
        and "cause    a loss or a gradient is not a finite number" in output
    )
    assert int(re.search(peak, output)[1]) > 50_000, output  # kilobytes: more than Python alone


def test_the_accounts_are_lost_during_a_run(world, cluster):
    """The head asks the controller, not the accounts, so it goes on when they are gone."""
    head = world.training("unaccounted")
    cluster.stop_accounts(signal.SIGKILL)
    world.let_go("unaccounted")
    assert "Error" not in head.end()
    assert world.weights("unaccounted").is_file()
