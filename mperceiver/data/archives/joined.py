"""Several files read as one, as the parts of a split archive are, without being copied together."""

import io
from bisect import bisect_right
from collections.abc import Iterable
from pathlib import Path


class Joined(io.RawIOBase):
    """Files read as if they were one; ``patches`` {offset: bytes} are seen instead of what the files have there."""

    def __init__(self, parts: Iterable[Path]):
        super().__init__()
        self.files = [Path(part).open("rb") for part in parts]
        sizes = [Path(part).stat().st_size for part in parts]
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

    def readinto(self, buffer) -> int:
        if self.position >= self.size:
            return 0
        index = bisect_right(self.starts, self.position) - 1
        while index + 1 < len(self.starts) and self.starts[index + 1] <= self.position:
            index += 1  # an empty part
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
        """The bytes from ``offset`` on, fewer only at the end."""
        self.seek(offset)
        found = b""
        while len(found) < count and (more := self.read(count - len(found))):
            found += more
        self.seek(0)
        return found

    def close(self) -> None:
        for file in self.files:
            file.close()
        super().close()
