"""A real SLURM cluster on this one machine: munged, slurmctld, and a slurmd for each of two CPU and two GPU nodes.

The GPUs are twins of /dev/null that SLURM hands out like others. Everything lies in a folder of its own, on ports of its own,
on loopback; only what was started here is stopped. Jobs find the cluster by /etc/slurm/*.conf, which become links while it
runs: the jobstep plugin takes SLURM_CONF out of a job's environment. That, and the devices, need root.
"""

import contextlib
import fcntl
import os
import secrets
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from support import accounts

NODES = {"c1": 1, "c2": 2, "g1": 51, "g2": 52}  # name: port beyond the controller's
GPUS = 2  # of a GPU node
LINKS = [Path("/etc/slurm") / name for name in ("slurm.conf", "gres.conf", "cgroup.conf", "slurmdbd.conf")]
PROGRAMS = {"munged": "munge", "slurmctld": "slurmctld", "slurmd": "slurmd", "squeue": "slurm-client"}

NO_ACCOUNTS = "AccountingStorageType=accounting_storage/none\nJobAcctGatherType=jobacct_gather/none"
CONF = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={home}/run/munge.socket
StateSaveLocation={home}/state
SlurmdSpoolDir={home}/spool/%n
SlurmctldPidFile={home}/run/slurmctld.pid
SlurmdPidFile={home}/run/slurmd.%n.pid
SlurmctldLogFile={home}/log/slurmctld.log
SlurmdLogFile={home}/log/slurmd.%n.log
# no cgroups, no systemd; a node may claim more than the machine has
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
SlurmdParameters=config_overrides
{loopback}
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
GresTypes=gpu
DefMemPerCPU=1000
# as quick as it gets
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,sched_interval=1,sched_min_interval=0,bf_interval=1,bf_continue
PriorityType=priority/basic
JobRequeue=1
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
SlurmctldTimeout=10
SlurmdTimeout=10
MessageTimeout=10
TCPTimeout=2
BatchStartTimeout=10
ReturnToService=2
KillWait=15
CompleteWait=0
MinJobAge=600
{accounts}
JobCompType=jobcomp/filetxt
JobCompLoc={home}/log/jobs.txt
{nodes}
PartitionName=cpu Nodes=c[1-2] Default=YES MaxTime=1-00:00:00 DefaultTime=10 PriorityTier=10 GraceTime=10 State=UP
PartitionName=gpu Nodes=g[1-2] MaxTime=2-00:00:00 DefaultTime=10 PriorityTier=10 GraceTime=10 State=UP
PartitionName=urgent Nodes=c[1-2],g[1-2] MaxTime=1-00:00:00 PriorityTier=100 PreemptMode=OFF State=UP
"""


def missing(with_accounts: bool = False) -> str | None:
    """Why no cluster can be had here; None if one can."""
    wanted = PROGRAMS | (accounts.PROGRAMS if with_accounts else {})
    absent = [package for program, package in wanted.items() if not shutil.which(program)]
    if absent:
        return f"no SLURM on this machine: apt-get install {' '.join(absent)}"
    if os.geteuid() != 0:
        return "a cluster of one's own needs root, for /etc/slurm and for devices that stand in for GPUs"
    taken = [link for link in LINKS if link.exists() and not link.is_symlink()]
    return f"this machine has a cluster of its own: {taken[0]}" if taken else None


def until(
    condition: Callable[[], object], seconds: float, what: str, seen: Callable[[], object] | None = None
) -> object:
    """Wait for ``condition`` to give something true, and return that.

    Raises TimeoutError, which says ``what`` was waited for and what ``seen`` gives in the end.
    """
    end = time.monotonic() + seconds
    while not (value := condition()):
        if time.monotonic() > end:
            raise TimeoutError(f"not within {seconds} s: {what}" + (f", last seen {seen()}" if seen else ""))
        time.sleep(0.3)
    return value


def ask(*command: str) -> str:
    """What a SLURM command prints."""
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout.strip()


class Cluster:
    """``home`` holds its configuration, keys, logs and state."""

    def __init__(self, home: Path, with_accounts: bool = False) -> None:
        self.home, self.port, self.accounts = home, _free_ports(), with_accounts
        for name in ("run", "log", "state", "spool", "dev"):
            (home / name).mkdir(mode=0o755)
        for i in range(GPUS):  # a plain file would be refused
            os.mknod(home / f"dev/gpu{i}", stat.S_IFCHR | 0o666, os.makedev(1, 3))
        host = socket.gethostname().split(".")[0]
        near = socket.gethostbyname(host).startswith("127.")
        at = f"NodeHostname={host} NodeAddr=127.0.0.1 CPUs=8 RealMemory=256000 State=UNKNOWN"
        nodes = [
            f"NodeName={name} {at} Port={self.port + port}" + (f" Gres=gpu:a100:{GPUS}" if name[0] == "g" else "")
            for name, port in NODES.items()
        ]
        loopback = "CommunicationParameters=NoCtldInAddrAny,NoInAddrAny" if near else ""
        words = {"host": host, "port": self.port, "home": home, "nodes": "\n".join(nodes), "loopback": loopback}
        words["accounts"] = accounts.lines(home, self.port) if with_accounts else NO_ACCOUNTS
        (home / "slurm.conf").write_text(CONF.format(**words), encoding="utf-8")
        gres = [f"NodeName={n} Name=gpu Type=a100 File={home}/dev/gpu[0-{GPUS - 1}]" for n in NODES if n[0] == "g"]
        (home / "gres.conf").write_text("\n".join(gres) + "\n", encoding="utf-8")
        (home / "cgroup.conf").write_text("CgroupPlugin=cgroup/v1\n", encoding="utf-8")
        key = home / "munge.key"
        key.write_bytes(secrets.token_bytes(128))
        key.chmod(0o400)

    def start(self) -> None:
        """Start all of it and wait until every node is idle."""
        LINKS[0].parent.mkdir(exist_ok=True)
        for link in LINKS:
            link.unlink(missing_ok=True)  # left by a cluster that was killed
            if (self.home / link.name).exists():
                link.symlink_to(self.home / link.name)
        run = self.home / "run"
        munge = {"key-file": self.home / "munge.key", "socket": run / "munge.socket", "pid-file": run / "munged.pid"}
        munge |= {"log-file": self.home / "log/munged.log", "seed-file": run / "munge.seed"}
        subprocess.run(["munged", "--force", *(f"--{name}={path}" for name, path in munge.items())], check=True)
        if self.accounts:
            accounts.start(self.home, self.port, until)
        self.start_controller("-c")
        for node in NODES:
            self.start_node(node)
        until(lambda: set(self._nodes().values()) == {"idle"}, 60, "all nodes idle", self._nodes)

    def _nodes(self) -> dict[str, str]:
        """{node: its state}."""
        return dict(line.split() for line in ask("sinfo", "-hN", "-o", "%N %T").splitlines())

    def start_controller(self, *options: str) -> None:
        subprocess.run(["slurmctld", "-f", str(LINKS[0]), *options], check=True)

    def kill_controller(self) -> None:
        self._stop("slurmctld", signal.SIGKILL)

    def start_node(self, node: str) -> None:
        subprocess.run(["slurmd", "-N", node, "-f", str(LINKS[0]), "-c"], check=True)

    def kill_node(self, node: str) -> None:
        """As if its power had gone: its slurmd, the step daemons and every process of its jobs."""
        self._stop(f"slurmd.{node}", signal.SIGKILL)
        for pid in processes("SLURMD_NODENAME", node):
            for process in (_parent(pid), pid):
                if process == pid or "slurmstepd" in _command(process):
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(process, signal.SIGKILL)

    def stop_accounts(self, how: signal.Signals) -> None:
        """Stop accounting: the daemon and the database."""
        for daemon in ("slurmdbd", "mariadbd"):
            self._stop(daemon, how)

    def stop(self) -> None:
        """Stop what was started here."""
        with contextlib.suppress(subprocess.SubprocessError):
            ask("scancel", "--user=root")
            until(lambda: not ask("squeue", "-h"), 30, "an empty queue", lambda: ask("squeue", "-h"))
        for name in [*(f"slurmd.{node}" for node in NODES), "slurmctld"]:
            self._stop(name, signal.SIGTERM)
        self.stop_accounts(signal.SIGTERM)
        self._stop("munged", signal.SIGTERM)
        for link in LINKS:
            if link.is_symlink() and link.readlink().parent == self.home:
                link.unlink()

    def _stop(self, daemon: str, how: signal.Signals) -> None:
        file = self.home / f"run/{daemon}.pid"
        with contextlib.suppress(FileNotFoundError, ProcessLookupError, ValueError):
            pid = int(file.read_text(encoding="utf-8"))
            os.kill(pid, how)
            until(lambda: not _alive(pid), 30, f"{daemon} ended")


@contextlib.contextmanager
def running(with_accounts: bool = False) -> Iterator[Cluster]:
    """A cluster, started and stopped. If other tests have a cluster on this machine, wait until it has ended."""
    with open("/run/lock/mperceiver-test-cluster.lock", "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        home = Path(tempfile.mkdtemp(prefix="slurm-", dir="/tmp"))  # short: a socket's path has 107 characters at most
        home.chmod(0o755)
        cluster = Cluster(home, with_accounts)
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # whoever ends the tests ends the cluster, too
        try:
            cluster.start()
            yield cluster
        finally:
            cluster.stop()
        shutil.rmtree(home, ignore_errors=True)


def end_all(job: str) -> None:
    """End what is left of a requeued job: without cgroups SLURM loses sight of a process whose parent has ended."""
    with contextlib.suppress(TimeoutError):
        until(lambda: not processes("SLURM_JOB_ID", job), 5, f"the processes of job {job} ended")
    for pid in processes("SLURM_JOB_ID", job):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _free_ports() -> int:
    for base in range(17000, 30000, 100):
        with contextlib.suppress(OSError), contextlib.ExitStack() as stack:
            for port in [
                base,
                *(base + other for other in (*NODES.values(), accounts.DATABASE, accounts.DAEMON)),
            ]:
                stack.enter_context(socket.socket()).bind(("127.0.0.1", port))
            return base
    raise OSError("no free ports")


def _alive(pid: int) -> bool:
    """Whether a process runs. A zombie does not: a daemon's parent may have ended, so that nobody reaps it."""
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    except FileNotFoundError:
        return False


def processes(variable: str, value: str) -> list[int]:
    """Every process with a variable that slurmd tells to those of its jobs: its node's name, the job's number."""
    pids = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if f"{variable}={value}".encode() in (folder / "environ").read_bytes().split(b"\0"):
                pids.append(int(folder.name))
    return pids


def _parent(pid: int) -> int:
    with contextlib.suppress(OSError, IndexError):
        return int(Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[1])
    return pid


def _command(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_text(encoding="utf-8")
    return ""
