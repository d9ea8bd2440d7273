"""How large the tiles may be in the memory there is.

**The estimate.** ``Restorer.probe`` does every kind of work on a tile once. It is run on tensors without contents (PyTorch's
FakeTensorMode), which takes almost no memory and time, while PeakMemory adds up the bytes of the tensors that exist at the
same time; their maximum is the memory that the work takes beside the weights. Convolutions, fused attention and the DRM's
windows all take memory in proportion to the number of pixels, so the estimate for one size gives that for any other.
``SCRATCH_FACTOR`` accounts for what a library allocates inside one operation, which no tensor shows. The estimate does not
depend on the machine, so the same budget gives the same tiles, and the same picture, on every machine.
"""

import math
import weakref
from functools import cached_property

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from mperceiver import images
from mperceiver.config.methods import Method
from mperceiver.machine import free_memory_bytes
from mperceiver.models.layout import lay_out, smallest_side
from mperceiver.models.restorer import Restorer
from mperceiver.models.tiling import Tiles

GIB = 2**30
SCRATCH_FACTOR = 1.3  # peak with what convolutions allocate inside, relative to the peak of the tensors alone
FREE_SHARE = 0.9  # share of the free memory that is used; the rest is for fragmentation
AMPLE_BYTES = 2**16  # per pixel: several times what any method takes; above it no estimate is needed
# Per pixel of a whole picture: its latents, and the features of them that the branches keep between the sampler's steps.
LATENT_BYTES = 16
# A batch on the CPU gets no further tile once it has this many pixels. In a program that gives the memory of freed tensors back to the
# system (the commands keep it: mperceiver/machine.py), MPerceiver took a sixth less of the CPU time with two tiles of 192x224 px than with eight; and eight of
# 64 px together took half as much as one by one.
CPU_BATCH_PIXELS = 2**16
SPARE_BYTES = 2**28  # for features of a picture's tiles, kept on a CPU with sixteen times as much free memory
# Per pixel of a whole picture on the CPU: 8 float32 RGB copies (padded, restored, blended, averaged, pictures read ahead).
COPY_BYTES = 8 * 3 * 4


class PeakMemory(TorchDispatchMode):
    """Inside this context, adds up the bytes of living tensors made on one kind of device; ``bytes`` is their maximum."""

    def __init__(self, device_type: str) -> None:
        super().__init__()
        self.device_type = device_type
        self.bytes = 0
        self._living = 0
        self._counted: set[int] = set()  # storages, by address

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        inputs = {t.untyped_storage()._cdata for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor)}
        result = func(*args, **(kwargs or {}))
        for output in tree_leaves(result):
            if isinstance(output, Tensor) and output.device.type == self.device_type:
                storage = output.untyped_storage()
                if storage._cdata not in inputs | self._counted:  # neither a view nor from outside
                    self._count(storage)
        return result

    def _count(self, storage: torch.UntypedStorage) -> None:
        address, size = storage._cdata, storage.nbytes()
        self._counted.add(address)
        self._living += size
        self.bytes = max(self.bytes, self._living)
        weakref.finalize(storage, self._release, address, size)

    def _release(self, address: int, size: int) -> None:
        self._counted.discard(address)
        self._living -= size


def estimate_peak(restorer: Restorer, count: int, height: int, width: int) -> int:
    """Bytes that a restorer's work on ``count`` tiles of height x width px takes at most, beside its weights."""
    device_type = torch.device(restorer.device).type
    eager = torch.compiler.set_stance("force_eager")  # compiled code takes no more
    with eager, torch.no_grad(), FakeTensorMode(allow_non_fake_inputs=True), PeakMemory(device_type) as peak:
        restorer.probe(torch.zeros(count, 3, height, width))
    return round(peak.bytes * SCRATCH_FACTOR)


