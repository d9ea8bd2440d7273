"""Whatever the environment says, the run's file decides what is computed; what cannot be followed is said in a line."""

import os
import subprocess
import sys

import pytest
from support import PROJECT
from support.loops import equal, train_toy
from support.ports import free_port

from mperceiver.training import environment, processes, slurm
from mperceiver.training.schedule import TrainingError

NAMES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_", "SLURM_", "ACCELERATE_", "PMI_", "OMPI_", "MV2_", "FSDP_")


@pytest.fixture
def told(monkeypatch):
    """Set these variables and no others of a launcher; what ``settle`` changes is put back."""
    before = dict(os.environ)

    def tell(**variables: str) -> None:
        for name in [name for name in os.environ if name.startswith(NAMES)]:
            del os.environ[name]
        os.environ.update(variables)

    tell()
    yield tell
    os.environ.clear()
    os.environ.update(before)


@pytest.mark.parametrize(
    "left",
    [
        {"RANK": "0"},
        {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0"},
        {"LOCAL_RANK": "3"},
        {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0", "MASTER_ADDR": "gone.example", "MASTER_PORT": "1"},
        {"PMI_SIZE": "1", "PMI_RANK": "0"},
        {"MV2_COMM_WORLD_SIZE": "1", "MV2_COMM_WORLD_RANK": "0"},
    ],
)
def test_what_a_launcher_left_behind_for_one_process_is_forgotten(told, left):
    told(**left)
    environment.settle()
    assert not [name for name in os.environ if name.startswith(NAMES)]


@pytest.mark.parametrize(
    ("left", "words"),
    [
        (
            {"RANK": "0", "WORLD_SIZE": "2", "LOCAL_RANK": "0"},
            r"no MASTER_ADDR, MASTER_PORT to find them by.*unset RANK",
        ),
        ({"WORLD_SIZE": "4"}, "speaks of 4 processes, but there is no RANK"),
        ({"RANK": "first"}, "RANK=first in the environment is no number; unset RANK"),
        ({"WORLD_SIZE": "two", "RANK": "0"}, "WORLD_SIZE=two in the environment is no number"),
        (
            {"OMPI_COMM_WORLD_SIZE": "4", "OMPI_COMM_WORLD_RANK": "1"},
            "OMPI_COMM_WORLD_SIZE=4: several processes of MPI",
        ),
        ({"PMI_SIZE": "2", "PMI_RANK": "1"}, "PMI_SIZE=2: several processes of MPI"),
        (
            {"RANK": "2", "WORLD_SIZE": "2", "LOCAL_RANK": "0", "MASTER_ADDR": "a", "MASTER_PORT": "2000"},
            "RANK=2, WORLD_SIZE=2.*no place among 2 processes",
        ),
    ],
)
def test_several_processes_that_cannot_meet_are_told(told, left, words):
    """Each training alone would write the others' files."""
    told(**left)
    with pytest.raises(TrainingError, match=words):
        environment.settle()


def test_a_sound_world_is_left_as_it_is(told):
    sound = {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1", "MASTER_ADDR": "node1", "MASTER_PORT": "20001"}
    told(**sound)
    environment.settle()
    assert {name: os.environ[name] for name in sound} == sound


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ACCELERATE_DYNAMO_BACKEND", "INDUCTOR"),
        ("ACCELERATE_MIXED_PRECISION", "bf16"),
        ("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "4"),
        ("ACCELERATE_USE_FSDP", "true"),
        ("ACCELERATE_TORCH_DEVICE", "meta"),
        ("FSDP_OFFLOAD_PARAMS", "true"),
    ],
)
def test_settings_of_accelerates_are_not_followed_and_that_is_said(told, name, value, capsys):
    told(**{name: value})
    environment.settle()
    assert name not in os.environ
    assert capsys.readouterr().err == f"{name}={value}: not followed; the run's file decides what is computed\n"


def test_what_accelerate_launch_always_sets_is_not_worth_a_line(told, capsys):
    told(ACCELERATE_MIXED_PRECISION="no", ACCELERATE_DYNAMO_BACKEND="NO", ACCELERATE_USE_CPU="true")
    environment.settle()
    assert capsys.readouterr().err == "" and os.environ["ACCELERATE_USE_CPU"] == "true"


TRAIN = "import torch; from pathlib import Path; from support.loops import train_toy\n"
TRAIN += "torch.save(train_toy(Path('s.pt')).state_dict(), 'module.pt')"


@pytest.mark.parametrize(
    "left", [{"ACCELERATE_MIXED_PRECISION": "fp16"}, {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0"}]
)
def test_the_weights_are_those_of_a_clean_environment(tmp_path, left):
    import torch

    surroundings = os.environ | {"PYTHONPATH": f"{PROJECT}:{PROJECT / 'tests'}"} | left
    done = subprocess.run(
        [sys.executable, "-c", TRAIN], cwd=tmp_path, env=surroundings, capture_output=True, text=True, encoding="utf-8"
    )
    assert done.returncode == 0, done.stderr
    module = train_toy(tmp_path / "straight.pt")
    other = train_toy(tmp_path / "straight.pt")
    other.load_state_dict(torch.load(tmp_path / "module.pt", weights_only=True))
    assert equal(module, other)


# ---------------------------------------------------------------- SLURM


STEP = {
    "SLURM_STEP_NUM_TASKS": "4",
    "SLURM_PROCID": "0",
    "SLURM_LOCALID": "0",
    "SLURM_JOB_ID": "7",
    "SLURM_STEP_ID": "1",
}


@pytest.mark.parametrize("shell", [{"SLURM_PTY_PORT": "5000"}, {"SLURM_STEP_ID": "4294967290"}])
def test_in_a_shell_inside_a_step_of_four_tasks_one_process_trains(told, shell, capsys):
    told(**STEP | shell | {"PMI_SIZE": "4"})
    environment.settle()
    assert "RANK" not in os.environ and "an interactive step of 4 tasks" in capsys.readouterr().err
    assert processes.world().num_processes == 1


@pytest.mark.parametrize(
    "left", [{"SLURM_STEP_NUM_TASKS": "4"}, STEP | {"SLURM_PROCID": "x"}, {"SLURM_STEP_NUM_TASKS": ""}]
)
def test_half_a_step_is_told(told, left, capsys):
    told(**left)
    environment.settle()
    assert "RANK" not in os.environ and "training in this process alone" in capsys.readouterr().err


@pytest.mark.parametrize(("nodes", "first"), [("gpu[03-05,7],cpu1", "gpu03"), ("n1", "n1"), ("a-b.c,d", "a-b.c")])
def test_the_first_node_is_found_without_scontrol(told, monkeypatch, tmp_path, nodes, first):
    monkeypatch.setenv("PATH", str(tmp_path))
    told(**STEP | {"SLURM_STEP_NODELIST": nodes, "PATH": str(tmp_path)})
    environment.settle()
    assert (os.environ["MASTER_ADDR"], os.environ["WORLD_SIZE"]) == (first, "4")


@pytest.mark.parametrize(
    ("scontrol", "srun", "words"),
    [
        (None, True, "SLURM tells nothing of such a job"),
        ("echo slurm_load_jobs error: Invalid job id specified >&2; exit 1", True, "Invalid job id specified"),
        ("echo JobId=7 JobState=COMPLETED NumNodes=1 NumTasks=4 CPUs/Task=1", True, "that job is COMPLETED"),
        ("echo JobId=7 JobState=TIMEOUT NumNodes=1 NumTasks=4 CPUs/Task=1", True, "that job is TIMEOUT"),
        ("echo JobId=7 JobState=RUNNING NumNodes=1 NumTasks=4 CPUs/Task=1", False, "there is no srun here"),
    ],
)
def test_a_job_that_cannot_be_used_is_told_and_one_process_trains(told, tmp_path, scontrol, srun, words, capsys):
    programs = {"scontrol": scontrol, "srun": "exit 1" if srun else None}
    for name, text in programs.items():
        if text:
            (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
            (tmp_path / name).chmod(0o755)
    told(SLURM_JOB_ID="7", SLURM_NTASKS="4", PATH=str(tmp_path))
    slurm.relaunch_with_srun("train_network", "net", 1, 4)
    assert words in (error := capsys.readouterr().err) and "training in this process alone" in error


def test_waiting_for_others_that_do_not_come_is_told_and_ends(tmp_path):
    """Two hours of silence otherwise."""
    program = "from mperceiver.training import environment, processes\n"
    program += "environment.TELL_EVERY_S = 0.5; environment.MEET_S = 1.0\nprocesses.world()"
    place = {
        "RANK": "0",
        "WORLD_SIZE": "2",
        "LOCAL_RANK": "0",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(free_port()),
    }
    surroundings = os.environ | place | {"PYTHONPATH": str(PROJECT), "GLOO_SOCKET_IFNAME": "lo"}
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=surroundings,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=120,
    )
    assert (
        done.returncode == 1
        and f"process 0 of 2: waiting for the others at 127.0.0.1:{place['MASTER_PORT']}" in done.stderr
    )
    assert "Are all 2 processes started?" in done.stderr and "Traceback" not in done.stderr
