"""Fixtures: a SLURM cluster, and a small checkout on it whose workflow `snakemake --profile slurm` runs."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import pytest
from safetensors.numpy import load_file
from support import PROJECT, clusters, held, warm

until, ask, end_all = clusters.until, clusters.ask, clusters.end_all
# What a user edits in the profile's `site`. Nodes here have two GPUs; a training of several processes gets one on each of two nodes.
SITE = {"nodes: 1": "nodes: 2", "gres: gpu:8": "gres: gpu:1", "tasks: 8": "tasks: 2", "walltime 1440": "walltime 30"}
# Snakemake, changed in one thing: the head looks at the queue every two seconds. The plugin would look after 1, 12, 33, 64 …
# seconds, too rarely for a short test. The program is called snakemake, since `mperceiver orphans` finds a head by this name.
HEAD = """#!{python}
import asyncio, sys
from snakemake.cli import main
from snakemake_interface_executor_plugins.executors.remote import RemoteExecutor

async def sleep(self):
    await asyncio.sleep(min(2, self.next_seconds_between_status_checks))

RemoteExecutor.sleep = sleep
sys.exit(main())
"""
EAGER = "--slurm-init-seconds-before-status-checks 1 --max-status-checks-per-second 5 --latency-wait 20".split()
# One thread for each job: the eight cores that each node reports are those of this one machine.
RULES = "prepare encode train_predictor train_branches train_drm train_network restore score".split()
THREADS = ["--set-threads", *(f"{rule}=1" for rule in RULES)]
BOUND_S = 3600  # for all tests, from the start of the cluster; after that every wait for a head fails at once
LINES = {"  steps: ": "  steps: 60\n  save_every_steps: 20"}  # of a training that is disturbed


@pytest.fixture(scope="session")
def cluster():
    reason = clusters.missing()
    if reason:  # not a skip: whoever runs these tests asked for them by name
        pytest.fail(reason)
    with clusters.running() as running:
        World.end = time.monotonic() + BOUND_S
        yield running


class World:
    """A small checkout: the project's workflow and profiles, with `site` edited for this cluster, and the config of tests/tiny."""

    end = float("inf")
    heads: ClassVar[list["Head"]] = []  # of all worlds

    def __init__(self, root: Path) -> None:
        self.root = root
        for name in ("Snakefile", "workflow", "profiles", "slurm"):
            source = PROJECT / name
            (shutil.copytree if source.is_dir() else shutil.copy)(source, root / name)
        shutil.copytree(PROJECT / "tests/tiny/config", root / "config")
        for name in ("bin", "held"):
            (root / name).mkdir()
        self.snakemake = root / "bin/snakemake"
        self.held = root / "held"  # trainings that wait to be disturbed
        head = HEAD.format(python=sys.executable)
        for file, text in (self.snakemake, head), (root / "bin/mperceiver", held.program(self.held)):
            file.write_text(text, encoding="utf-8")
            file.chmod(0o755)
        profile = root / "slurm/config.yaml"
        text = profile.read_text(encoding="utf-8")
        for line, edited in SITE.items():
            assert text.count(line) == 1, line
            text = text.replace(line, edited)
        profile.write_text(text, encoding="utf-8")

    @property
    def environment(self) -> dict[str, str]:
        """The environment of commands: all nodes are this machine, so processes meet on loopback."""
        variables = warm.cold() | {"MASTER_ADDR": "127.0.0.1", "GLOO_SOCKET_IFNAME": "lo"}
        variables.pop("CUDA_VISIBLE_DEVICES", None)  # SLURM sets it for jobs that asked for a GPU
        return variables | {"PATH": f"{self.root}/bin:{variables['PATH']}"}

    def run(self, *words: str, code: int = 0) -> str:
        """Run a command in the checkout, expect the exit code ``code``, and return all that it printed."""
        done = subprocess.run(
            words,
            cwd=self.root,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=300,
        )
        assert done.returncode == code, done.stdout
        return done.stdout

    def head(self, *targets: str, options: tuple[str, ...] = ()) -> "Head":
        """Start `snakemake --profile slurm` for the targets; without targets for all."""
        self.heads.append(Head(self, targets, options))
        return self.heads[-1]

    def undisturbed(self, run: str) -> dict:
        """Train a run on the login node, undisturbed, and return its weights."""
        self.describe(run, **LINES)
        self.run("mperceiver", "train_network", run, "--threads", "1")
        return load_file(self.weights(run))

    def training(self, run: str) -> "Head":
        """Start a head that trains a run, and wait until the training has saved a resume state and waits: see `support.held`."""
        self.describe(run, **LINES)
        held.ask(self.held, run)
        head = self.head(f"results/runs/{run}/network.json")
        try:
            until(lambda: held.waits(self.held, run), 120, f"the first state of {run}", lambda: self.jobs(run))
        except TimeoutError as error:
            head.kill()
            raise AssertionError(f"{error}\n{head.output}") from error
        assert self.steps(run) > 0
        return head

    def let_go(self, run: str) -> None:
        """Let a training go on that waits."""
        held.let_go(self.held, run)

    def describe(self, run: str, like: str = "tiny-net", **lines: str) -> None:
        """Write the file of a run: a copy of another run's, with lines replaced; ``lines``: {beginning of a line: new line}."""
        text = (self.root / f"config/runs/{like}.yaml").read_text(encoding="utf-8")
        for start, new_line in lines.items():
            text, count = re.subn(rf"^{re.escape(start)}.*$", new_line, text, flags=re.MULTILINE)
            assert count == 1, start
        (self.root / f"config/runs/{run}.yaml").write_text(text, encoding="utf-8")

    def weights(self, run: str) -> Path:
        return self.root / f"results/runs/{run}/network.safetensors"

    def steps(self, run: str) -> int:
        """The number of steps in the newest resume state of a training, or 0."""
        paths = (self.root / "results/resume" / run).glob("network-*.pt")
        return max((int(path.stem[-8:]) for path in paths), default=0)

    def jobs(self, run: str) -> dict[str, str]:
        """{SLURM id: state} of every job of a run's training, also of those that have ended."""
        lines = [line.split("|") for line in ask("squeue", "-h", "--states=all", "-o", "%i|%T|%k").splitlines()]
        return {i: state for i, state, rule in lines if rule == f"rule_train_network_wildcards_{run}"}

    def job(self, run: str) -> str:
        """The SLURM id of a run's only job, which is running."""
        jobs = self.jobs(run)
        assert list(jobs.values()) == ["RUNNING"], jobs
        return next(iter(jobs))

    def wait_until(self, job: str, state: str, seconds: int = 90) -> None:
        """Wait until a job is in a state, which may be one that it has ended in."""

        def now() -> str:
            return ask("squeue", "-h", "--states=all", "-j", job, "-o", "%T")

        until(lambda: now() == state, seconds, f"job {job} {state}", now)

    def wait_for_node(self, node: str) -> None:
        """Wait until a restarted node is idle, and five seconds more: it may still be ending steps of its jobs from before."""

        def now() -> str:
            return ask("sinfo", "-hN", "-n", node, "-o", "%T").split("\n")[0]

        until(lambda: now() == "idle", 60, f"{node} idle", now)
        time.sleep(5)

    def go_on(self, job: str) -> None:
        """Start a requeued job at once; SLURM would wait two minutes, until all processes of the job's last start have ended.

        They are ended here first: the new start has the same job number, and SLURM would end its processes, too.
        """
        self.wait_until(job, "PENDING")
        end_all(job)
        time.sleep(2)
        ask("scontrol", "update", f"JobId={job}", "StartTime=now")


