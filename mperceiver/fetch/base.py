"""What fetching and asking share: how long to wait, what may pass, and how failures are told."""

import requests
import urllib3

TIMEOUT = (15, 60)  # seconds to connect, and between two pieces
PIECE = 1 << 20
AGENT = {"User-Agent": "mperceiver", "Accept-Encoding": "identity"}  # a length of compressed bytes would mean nothing
LINK_ERRORS = (requests.RequestException, urllib3.exceptions.HTTPError)


class FetchError(RuntimeError):
    """A file cannot be had; the message says from where, what came, what was wanted, and what to do next."""


class Again(Exception):
    """Something that may pass; ``wait``: seconds the server asked for."""

    def __init__(self, message: str, wait: float | None = None) -> None:
        super().__init__(message)
        self.wait = wait


def reason(error: Exception) -> str:
    """The innermost words of a chain of wrapped errors."""
    inner = getattr(error, "reason", None) or next((a for a in error.args if isinstance(a, Exception)), None)
    return reason(inner) if isinstance(inner, Exception) else f"{type(error).__name__}: {error}"
