"""A file on its way: what lies of it on disk, whether it can be gone on with, and an answer's bytes written to it."""

import contextlib
import hashlib
import json
import re
import shutil
import time
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from pathlib import Path
from urllib.parse import urlsplit

import requests

from mperceiver import files
from mperceiver.fetch.base import PIECE, Again, FetchError
from mperceiver.progress import MEGABYTE, progress

PASSING = {408, 425, 429, 500, 502, 503, 504}  # statuses that another try may cure
LONGEST_WAIT = 120  # what a server may ask for by Retry-After


@dataclass
class Part:
    """A file on its way: what lies on disk of it, and what is known about it."""

    path: Path
    url: str
    headers: dict[str, str]
    sha256: str | None
    bytes: int | None
    memo: dict = field(default_factory=dict)  # url, etag, modified, total
    mixed: bool = False  # of several answers, so that a wrong digest may not be the server's fault

    @property
    def notes(self) -> Path:
        return self.path.with_name(self.path.name + ".json")

    def size(self) -> int:
        return self.path.stat().st_size if self.path.is_file() else 0

    def drop(self) -> None:
        self.path.unlink(missing_ok=True)
        self.notes.unlink(missing_ok=True)


def hashed(part: Part, size: int):
    """A SHA-256 that has taken in what lies there of the part; a fresh one where ``size`` is 0."""
    digest = hashlib.sha256()
    if size:
        with part.path.open("rb") as file:
            while piece := file.read(PIECE):
                digest.update(piece)
    return digest


def resume(part: Part) -> tuple[int, dict[str, str]]:
    """Where to go on, and the headers that ask for it; 0 where the part may be of another file."""
    size = part.size()
    part.memo = _noted(part) if size else {}
    same = part.memo.get("url") == part.url and (part.memo.get("etag") or part.memo.get("modified"))
    certain = part.sha256 is not None and part.memo.get("sha256") == part.sha256
    total = part.bytes or part.memo.get("total")
    if not size or not (same or certain) or (total is not None and size > total):
        # What lies there stays until bytes come in its place: another mirror may go on with it.
        part.memo, part.mixed = {}, False
        return 0, part.headers
    part.mixed = True
    headers = part.headers | {"Range": f"bytes={size}-"}
    if same:
        headers["If-Range"] = part.memo.get("etag") or part.memo["modified"]
    return size, headers


def _noted(part: Part) -> dict:
    with contextlib.suppress(OSError, ValueError):
        notes = json.loads(part.notes.read_text())
        return notes if isinstance(notes, dict) else {}
    return {}


def begin(part: Part, answer: requests.Response, start: int) -> int:
    """Judge the head of an answer: ``start`` if its bytes go on with the part, 0 if they are all. Raises Again or FetchError."""
    status = answer.status_code
    if status in PASSING:
        raise Again(f"the server answers {status} {answer.reason}", _asked_wait(answer))
    span = re.fullmatch(r"bytes (?:(\d+)-\d+|\*)/(\d+|\*)", answer.headers.get("Content-Range", ""))
    total = int(span[2]) if span and span[2] != "*" else None
    etag, modified = answer.headers.get("ETag"), answer.headers.get("Last-Modified")
    etag = None if etag and etag.startswith("W/") else etag  # a weak one does not vouch for bytes
    if status == 206 and start and span and span[1] == str(start):
        told = {"etag": etag, "modified": modified} if part.memo.get("url") == part.url else {}
        if all(part.memo.get(key) in (None, now) or now is None for key, now in (told | {"total": total}).items()):
            part.memo["total"] = total or part.memo.get("total")
            return start
    if status in (206, 416):  # not what was asked for, or of another file
        if start:
            part.drop()
        raise Again("the file there is no longer the one this part is of; from the start")
    if status != 200:
        raise FetchError(f"{part.url}: the server answers {status} {answer.reason}{_hint(status)}")
    length = answer.headers.get("Content-Length")
    chunked = "chunked" in answer.headers.get("Transfer-Encoding", "").lower()
    if length is None and not chunked and part.sha256 is None and part.bytes is None:
        raise FetchError(
            f"{part.url}: the server does not tell the size, so half a file could pass for all of it; give `sha256`"
        )
    total = int(length) if length is not None else None
    if part.bytes is not None and total is not None and total != part.bytes:
        raise FetchError(f"{part.url}: {total} bytes are offered, {part.bytes} are wanted; the file was replaced there")
    part.mixed = False
    part.memo = {"url": part.url, "etag": etag, "modified": modified, "total": total, "sha256": part.sha256}
    return 0


def _asked_wait(answer: requests.Response) -> float | None:
    asked = answer.headers.get("Retry-After", "")
    if asked.isdigit():
        return float(asked)
    with contextlib.suppress(ValueError, TypeError):
        return max(parsedate_to_datetime(asked).timestamp() - time.time(), 0)
    return None


def _hint(status: int) -> str:
    if status in (401, 403):
        return ": it wants a login or a token, or the file was withdrawn (for the Hugging Face hub set HF_TOKEN)"
    return ": it is not there, or no longer" if status in (404, 410) else ""


def receive(part: Part, answer: requests.Response, start: int, digest, label: str) -> None:
    """Write an answer's body from ``start`` on, and hash it on its way."""
    total = part.memo.get("total")
    _room(part, (total or part.bytes or 0) - start)
    if start == 0:
        part.drop()  # first: the notes must never stand beside bytes of another file
        files.write_text(part.notes, json.dumps(part.memo))
    shown = progress(label, total, "bytes", start) if total is None or total > MEGABYTE else None
    with shown or contextlib.nullcontext(lambda n: None) as advance, part.path.open("r+b" if start else "wb") as file:
        file.seek(start)
        for piece in answer.raw.stream(PIECE, decode_content=False):
            if file.tell() == 0:
                _no_page(part, answer, piece)
            file.write(piece)
            digest.update(piece)
            advance(len(piece))


def _no_page(part: Part, answer: requests.Response, piece: bytes) -> None:
    """Refuse a web page that comes in place of a file: a login, a notice that it has gone."""
    wanted = Path(urlsplit(part.url).path).suffix.lower() in (".html", ".htm")
    if not wanted and "text/html" in answer.headers.get("Content-Type", "") and piece.lstrip()[:1] == b"<":
        part.drop()
        raise FetchError(
            f"{part.url}: a web page came in place of the file: it wants a login or a click; open it in a browser"
        )


def _room(part: Part, missing: int) -> None:
    free = shutil.disk_usage(part.path.parent).free
    if missing > free:
        raise FetchError(
            f"{part.url}: {missing / 1e9:.1f} GB are missing and {part.path.parent} has {free / 1e9:.1f} GB free; "
            "free space and run the same command again"
        )
