"""A partly downloaded file: its bytes on disk, whether they can be resumed, and writing a response to it."""

import contextlib
import hashlib
import json
import re
import shutil
import time
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from itertools import chain
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import requests

from mperceiver.disks import writing_to
from mperceiver.fetch.base import CHUNK_BYTES, FetchError, RetryableError, content_length
from mperceiver.fetch.stand_ins import BLANK
from mperceiver.files import write_text
from mperceiver.printing import masked
from mperceiver.progress import MEGABYTE, progress

ROOM_BYTES = 1 << 28  # that a body of unknown length must leave free; checked each time that so many bytes have come
RETRYABLE_STATUSES = {408, 425, 429, 500, 502, 503, 504}


@dataclass
class PartialFile:
    """A file that is being downloaded: the bytes on disk, and what is known about the whole file."""

    path: Path
    url: str
    headers: dict[str, str]
    sha256: str | None  # expected
    bytes: int | None  # expected
    notes: dict[str, Any] = field(default_factory=dict)  # of the last response: url, etag, modified, total, sha256
    answered: bool = False  # whether a server has answered at all
    from_several_responses: bool = False  # then a wrong SHA-256 may come from joining different files

    @property
    def address(self) -> str:
        """The URL as it is noted on disk: without a password or token."""
        return masked(self.url)

    @property
    def notes_file(self) -> Path:
        """The file with the notes, beside the bytes."""
        return self.path.with_name(self.path.name + ".json")

    def size(self) -> int:
        """How many bytes are on disk; 0 if there is no file yet."""
        return self.path.stat().st_size if self.path.is_file() else 0

    def delete(self) -> None:
        """Delete the bytes on disk and the notes."""
        self.path.unlink(missing_ok=True)
        self.notes_file.unlink(missing_ok=True)


def hash_so_far(partial: PartialFile, size: int) -> "hashlib._Hash":
    """A SHA-256 object over the bytes on disk; over nothing if ``size`` is 0."""
    if not size:
        return hashlib.sha256()
    with partial.path.open("rb") as file:
        return hashlib.file_digest(file, "sha256")


def resume_point(partial: PartialFile) -> tuple[int, dict[str, str]]:
    """The byte to resume from, and the request headers for it; 0 if the bytes on disk may belong to another file."""
    size = partial.size()
    partial.notes = _read_notes(partial) if size else {}
    same_version = partial.notes.get("url") == partial.address and (
        partial.notes.get("etag") or partial.notes.get("modified")
    )
    same_digest = partial.sha256 is not None and partial.notes.get("sha256") == partial.sha256
    total = partial.bytes or partial.notes.get("total")
    if not size or not (same_version or same_digest) or (total is not None and size > total):
        # The bytes stay on disk until others replace them: another mirror may still resume from them.
        partial.notes, partial.from_several_responses = {}, False
        return 0, partial.headers
    partial.from_several_responses = True
    headers = partial.headers | {"Range": f"bytes={size}-"}
    if same_version:
        headers["If-Range"] = partial.notes.get("etag") or partial.notes["modified"]
    return size, headers


def _read_notes(partial: PartialFile) -> dict[str, Any]:
    """What is noted of the last response; nothing if the notes are not as ``write_body`` writes them."""
    kinds = {"url": str, "etag": str, "modified": str, "total": int, "sha256": str}
    with contextlib.suppress(OSError, ValueError, RecursionError):
        notes = json.loads(partial.notes_file.read_text(encoding="utf-8"))
        if isinstance(notes, dict) and all(isinstance(notes.get(key), kind | None) for key, kind in kinds.items()):
            return {key: notes.get(key) for key in kinds}
    return {}


def check_response(partial: PartialFile, response: requests.Response, start: int) -> int:
    """Check the headers of a response: returns ``start`` if its body continues the file there, 0 if it is the whole file.

    Raises RetryableError or FetchError.
    """
    status = response.status_code
    if status in RETRYABLE_STATUSES:
        raise RetryableError(f"the server answers {status} {response.reason}", _retry_after_s(response))
    _refuse_encoding(partial, response)
    span = re.fullmatch(
        r"bytes (?:([0-9]{1,18})-[0-9]{1,18}|\*)/([0-9]{1,18}|\*)", response.headers.get("Content-Range", "")
    )
    total = int(span[2]) if span and span[2] != "*" else None
    etag, modified = response.headers.get("ETag"), response.headers.get("Last-Modified")
    etag = None if etag and etag.startswith("W/") else etag  # a weak ETag does not promise equal bytes
    if status == 206 and start and span and span[1] == str(start):
        version = {"etag": etag, "modified": modified} if partial.notes.get("url") == partial.address else {}
        reported = version | {"total": total}
        if all(partial.notes.get(key) in (None, value) or value is None for key, value in reported.items()):
            partial.notes["total"] = total or partial.notes.get("total")
            return start
    if status in (206, 416):  # another range than asked for, or a range of another file
        if start:
            partial.delete()
        raise RetryableError("the file on the server has changed since this download began; starting again")
    if status != 200:
        raise FetchError(f"{partial.url}: the server answers {status} {response.reason}{_hint(status)}")
    total = content_length(response.headers)
    chunked = "chunked" in response.headers.get("Transfer-Encoding", "").lower()
    if chunked:
        total = None  # RFC 9112 6.3: a Content-Length is then ignored
    elif total is None and partial.sha256 is None and partial.bytes is None:
        raise FetchError(
            f"{partial.url}: the server does not report the file's size, so a file cut short could not be noticed. "
            "Give its `sha256` or `bytes`"
        )
    if partial.bytes is not None and total is not None and total != partial.bytes:
        raise FetchError(
            f"{partial.url}: the server offers {total} bytes, expected {partial.bytes}; the file there was replaced"
        )
    partial.from_several_responses = False
    partial.notes = {
        "url": partial.address,
        "etag": etag,
        "modified": modified,
        "total": total,
        "sha256": partial.sha256,
    }
    return 0


