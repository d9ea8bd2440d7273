"""How large tiles may be in the memory there is.

**The estimate.** A restorer's ``probe`` does every kind of work on a tile once. It is run on tensors without contents
(PyTorch's FakeTensorMode), which takes next to no memory and time, while each storage that is made and dropped is counted:
the most that is there at a time is what the work takes beside the weights. Convolutions, fused attention and the DRM's
windows all take memory in proportion to the pixels, so that one size tells of any other. ``SCRATCH`` is added for what a
library takes inside one operation, which no tensor shows. The estimate does not depend on the machine, so that the same
budget gives the same tiles, and the same picture, everywhere.
"""

import math
import os
import weakref
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from mperceiver import images
from mperceiver.config.methods import Method
from mperceiver.models.tiling import Tiles, lay_out, smallest_side

GIB = 2**30
SCRATCH = 1.3  # of the tensors' peak: what convolutions take inside
FREE = 0.9  # of what is free: memory fragments
AMPLE = 2**16  # bytes a pixel that are enough for any work here, several times over
HELD = 16  # bytes a pixel of a whole picture: its latents, and what the branches keep of them from step to step
# Bytes a pixel on the CPU: a whole picture as float, padded, restored, blended, averaged; as a file; others read ahead.
COPIES = 8 * 3 * 4


class Peak(TorchDispatchMode):
    """Counts the bytes of tensors made inside on a kind of device for as long as they live; ``bytes`` is the most there was."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind, self.bytes, self._now, self._known = kind, 0, 0, set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        given = {t.untyped_storage()._cdata for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor)}
        result = func(*args, **(kwargs or {}))
        for made in tree_leaves(result):
            if isinstance(made, Tensor) and made.device.type == self.kind:
                storage = made.untyped_storage()
                if storage._cdata not in given | self._known:  # not a view, nor what came from outside
                    self._count(storage)
        return result

    def _count(self, storage: torch.UntypedStorage) -> None:
        key, size = storage._cdata, storage.nbytes()
        self._known.add(key)
        self._now += size
        self.bytes = max(self.bytes, self._now)
        weakref.finalize(storage, self._drop, key, size)

    def _drop(self, key: int, size: int) -> None:
        self._known.discard(key)
        self._now -= size


def peak(restorer: Any, count: int, height: int, width: int) -> int:
    """Bytes that a restorer's work on ``count`` tiles takes at most, beside its weights."""
    kind = torch.device(restorer.device).type
    as_written = torch.compiler.set_stance("force_eager")  # what is compiled takes no more
    with as_written, torch.no_grad(), FakeTensorMode(allow_non_fake_inputs=True), Peak(kind) as found:
        restorer.probe(torch.zeros(count, 3, height, width))
    return round(found.bytes * SCRATCH)


