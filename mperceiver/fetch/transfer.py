"""Fetch one file: requests until it is complete and verified, or a clear failure."""

import hashlib
import os
import random
import re
import time
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import requests
import urllib3

from mperceiver import files
from mperceiver.fetch.base import (
    NETWORK_ERRORS,
    REQUEST_HEADERS,
    TIMEOUT_S,
    DigestMismatch,
    FetchError,
    RetryableError,
    ask,
    innermost,
    root_cause,
)
from mperceiver.fetch.pace import TooSlow
from mperceiver.fetch.partial import PartialFile, check_response, hash_so_far, resume_point, write_body
from mperceiver.printing import say

WAITS_S = (1, 2, 4, 8, 16)  # seconds between attempts; an attempt that brought new bytes starts again with the first
LONGEST_WAIT_S = 120  # however long a server asks us to wait
# Attempts at a server of which nothing has been heard (a name that is wrong, a machine without a network), and for how long.
NO_SERVER_TRIES, NO_SERVER_S = 3, 5
SLOW_TRIES = 2  # attempts at a server that sends too slowly: the second connection is often a better one
# A redirect to another scheme (ftp:, file:), a circle of redirects, an invalid address: no attempt would cure these.
PERMANENT_ERRORS = (requests.TooManyRedirects, requests.exceptions.InvalidSchema, requests.exceptions.InvalidURL)


@dataclass(frozen=True)
class FetchedFile:
    """A complete, verified file. ``downloaded``: whether this call got any of it over the network."""

    path: Path
    sha256: str
    bytes: int
    downloaded: bool


def fetch(
    url: str,
    target: Path | str,
    *,
    sha256: str | None = None,
    bytes: int | None = None,
    headers: dict[str, str] | None = None,
    label: str | None = None,
) -> FetchedFile:
    """Download ``url`` to ``target``. A target that exists and is as expected is left as it is, without a request.

    Args:
        url: http or https.
        target: a file; its folder is created. The file appears complete or not at all.
        sha256: expected digest, 64 hexadecimal digits; None: not known, any content is accepted and its digest returned.
        bytes: expected size.
        headers: added to each request (e.g. a token); never written to disk.
        label: name shown by the progress bar; the file's name by default.

    Raises:
        FetchError: the file cannot be fetched. DigestMismatch: it is not the expected one (both digests are shown).
        The bytes received so far are kept for the next call, unless they are wrong.
    """
    target, label = Path(target), label or Path(target).name
    if urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).hostname:
        raise FetchError(f"{url}: not an http or https address")
    if sha256 is not None and not re.fullmatch("[0-9a-fA-F]{64}", sha256):
        raise FetchError(f"{url}: {sha256!r} is no SHA-256 digest (64 hexadecimal digits)")
    sha256 = sha256 and sha256.lower()
    with files.locked(target):
        if target.is_file() and (existing := _existing(target, sha256, bytes)):
            return existing
        partial = PartialFile(
            target.with_name(target.name + ".part"), url, REQUEST_HEADERS | (headers or {}), sha256, bytes
        )
        digest = _download(partial, label)
        size = partial.size()
        with partial.path.open("rb") as file:
            os.fsync(file.fileno())
        partial.path.replace(target)
        partial.delete()
        return FetchedFile(target, digest, size, True)


def _existing(target: Path, sha256: str | None, size: int | None) -> FetchedFile | None:
    """The file at ``target``, if it is as expected."""
    actual_size = target.stat().st_size
    if size is not None and actual_size != size:
        return None
    digest = files.sha256(target)
    return FetchedFile(target, digest, actual_size, False) if sha256 in (None, digest) else None


