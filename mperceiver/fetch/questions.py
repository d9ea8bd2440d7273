"""Asking a server about a file."""

from dataclasses import dataclass

import requests

from mperceiver.fetch.base import AGENT, LINK_ERRORS, TIMEOUT, reason


@dataclass(frozen=True)
class Probe:
    """What a server says of a file without its being downloaded. ``status`` is None where no server answered."""

    url: str
    status: int | None
    at: str = ""  # where redirects led
    moved: bool = False  # for good (301, 308)
    bytes: int | None = None
    etag: str | None = None
    kind: str = ""  # content type
    reason: str = ""  # why there is no status

    @property
    def there(self) -> bool:
        return self.status in (200, 206)


def probe(url: str, headers: dict[str, str] | None = None) -> Probe:
    """Ask a server about a file without downloading it. Never raises: a server that is not there is told in ``reason``."""
    try:
        answer = requests.head(url, headers=AGENT | (headers or {}), timeout=TIMEOUT, allow_redirects=True)
        if answer.status_code not in (200, 404, 410) or "Content-Length" not in answer.headers:  # HEAD is not for all
            one = AGENT | (headers or {}) | {"Range": "bytes=0-0"}
            answer = requests.get(url, headers=one, timeout=TIMEOUT, stream=True)
            answer.close()
    except (*LINK_ERRORS, ValueError) as error:
        return Probe(url, None, reason=reason(error))
    span = answer.headers.get("Content-Range", "").rpartition("/")[2]
    length = span if answer.status_code == 206 else answer.headers.get("Content-Length", "")
    return Probe(
        url,
        answer.status_code,
        at=answer.url,
        moved=any(step.status_code in (301, 308) for step in answer.history),
        bytes=int(length) if length.isdigit() else None,
        etag=answer.headers.get("ETag"),
        kind=answer.headers.get("Content-Type", ""),
    )
