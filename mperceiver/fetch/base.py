"""What fetching and probing share: requests, time limits, errors, and reading the headers of answers.

A server may answer anything. No size that it names is believed without a bound, and no answer makes more than the project's own errors.
"""

import io
import json
import re
from collections.abc import Mapping
from typing import Any

import requests
import urllib3

from mperceiver.fetch.pace import session
from mperceiver.printing import masked

TIMEOUT_S = (5, 60)  # seconds to connect to one of a server's addresses, and seconds between two pieces of its answer
CHUNK_BYTES = 1 << 20
LISTING_BYTES = 64 << 20  # longest list of files that is read
# "identity": the Content-Length of a compressed answer would not be the length of the file.
REQUEST_HEADERS = {"User-Agent": "mperceiver", "Accept-Encoding": "identity"}
NETWORK_ERRORS = (requests.RequestException, urllib3.exceptions.HTTPError)


class FetchError(RuntimeError):
    """A file cannot be fetched; the message gives its URL, what was received, what was expected, and the next command.

    A password or token in the URL is masked.
    """

    def __init__(self, message: str) -> None:
        super().__init__(masked(message))


class DigestMismatch(FetchError):
    """The file that was received has another SHA-256 than expected."""


class RetryableError(Exception):
    """A failure that another attempt may cure.

    Attributes:
        wait_s: the seconds that the server asked us to wait, if it did.
        slow: whether the server sends too slowly; the bytes that came are then no reason to go on for ever.
    """

    def __init__(self, message: str, wait_s: float | None = None, slow: bool = False) -> None:
        super().__init__(masked(message))
        self.wait_s = wait_s
        self.slow = slow


def ask(url: str, headers: Mapping[str, str], method: str = "GET") -> requests.Response:
    """Ask a server; the body of its answer is not read yet, and that of a redirect never is."""
    with session() as asking:
        return asking.request(
            method,
            url,
            headers=headers,
            stream=True,
            timeout=TIMEOUT_S,
            allow_redirects=True,
            hooks={"response": _empty_redirect},
        )


def _empty_redirect(answer: requests.Response, **_: Any) -> None:
    """Drop the body of a redirect, which requests would read into memory, however long it is."""
    if answer.is_redirect:
        answer.close()
        answer.raw = io.BytesIO()


def read_json(answer: requests.Response) -> Any:
    """The JSON in the body of an answer. Raises ValueError if it is none, or longer than a listing can be."""
    with answer:
        text = answer.raw.read(LISTING_BYTES + 1, decode_content=True)
    if len(text) > LISTING_BYTES:
        raise ValueError(f"more than {LISTING_BYTES} bytes")
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("JSON nested too deeply") from None


def content_length(headers: Mapping[str, str]) -> int | None:
    """The Content-Length of an answer; None if it has none. Raises ValueError for one that is no number, or for several."""
    if "Content-Length" not in headers:
        return None
    # RFC 9110 8.6: a header that is given twice with the same value is accepted.
    values = {value.strip() for value in headers["Content-Length"].split(",")}
    (value,) = values if len(values) == 1 else (headers["Content-Length"],)
    if not re.fullmatch("[0-9]{1,18}", value):
        raise ValueError(f"its Content-Length is {value!r:.60}")
    return int(value)


def innermost(error: Exception) -> Exception:
    """The innermost error in a chain of wrapped network errors."""
    inner = getattr(error, "reason", None) or next((a for a in error.args if isinstance(a, Exception)), None)
    return innermost(inner) if isinstance(inner, Exception) else error


def root_cause(error: Exception) -> str:
    """Type and message of the innermost error in a chain of wrapped network errors."""
    inner = innermost(error)
    return f"{type(inner).__name__}: {inner}"