def _download(partial: PartialFile, label: str) -> str:
    """Request the file until it is complete and as expected; returns its SHA-256. A wrong file is deleted."""
    attempts, furthest, slow, begun = 0, 0, 0, time.monotonic()
    while True:
        try:
            digest = _request(partial, label)
        except RetryableError as error:
            reached = partial.size() if partial.notes else 0
            if reached > furthest:  # new bytes, not the same ones again
                attempts, furthest = 0, reached
            unheard_of = not partial.answered and not reached
            slow += error.slow
            tried_enough = attempts + 1 >= NO_SERVER_TRIES or time.monotonic() - begun >= NO_SERVER_S
            if attempts == len(WAITS_S) or slow == SLOW_TRIES or (unheard_of and tried_enough):
                raise _given_up(partial, str(error)) from None
            wait_s = min(error.wait_s or WAITS_S[attempts] * (1 + random.random() / 4), LONGEST_WAIT_S)
            attempts += 1
            say(f"{label}: {error}; trying again in {wait_s:.0f} s", error=True)
            time.sleep(wait_s)
            continue
        mismatch = _mismatch(partial, digest)
        if mismatch is None:
            return digest
        resumed = partial.from_several_responses
        partial.delete()
        if not resumed:
            raise mismatch
        say(f"{label}: {mismatch}. The transfer had been resumed; downloading all of it again", error=True)
        partial.from_several_responses, furthest = False, 0


def _in_words(error: Exception) -> str:
    """What a network error says; of a server that is silent, for how long."""
    cause = root_cause(error)
    if isinstance(inner := innermost(error), TooSlow):
        return str(inner)
    if isinstance(error, requests.ConnectTimeout):
        return f"no connection within {TIMEOUT_S[0]} s ({cause})"
    if isinstance(error, requests.ReadTimeout | urllib3.exceptions.ReadTimeoutError) or "ReadTimeoutError" in cause:
        return f"the server sent nothing for {TIMEOUT_S[1]} s"
    return cause


def _mismatch(partial: PartialFile, digest: str) -> FetchError | None:
    """The error for a complete download that is not the expected file; None if it is."""
    advice = "The download was deleted. Either the file there was replaced, or a mirror is wrong"
    if partial.bytes is not None and partial.size() != partial.bytes:
        sizes = f"received {partial.size()} bytes (SHA-256 {digest}), expected {partial.bytes}"
        return FetchError(f"{partial.url}: {sizes}. {advice}")
    if partial.sha256 not in (None, digest):
        return DigestMismatch(f"{partial.url}: received SHA-256 {digest}, expected {partial.sha256}. {advice}")
    return None


def _given_up(partial: PartialFile, why: str) -> FetchError:
    if size := partial.size():
        why += f"; {size} bytes are kept in {partial.path}"
    else:
        partial.delete()
    return FetchError(
        f"{partial.url}: {why}. Is there a network (compute nodes often have none)? Run the same command again to resume"
    )


def _request(partial: PartialFile, label: str) -> str:
    """Make one request, or none if no byte is missing; returns the SHA-256 of the complete file.

    Raises RetryableError or FetchError.
    """
    start, headers = resume_point(partial)
    digest = hash_so_far(partial, start)  # before the request, so that the server need not wait for it
    if start and start == partial.notes.get("total"):  # a job was killed between the last byte and the rename
        return digest.hexdigest()
    try:
        with ask(partial.url, headers) as response:
            partial.answered = True
            if check_response(partial, response, start) != start:
                start, digest = 0, hashlib.sha256()
            write_body(partial, response, start, digest, label)
    except PERMANENT_ERRORS as error:
        raise FetchError(f"{partial.url}: {error}") from None
    except NETWORK_ERRORS as error:
        raise RetryableError(_in_words(error), slow=isinstance(innermost(error), TooSlow)) from None
    except (FetchError, RetryableError, OSError):
        raise
    except Exception as error:  # requests and urllib3 raise a dozen other classes for odd headers
        raise FetchError(
            f"{partial.url}: the server's answer cannot be read ({type(error).__name__}: {error!s:.200})"
        ) from None
    total = partial.notes.get("total")
    if total is not None and partial.size() != total:
        raise RetryableError(f"the connection ended at {partial.size()} of {total} bytes")
    return digest.hexdigest()
