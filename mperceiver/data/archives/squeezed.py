"""Compressed streams (gzip, bzip2, xz), read to their very end.

Python's own readers ignore what follows a stream if it is no stream itself, and give xz as much memory as its header asks for.
"""

import bz2
import io
import lzma
import zlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from mperceiver.data import DataError

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

CHUNK_BYTES = 1 << 18
MEMORY_BYTES = 512 << 20  # for the dictionary of an xz stream; `xz -9` asks for 65 MB
FORMS: dict[bytes, Callable[[], Any]] = {
    b"\x1f\x8b": lambda: zlib.decompressobj(31),
    b"BZh": bz2.BZ2Decompressor,
    b"\xfd7zXZ\0": lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ, MEMORY_BYTES),
}


class Damaged(Exception):
    """An archive is not whole. The message says how; the caller names the archive."""


def form_of(head: bytes) -> Callable[[], Any] | None:
    """What decompresses a stream that begins with ``head``; None if it is not compressed."""
    return next((make for magic, make in FORMS.items() if head.startswith(magic)), None)


class Decompressed(io.RawIOBase):
    """What comes out of one compressed stream, or of several one after the other.

    Reading raises Damaged if a stream is cut short, its checksum is wrong, or something else follows it (zeros may); DataError
    once more than ``limit`` bytes have come out.
    """

    def __init__(self, source: io.BufferedIOBase, make: Callable[[], Any], limit: int) -> None:
        super().__init__()
        self.source, self.make, self.limit = source, make, limit
        self.decoder, self.waiting, self.count, self.ended = make(), b"", 0, False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "WriteableBuffer") -> int:
        view = memoryview(buffer).cast("B")
        data = self._next(len(view)) if view else b""
        view[: len(data)] = data
        self.count += len(data)
        if self.count > self.limit:
            raise DataError("more bytes come out than an archive of its size can hold; it is not unpacked any further")
        return len(data)

    def _next(self, most: int) -> bytes:
        """The next bytes, at most ``most``; none at the end."""
        while not self.ended:
            if self.decoder.eof:
                self._next_stream()
                continue
            data = self.waiting or (
                self.source.read(CHUNK_BYTES) if getattr(self.decoder, "needs_input", True) else b""
            )
            try:
                out = self.decoder.decompress(data, most)
            except (OSError, ValueError, zlib.error, lzma.LZMAError) as error:
                raise Damaged(str(error)) from None
            self.waiting = getattr(self.decoder, "unconsumed_tail", b"")  # zlib gives back what it has not read
            if out:
                return out
            if not data and not self.decoder.eof:
                raise Damaged("its compressed data end too early")
        return b""

    def _next_stream(self) -> None:
        """Go on with the stream that follows, or note the end. Raises Damaged if neither follows."""
        rest = self.decoder.unused_data
        while not (rest := rest.lstrip(b"\0")) and (more := self.source.read(CHUNK_BYTES)):
            rest = more
        while rest and len(rest) < 6 and (more := self.source.read(6 - len(rest))):
            rest += more
        if not rest:
            self.ended = True
        elif form_of(rest) is None:
            raise Damaged("after its compressed data something else follows")
        else:
            self.decoder, self.waiting = self.make(), rest