class Head:
    """A running `snakemake --profile slurm`, started at the root of a world."""

    def __init__(self, world: World, targets: tuple[str, ...], options: tuple[str, ...]) -> None:
        self.world = world
        self.log = world.root / f"head-{time.monotonic_ns()}.txt"
        words = [
            str(world.snakemake),
            "--profile",
            "slurm",
            *EAGER,
            *THREADS,
            *options,
            "--configfile",
            "config/demo.yaml",
            "--",
            *targets,
        ]
        with self.log.open("w", encoding="utf-8") as file:
            self.process = subprocess.Popen(
                words,
                cwd=world.root,
                env=world.environment,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def output(self) -> str:
        return self.log.read_text(encoding="utf-8")

    @property
    def submitted(self) -> list[str]:
        return re.findall(r"SLURM jobid (\w+)", self.output)

    def end(self, code: int = 0, seconds: int = 420) -> str:
        """Wait until the head has ended with the exit code ``code``; return all that it printed."""
        try:
            self.process.wait(max(min(seconds, World.end - time.monotonic()), 1))
        except subprocess.TimeoutExpired as error:
            self.kill()
            raise AssertionError(f"the head had not ended after {error.timeout:.0f} s:\n{self.output}") from None
        assert self.process.returncode == code, self.output
        return self.output

    def kill(self) -> None:
        """Kill the head by SIGKILL, as if the login node went down."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


TABLE = """title: A tiny table
caption: A method that needs no weights, and ours.
rows: [{title: All, methods: [input, tiny]}]
columns: [{dataset: tiny-test, task: haze, label: Haze, metrics: [psnr]}]
"""


@pytest.fixture(scope="session")
def new_world(tmp_path_factory) -> Callable[[str], World]:
    """A function that makes a world in a new folder of the given name."""
    return lambda name: World(tmp_path_factory.mktemp(name))


@pytest.fixture(scope="session")
def world(cluster, new_world) -> World:
    """A world whose pictures are downloaded and whose foundation is pre-trained for a few steps, both on the login node."""
    world = new_world("world")
    (world.root / "config/tables/tiny.yaml").write_text(TABLE, encoding="utf-8")
    (world.root / "config/demo.yaml").write_text("title: A miniature\ntables: [tiny]\n", encoding="utf-8")
    for words in ("download leaves", "download astronaut", "prepare leaves", "prepare tiny-train"):
        world.run("mperceiver", *words.split())
    world.run("mperceiver", "foundation", "tiny", "--build", "--threads", "1")
    for name in ("prepared", "foundations", "raw/.snakemake"):
        shutil.rmtree(world.root / "data" / name, ignore_errors=True)
    return world


@pytest.fixture(scope="session")
def built(world) -> World:
    """The world after its whole workflow has run as SLURM jobs."""
    world.first = world.head()
    world.first.end()
    return world


@pytest.fixture(scope="session")
def straight(built) -> dict:
    """The weights of an undisturbed training."""
    return built.undisturbed("straight")


@pytest.fixture(autouse=True)
def no_head_is_left():
    """After a test that failed, let its trainings go on, end its heads and cancel its jobs."""
    yield
    for head in World.heads:
        held.let_all_go(head.world.held)
        if head.process.poll() is None:
            head.kill()
            ask("scancel", "--user=root")
    World.heads.clear()
