"""A cluster, and a small checkout on it whose workflow is run by `snakemake --profile slurm`."""

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
from support import PROJECT, clusters

until, ask, end_all = clusters.until, clusters.ask, clusters.end_all
# What a user edits: the site. This one's nodes have two GPUs; a training of several processes takes one on each of two nodes.
SITE = {"nodes: 1": "nodes: 2", "gres: gpu:8": "gres: gpu:1", "tasks: 8": "tasks: 2", "walltime 1440": "walltime 30"}
# The head looks at the queue as often as a short test needs: the plugin would look after 1, 12, 33, 64 … seconds. All else is
# Snakemake's, and the name is, by which `mperceiver orphans` knows a head.
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
# A node's eight cores are this machine's, all of them.
RULES = "prepare encode train_predictor train_branches train_drm train_network restore score".split()
THREADS = ["--set-threads", *(f"{rule}=1" for rule in RULES)]
BOUND_S = 1200  # of all of it, from the cluster's start; what is waited for after that fails at once
STEPS = 450
SLOW = "  steps: {}\n  save_every_steps: 20"  # so that there is time to disturb it


@pytest.fixture(scope="session")
def cluster():
    why = clusters.missing()
    if why:  # they are asked for by name: nobody runs them by chance
        pytest.fail(why)
    with clusters.running() as found:
        World.end = time.monotonic() + BOUND_S
        yield found


class World:
    """A small checkout: the project's workflow and profiles, the site's lines of the cluster's one edited, tests/tiny's config."""

    end = float("inf")
    heads: ClassVar[list["Head"]] = []  # of all worlds

    def __init__(self, root: Path) -> None:
        self.root = root
        for name in ("Snakefile", "workflow", "profiles", "slurm"):
            source = PROJECT / name
            (shutil.copytree if source.is_dir() else shutil.copy)(source, root / name)
        shutil.copytree(PROJECT / "tests/tiny/config", root / "config")
        self.snakemake = root / "bin/snakemake"
        self.snakemake.parent.mkdir()
        self.snakemake.write_text(HEAD.format(python=sys.executable))
        self.snakemake.chmod(0o755)
        profile = root / "slurm/config.yaml"
        text = profile.read_text()
        for mine, theirs in SITE.items():
            assert text.count(mine) == 1, mine
            text = text.replace(mine, theirs)
        profile.write_text(text)

    @property
    def environment(self) -> dict[str, str]:
        """The tests' own Python first on the PATH; the nodes are all this machine, and their names mean nothing to it."""
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("MPERCEIVER_", "SNAKEMAKE_"))}
        kept.pop("CUDA_VISIBLE_DEVICES", None)  # SLURM tells it to who asked for a GPU
        return kept | {
            "PATH": path,
            "PYTHONDONTWRITEBYTECODE": "",
            "MASTER_ADDR": "127.0.0.1",
            "GLOO_SOCKET_IFNAME": "lo",
        }

    def run(self, *words: str, code: int = 0) -> str:
        """What a command prints that ends with ``code``."""
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
        """Start `snakemake --profile slurm` for targets; none: all."""
        self.heads.append(Head(self, targets, options))
        return self.heads[-1]

    def undisturbed(self, run: str, steps: int = STEPS) -> dict:
        """The weights of a training that nobody disturbs, on the login node."""
        self.describe(run, **{"  steps: ": SLOW.format(steps)})
        self.run("mperceiver", "train_network", run, "--threads", "1")
        return load_file(self.weights(run))

    def training(self, run: str, steps: int = STEPS) -> "Head":
        """A head that trains a run, once it has a resume state."""
        self.describe(run, **{"  steps: ": SLOW.format(steps)})
        head = self.head(f"results/runs/{run}/network.json")
        try:
            self.wait_for_state(run)
        except TimeoutError as error:
            head.kill()
            raise AssertionError(head.told) from error
        return head

    def describe(self, run: str, like: str = "tiny-net", **lines: str) -> None:
        """Write a run's file: that of another one, some of its lines replaced (their beginning: what stands there instead)."""
        text = (self.root / f"config/runs/{like}.yaml").read_text()
        for start, other in lines.items():
            text, count = re.subn(rf"^{re.escape(start)}.*$", other, text, flags=re.MULTILINE)
            assert count == 1, start
        (self.root / f"config/runs/{run}.yaml").write_text(text)

    def weights(self, run: str) -> Path:
        return self.root / f"results/runs/{run}/network.safetensors"

    def wait_for_state(self, run: str, after: int = 0) -> int:
        """The number of steps of a training's newest resume state, once it has one beyond ``after``."""

        def newest() -> int:
            found = [int(path.stem[-8:]) for path in (self.root / "results/resume" / run).glob("network-*.pt")]
            return max((step for step in found if step > after), default=0)

        return until(newest, 120, f"a resume state of {run} after step {after}")

    def job(self, run: str, state: str = "RUNNING") -> str:
        """The SLURM id of the training of ``run`` that is in a state."""

        def found() -> str:
            lines = [line.split("|") for line in ask("squeue", "-h", "-o", "%i|%T|%k").splitlines()]
            return next((i for i, told, rule in lines if told == state and rule.endswith(f"_{run}")), "")

        return until(found, 90, f"{run} {state}")

    def wait_until(self, job: str, state: str) -> None:
        until(lambda: ask("squeue", "-h", "-j", job, "-o", "%T") == state, 90, f"job {job} {state}")

    def wait_for_node(self, node: str) -> None:
        """Until a node that came back is idle; what it is told to end of its former life must not hit a new job."""
        until(lambda: ask("sinfo", "-hN", "-n", node, "-o", "%T").split("\n")[0] == "idle", 60, f"{node} idle")
        time.sleep(5)

    def go_on(self, job: str) -> None:
        """Start a requeued job soon: SLURM lets it wait two minutes, for what is left of its former life to end.

        What is told to end then would hit the new one, which has the same number.
        """
        self.wait_until(job, "PENDING")
        end_all(job)
        time.sleep(2)
        ask("scontrol", "update", f"JobId={job}", "StartTime=now")


