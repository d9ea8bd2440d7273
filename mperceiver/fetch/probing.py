"""Ask a server about a file without downloading it."""

from dataclasses import dataclass

import requests

from mperceiver.fetch.base import NETWORK_ERRORS, REQUEST_HEADERS, TIMEOUT_S, root_cause


@dataclass(frozen=True)
class Probe:
    """What a server reports about a file. ``status`` is None if no server answered; ``reason`` then says why."""

    url: str
    status: int | None
    final_url: str = ""  # after all redirects
    moved_permanently: bool = False  # a redirect was 301 or 308
    bytes: int | None = None
    content_type: str = ""
    reason: str = ""

    @property
    def available(self) -> bool:
        return self.status in (200, 206)


def probe(url: str, headers: dict[str, str] | None = None) -> Probe:
    """Ask a server about a file. Never raises: if the server cannot be reached, ``Probe.reason`` says why."""
    sent = REQUEST_HEADERS | (headers or {})
    try:
        answer = requests.head(url, headers=sent, timeout=TIMEOUT_S, allow_redirects=True)
        # Some servers refuse HEAD or leave the length out: then ask for the first byte.
        if answer.status_code not in (200, 404, 410) or "Content-Length" not in answer.headers:
            answer = requests.get(url, headers=sent | {"Range": "bytes=0-0"}, timeout=TIMEOUT_S, stream=True)
            answer.close()
    except (*NETWORK_ERRORS, ValueError) as error:
        return Probe(url, None, reason=root_cause(error))
    total = answer.headers.get("Content-Range", "").rpartition("/")[2]
    length = total if answer.status_code == 206 else answer.headers.get("Content-Length", "")
    return Probe(
        url,
        answer.status_code,
        final_url=answer.url,
        moved_permanently=any(step.status_code in (301, 308) for step in answer.history),
        bytes=int(length) if length.isdigit() else None,
        content_type=answer.headers.get("Content-Type", ""),
    )
