"""Ask a server about a file without downloading it."""

from dataclasses import dataclass

from mperceiver.fetch.base import REQUEST_HEADERS, ask, content_length, root_cause


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
        """Whether the server would send the file."""
        return self.status in (200, 206)


def probe(url: str, headers: dict[str, str] | None = None) -> Probe:
    """Ask a server about a file. Never raises: if the server cannot be reached, ``Probe.reason`` says why."""
    sent = REQUEST_HEADERS | (headers or {})
    try:
        with ask(url, sent, "HEAD") as answer:
            pass
        # Some servers refuse HEAD or leave the length out: then ask for the first byte.
        if answer.status_code not in (200, 404, 410) or "Content-Length" not in answer.headers:
            with ask(url, sent | {"Range": "bytes=0-0"}) as answer:
                pass
        total = answer.headers.get("Content-Range", "").rpartition("/")[2]
        known = {"Content-Length": total} if total not in ("", "*") else {}
        length = content_length(known if answer.status_code == 206 else answer.headers)
    except Exception as error:  # the network's errors, and a dozen others that requests raises for odd headers
        return Probe(url, None, reason=root_cause(error))
    return Probe(
        url,
        answer.status_code,
        final_url=answer.url,
        moved_permanently=any(step.status_code in (301, 308) for step in answer.history),
        bytes=length,
        content_type=answer.headers.get("Content-Type", ""),
    )
