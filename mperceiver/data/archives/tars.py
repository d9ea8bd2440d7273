"""Members of a tar, read block by block to its end.

tarfile does not read the archive: it takes a damaged header for the end, reads a name of any length into memory, and never returns from
some maps of sparse files. Only its parser of a single header is used.
"""

import io
import tarfile
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from mperceiver.data.archives.base import Member, MemberKind
from mperceiver.data.archives.joined import Joined
from mperceiver.data.archives.names import decoded
from mperceiver.data.archives.squeezed import Damaged, Decompressed, form_of

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

BLOCK = tarfile.BLOCKSIZE
NAME_BYTES = 1 << 16  # longest name or set of attributes that stands before a header
LONG = {tarfile.GNUTYPE_LONGNAME: "path", tarfile.GNUTYPE_LONGLINK: "linkpath"}
ATTRIBUTES = (tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE)
KINDS: dict[bytes, MemberKind] = {
    tarfile.REGTYPE: "file",
    tarfile.AREGTYPE: "file",
    tarfile.CONTTYPE: "file",
    tarfile.DIRTYPE: "folder",
    b"D": "folder",  # GNU's, with a list of names as its data
    tarfile.LNKTYPE: "link",
    tarfile.SYMTYPE: "link",
}
WITHOUT_DATA = (
    tarfile.LNKTYPE,
    tarfile.SYMTYPE,
    tarfile.CHRTYPE,
    tarfile.BLKTYPE,
    tarfile.DIRTYPE,
    tarfile.FIFOTYPE,
)


class Before(NamedTuple):
    """What stands before a member's header: its name and size, where the header has no room for them."""

    path: bytes | None = None
    size: int | None = None
    blocks: int = 0  # how many blocks with names or attributes stand before the header


class _Data(io.RawIOBase):
    """The bytes of one member."""

    def __init__(self, stream: io.BufferedIOBase, size: int) -> None:
        super().__init__()
        self.stream, self.left = stream, size

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "WriteableBuffer") -> int:
        view = memoryview(buffer).cast("B")[: self.left]
        data = self.stream.read(len(view)) if view else b""
        if len(data) < len(view):
            raise Damaged("it is cut short within a member")
        view[: len(data)] = data
        self.left -= len(data)
        return len(data)


def read_tar(raw: Joined, name: str, encoding: str | None, limit: int) -> Iterator[Member]:
    """Members of a tar, plain or compressed, in order.

    Args:
        raw: the file.
        name: its name, for messages.
        encoding: of the names of members; None: UTF-8.
        limit: bytes that may come out of the compressed stream.

    Raises:
        Damaged: a header is damaged, the archive does not end with its end mark, or something follows that mark.
        DataError: more than ``limit`` bytes.
    """
    make = form_of(raw.exactly(0, 6))
    plain = io.BufferedReader(raw, 1 << 20)
    stream = io.BufferedReader(Decompressed(plain, make, limit), 1 << 20) if make else plain
    before, position = Before(), 0
    while any(block := stream.read(BLOCK)):
        info = _header(block, position)
        position += BLOCK
        if info.type in LONG or info.type in ATTRIBUTES or info.type == tarfile.XGLTYPE:
            before = _before(before, info, _name_data(stream, info))
            position += -(-info.size // BLOCK) * BLOCK
            continue
        if info.type == tarfile.GNUTYPE_SPARSE:
            raise Damaged(
                f"{info.name!r:.200} is stored with holes (tar --sparse), which is not read; pack it again without"
            )
        size = info.size if before.size is None else before.size
        data = _Data(stream, 0 if info.type in WITHOUT_DATA else size)
        padding = -data.left % BLOCK
        position += data.left + padding
        path = before.path if before.path is not None else info.name.encode("utf-8", "surrogateescape")
        kind = "folder" if path.endswith((b"/", b"\\")) and not size else KINDS.get(info.type, "device or pipe")
        yield Member(decoded(path, encoding, name), data.left, kind, lambda data=data: data, raw.position)  # type: ignore[misc]
        while data.read(1 << 20):
            pass
        if len(stream.read(padding)) < padding:
            raise Damaged("it is cut short within a member")
        before = Before()
    second = stream.read(BLOCK) if len(block) == BLOCK else b""
    if any(second):
        raise Damaged("after its end something else follows, perhaps a second archive or a damaged part of this one")
    if len(second) < BLOCK:
        raise Damaged(
            f"it ends after {position + len(block) + len(second)} bytes without the mark of its end (two blocks of zeros): it is cut short"
        )
    if before != Before():
        raise Damaged("it ends after the name of a member that is not there")
    while block := stream.read(1 << 20):  # a compressed stream has its checksum at the end
        if any(block):
            raise Damaged(
                "after its end something else follows, perhaps a second archive or a damaged part of this one"
            )


def _header(block: bytes, position: int) -> tarfile.TarInfo:
    if len(block) < BLOCK:
        raise Damaged(f"it ends after {position + len(block)} bytes, inside a header: it is cut short")
    try:
        info = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except (tarfile.HeaderError, ValueError, OverflowError):
        raise Damaged(f"the header at byte {position} is damaged") from None
    if info.size < 0:
        raise Damaged(f"the header at byte {position} gives a size of {info.size} bytes")
    return info


def _name_data(stream: io.BufferedIOBase, info: tarfile.TarInfo) -> bytes:
    if info.size > NAME_BYTES:
        raise Damaged(f"the name or the attributes of a member have {info.size} bytes, more than {NAME_BYTES}")
    padded = -(-info.size // BLOCK) * BLOCK
    data = stream.read(padded)
    if len(data) < padded:
        raise Damaged("it is cut short within a name")
    return data[: info.size]


def _before(before: Before, info: tarfile.TarInfo, data: bytes) -> Before:
    """``before`` with what another block in front of a member says."""
    if before.blocks > 8:
        raise Damaged("too many blocks of attributes in front of one member")
    found: dict[bytes, bytes] = {}
    if info.type in LONG:
        found = {LONG[info.type].encode(): data.rstrip(b"\0")}
    else:
        found = _records(data)
    if any(key.startswith(b"GNU.sparse") for key in found):
        raise Damaged("a member is stored with holes (tar --sparse), which is not read; pack it again without")
    if info.type == tarfile.XGLTYPE:
        if {b"path", b"size"} & found.keys():
            raise Damaged("one name or size is given for all members")
        return before
    path, size = found.get(b"path", before.path), before.size
    if b"size" in found:
        if not found[b"size"].isdigit() or len(found[b"size"]) > 18:
            raise Damaged(f"a member's size is {found[b'size']!r:.40}")
        size = int(found[b"size"])
    return Before(path, size, before.blocks + 1)


def _records(data: bytes) -> dict[bytes, bytes]:
    """The attributes of a pax header: `length key=value` and a line's end, each."""
    found: dict[bytes, bytes] = {}
    while data.rstrip(b"\0"):
        digits, space, _ = data[:20].partition(b" ")
        length = int(digits) if space and digits.isdigit() else 0
        record, data = data[:length], data[length:]
        key, equals, value = record[len(digits) + 1 : -1].partition(b"=")
        if not (record.endswith(b"\n") and len(record) == length and equals):
            raise Damaged("the attributes of a member are damaged")
        found[key] = value
    return found
