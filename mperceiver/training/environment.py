"""What a training takes from environment variables, and what it does not.

A launcher tells a process its place among the others (RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR, MASTER_PORT). No other variable is
followed: the run's file alone decides what is computed. Variables that a launcher or a shell has left, and that accelerate would
obey, are removed from the environment, and a line says so.
"""

import contextlib
import os
import threading
from collections.abc import Iterator

from mperceiver.printing import say
from mperceiver.training import slurm
from mperceiver.training.schedule import TrainingError

RANKS = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
# Beginnings of names. By the first, accelerate would connect processes of MPI; the second are accelerate's settings.
MPI = ("PMI_", "OMPI_COMM_WORLD_", "MV2_COMM_WORLD_")
LIBRARIES = ("ACCELERATE_", "FSDP_", "MEGATRON_LM_", "PARALLELISM_CONFIG_", "FP8_")
FOLLOWED = {"ACCELERATE_USE_CPU"}  # accelerate launch --cpu: where, not what, is computed
NEUTRAL = {"", "0", "1", "no", "false", "none"}  # what `accelerate launch` always sets
MEET_S = 900  # the longest wait for the other processes, which a launcher starts at the same time
TELL_EVERY_S = 60.0


def settle() -> None:
    """Leave in the environment the variables of this process's place among the others, or none of them if it is alone.

    Raises TrainingError if the variables name several processes, but not how to find them.
    """
    slurm.export_ranks()
    _settle_ranks()
    dropped = {
        name: os.environ.pop(name) for name in sorted(os.environ) if name.startswith(LIBRARIES) and name not in FOLLOWED
    }
    told = [f"{name}={value}" for name, value in dropped.items() if value.lower() not in NEUTRAL]
    if told and os.environ.get("RANK", "0") == "0":
        say(f"{', '.join(told)}: not followed; the run's file decides what is computed", error=True)


def _settle_ranks() -> None:
    size = _number("WORLD_SIZE", 1)
    if size > 1:
        missing = [name for name in RANKS if not os.environ.get(name)]
        if missing:
            raise TrainingError(
                f"WORLD_SIZE={size} in the environment speaks of {size} processes, but there is no {', '.join(missing)} to find them "
                "by. Start them with torchrun, accelerate launch or srun; or, to train in one process: unset "
                + " ".join(RANKS)
            )
        if not (
            0 <= _number("RANK", 0) < size and _number("LOCAL_RANK", 0) >= 0 and 0 < _number("MASTER_PORT", 0) < 65536
        ):
            told = ", ".join(f"{name}={os.environ[name]}" for name in RANKS)
            raise TrainingError(
                f"{told}: no place among {size} processes; to train in one process: unset {' '.join(RANKS)}"
            )
    else:  # variables that an earlier launcher has left would make one process wait for others
        _number("RANK", 0)
        _refuse_mpi()
        for name in RANKS:
            os.environ.pop(name, None)
    for name in [name for name in os.environ if name.startswith(MPI)]:
        del os.environ[name]


def _refuse_mpi() -> None:
    """Raise TrainingError for one of several processes of an mpirun: each would train alone and overwrite the others' files."""
    sizes = [f"{begin}SIZE" for begin in MPI if _number(f"{begin}SIZE", 1) > 1]
    if sizes and not slurm.is_interactive():
        raise TrainingError(
            f"{sizes[0]}={os.environ[sizes[0]]}: several processes of MPI, which a training does not use. Start it with torchrun, "
            f"accelerate launch or srun; or, to train in one process: unset {sizes[0]}"
        )


def _number(name: str, default: int) -> int:
    value = os.environ.get(name) or str(default)
    try:
        return int(value)
    except ValueError:
        raise TrainingError(
            f"{name}={value} in the environment is no number; unset {name}, or start with torchrun"
        ) from None


@contextlib.contextmanager
def meeting() -> Iterator[None]:
    """While this process waits for the others inside the block, say so each minute; end the process after MEET_S."""
    if "RANK" not in os.environ:
        yield
        return
    place, size = (os.environ[name] for name in ("RANK", "WORLD_SIZE"))
    where = f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
    met = threading.Event()

    def tell() -> None:
        waited = 0.0
        while not met.wait(TELL_EVERY_S):
            waited += TELL_EVERY_S
            say(f"process {place} of {size}: waiting for the others at {where} for {waited:.0f} s", error=True)
            if waited >= MEET_S:
                say(
                    f"error: the others have not come. Are all {size} processes started? To train in one process: "
                    f"unset {' '.join(RANKS)}, and leave SLURM's job step",
                    error=True,
                )
                os._exit(1)

    threading.Thread(target=tell, daemon=True).start()
    try:
        yield
    finally:
        met.set()
