"""Read several files as one, such as the parts of a split archive, without copying them together."""

import io
from bisect import bisect_right
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer


class Joined(io.RawIOBase):
    """A read-only stream over several files. ``patches`` {offset: bytes} are read instead of the files' own bytes there."""

    def __init__(self, parts: Iterable[Path]) -> None:
        super().__init__()
        parts = list(parts)
        self.files = [part.open("rb") for part in parts]
        sizes = [part.stat().st_size for part in parts]
        self.starts = [sum(sizes[:i]) for i in range(len(sizes))]
        self.size = sum(sizes)
        self.position = 0
        self.patches: dict[int, bytes] = {}

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self.position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self.position, io.SEEK_END: self.size}[whence]
        if base + offset < 0:
            raise OSError("seek before the start")
        self.position = base + offset
        return self.position

    def readinto(self, buffer: "WriteableBuffer") -> int:
        if self.position >= self.size:
            return 0
        index = bisect_right(self.starts, self.position) - 1
        while index + 1 < len(self.starts) and self.starts[index + 1] <= self.position:
            index += 1  # skip an empty part
        file = self.files[index]
        file.seek(self.position - self.starts[index])
        view = memoryview(buffer).cast("B")
        count = file.readinto(view)
        for offset, patch in self.patches.items():
            low, high = max(offset, self.position), min(offset + len(patch), self.position + count)
            if low < high:
                view[low - self.position : high - self.position] = patch[low - offset : high - offset]
        self.position += count
        return count

    def exactly(self, offset: int, count: int) -> bytes:
        """``count`` bytes from ``offset`` on, fewer only at the end of the files."""
        self.seek(offset)
        data = b""
        while len(data) < count and (more := self.read(count - len(data))):
            data += more
        self.seek(0)
        return data

    def close(self) -> None:
        for file in self.files:
            file.close()
        super().close()
