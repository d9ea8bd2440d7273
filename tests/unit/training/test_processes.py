"""Several processes of one training, and what SLURM is asked when it is stopped."""

import csv
import os
import random
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from support import loops
from support.loops import Duel, at, draw, smooth, stage, terminate, train_toy
from support.ports import is_free

from mperceiver import lineage
from mperceiver.training import nonfinite, preemption, prefetch, processes, slurm
from mperceiver.training.loop import fit
from mperceiver.training.resume import Training, read_state
from mperceiver.training.schedule import TrainingError, own_batches

WORLD = loops.__file__
SCONTROL = '#!/bin/sh\necho "scontrol $*" >> "$LOG"\necho localhost\necho elsewhere\n'
NO_SUCH_JOB = "#!/bin/sh\necho slurm_load_jobs error: Invalid job id specified >&2\nexit 1\n"


@pytest.fixture(scope="module", autouse=True)
def forked(warm_commands):
    """Processes that are started here, and those of torchrun and accelerate, are forks of one that has imported the libraries."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHON_EXEC", str(warm_commands / "warm-python"))  # torchrun's name for it
        yield


# ---------------------------------------------------------------- two processes


def by_torchrun(what: str, folder: Path) -> list[subprocess.Popen]:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", str(WORLD)]
    return [start([*command, what, str(folder)])]


def by_srun(what: str, folder: Path) -> list[subprocess.Popen]:
    """As two tasks of an `srun`, which tells each its number; scontrol tells the first node's name, squeue of no job."""
    fake(folder / "bin", scontrol=SCONTROL, squeue=NO_SUCH_JOB)
    job = next(job for job in range(random.randrange(2000), 20000) if is_free(20000 + (7 * job) % 20000))
    told = {"SLURM_STEP_NUM_TASKS": "2", "SLURM_JOB_ID": str(job), "SLURM_STEP_ID": "0"}
    told |= {"SLURM_STEP_NODELIST": "node[1-2]", "LOG": str(folder / "log")}
    told |= {"PATH": f"{folder / 'bin'}:{os.environ['PATH']}"}
    each = [told | {"SLURM_PROCID": str(rank), "SLURM_LOCALID": str(rank)} for rank in range(2)]
    return [start([os.environ["PYTHON_EXEC"], str(WORLD), what, str(folder)], **mine) for mine in each]


def start(command: list[str], **told: str) -> subprocess.Popen:
    environment = os.environ | {"GLOO_SOCKET_IFNAME": "lo"} | told
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def ended(started: list[subprocess.Popen]) -> list[tuple[int, str]]:
    """(exit code, what was printed) of each."""
    try:
        out = [process.communicate(timeout=400)[0] for process in started]
        return [(process.returncode, text) for process, text in zip(started, out, strict=True)]
    finally:
        for process in started:
            process.kill()
            process.communicate()  # closes its output, or the next test is told of it


