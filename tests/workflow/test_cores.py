"""A training that processes share on the cores of one machine, as a run's file asks."""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file
from support.workflow import WARM, run

from mperceiver.config.runs import Stage
from mperceiver.training import cores

STAGE = {"steps": 4, "phases": [{"batch": 2, "crop_px": 32}]}


@pytest.mark.parametrize(
    ("wanted", "accumulate", "given", "count"),
    [(2, 2, 2, 2), (2, 2, 1, 1), (2, 2, 64, 2), (4, 4, 3, 2), (1, 8, 8, 1), (3, 6, 2, 2)],
)
def test_as_many_processes_as_there_are_cores_and_as_divide_a_step(wanted, accumulate, given, count):
    spec = Stage.model_validate(STAGE | {"cpu_processes": wanted, "accumulate": accumulate})
    assert cores.processes_for(spec, given) == count


def test_processes_that_cannot_divide_a_step_are_refused():
    with pytest.raises(ValidationError, match="cpu_processes is 2, which does not divide accumulate, 3"):
        Stage.model_validate(STAGE | {"cpu_processes": 2, "accumulate": 3})


def test_nothing_is_started_on_a_gpu_or_in_a_launcher(monkeypatch):
    spec = Stage.model_validate(STAGE | {"cpu_processes": 2, "accumulate": 2})
    started: list[list[str]] = []
    monkeypatch.setattr("torch.distributed.run.main", started.append)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    cores.train_on_cores("train_drm", "demo", spec, 2)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # which it would set for the processes
    monkeypatch.setenv("RANK", "0")
    cores.train_on_cores("train_drm", "demo", spec, 2)
    monkeypatch.delenv("RANK")
    assert started == []
    with pytest.raises(SystemExit) as ended:
        cores.train_on_cores("train_drm", "demo", spec, 2)
    assert not ended.value.code and started[0][-5:] == ["mperceiver.cli", "train_drm", "demo", "--threads", "2"]


STARTED: list[subprocess.Popen] = []


@pytest.fixture
def two(commands, world) -> Iterator[Path]:
    """The tiny world with runs whose steps two processes share: a network, and `long`, which takes a while."""
    for name, steps in (("two", 4), ("long", 100_000)):
        text = f"title: {name}\nlike: tiny-net\nnetwork: {{accumulate: 2, cpu_processes: 2, steps: {steps}, save_every_steps: 20}}\n"
        (world / f"config/runs/{name}.yaml").write_text(text, encoding="utf-8")
    yield world
    while STARTED:  # what a failed test has left
        STARTED.pop().kill()


def start(world: Path, run: str, threads: int) -> subprocess.Popen:
    words = ["mperceiver", "train_network", run, "--threads", str(threads)]
    python = str(Path(shutil.which("mperceiver", path=WARM["PATH"])).with_name("warm-python"))  # torchrun's name for it
    environment = WARM | {"PYTHON_EXEC": python}
    process = subprocess.Popen(
        words, cwd=world, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    STARTED.append(process)
    return process


def test_a_missing_input_is_told_once_before_processes_begin(two):
    (two / "data/prepared/tiny-train.json").unlink()
    process = start(two, "two", 2)
    printed, _ = process.communicate(timeout=120)
    assert process.returncode == 1 and printed.startswith("error: data/prepared/") and printed.count("\n") == 1


def test_the_workflow_gives_each_process_a_core_and_the_weights_are_those_of_one(two, tmp_path):
    alone = Path(shutil.copytree(two, tmp_path / "alone"))
    printed = run(two, "results/runs/two/network.json")
    assert "threads: 2" in printed
    log = (two / "results/logs/train_network/two.log").read_text(encoding="utf-8")
    assert log.count("step 4/4") == 1 and log.count("network.json") == 1, log
    with start(alone, "two", 1) as process:
        said = process.communicate(timeout=300)[0]
    assert process.returncode == 0, said
    one, both = (load_file(world / "results/runs/two/network.safetensors") for world in (alone, two))
    assert one.keys() == both.keys()
    assert max((one[key] - both[key]).abs().max().item() for key in one) < 2e-5


def test_an_error_is_said_once_and_ends_as_it_does_in_one_process(two):
    (two / "data/prepared/tiny-train.arrow").write_bytes(b"")
    codes, said = [], []
    for threads in (1, 2):
        process = start(two, "two", threads)
        said.append(process.communicate(timeout=300)[0])
        codes.append(process.returncode)
    assert codes == [1, 1], said
    message = next(line for line in said[0].splitlines() if line.startswith("error: "))
    assert message in said[1] and "Traceback" not in said[1], said[1]


def until_saved(process: subprocess.Popen, states: Path, step: int = 0) -> None:
    """Wait for a resume state of a later step than ``step``."""
    end = time.monotonic() + 300
    while (
        not any(int(path.stem.split("-")[1]) > step for path in states.glob("network-*.pt")) and time.monotonic() < end
    ):
        assert process.poll() is None, process.stdout.read()
        time.sleep(0.2)


def test_a_killed_process_ends_the_others_and_is_named(two):
    process = start(two, "long", 2)
    until_saved(process, two / "results/resume/long")
    found = subprocess.run(["pgrep", "-f", "warm-python.*train_network long"], stdout=subprocess.PIPE, check=True)
    here = [pid for pid in map(int, found.stdout.split()) if Path(f"/proc/{pid}/cwd").resolve() == two.resolve()]
    os.kill(here[-1], signal.SIGKILL)
    said = process.communicate(timeout=100)[0]
    assert process.returncode == 137 and said.count("Killed: one of the 2 processes") == 1, said


def test_a_stopped_training_ends_with_143_and_goes_on(two):
    process = start(two, "long", 2)
    until_saved(process, two / "results/resume/long")
    os.kill(process.pid, signal.SIGTERM)
    said = process.communicate(timeout=100)[0]
    assert process.returncode == 143, said
    assert said.count("stopped by a signal after step") == 1, said
    step = int(said.partition("stopped by a signal after step ")[2].split()[0])
    again = start(two, "long", 2)
    until_saved(again, two / "results/resume/long", step)
    os.kill(again.pid, signal.SIGTERM)
    said = again.communicate(timeout=100)[0]
    assert again.returncode == 143 and f"resuming after step {step}\n" in said, said
