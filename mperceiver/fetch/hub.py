"""Addresses of the Hugging Face hub and of what stands in for it."""

import os
from dataclasses import dataclass
from urllib.parse import quote

import requests

from mperceiver.config.foundations import Mirror
from mperceiver.fetch.base import AGENT, LINK_ERRORS, TIMEOUT, reason

HUB = "https://huggingface.co"
KINDS = {"model": "", "dataset": "datasets/", "space": "spaces/"}


def file_url(
    repository: str, path: str, revision: str = "main", kind: str = "model", endpoint: str | None = None
) -> str:
    """Address of a file in a repository (``owner/name``) of the hub: at ``endpoint``, else $HF_ENDPOINT, else the hub itself."""
    return f"{root(endpoint)}/{KINDS[kind]}{repository}/resolve/{quote(revision, safe='')}/{quote(path)}"


class NotListed(RuntimeError):
    """The hub does not tell what is in a repository; ``status`` is that of its answer, None where there was none."""

    def __init__(self, message: str, status: int | None) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class Listed:
    """A file as the hub tells of it; the digest only of those it keeps as large ones."""

    path: str
    bytes: int
    sha256: str | None


def listing(
    repository: str, folder: str | None = None, revision: str = "main", kind: str = "model", endpoint: str | None = None
) -> list[Listed]:
    """All files of a repository at a revision, or those below a folder of it. Raises NotListed."""
    below = f"/{quote(folder)}" if folder else ""
    url = f"{root(endpoint)}/api/{kind}s/{repository}/tree/{quote(revision, safe='')}{below}?recursive=true"
    found: list[Listed] = []
    status = None
    try:
        while url:
            answer = requests.get(url, headers=AGENT | headers(endpoint), timeout=TIMEOUT)
            status = answer.status_code
            answer.raise_for_status()
            for entry in answer.json():
                if entry["type"] == "file":
                    found.append(Listed(entry["path"], entry["size"], entry.get("lfs", {}).get("oid")))
            url = answer.links.get("next", {}).get("url")  # a thousand at a time
    except requests.HTTPError:
        raise NotListed(f"the hub answers {status} {answer.reason}", status) from None
    except LINK_ERRORS as error:
        raise NotListed(reason(error), None) from None
    except (KeyError, TypeError, ValueError) as error:
        raise NotListed(f"what the hub answers is no listing ({error!r})", None) from None
    return found


def headers(endpoint: str | None = None) -> dict[str, str]:
    """The user's token ($HF_TOKEN, or what `hf auth login` left) as a header; for the hub and $HF_ENDPOINT, no other place."""
    import huggingface_hub

    trusted = {HUB, root(None)}
    token = huggingface_hub.get_token() if root(endpoint) in trusted else None
    return {"Authorization": f"Bearer {token}"} if token else {}


def root(endpoint: str | None = None) -> str:
    return (endpoint or os.environ.get("HF_ENDPOINT") or HUB).rstrip("/")


def of_mirror(mirror: Mirror, path: str) -> tuple[str, dict[str, str]]:
    """Address of a file at a foundation's mirror that is no folder, and the headers that go with it."""
    if mirror.hub is not None:
        return file_url(mirror.hub, path, mirror.revision, endpoint=mirror.endpoint), headers(mirror.endpoint)
    return f"{mirror.url.rstrip('/')}/{path}", {}