class Head:
    """`snakemake --profile slurm`, typed at the root of a world."""

    def __init__(self, world: World, targets: tuple[str, ...], options: tuple[str, ...]) -> None:
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
        with self.log.open("w") as file:
            self.process = subprocess.Popen(
                words,
                cwd=world.root,
                env=world.environment,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def told(self) -> str:
        return self.log.read_text()

    @property
    def submitted(self) -> list[str]:
        return re.findall(r"SLURM jobid (\w+)", self.told)

    def end(self, code: int = 0, seconds: int = 420) -> str:
        """Wait for it to end with ``code``, and return what it told."""
        try:
            self.process.wait(max(min(seconds, World.end - time.monotonic()), 1))
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"the head had not ended after {seconds} s:\n{self.told}") from None
        assert self.process.returncode == code, self.told
        return self.told

    def kill(self) -> None:
        """As a login node that goes down does."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


TABLE = """title: A tiny table
caption: A method that needs no weights, and ours.
rows: [{title: All, methods: [input, tiny]}]
columns: [{dataset: tiny-test, task: haze, label: Haze, metrics: [psnr]}]
"""


@pytest.fixture(scope="session")
def new_world(tmp_path_factory) -> Callable[[str], World]:
    """Makes a world, by a name for its folder."""
    return lambda name: World(tmp_path_factory.mktemp(name))


@pytest.fixture(scope="session")
def world(cluster, new_world) -> World:
    """A world with its pictures downloaded and a foundation pre-trained for a few steps, on the login node."""
    world = new_world("world")
    (world.root / "config/tables/tiny.yaml").write_text(TABLE)
    (world.root / "config/demo.yaml").write_text("title: A miniature\ntables: [tiny]\n")
    for words in ("download leaves", "download astronaut", "prepare leaves", "prepare tiny-train"):
        world.run("mperceiver", *words.split())
    world.run("mperceiver", "foundation", "tiny", "--build", "--threads", "1")
    for name in ("prepared", "foundations", "raw/.snakemake"):
        shutil.rmtree(world.root / "data" / name, ignore_errors=True)
    return world


@pytest.fixture(scope="session")
def built(world) -> World:
    """The world with all that it describes made by jobs of SLURM's."""
    world.first = world.head()
    world.first.end()
    return world


@pytest.fixture(scope="session")
def straight(built) -> dict:
    """The weights of a training that nobody disturbed."""
    return built.undisturbed("straight")


@pytest.fixture(autouse=True)
def no_head_is_left():
    """A test that fails leaves no head and no job to the next one."""
    yield
    for head in World.heads:
        if head.process.poll() is None:
            head.kill()
            ask("scancel", "--user=root")
    World.heads.clear()