def fake(folder: Path, **programs: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in programs.items():
        (folder / name).write_text(text, encoding="utf-8")
        (folder / name).chmod(0o755)


@pytest.fixture(scope="module")
def shared(tmp_path_factory) -> Path:
    """The folder of a training that two processes shared, started by torchrun."""
    folder = tmp_path_factory.mktemp("shared")
    ((code, out),) = ended(by_torchrun("shared", folder))
    assert code == 0, out
    assert out.count("duel: step 8/8") == 1, out  # one of them speaks
    return folder


def learnt(weights: dict) -> dict:
    """Without the running statistics of a discriminator's norms: each process's are of its own batches, and unused."""
    return {k: v for k, v in weights.items() if not k.endswith(("running_mean", "running_var", "num_batches_tracked"))}


def near(one: dict, other: dict) -> None:
    assert one.keys() == other.keys()
    for key in one:
        assert torch.allclose(one[key].float(), other[key].float(), atol=2e-5), key


def test_two_processes_end_in_the_same_weights(shared):
    for name in ("", "smooth-"):
        one, other = (learnt(torch.load(shared / f"{name}{rank}.pt", weights_only=True)) for rank in range(2))
        assert all(torch.equal(one[key], other[key]) for key in one)
    assert len(list(shared.glob("s-*.pt"))) == 2  # written by the main one


def test_two_processes_are_one_that_takes_their_batches_in_turn(shared, tmp_path):
    """A step is of the same pictures however many processes share it: generator, discriminator and losses agree."""
    alone = Duel(accumulate=2).fit(tmp_path / "s.pt")
    both = torch.load(shared / "0.pt", weights_only=True)
    own = {
        key for key in both if "running" not in key and "batches" not in key
    }  # of a discriminator's norm: of its batches
    near({key: both[key] for key in own}, {key: value for key, value in alone.weights().items() if key in own})
    rows = [
        list(csv.DictReader(text.splitlines()))
        for text in (alone.curve, (shared / "0.csv").read_text(encoding="utf-8"))
    ]
    for one, other in zip(*rows, strict=True):
        assert one.keys() == other.keys()
        for key in one.keys() - {"pictures_per_s", "gib", "seconds"}:
            assert float(one[key]) == pytest.approx(float(other[key]), rel=1e-4), key


def test_two_processes_are_one_with_twice_the_batch(shared, tmp_path):
    """Averaged gradients of two halves are the gradient of the whole."""

    def losses(module, rng, generator, phase, step):
        halves = [prefetch.generators([1, step, part]) for part in range(2)]
        x = torch.cat([draw(rng, stage().phases[0])["x"] for rng, _ in halves])
        noise = [torch.randn(8, 2, generator=torch.Generator().manual_seed(seed)) for _, seed in halves]
        return {"loss": (module(x) - (x[:, :2] * x[:, 2:] + 0.1 * torch.cat(noise))).square().mean()}

    module = smooth()
    spec = stage(phases=[{"batch": 16, "crop_px": 8}])
    fit(Training("whole", spec, 1, tmp_path / "s.pt"), module, losses)
    near(torch.load(shared / "smooth-0.pt", weights_only=True), module.state_dict())


def test_two_tasks_of_srun_stop_together_and_go_on_alone(tmp_path):
    """One of them gets SIGTERM; both finish the same step, one state is written, and one process goes on from it."""
    results = ended(by_srun("stopped", tmp_path))
    assert [code for code, _ in results] == [143, 143], results
    assert "stopped by a signal after step 4 of 8" in results[0][1] and results[1][1] == ""
    assert "SLURM did not requeue job" in results[0][1]
    assert set((tmp_path / "log").read_text(encoding="utf-8").splitlines()) == {"scontrol show hostnames node[1-2]"}
    assert [path.name for path in sorted(tmp_path.glob("s-*"))] == ["s-00000003.pt", "s-00000004.pt"]
    resumed, straight = (Duel(accumulate=2).fit(tmp_path / f"{name}.pt") for name in ("s", "straight"))
    near(learnt(resumed.weights()), learnt(straight.weights()))


def test_a_bad_number_in_one_process_stops_both(tmp_path):
    """The second one's batches have it; the message and the bundle tell of all.

    Before that, losses that go round the wrapper are refused: the processes would drift apart unseen.
    """
    ((code, out),) = ended(by_torchrun("nan", tmp_path))
    for rank in range(2):
        assert (
            f"rank {rank}: Sequential can be trained by one process only: the losses must call the wrapped module"
            in out
        ), out
    assert code != 0 and "smooth: loss_twice is nan at step 3 on picture-" in out, out
    found = nonfinite.read_record(tmp_path / "nonfinite-3")
    assert [batch.key for batch in found.batches] == [[1, 3, 0], [1, 3, 2], [1, 3, 1], [1, 3, 3]]
    assert [batch.bad for batch in found.batches] == ["", "", "loss_twice is nan", "loss_twice is nan"]
    assert all(len(batch.ids) == 8 for batch in found.batches)


def test_the_stages_by_two_processes_are_the_stages_by_one(tiny_world, tmp_path_factory, monkeypatch):
    """The real modules, hooked into towers that are no part of them: all that trains gets its gradient, nothing else is wrapped.

    The verbs, started by `accelerate launch`, print what they made once.
    """
    from safetensors.torch import load_file

    from mperceiver.models import towers
    from mperceiver.training import latents

    path = latents.encode(towers.load("tiny"), "tiny-train")
    lineage.begin("encode", {}).write_card(path.with_suffix(".json"), outputs=[path])
    shared = "predictor: {accumulate: 2}\nbranches: {accumulate: 2}\ndrm: {accumulate: 2, steps: 6, judged_folds: 2}\n"
    Path("config/runs/both.yaml").write_text(f"like: tiny\n{shared}", encoding="utf-8")
    Path("config/runs/net.yaml").write_text("like: tiny-net\nnetwork: {accumulate: 2}\n", encoding="utf-8")
    one, other = tiny_world, tmp_path_factory.mktemp("two") / "world"
    shutil.copytree(one, other)
    launcher = [sys.executable, "-m", "accelerate.commands.launch", "--cpu", "--num_processes=2", "--num_machines=1"]
    launcher += ["--mixed_precision=no", "--dynamo_backend=no", "--num_cpu_threads_per_process=1"]
    started = [
        start([os.environ["PYTHON_EXEC"], str(WORLD), "verbs", str(one)]),
        start([*launcher, str(WORLD), "verbs", str(other)]),
    ]
    for code, out in ended(started):
        assert code == 0, out
        for stage_, run in loops.STAGES.items():
            assert out.count(f"results/runs/{run}/{stage_}.json\n") == 1, out
    for stage_, run in loops.STAGES.items():
        name = f"results/runs/{run}/{stage_}"
        weights = [load_file(root / f"{name}.safetensors") for root in (one, other)]
        near(*weights)
        cards = [lineage.read_card(root / f"{name}.json") for root in (one, other)]
        assert cards[0]["spec"] == cards[1]["spec"] and cards[0]["result"] == cards[1]["result"]
    assert not list((other / "results/resume").rglob("*.*"))


def test_batches_that_cannot_be_shared_are_refused():
    assert [list(own_batches(stage(accumulate=6), rank, 3)) for rank in range(3)] == [[0, 3], [1, 4], [2, 5]]
    with pytest.raises(TrainingError, match=r"4 processes cannot share a step of 6 batches .* a multiple of 4"):
        own_batches(stage(accumulate=6), 0, 4)


# ---------------------------------------------------------------- SLURM


@pytest.fixture
def job(tmp_path, monkeypatch):
    """A job of SLURM's whose programs are stand-ins that log how they were called."""
    monkeypatch.setenv("SLURM_JOB_ID", "77")
    monkeypatch.setenv("LOG", str(tmp_path / "log"))
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    monkeypatch.setattr(slurm, "WAIT_S", 0.01)

    def make(state: str | None, requeue: str = "exit 0") -> list[str]:
        log = 'echo "$(basename $0) $*" >> "$LOG"\n'
        if state is None:  # whatever this machine has installed
            monkeypatch.setenv("PATH", str(tmp_path / "bin"))
        else:
            fake(tmp_path / "bin", squeue=f"#!/bin/sh\n{log}{state}\n", scontrol=f"#!/bin/sh\n{log}{requeue}\n")
        with pytest.raises(SystemExit) as stop:
            train_toy(tmp_path / "s.pt", objective=at(3, terminate))
        assert stop.value.code == preemption.STOPPED == 143
        assert read_state(tmp_path / "s-00000004.pt")["step"] == 4
        return (tmp_path / "log").read_text(encoding="utf-8").splitlines() if (tmp_path / "log").exists() else []

    return make


ASKED = "squeue -h -j 77 -o %T"


def test_a_running_job_is_requeued_and_waits(job, capsys):
    assert job("echo RUNNING") == [ASKED, "scontrol requeue 77"]
    assert "requeued by SLURM: waiting" in capsys.readouterr().out


@pytest.mark.parametrize("state", ["echo COMPLETING", "echo PREEMPTED", "true"])
def test_a_cancelled_job_is_not_brought_back_to_life(job, state, capsys):
    assert job(state) == [ASKED]
    assert "requeued" not in capsys.readouterr().out


def test_where_slurm_gives_no_answer_the_process_ends(job, capsys):
    assert job("echo slurm_load_jobs error: Invalid job id >&2; exit 1") == [ASKED]
    assert (
        "SLURM did not requeue job 77: squeue -h -j 77 -o %T: slurm_load_jobs error: Invalid job id"
        in capsys.readouterr().out
    )


def test_where_the_requeue_is_refused_the_process_ends(job, capsys):
    assert job("echo RUNNING", "echo Requeue is disabled >&2; exit 1") == [ASKED, "scontrol requeue 77"]
    out = capsys.readouterr().out
    assert "SLURM did not requeue job 77: scontrol requeue 77: Requeue is disabled" in out and "waiting" not in out


def test_without_slurms_programs_the_process_ends(job, capsys):
    assert job(None) == []
    assert "SLURM did not requeue job 77: squeue: this program is not on the PATH" in capsys.readouterr().out


def test_outside_of_slurm_nothing_is_asked(job, monkeypatch):
    monkeypatch.delenv("SLURM_JOB_ID")
    assert job("echo RUNNING") == []


def test_a_requeued_job_outlives_the_signals_that_end_it(tmp_path):
    """While it waits for SLURM it does not die of the SIGTERM that the requeue itself sends; SIGKILL ends it."""
    fake(tmp_path / "bin", squeue="#!/bin/sh\necho RUNNING\n", scontrol="#!/bin/sh\nexit 0\n")
    path = f"{tmp_path / 'bin'}:{os.environ['PATH']}"
    process = start([os.environ["PYTHON_EXEC"], str(WORLD), "held", str(tmp_path)], SLURM_JOB_ID="77", PATH=path)
    while "waiting" not in (line := process.stdout.readline()):
        assert line, "ended"
    process.send_signal(signal.SIGTERM)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(1.5)
    process.kill()
    process.communicate(timeout=10)
    assert process.returncode == -signal.SIGKILL


def test_one_task_is_no_world(monkeypatch):
    """A batch script's own process, and the one task the workflow's plugin starts, are alone."""
    before = dict(os.environ)
    for tasks in (None, "1"):
        if tasks:
            monkeypatch.setenv("SLURM_STEP_NUM_TASKS", tasks)
        monkeypatch.setenv("SLURM_NTASKS", "4")
        monkeypatch.setenv("SLURM_PROCID", "0")
        slurm.export_ranks()
        assert "RANK" not in os.environ and "WORLD_SIZE" not in os.environ
    assert processes.world().num_processes == 1 and processes.is_main()
    assert before.keys() <= os.environ.keys()


def test_a_launcher_inside_of_a_task_has_the_last_word(monkeypatch):
    for key, value in {"SLURM_STEP_NUM_TASKS": "2", "SLURM_PROCID": "1", "RANK": "5", "WORLD_SIZE": "8"}.items():
        monkeypatch.setenv(key, value)
    slurm.export_ranks()
    assert (os.environ["RANK"], os.environ["WORLD_SIZE"]) == ("5", "8")


def test_tasks_that_see_one_gpu_each_take_it(monkeypatch):
    """With --gpus-per-task=1 every task's GPU is number 0 to it."""
    for count, local, gpu in [(1, 3, 0), (4, 3, 3), (0, 3, 3)]:
        monkeypatch.setattr(torch.cuda, "device_count", lambda count=count: count)
        assert slurm._gpu(local) == gpu
