"""The processes of one training: a single one, or several started by `accelerate launch`, `torchrun` or `srun`.

Each process has its own device; only the main process writes files and prints. A launcher tells a process its rank by
environment variables (RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR, MASTER_PORT); ``slurm.export_ranks`` sets them from srun's, and
``environment.settle`` takes out what is not followed.
"""

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import torch

from mperceiver import printing
from mperceiver.training import environment

if TYPE_CHECKING:
    from accelerate import PartialState

# How long a process waits for the others, of which one may still sample latents, or write a large state. Nobody waits for a
# process that died: the launcher ends the others (srun with --kill-on-bad-exit).
TIMEOUT = timedelta(hours=2)


def world() -> "PartialState":
    """accelerate's description of this process: device, num_processes, process_index. The first call connects the processes."""
    from accelerate import PartialState
    from accelerate.utils import parse_flag_from_env

    if PartialState._shared_state:  # connected already
        return PartialState()
    environment.settle()
    cpu = not torch.cuda.is_available() or parse_flag_from_env("ACCELERATE_USE_CPU")  # accelerate launch --cpu
    with environment.meeting():
        return PartialState(cpu=cpu, timeout=TIMEOUT)


def device() -> torch.device:
    """The device of this process."""
    return world().device


def is_main() -> bool:
    """Whether this is the process that writes files and prints."""
    return world().is_main_process


def say(text: str) -> None:
    """Print a line to standard output, once for all processes."""
    if is_main():
        printing.say(text)


def wait_for_all() -> None:
    """Wait until every process has called this function."""
    world().wait_for_everyone()


def broadcast(value: Any) -> Any:
    """The main process's ``value``, returned in every process."""
    from accelerate.utils import broadcast_object_list

    return broadcast_object_list([value])[0]


def gather(value: Any) -> list[Any]:
    """The ``value`` of every process, in the order of their ranks, returned in every process."""
    from accelerate.utils import gather_object

    return gather_object([value])


def leave() -> None:
    """Disconnect from the other processes. A verb calls this last."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
