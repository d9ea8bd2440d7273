"""The Hugging Face hub and its mirrors: addresses of files, listings of repositories, and the user's token.

Addresses and tokens come from huggingface_hub. Its ``list_repo_tree`` is not used: it sets no time limit, so that a mirror
that accepts a connection and never answers would stop the job for ever; and a failed connection closes the one HTTP client
that all threads share, while the doctor asks many repositories at once. Files are fetched by ``mperceiver.fetch``, which
resumes at any mirror and holds each file to its SHA-256.
"""

import os
from dataclasses import dataclass
from urllib.parse import quote

import requests

from mperceiver.config.foundations import Mirror
from mperceiver.fetch.base import NETWORK_ERRORS, REQUEST_HEADERS, ask, read_json, root_cause
from mperceiver.printing import masked

MOST_PAGES = 10_000  # of a listing
HUB = "https://huggingface.co"


class ListingError(RuntimeError):
    """A repository cannot be listed. ``status``: the HTTP status of the answer, None if there was no answer."""

    def __init__(self, message: str, status: int | None) -> None:
        super().__init__(masked(message))
        self.status = status


@dataclass(frozen=True)
class HubFile:
    """A file in a repository, as the hub lists it. ``sha256`` is listed only for files in LFS (large files)."""

    path: str
    bytes: int
    sha256: str | None


def file_url(
    repository: str, path: str, revision: str = "main", kind: str = "model", endpoint: str | None = None
) -> str:
    """Address of a file in a repository (``owner/name``) at ``endpoint``; else at $HF_ENDPOINT, else at the hub itself."""
    from huggingface_hub import hf_hub_url

    return hf_hub_url(repository, path, repo_type=kind, revision=revision, endpoint=endpoint_url(endpoint))


def list_files(
    repository: str, folder: str | None = None, revision: str = "main", kind: str = "model", endpoint: str | None = None
) -> list[HubFile]:
    """All files of a repository at a revision, or those below one of its folders. Raises ListingError."""
    below = f"/{quote(folder)}" if folder else ""
    address = f"{endpoint_url(endpoint)}/api/{kind}s/{repository}/tree/{quote(revision, safe='')}{below}"
    page: str | None = f"{address}?recursive=true"
    files: list[HubFile] = []
    status, pages = None, 0
    try:
        while page:
            answer = ask(page, REQUEST_HEADERS | token_headers(endpoint))
            status = answer.status_code
            answer.raise_for_status()
            for entry in read_json(answer):
                if entry["type"] == "file":
                    files.append(HubFile(str(entry["path"]), int(entry["size"]), (entry.get("lfs") or {}).get("oid")))
            pages += 1
            page = answer.links.get("next", {}).get("url") if pages < MOST_PAGES else None  # a thousand entries a page
    except requests.HTTPError:
        raise ListingError(f"the hub answers {status} {answer.reason}", status) from None
    except NETWORK_ERRORS as error:
        raise ListingError(root_cause(error), None) from None
    except Exception as error:  # an answer of another form, or headers that requests cannot read
        raise ListingError(f"the hub's answer is not a listing ({error!r:.200})", None) from None
    return files


def token_headers(endpoint: str | None = None) -> dict[str, str]:
    """The user's token ($HF_TOKEN, or that of `hf auth login`) as a header. Sent to the hub and to $HF_ENDPOINT only."""
    from huggingface_hub import get_token

    trusted = {HUB, endpoint_url(None)}
    token = get_token() if endpoint_url(endpoint) in trusted else None
    return {"Authorization": f"Bearer {token}"} if token else {}


def endpoint_url(endpoint: str | None) -> str:
    """Address of ``endpoint``; else of $HF_ENDPOINT, else of the hub itself. It does not end in a slash."""
    return (endpoint or os.environ.get("HF_ENDPOINT") or HUB).rstrip("/")


def mirror_request(mirror: Mirror, path: str) -> tuple[str, dict[str, str]]:
    """Address of a file at a foundation's mirror (a hub or a web folder), and the headers to send with the request."""
    if mirror.hub is not None:
        url = file_url(mirror.hub, path, mirror.revision, endpoint=mirror.endpoint)
        return url, token_headers(mirror.endpoint)
    assert mirror.url is not None, "a mirror that is a local folder has no address"
    return f"{mirror.url.rstrip('/')}/{path}", {}
