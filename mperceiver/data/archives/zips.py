"""Members of a zip, whole or split, and whether its table of contents is all there is in it.

zipfile reads the table. It does not check, and so this module does: that the table has as many entries as it says, that each entry agrees
with the header in front of its data, that all members in the file are in the table, and that nothing follows its end.
"""

import io
import stat
import struct
import zipfile
from collections.abc import Callable, Iterator
from typing import IO

from mperceiver.data import DataError
from mperceiver.data.archives.base import Archive, Member, MemberKind
from mperceiver.data.archives.joined import Joined
from mperceiver.data.archives.names import needs_encoding, zip_name
from mperceiver.data.archives.squeezed import Damaged

METHODS = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA}
END, END64, LOCATOR64, LOCAL = b"PK\5\6", b"PK\6\6", b"PK\6\7", b"PK\3\4"
MARKS_OF_SPLITS = (b"PK\x07\x08", b"PK00")  # four bytes in front of the first member
SIZES_FOLLOW = 8  # flag of a member whose header has no sizes; they follow its data


def read_zip(archive: Archive, raw: Joined, password: str | None, encoding: str | None) -> Iterator[Member]:
    """Members of a zip, in the order of its table. Raises Damaged, zipfile's errors, or DataError."""
    with open_zip(archive, raw) as bundle:
        key = password.encode() if password else None
        for info in bundle.infolist():
            name = zip_name(info, encoding, archive.name)
            mode = stat.S_IFMT(info.external_attr >> 16)
            folder = name.endswith("/") or (name.endswith("\\") and not info.file_size)
            kind: MemberKind = "link" if mode == stat.S_IFLNK else "folder" if folder else "file"
            if mode not in (0, stat.S_IFREG, stat.S_IFLNK, stat.S_IFDIR):
                kind = "device or pipe"
            yield Member(name, info.file_size, kind, _opener(archive, bundle, info, key), info.header_offset)


def zip_needs_tool(archive: Archive, raw: Joined) -> bool:
    """Whether a member is compressed by a method that Python does not have (deflate64, AES).

    Raises Damaged, zipfile's errors, or DataError: a tool would read its names as it likes.
    """
    members = open_zip(archive, raw).infolist()
    if all(info.compress_type in METHODS for info in members):
        return False
    if unclear := [info.filename for info in members if needs_encoding(info)]:
        raise DataError(
            f"{archive.parts[-1]}: only a tool opens it, and {unclear[0]!r:.200} does not say the encoding of its name; unpack it by "
            "hand and pack it again as a plain zip"
        )
    return True


def _opener(
    archive: Archive, bundle: zipfile.ZipFile, info: zipfile.ZipInfo, key: bytes | None
) -> Callable[[], IO[bytes]]:
    def opened() -> IO[bytes]:
        if info.flag_bits & 1 and key is None:
            raise DataError(f"{info.filename} is encrypted; give `passwords: {{{archive.name}: …}}`")
        try:
            return bundle.open(info, pwd=key)
        except NotImplementedError:  # a kind of RuntimeError that says nothing about the password
            raise
        except RuntimeError:
            raise DataError(f"the password given under `passwords` does not open {info.filename}") from None

    return opened


def open_zip(archive: Archive, raw: Joined) -> zipfile.ZipFile:
    """Open a zip, whole or split. In a split zip each offset counts from the start of its part, which zipfile cannot handle."""
    end, count = _end_record(raw)
    starts = _as_one_disk(archive, raw, end)
    bundle = zipfile.ZipFile(io.BufferedReader(raw, 1 << 20))
    members = bundle.infolist()
    if starts:
        for info in members:
            if info.volume >= len(starts):
                raise Damaged(f"{info.filename!r:.200} begins in part {info.volume + 1} of {len(starts)}")
            info.header_offset += starts[info.volume]
            if hasattr(info, "_end_offset"):  # zipfile's guard against overlaps, computed from the old offsets
                info._end_offset = None
    if len(members) != count and (count >= 0xFFFF or len(members) % 0x10000 != count):  # old writers count modulo 65536
        raise Damaged(f"its table of contents has {len(members)} entries, its end says {count}")
    _check_places(raw, members, bundle.start_dir)
    return bundle


