"""What fetching and probing share: time limits, request headers, and errors."""

import requests
import urllib3

TIMEOUT_S = (15, 60)  # seconds to connect, and seconds between two chunks
CHUNK_BYTES = 1 << 20
# "identity": the Content-Length of a compressed answer would not be the length of the file.
REQUEST_HEADERS = {"User-Agent": "mperceiver", "Accept-Encoding": "identity"}
NETWORK_ERRORS = (requests.RequestException, urllib3.exceptions.HTTPError)


class FetchError(RuntimeError):
    """A file cannot be fetched; the message gives its URL, what was received, what was expected, and the next command."""


class DigestMismatch(FetchError):
    """The file that was received has another SHA-256 than expected."""


class RetryableError(Exception):
    """A failure that another attempt may cure. ``wait_s``: the seconds that the server asked us to wait, if it did."""

    def __init__(self, message: str, wait_s: float | None = None) -> None:
        super().__init__(message)
        self.wait_s = wait_s


def root_cause(error: Exception) -> str:
    """Type and message of the innermost error in a chain of wrapped network errors."""
    inner = getattr(error, "reason", None) or next((a for a in error.args if isinstance(a, Exception)), None)
    return root_cause(inner) if isinstance(inner, Exception) else f"{type(error).__name__}: {error}"
