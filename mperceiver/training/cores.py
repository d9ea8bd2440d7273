"""A training on a processor without a GPU, shared by processes on this machine's cores.

A step on a few small pictures gains little from several threads of one process. Processes that divide the batches of a step gain more.
"""

import logging
import os
import signal
import sys

from mperceiver import parallel
from mperceiver.config.runs import Stage
from mperceiver.printing import say


def sharers(accumulate: int, most: int) -> int:
    """The largest number of processes, up to ``most``, that can share the ``accumulate`` batches of a step evenly; at least 1."""
    return max(number for number in range(1, max(most, 1) + 1) if accumulate % number == 0)


def processes_for(spec: Stage, cores: int) -> int:
    """How many processes train a stage on ``cores`` cores: up to its `cpu_processes`."""
    return sharers(spec.accumulate, min(spec.cpu_processes, cores))


def train_on_cores(verb: str, run: str, spec: Stage, threads: int) -> None:
    """Run the verb in several processes by torchrun, where its stage asks for them; then exit with their exit code.

    Returns at once where one process trains: on a GPU, on one core, or inside a launcher, which has started the processes already.

    Args:
        verb, run: as on the command line, such as train_drm and demo.
        threads: cores that the training may use; 0 for all.

    Raises SystemExit: with the exit code of the first process that failed, with 128 + its number after a signal, or 0.
    """
    count = processes_for(spec, threads or parallel.cores())
    if count == 1 or "RANK" in os.environ:
        return
    import torch

    if torch.cuda.is_available():
        return
    from torch.distributed import run as torchrun
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    # torchrun would log the failure too; it is reported below.
    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)
    if sys.platform == "linux":  # the processes find each other on the machine itself, whatever address its name has
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # as torchrun sets it, with a warning
    command = ["-m", "mperceiver.cli", verb, run, "--threads", str(count)]
    try:
        torchrun.main(["--standalone", "--local-addr=127.0.0.1", f"--nproc-per-node={count}", *command])
    except ChildFailedError as error:
        code = error.get_first_failure()[1].exitcode
        if code < 0:  # else the process has said what failed
            say(
                f"error: {signal.strsignal(-code)}: one of the {count} processes of the training was ended by signal {-code}; 9 is often "
                f"a lack of memory. The same command continues from the last resume state; with --threads 1 it trains in one process",
                error=True,
            )
        sys.exit(code if code > 0 else 128 - code)
    except SignalException as stopped:
        sys.exit(128 + signal.Signals(stopped.sigval))
    sys.exit(0)
