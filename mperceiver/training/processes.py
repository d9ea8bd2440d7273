"""The processes of one training: alone, or several started by `accelerate launch`, `torchrun` or `srun`.

Each has its own device; only the main one writes and prints. A launcher tells which process this is in the environment
(RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR, MASTER_PORT); what `srun` tells is put into these words.
"""

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import torch

from mperceiver.training import slurm

if TYPE_CHECKING:
    from accelerate import PartialState

# How long a process waits for the others: one may still be sampling latents, or the main one be writing a large state. For
# a process that died nobody waits: its launcher ends the others (srun with --kill-on-bad-exit).
PATIENCE = timedelta(hours=2)


def world() -> "PartialState":
    """What accelerate knows of this process: device, num_processes, process_index. The first call joins the others."""
    from accelerate import PartialState
    from accelerate.utils import parse_flag_from_env

    slurm.tell_ranks()
    cpu = not torch.cuda.is_available() or parse_flag_from_env("ACCELERATE_USE_CPU")  # accelerate launch --cpu
    return PartialState(cpu=cpu, timeout=PATIENCE)


def device() -> torch.device:
    """This process's own device."""
    return world().device


def is_main() -> bool:
    """Whether this process is the one that writes and prints."""
    return world().is_main_process


def say(text: str) -> None:
    """Print a line, once."""
    if is_main():
        print(text, flush=True)


def together() -> None:
    """Wait until all processes are here."""
    world().wait_for_everyone()


def told(value: Any) -> Any:
    """The main process's ``value``, in all of them."""
    from accelerate.utils import broadcast_object_list

    return broadcast_object_list([value])[0]


def gathered(value: Any) -> list[Any]:
    """Every process's ``value``, in their order."""
    from accelerate.utils import gather_object

    return gather_object([value])


def leave() -> None:
    """Take leave of the other processes: the last thing a verb does."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
