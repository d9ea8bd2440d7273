"""The same on a cluster that keeps accounts (slurmdbd and MariaDB): what is known more, and that nothing leans on it."""

import re
import signal
import subprocess
import time

import pytest
from support import clusters

pytestmark = pytest.mark.cluster


@pytest.fixture(scope="module")
def cluster():
    if why := clusters.missing(accounts=True):
        pytest.fail(why)
    with clusters.running(accounts=True) as found:
        yield found


@pytest.fixture(scope="module")
def world(cluster, new_world):
    """Pictures are there, nothing is prepared; the site's jobs are on an account's budget."""
    world = new_world("accounts")
    profile = world.root / "slurm/config.yaml"
    text, count = re.subn(r"(?m)^(    slurm_partition: .*)$", r"\1\n    slurm_account: lab", profile.read_text())
    assert count == 3  # jobs without a GPU, with one, with several
    profile.write_text(text)
    for name in ("leaves", "astronaut"):
        world.run("mperceiver", "download", name)
    return world


def accounted(*fields: str) -> list[dict[str, str]]:
    words = ["sacct", "-X", "-n", "-P", "-a", "-o", ",".join(fields)]
    told = subprocess.run(words, capture_output=True, text=True, check=True, timeout=60).stdout
    return [dict(zip(fields, line.split("|"), strict=True)) for line in told.splitlines()]


def test_a_training_is_in_the_accounts(world):
    world.head("results/runs/tiny-net/network.json").end()
    clusters.until(lambda: all(job["State"] == "COMPLETED" for job in accounted("State")), 30, "all jobs accounted for")
    jobs = accounted("Comment", "Account")
    assert {job["Account"] for job in jobs} == {"lab"}
    assert "rule_train_network_wildcards_tiny-net" in {job["Comment"] for job in jobs}


def test_more_jobs_of_an_array_than_slots(world):
    """The plugin would drop what it was given of an array as long as others were ready, and wait for it for ever."""
    names = ["leaves", "astronaut", "tiny-test"]
    told = world.head(*(f"data/prepared/{name}.json" for name in names), options=("--jobs", "1")).end()
    assert "3 of 3 steps" in told or "4 of 4 steps" in told, told
    jobs = [job["Comment"] for job in accounted("Comment")]
    assert all(f"rule_prepare_wildcards_{name}" in jobs for name in names)


def test_doctor_knows_the_account(world):
    told = world.run("mperceiver", "doctor", "--cluster", code=1)
    assert re.search(r"ok +accounting +accounting_storage/slurmdbd", told), told
    profile = world.root / "slurm/config.yaml"
    before = profile.read_text()
    profile.write_text(before.replace("slurm_account: lab", "slurm_account: nobody"))
    try:
        assert "nobody is none of yours; yours are lab root" in world.run("mperceiver", "doctor", "--cluster", code=1)
    finally:
        profile.write_text(before)


def test_why_failed_knows_the_peak_of_memory(world):
    """It is asked for every second here: the training sleeps over one before its loss becomes no number."""
    world.describe("broken", **{"  steps: ": "  steps: 60\n  lr: 1.0e+30\n  clip_norm: 1.0e+30"})
    world.head("results/runs/broken/network.json").end(code=1)
    time.sleep(2)
    told = world.run("mperceiver", "why-failed", code=1)
    assert (
        "train_network run=broken: 3 attempts failed" in told
        and "cause    a loss or a gradient is not a finite number" in told
    )
    peak = re.search(r"memory   peak (\d+)K, asked 96000M", told)
    assert peak and int(peak[1]) > 50_000, told  # kilobytes: more than Python alone


def test_the_accounts_are_lost_under_way(world, cluster):
    """The head asks the controller, not the accounts, and goes on when those are gone."""
    head = world.training("unaccounted")
    cluster.stop_accounts(signal.SIGKILL)
    assert "Error" not in head.end()
    assert world.weights("unaccounted").is_file()
