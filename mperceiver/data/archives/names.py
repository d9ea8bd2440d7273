"""The names of members: what their bytes say, and where a file of that name may be written."""

import re
import struct
import zipfile
import zlib

from mperceiver.data import DataError

LEFT_BY_DESKTOPS = {"__MACOSX", "Thumbs.db", "desktop.ini"}
LONGEST_PATH = 1024  # bytes; file systems take 4096 at most, and the folder's own path comes before it
UNICODE_PATH = 0x7075  # extra field of a zip: the name in UTF-8
UTF8_FLAG = 0x800
# A byte above 0x80, then a backslash: one character in GBK, Big5 and Shift-JIS; in all other encodings a character and a separator.
SPLIT_SIGN = re.compile(rb"[\x81-\xfe]\\")


def decoded(raw: bytes, encoding: str | None, archive: str) -> str:
    """The name that stands in an archive as bytes, without saying their encoding.

    Args:
        raw: the bytes.
        encoding: the one under `names` of the dataset; None: UTF-8 if the bytes are that, else code page 437, zip's own.
        archive: the archive's name, for the message.

    Raises:
        DataError: the bytes do not fit the encoding, or without one a backslash may be half of a character.
    """
    if encoding is not None:
        try:
            return raw.decode(encoding)
        except UnicodeDecodeError:
            raise DataError(
                f"the name {raw!r} of a member is not in {encoding}, which `names` gives; the archive is not unpacked"
            ) from None
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        if SPLIT_SIGN.search(raw):
            raise DataError(
                f"the name {raw!r} of a member does not say its encoding, and its backslash is half of a character in some (GBK, "
                f"Big5, Shift-JIS); give the encoding in the dataset's file, e.g. `names: {{{archive}: gbk}}`"
            ) from None
        return raw.decode("cp437")


def zip_name(info: zipfile.ZipInfo, encoding: str | None, archive: str) -> str:
    """The name of a zip's member: UTF-8 where the zip says so, else as ``decoded``. Raises DataError as that does."""
    stored = info.orig_filename
    if "\0" in stored:
        raise DataError(f"member {stored!r} has a name that no file can have; the archive is not unpacked")
    if info.flag_bits & UTF8_FLAG:
        return stored
    raw = stored.encode("cp437")  # as zipfile has read it
    return _unicode_path(info.extra, raw) or decoded(raw, encoding, archive)


def needs_encoding(info: zipfile.ZipInfo) -> bool:
    """Whether a zip's member has a name that is not ASCII and does not say its encoding."""
    stored = info.orig_filename
    return not (info.flag_bits & UTF8_FLAG or stored.isascii() or _unicode_path(info.extra, stored.encode("cp437")))


def _unicode_path(extra: bytes, raw: bytes) -> str | None:
    """The name in the extra field that Info-ZIP adds; None if there is none, or it belongs to another name."""
    while len(extra) >= 4:
        kind, size = struct.unpack("<HH", extra[:4])
        field, extra = extra[4 : 4 + size], extra[4 + size :]
        if kind == UNICODE_PATH and len(field) > 5 and field[0] == 1:
            if int.from_bytes(field[1:5], "little") == zlib.crc32(raw):
                return field[5:].decode("utf-8")
    return None


def safe_path(path: str) -> str | None:
    """A member's path as it may be written below a folder; None for hidden files and files that desktops leave behind.

    Raises DataError for a path that leads out of the folder, or that no file can have, or none at all.
    """
    if not path:
        raise DataError("a member has no name; the archive is not unpacked")
    name = path.replace("\\", "/")
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if name.startswith("/") or re.match("[A-Za-z]:", name) or ".." in parts:
        raise DataError(f"member {_shown(path)} would be written outside its folder; the archive is not unpacked")
    name = "/".join(parts)
    try:
        long = any(len(part.encode()) > 255 for part in parts) or len(name.encode()) > LONGEST_PATH
    except UnicodeEncodeError:  # half of a surrogate pair
        long = True
    if long or re.search(r"[\x00-\x1f\x7f-\x9f]", name):
        raise DataError(f"member {_shown(path)} has a name that no file can have; the archive is not unpacked")
    unwanted = any(part.startswith(".") or part in LEFT_BY_DESKTOPS for part in parts)
    return None if unwanted or not parts else name


def _shown(path: str) -> str:
    """A name in a message: in quotes, its middle left out if it is long."""
    return repr(path) if len(path) <= 200 else f"{path[:100]!r} … {path[-60:]!r}"
