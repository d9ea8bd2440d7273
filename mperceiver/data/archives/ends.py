"""Whether a rar or 7z archive, which only a tool opens, ends where it should. The tools themselves take some cut archives for whole."""

import struct
import zlib
from pathlib import Path
from typing import IO

from mperceiver.data.archives.base import Archive
from mperceiver.data.archives.joined import Joined
from mperceiver.data.archives.squeezed import Damaged

RAR4, RAR5 = b"Rar!\x1a\x07\x00", b"Rar!\x1a\x07\x01\x00"
SEVEN_ZIP = b"7z\xbc\xaf\x27\x1c"
HEADER_BYTES = 2 << 20  # longest header of RAR5
TABLE_BYTES = 256 << 20  # longest table of contents of a 7z archive that is checked


def check(archive: Archive) -> bool:
    """Whether the first bytes are those of a rar or 7z archive.

    Raises Damaged if it is cut short, has a damaged header, or is followed by something else.
    """
    with archive.parts[0].open("rb") as file:
        first = file.read(8)
    if first.startswith(SEVEN_ZIP):
        _check_7z(archive)
    elif first.startswith((RAR4, RAR5)):
        for number, part in enumerate(archive.parts):
            _check_rar(part, last=number == len(archive.parts) - 1)
    else:
        return False
    return True


def _check_7z(archive: Archive) -> None:
    """The header at the start gives the place and the checksum of the table of contents, with which the archive ends."""
    raw = Joined(archive.parts)
    try:
        head = raw.exactly(0, 32)
        if len(head) < 32 or zlib.crc32(head[12:32]) != struct.unpack("<L", head[8:12])[0]:
            raise Damaged("its header is damaged")
        offset, size, checksum = struct.unpack("<QQL", head[12:32])
        if (end := 32 + offset + size) != raw.size:
            raise Damaged(f"it has {raw.size} bytes, its header says {end}")
        if size > TABLE_BYTES or zlib.crc32(raw.exactly(32 + offset, size)) != checksum:
            raise Damaged("its table of contents is damaged")
    finally:
        raw.close()


def _check_rar(part: Path, last: bool) -> None:
    """Go from header to header; the last one says that it is the end, and whether another part follows."""
    with part.open("rb") as file:
        if file.read(8) != RAR5:
            file.seek(len(RAR4))
        more = _walk_rar5(file, part) if file.tell() == 8 else _walk_rar4(file, part)
        if more is None:
            return  # its headers are encrypted
        if more == last:
            raise Damaged(f"{part.name} says that {'another part follows' if more else 'it is the last part'}")
        while rest := file.read(1 << 20):
            if any(rest):
                raise Damaged(f"something else follows the end of {part.name}")


def _walk_rar5(file: IO[bytes], part: Path) -> bool | None:
    """Whether the end says that another part follows; None for encrypted headers."""
    size_of_file = part.stat().st_size
    while checksum := file.read(4):
        start = file.tell()
        length, used = _number(file.read(3))
        file.seek(start)
        header = file.read(used + length)
        if not 0 < length < HEADER_BYTES or len(header) < used + length:
            raise Damaged(f"a header at byte {start - 4} of {part.name} is cut short or damaged")
        if struct.pack("<L", zlib.crc32(header)) != checksum:
            raise Damaged(f"a header at byte {start - 4} of {part.name} is damaged")
        at = used
        fields: list[int] = []
        for field in range(4):  # type, flags, size of the extra area, size of the data
            present = field < 2 or fields[1] & (field - 1)
            number, used = _number(header[at : at + 10]) if present else (0, 0)
            fields.append(number)
            at += used
        kind, _, _, data = fields
        if kind == 4:
            return None
        if kind == 5:
            return bool(_number(header[at : at + 10])[0] & 1)
        if file.tell() + data > size_of_file:
            raise Damaged(f"{part.name} is cut short within a member")
        file.seek(data, 1)
    raise Damaged(f"{part.name} has no mark of its end: it is cut short")


def _number(data: bytes) -> tuple[int, int]:
    """A number of RAR5, and the bytes that it takes: seven bits a byte, the lowest first."""
    value = 0
    for i, byte in enumerate(data):
        value |= (byte & 0x7F) << 7 * i
        if byte < 0x80:
            return value, i + 1
    raise Damaged("a number in a header is damaged")


def _walk_rar4(file: IO[bytes], part: Path) -> bool | None:
    """As ``_walk_rar5``, for the older form RAR4."""
    size_of_file = part.stat().st_size
    while head := file.read(7):
        start = file.tell() - len(head)
        if len(head) < 7:
            raise Damaged(f"a header at byte {start} of {part.name} is cut short")
        checksum, kind, flags, length = struct.unpack("<HBHH", head)
        header = head + file.read(max(0, length - 7))
        if length < 7 or len(header) < length or not 0x73 <= kind <= 0x7B:
            raise Damaged(f"a header at byte {start} of {part.name} is cut short or damaged")
        commented = flags & {0x73: 2, 0x74: 8}.get(kind, 0)  # an old comment is no part of the checksum
        if kind in (0x73, 0x74, 0x7A, 0x7B) and not commented and zlib.crc32(header[2:]) & 0xFFFF != checksum:
            raise Damaged(f"a header at byte {start} of {part.name} is damaged")
        if kind == 0x73 and flags & 0x80:
            return None
        if kind == 0x7B:
            return bool(flags & 1)
        data = struct.unpack("<L", header[7:11])[0] if flags & 0x8000 or kind == 0x74 else 0
        if kind in (0x74, 0x7A) and flags & 0x100:
            data += struct.unpack("<L", header[32:36])[0] << 32
        if file.tell() + data > size_of_file:
            raise Damaged(f"{part.name} is cut short within a member")
        file.seek(data, 1)
    raise Damaged(
        f"{part.name} has no mark of its end: it is cut short (or was packed by a WinRAR before 3.0: pack it again)"
    )