def _retry_after_s(response: requests.Response) -> float | None:
    """Seconds to wait, from the Retry-After header: a number of seconds or a date."""
    value = response.headers.get("Retry-After", "")
    if re.fullmatch("[0-9]{1,9}", value):
        return float(value)
    with contextlib.suppress(ValueError, TypeError, OverflowError):
        return max(parsedate_to_datetime(value).timestamp() - time.time(), 0)
    return None


def _hint(status: int) -> str:
    if status in (401, 403):
        return ": the file needs a login or a token (for the Hugging Face hub: set HF_TOKEN), or was withdrawn"
    return ": the file does not exist there, or no longer" if status in (404, 410) else ""


def _refuse_encoding(partial: PartialFile, response: requests.Response) -> None:
    """Raise FetchError for a body that the server compressed (Content-Encoding), although the request asked for the file as it is.

    Many servers give the header for a .gz file, too; the body is then the file itself, and accepted.
    """
    encoding = response.headers.get("Content-Encoding", "").strip().lower()
    own = {
        "gzip": (".gz", ".tgz"),
        "x-gzip": (".gz", ".tgz"),
        "x-bzip2": (".bz2", ".tbz2", ".tbz"),
        "x-xz": (".xz", ".txz"),
    }
    name = urlsplit(partial.url).path.lower()
    if encoding not in ("", "identity") and not name.endswith(own.get(encoding, ())):
        raise FetchError(
            f"{partial.url}: the server sends the file compressed (Content-Encoding: {encoding!r:.40}), although it was asked not to; "
            "the bytes would not be the file's"
        )


def write_body(
    partial: PartialFile, response: requests.Response, start: int, digest: "hashlib._Hash", label: str
) -> None:
    """Write the body of a response to the file from byte ``start`` on, and add it to ``digest``."""
    total = partial.notes.get("total")
    _check_free_space(partial, (total or partial.bytes or 0) - start, 0 if start else partial.size())
    chunks = response.raw.stream(CHUNK_BYTES, decode_content=False)
    first = next(chunks, b"")
    if start == 0:
        _refuse_web_page(partial, response, first)  # it leaves what an earlier attempt has brought
        partial.delete()  # before the notes are written: they must never describe the bytes of another file
        write_text(partial.notes_file, json.dumps(partial.notes))
    large = total is None or total > MEGABYTE
    bar = progress(label, total, "bytes", start) if large else contextlib.nullcontext(lambda count: None)
    with bar as advance, writing_to(partial.path), partial.path.open("r+b" if start else "wb") as file:
        file.seek(start)
        for chunk in chain([first], chunks):
            if total is None:
                _check_room(partial, file.tell(), len(chunk))
            file.write(chunk)
            digest.update(chunk)
            advance(len(chunk))


def _check_room(partial: PartialFile, received: int, more: int) -> None:
    """Raise FetchError if a body that does not say its length grows beyond the size expected, or nearly fills the disk."""
    if partial.bytes is not None and received + more > partial.bytes:
        partial.delete()
        raise FetchError(
            f"{partial.url}: the server sends more than the {partial.bytes} bytes expected; the file there was replaced"
        )
    if received // ROOM_BYTES != (received + more) // ROOM_BYTES:
        if (free := shutil.disk_usage(partial.path.parent).free) < ROOM_BYTES:
            partial.delete()
            raise FetchError(
                f"{partial.url}: the server does not say how long the file is; {received / 1e9:.1f} GB have come, and "
                f"{partial.path.parent} has {free / 1e9:.1f} GB left. What had come was deleted; free space, or give the file's `bytes`"
            )


def _refuse_web_page(partial: PartialFile, response: requests.Response, chunk: bytes) -> None:
    """Raise FetchError for a web page in place of a file: a login form, or a notice that the file has gone."""
    page_expected = Path(urlsplit(partial.url).path).suffix.lower() in (".html", ".htm")
    is_page = "text/html" in response.headers.get("Content-Type", "") and chunk.lstrip(BLANK)[:1] == b"<"
    if is_page and not page_expected:
        raise FetchError(
            f"{partial.url}: the server sent a web page instead of the file; most likely it asks for a login or a click. "
            "Open the address in a browser"
        )


def _check_free_space(partial: PartialFile, missing_bytes: int, replaced_bytes: int) -> None:
    """Raise FetchError if the disk has no room for what is still to come. ``replaced_bytes``: of the old file, which goes before."""
    free = shutil.disk_usage(partial.path.parent).free
    if missing_bytes > free + replaced_bytes:
        raise FetchError(
            f"{partial.url}: {missing_bytes / 1e9:.1f} GB are still to come, and {partial.path.parent} has "
            f"{free / 1e9:.1f} GB free; free space and run the same command again"
        )