class TilePlanner:
    """Chooses the tiles of pictures of any size for a restorer: as large as the method's ``tile_px`` and the memory allow."""

    def __init__(self, restorer: Restorer, method: Method) -> None:
        self.restorer, self.method = restorer, method
        self.device = torch.device(restorer.device)
        self.smallest = smallest_side(restorer)
        self._tiles: dict[tuple[int, int], Tiles] = {}
        # Tiles on the CPU whose side the method itself sets are taken as they are.
        as_set = method.tile_px is not None and method.memory_gib is None and self.device.type == "cpu"
        self.room = None if as_set else self._room()  # bytes; None: no limit

    @cached_property
    def _least_bytes(self) -> int:
        return estimate_peak(self.restorer, 1, self.smallest, self.smallest)

    @cached_property
    def _bytes_per_pixel(self) -> float:
        side = 2 * self.smallest
        return max(1, estimate_peak(self.restorer, 1, side, side)) / side**2  # never 0: it is a divisor

    def tiles(self, size: tuple[int, int]) -> Tiles:
        """The tiles of a padded picture of (H, W).

        Raises PictureError if even the smallest tiles need more memory than there is, ConfigError for tiles that cannot
        be cut.
        """
        if size not in self._tiles:
            tiles = self._lay_out(size)
            if self.device.type == "cpu":
                tiles.batch = min(tiles.batch, math.ceil(CPU_BATCH_PIXELS / math.prod(tiles.tile)))
                if self.method.memory_gib is None and free_memory_bytes() > 16 * SPARE_BYTES:
                    tiles.spare_bytes = SPARE_BYTES
            self._tiles[size] = tiles
        return self._tiles[size]

    def padded(self, size: tuple[int, int]) -> tuple[int, int]:
        """(H, W) of a picture of ``size`` after padding for the restorer."""
        multiple = self.restorer.multiple
        height, width = (math.ceil(max(side, self.smallest) / multiple) * multiple for side in size)
        return height, width

    def together(self, size: tuple[int, int]) -> int:
        """The number of pictures of (H, W), not padded, to restore in one batch."""
        try:
            tiles = self.tiles(self.padded(size))
        except images.PictureError:  # too large for the memory: restoring it alone raises the error for it only
            return 1
        return tiles.batch if tiles.count == 1 else 1

    def _lay_out(self, size: tuple[int, int]) -> Tiles:
        most, overlap = self.restorer.batch, self.method.overlap_px
        side = self.method.tile_px or max(size)
        # The estimate takes seconds; they are saved where the memory is certainly enough.
        if self.room is None or most * max(size[0] * size[1], self.smallest**2) * AMPLE_BYTES <= self.room:
            return lay_out(self.restorer, size, side, overlap, most)
        whole = size[0] * size[1] * (LATENT_BYTES + (COPY_BYTES if self.device.type == "cpu" else 0))
        if self.method.tile_px is None and self._work_bytes(1, size) + whole > self.room:
            multiple = self.restorer.multiple
            # The smallest tile there can be; where the memory is too little even for it, it is refused below.
            least = max(self.smallest, math.ceil((overlap + 1) / multiple) * multiple)
            side = max(least, int((max(0, self.room - whole) / self._bytes_per_pixel) ** 0.5) // multiple * multiple)
        tiles = lay_out(self.restorer, size, side, overlap)
        more = whole if tiles.count == 1 else 0
        fits = [n for n in range(1, most + 1) if self._work_bytes(n, tiles.tile) + whole + (n - 1) * more <= self.room]
        if not fits:
            raise images.PictureError(
                f"a picture of {size[1]}x{size[0]} px in tiles of {max(tiles.tile)} px needs "
                f"{(self._work_bytes(1, tiles.tile) + whole) / GIB:.2f} GiB beside the weights, but only "
                f"{max(0, self.room) / GIB:.2f} GiB are available; raise --memory-gib (memory_gib in config/methods/), "
                "use smaller tiles (--tile), or a machine with more memory"
            )
        tiles.batch = max(fits)
        return tiles

    def _work_bytes(self, count: int, tile: tuple[int, int]) -> float:
        return max(self._least_bytes, self._bytes_per_pixel * count * tile[0] * tile[1])

    def _room(self) -> float:
        """Bytes for the work: the method's budget less the weights, but no more than a share of the free memory."""
        free = FREE_SHARE * free_bytes(self.device)
        if self.method.memory_gib is None:
            return free
        tensors = {t for module in self.restorer.modules() for t in (*module.parameters(), *module.buffers())}
        return min(free, self.method.memory_gib * GIB - sum(t.nbytes for t in tensors))


def free_bytes(device: torch.device) -> int:
    """Bytes that this process may still take of a GPU's memory, or of the machine's within the limits of its job."""
    if device.type == "cuda":
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + unused
    return free_memory_bytes()
