"""Addresses of the Hugging Face hub and of what stands in for it."""

import os
from urllib.parse import quote

HUB = "https://huggingface.co"
KINDS = {"model": "", "dataset": "datasets/", "space": "spaces/"}


def file_url(
    repository: str, path: str, revision: str = "main", kind: str = "model", endpoint: str | None = None
) -> str:
    """Address of a file in a repository (``owner/name``) of the hub: at ``endpoint``, else $HF_ENDPOINT, else the hub itself."""
    return f"{root(endpoint)}/{KINDS[kind]}{repository}/resolve/{quote(revision, safe='')}/{quote(path)}"


def headers(endpoint: str | None = None) -> dict[str, str]:
    """The user's token ($HF_TOKEN, or what `hf auth login` left) as a header; for the hub and $HF_ENDPOINT, no other place."""
    import huggingface_hub

    trusted = {HUB, root(None)}
    token = huggingface_hub.get_token() if root(endpoint) in trusted else None
    return {"Authorization": f"Bearer {token}"} if token else {}


def root(endpoint: str | None = None) -> str:
    return (endpoint or os.environ.get("HF_ENDPOINT") or HUB).rstrip("/")
