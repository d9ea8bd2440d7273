"""Fetching one file: tries, and what is made of their end."""

import hashlib
import os
import random
import re
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import requests

from mperceiver import files
from mperceiver.fetch.base import AGENT, LINK_ERRORS, TIMEOUT, Again, FetchError, reason
from mperceiver.fetch.part import LONGEST_WAIT, Part, begin, hashed, receive, resume
from mperceiver.files import locked

WAITS = (1, 2, 4, 8, 16)  # seconds between tries; a try that brought new bytes starts the row again
# A redirect to ftp: or file:, in a circle, or to no address.
NEVER = (requests.TooManyRedirects, requests.exceptions.InvalidSchema, requests.exceptions.InvalidURL)


@dataclass(frozen=True)
class Fetched:
    """A whole file: where it lies, its digest and size, and whether any of it came over the network in this call."""

    path: Path
    sha256: str
    bytes: int
    new: bool


def fetch(
    url: str,
    target: Path | str,
    *,
    sha256: str | None = None,
    bytes: int | None = None,
    headers: dict[str, str] | None = None,
    label: str | None = None,
) -> Fetched:
    """Bring ``url`` to ``target``; a target that is there already and is what is wanted is left alone.

    Args:
        url: http or https.
        target: a file; its folder is made. It appears whole.
        sha256: wanted digest, hexadecimal; None: not known, whatever comes is taken and its digest returned.
        bytes: wanted size.
        headers: sent along (a token); never written down.
        label: what progress calls it; the file's name by default.

    Raises:
        FetchError: not to be had, or not what was wanted (both digests are told). What came so far is kept unless it is wrong.
    """
    target, label = Path(target), label or Path(target).name
    if urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).hostname:
        raise FetchError(f"{url}: not an http or https address")
    if sha256 is not None and not re.fullmatch("[0-9a-fA-F]{64}", sha256):
        raise FetchError(f"{url}: {sha256!r} is no SHA-256 digest (64 hexadecimal digits)")
    sha256 = sha256 and sha256.lower()
    with locked(target):
        if target.is_file() and (there := _as_wanted(target, sha256, bytes)):
            return there
        part = Part(target.with_name(target.name + ".part"), url, AGENT | (headers or {}), sha256, bytes)
        digest = _bring(part, label)
        size = part.size()
        with part.path.open("rb") as file:
            os.fsync(file.fileno())
        part.path.replace(target)
        part.drop()
        return Fetched(target, digest, size, True)


def _as_wanted(target: Path, sha256: str | None, size: int | None) -> Fetched | None:
    there = target.stat().st_size
    if size is not None and there != size:
        return None
    digest = files.sha256(target)
    return Fetched(target, digest, there, False) if sha256 in (None, digest) else None


def _bring(part: Part, label: str) -> str:
    """Try until the part is whole and right; its digest. A wrong one is dropped."""
    tries, furthest = 0, 0
    while True:
        try:
            digest = _try(part, label)
        except Again as again:
            reached = part.size() if part.memo else 0
            if reached > furthest:  # new bytes, not the same ones once more
                tries, furthest = 0, reached
            if tries == len(WAITS):
                raise _given_up(part, str(again)) from None
            wait = min(again.wait or WAITS[tries] * (1 + random.random() / 4), LONGEST_WAIT)
            tries += 1
            print(f"{label}: {again}; trying again in {wait:.0f} s", file=sys.stderr, flush=True)
            time.sleep(wait)
            continue
        wrong = _wrong(part, digest)
        if wrong is None:
            return digest
        mixed = part.mixed
        part.drop()
        if not mixed:
            raise FetchError(f"{part.url}: {wrong}. It was not kept; the file was replaced there, or a mirror is wrong")
        print(f"{label}: {wrong} after going on with a part; from the start once more", file=sys.stderr, flush=True)
        part.mixed, furthest = False, 0


def _wrong(part: Part, digest: str) -> str | None:
    """What is wrong with a part that has come to its end."""
    if part.bytes is not None and part.size() != part.bytes:
        return f"{part.size()} bytes came, {part.bytes} are wanted (sha256 {digest})"
    if part.sha256 not in (None, digest):
        return f"sha256 {digest} came, {part.sha256} is wanted"
    return None


def _given_up(part: Part, why: str) -> FetchError:
    if size := part.size():
        why += f"; {size} bytes are kept in {part.path}"
    else:
        part.drop()
    return FetchError(
        f"{part.url}: {why}. Is there a network (compute nodes often have none)? Run the same command again to go on"
    )


def _try(part: Part, label: str) -> str:
    """One request, none if nothing is missing; the digest of the part once it is whole. Raises Again or FetchError."""
    start, headers = resume(part)
    digest = hashed(part, start)  # before the server waits for us
    if start and start == part.memo.get("total"):  # killed between the last byte and the rename
        return digest.hexdigest()
    try:
        with requests.get(part.url, headers=headers, stream=True, timeout=TIMEOUT) as answer:
            if begin(part, answer, start) != start:
                start, digest = 0, hashlib.sha256()
            receive(part, answer, start, digest, label)
    except NEVER as error:
        raise FetchError(f"{part.url}: {error}") from None
    except LINK_ERRORS as error:
        raise Again(reason(error)) from None
    total = part.memo.get("total")
    if total is not None and part.size() != total:
        raise Again(f"the connection ended at {part.size()} of {total} bytes")
    return digest.hexdigest()