def _end_record(raw: Joined) -> tuple[int, int]:
    """Where the record of the end stands, and how many entries the table has by it. Raises Damaged."""
    base = max(0, raw.size - 65557)
    tail = raw.exactly(base, 65557)
    at = tail.rfind(END)
    if at < 0 or len(tail) < at + 22:
        raise Damaged("its end, with the table of contents, is not there")
    *_, count, _, _, comment = struct.unpack("<4s4H2LH", tail[at : at + 22])
    if len(tail) < at + 22 + comment or any(tail[at + 22 + comment :]):
        raise Damaged("something else follows its end")
    if count == 0xFFFF and tail[at - 20 : at - 16] == LOCATOR64:
        _, disk, record, _ = struct.unpack("<4sLQL", tail[at - 20 : at])
        place = (raw.starts[disk] if disk < len(raw.starts) else 0) + record
        if raw.exactly(place, 4) == END64:
            count = struct.unpack("<Q", raw.exactly(place + 32, 8))[0]
    return base + at, count


def _check_places(raw: Joined, members: list[zipfile.ZipInfo], table: int) -> None:
    """Raise Damaged unless the members lie one after the other in front of the table, each as the table describes it."""
    reached = 0
    for info in sorted(members, key=lambda info: info.header_offset):
        name, start = info.filename, info.header_offset
        if start < reached or start < 0:
            raise Damaged(f"its members overlap at {name!r:.200}")
        _refuse_unlisted(raw, reached, start)
        head = raw.exactly(start, 30)
        if len(head) < 30 or not head.startswith(LOCAL):
            raise Damaged(f"member {name!r:.200} is not where its table of contents says")
        _, flags, method, _, _, crc, packed, size, name_bytes, extra = struct.unpack("<4x5H3L2H", head)
        told = (info.CRC, info.compress_size, info.file_size)
        if method != info.compress_type or (flags & 1) != (info.flag_bits & 1):
            raise Damaged(f"the header of member {name!r:.200} and its table of contents differ")
        if not flags & SIZES_FOLLOW and 0xFFFFFFFF not in (packed, size) and (crc, packed, size) != told:
            raise Damaged(f"the header of member {name!r:.200} and its table of contents give different sizes")
        reached = start + 30 + name_bytes + extra + info.compress_size
    if reached > table:
        raise Damaged("its members overlap its table of contents")
    _refuse_unlisted(raw, reached, table)


def _refuse_unlisted(raw: Joined, start: int, end: int) -> None:
    """Raise Damaged if a member begins between two listed ones. The sizes that follow a member's data have up to 24 bytes."""
    gap = raw.exactly(start, min(end - start, 64))
    at = gap.find(LOCAL)
    if 0 <= at <= 24 and not (start == 0 and gap[:4] in MARKS_OF_SPLITS and at > 4):
        raise Damaged(f"at byte {start + at} lies a member that its table of contents does not list")


def _as_one_disk(archive: Archive, raw: Joined, end: int) -> list[int] | None:
    """Where the parts of a split zip begin; None for a zip in one piece. Patches its end records to those of a whole zip."""
    _, disk, first, _, total, size, offset, comment = struct.unpack("<4s4H2LH", raw.exactly(end, 22))
    long = raw.exactly(end - 20, 20) if end >= 20 else b""
    long = long if long.startswith(LOCATOR64) else b""
    if long:
        _, record_disk, record, disks = struct.unpack("<4sLQL", long)
        disk = max(disks, 1) - 1
    if disk == 0:
        return None
    if disk + 1 != len(archive.parts):
        raise DataError(f"{archive.parts[-1]}: a split zip of {disk + 1} parts, of which {len(archive.parts)} are here")
    if long:
        if record_disk > disk:
            raise Damaged("its end names a part that is not there")
        place = raw.starts[record_disk] + record
        fields = list(struct.unpack("<4sQ2H2L4Q", raw.exactly(place, 56)))
        if fields[5] > disk:
            raise Damaged("its end names a part that is not there")
        fields[9] += raw.starts[fields[5]]
        fields[4:6], fields[6] = [0, 0], fields[7]
        raw.patches[place] = struct.pack("<4sQ2H2L4Q", *fields)
        raw.patches[end - 20] = struct.pack("<4sLQL", LOCATOR64, 0, place, 1)
        record_end = (0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF)
    else:
        if first > disk:
            raise Damaged("its end names a part that is not there")
        record_end = (total, size, raw.starts[first] + offset)
    raw.patches[end] = struct.pack("<4s4H2LH", END, 0, 0, record_end[0], *record_end, comment)
    return raw.starts