class Plan:
    """The tiles of pictures of any size for a restorer, as large as a method's ``tile_px`` and the memory allow.

    ``tiles`` raises PictureError for a picture whose smallest tiles the memory does not do for, ConfigError for tiles that
    cannot be cut.
    """

    def __init__(self, restorer: Any, method: Method) -> None:
        self.restorer, self.method = restorer, method
        self.device = torch.device(getattr(restorer, "device", "cpu"))
        self.smallest = smallest_side(restorer)
        self._tiles: dict[tuple[int, int], Tiles] = {}
        # A tile on the CPU that the method itself names is no question of memory, nor is what works on no tensors.
        told = method.tile_px and method.memory_gib is None and self.device.type == "cpu"
        self.room = None if told or not hasattr(restorer, "probe") else self._room()

    @cached_property
    def _least(self) -> int:
        return peak(self.restorer, 1, self.smallest, self.smallest)

    @cached_property
    def _pixel(self) -> float:
        side = 2 * self.smallest
        return peak(self.restorer, 1, side, side) / side**2

    def tiles(self, size: tuple[int, int]) -> Tiles:
        """For a padded picture of (H, W)."""
        if size not in self._tiles:
            self._tiles[size] = self._lay_out(size)
        return self._tiles[size]

    def padded(self, size: tuple[int, int]) -> tuple[int, int]:
        """(H, W) of a picture as the restorer gets it."""
        multiple = self.restorer.multiple
        height, width = (math.ceil(max(side, self.smallest) / multiple) * multiple for side in size)
        return height, width

    def together(self, size: tuple[int, int]) -> int:
        """Pictures of (H, W), not padded, to restore at once."""
        try:
            tiles = self.tiles(self.padded(size))
        except images.PictureError:  # too large for the memory: when it is restored, alone, it is told
            return 1
        return tiles.batch if tiles.count == 1 else 1

    def _lay_out(self, size: tuple[int, int]) -> Tiles:
        most, overlap = getattr(self.restorer, "batch", 1), self.method.overlap_px
        side = self.method.tile_px or max(size)
        # Where there is no question, the seconds that the estimate takes are spared.
        if self.room is None or most * max(size[0] * size[1], self.smallest**2) * AMPLE <= self.room:
            return lay_out(self.restorer, size, side, overlap, most)
        whole = size[0] * size[1] * (HELD + (COPIES if self.device.type == "cpu" else 0))
        if self.method.tile_px is None and self._need(1, size) + whole > self.room:
            multiple = self.restorer.multiple
            # The least tile that there can be; one that the memory does not do for is refused below.
            least = max(self.smallest, math.ceil((overlap + 1) / multiple) * multiple)
            side = max(least, int((max(0, self.room - whole) / self._pixel) ** 0.5) // multiple * multiple)
        tiles = lay_out(self.restorer, size, side, overlap)
        more = whole if tiles.count == 1 else 0
        fits = [n for n in range(1, most + 1) if self._need(n, tiles.tile) + whole + (n - 1) * more <= self.room]
        if not fits:
            raise images.PictureError(
                f"a picture of {size[1]}x{size[0]} px in tiles of {max(tiles.tile)} px takes "
                f"{(self._need(1, tiles.tile) + whole) / GIB:.2f} GiB beside the weights, and there are "
                f"{max(0, self.room) / GIB:.2f}; raise --memory-gib (memory_gib in config/methods/), take smaller tiles, "
                "or a machine with more"
            )
        tiles.batch = max(fits)
        return tiles

    def _need(self, count: int, tile: tuple[int, int]) -> float:
        return max(self._least, self._pixel * count * tile[0] * tile[1])

    def _room(self) -> float:
        """Bytes for the work: within the method's budget, weights taken off, and within what is free."""
        free = FREE * free_bytes(self.device)
        if self.method.memory_gib is None:
            return free
        tensors = {t for module in self.restorer.modules() for t in (*module.parameters(), *module.buffers())}
        return min(free, self.method.memory_gib * GIB - sum(t.nbytes for t in tensors))


def free_bytes(device: torch.device) -> int:
    """What this process may still take of a device's memory, or of the machine's within its job's limit."""
    if device.type == "cuda":
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + unused
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        free = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))
    except OSError:  # not Linux: half of what the machine has
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    return min([free, *_job_limits()])


def _job_limits() -> list[int]:
    """What is left of the memory limits of the control groups that this process is in (a cluster job's, a container's)."""
    root, found = Path("/sys/fs/cgroup"), []
    try:
        own = next(line[3:] for line in Path("/proc/self/cgroup").read_text().splitlines() if line.startswith("0::"))
    except (OSError, StopIteration):
        return []
    for folder in (root / own.lstrip("/"), *(root / own.lstrip("/")).parents):
        try:
            limit, used = ((folder / f"memory.{name}").read_text().strip() for name in ("max", "current"))
        except OSError:
            continue
        if limit != "max":
            found.append(max(0, int(limit) - int(used)))
    return found
