"""The machine that this process runs on: its devices and memory, and how large libraries are imported on it."""

import atexit
import contextlib
import ctypes
import gc
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    import torch


def free_memory_bytes() -> int:
    """Bytes that this process may still take of the machine's memory, within the limits of its job or container."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="utf-8").splitlines()
        free = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))
    except OSError:  # not Linux: half of the machine's memory
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    return min([free, *_cgroup_limits()])


def device_name(device: "torch.device | str", vae_precision: str = "no") -> str:
    """What a card says of a device: "cpu", or the name of the GPU.

    ``vae_precision``: that of the method that ran on it. It is "cpu with bfloat16" if the CPU computed in bfloat16, which changes numbers.
    """
    import torch

    device = torch.device(device)
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return "cpu with bfloat16" if vae_precision == "bf16" and has_bfloat16(device) else "cpu"


def has_bfloat16(device: "torch.device | str") -> bool:
    """Whether the device multiplies in bfloat16 by instructions of its own; elsewhere that is slower than float32."""
    import torch

    if torch.device(device).type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    can = torch.cpu.get_capabilities()
    return torch.backends.mkldnn.is_available() and (can.get("avx512_bf16", False) or can.get("amx_bf16", False))


def peak_gib(device: "torch.device") -> float:
    """Peak of the memory that was used, in GiB: on a GPU what torch allocated, on a CPU what this process used."""
    import resource

    import torch

    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**30
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # in KiB on Linux


# The control groups of this process, and the folder in which the kernel shows all of them.
OWN_GROUPS, GROUPS = Path("/proc/self/cgroup"), Path("/sys/fs/cgroup")


def _cgroup_limits() -> list[int]:
    """Bytes left within the memory limit of each control group (cluster job, container) that this process is in, of version 1 or 2."""
    try:
        lines = OWN_GROUPS.read_text(encoding="utf-8").splitlines()
    except OSError:  # not Linux
        return []
    limits = []
    for line in lines:
        _, controllers, own = line.split(":", 2)
        if not controllers:  # version 2
            root, names = GROUPS, ("memory.max", "memory.current", "")
        elif "memory" in controllers.split(","):
            root, names = GROUPS / "memory", ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_")
        else:
            continue
        group = root / own.lstrip("/")
        limits += [left for folder in (group, *group.parents) if (left := _left_in(folder, *names)) is not None]
    return limits


def _left_in(group: Path, limit: str, used: str, prefix: str) -> int | None:
    """Bytes left within a control group's limit; None without one. Cached files count as free: the kernel gives them up."""
    try:
        most, taken = ((group / name).read_text(encoding="utf-8").strip() for name in (limit, used))
        stat = dict(line.split() for line in (group / "memory.stat").read_text(encoding="utf-8").split("\n") if line)
    except (OSError, ValueError):
        return None
    if most == "max":
        return None
    cached = sum(int(stat.get(f"{prefix}{kind}_file", 0)) for kind in ("active", "inactive"))
    return max(0, int(most) - int(taken) + cached)


def quiet_model_libraries() -> None:
    """Let diffusers and transformers ask no hub and print no notices; call this before they are imported."""
    for name, value in (
        ("HF_HUB_OFFLINE", "1"),
        ("TRANSFORMERS_VERBOSITY", "error"),
        ("DIFFUSERS_VERBOSITY", "error"),
        ("HF_HUB_DISABLE_PROGRESS_BARS", "1"),
    ):
        os.environ.setdefault(name, value)


@contextlib.contextmanager
def without_collection() -> Iterator[None]:
    """Inside, Python does not look for reference cycles: for importing and building what stays.

    Importing torch and diffusers makes more than half a million objects, and looking through them again and again would take a fifth
    of the time. Usable as a decorator.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # parameters of glibc's mallopt
MOST_IN_HEAP_BYTES, KEPT_BYTES = 2**25, 2**29  # glibc takes no more for the first one

_whole_process = False  # whether this process is a command's own
_hides = False  # whether ``importing`` hides what is unused


def own_process(hides: bool = True) -> None:
    """Say that this process runs one command and ends with it; ``importing`` may then save time at the cost of memory.

    Objects that exist after an import are never searched for reference cycles; otherwise each of the next three searches would look
    through all of them. Those that are in a cycle by then are not freed before the process ends.

    ``hides``: whether ``importing`` hides packages that no command uses; False if the process may later import methods of others.
    """
    global _whole_process, _hides
    _whole_process, _hides = True, hides
    atexit.register(gc.unfreeze)  # otherwise libraries in C++ report what Python did not free
    _keep_freed_memory()


def _keep_freed_memory() -> None:
    """Let glibc keep up to KEPT_BYTES of the memory that is freed; with another C library nothing is changed.

    A network frees every tensor soon after it has made it. By default the memory goes back to the system, which gives it again page by
    page, each of them cleared: up to a tenth of the CPU time of restoring.
    """
    with contextlib.suppress(AttributeError, OSError):  # another C library
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(M_MMAP_THRESHOLD, MOST_IN_HEAP_BYTES)
        mallopt(M_TRIM_THRESHOLD, KEPT_BYTES)


@contextlib.contextmanager
def importing(unused: Sequence[str] = ()) -> Iterator[None]:
    """Import large libraries in the block, ``without_collection``; see ``own_process``.

    ``unused``: packages that these libraries import if they are installed, for work that no command does. In a process of a command
    (``own_process``) they are hidden inside the block, as if they were not installed. Imports after the block find them again, but the
    libraries remember that they did not. diffusers does not read the file lists of all installed packages then, either; from these it
    knows packages whose module has another name.
    """
    before = len(sys.modules)
    modules = cast("dict[str, ModuleType | None]", sys.modules)
    hidden = [name for name in unused if name not in modules] if _hides else []
    modules.update(dict.fromkeys(hidden))  # None: Python finds no such package
    try:
        with without_collection(), _without_package_lists() if hidden else contextlib.nullcontext():
            yield
            if _whole_process and len(modules) > before + len(hidden):
                gc.freeze()
    finally:
        for name in hidden:
            del modules[name]


@contextlib.contextmanager
def _without_package_lists() -> Iterator[None]:
    """Inside, ``importlib.metadata.packages_distributions`` finds nothing. It takes a third of a second with some hundred packages."""
    from importlib import metadata  # takes a hundredth of a second, which a command without diffusers saves

    original = metadata.packages_distributions
    metadata.packages_distributions = dict
    try:
        yield
    finally:
        metadata.packages_distributions = original
