"""Files behind plain URLs, on the Hugging Face hub, and in GitHub repositories."""

import os
from pathlib import Path
from urllib.parse import quote

import requests

from mperceiver.config.sources import GithubSource, HttpSource, HuggingfaceSource
from mperceiver.data import DataError
from mperceiver.data.raw.sources.base import Job, Refused, Taken, Wanted, bring, listed, state_of
from mperceiver.fetch import hub
from mperceiver.fetch.base import AGENT, TIMEOUT

RAW = "https://raw.githubusercontent.com"
LFS = "https://media.githubusercontent.com/media"
CODE = "https://codeload.github.com"
API = "https://api.github.com"


def http(job: Job, source: HttpSource, folder: Path) -> Taken:
    """Files behind plain URLs."""
    return bring(job, wanted_http(source), folder)


def wanted_http(source: HttpSource) -> list[Wanted]:
    """The files of a source, without asking any server."""
    return [Wanted(file.filename, file.url, file.url, file.sha256, file.bytes) for file in source.files]


def huggingface(job: Job, source: HuggingfaceSource, folder: Path) -> Taken:
    """Files of a repository of the hub; the digests of large ones are told by the hub itself."""
    return bring(job, wanted_huggingface(source), folder, place=_place("huggingface", source, source.revision))


def wanted_huggingface(source: HuggingfaceSource) -> list[Wanted]:
    """The files of a source, by the hub's listing. Raises DataError where there is none."""
    what = f"{source.repo}@{source.revision} on the Hugging Face hub"
    headers = hub.headers()
    try:
        files = {file.path: file for file in hub.listing(source.repo, source.root, source.revision, source.repo_type)}
    except hub.NotListed as error:
        raise Refused(f"{what}: not to be listed: {error}", state_of(error.status)) from None
    found = listed(files, source.root, source.files, source.count, what)
    _no_stray_digests(source, found)
    return [
        Wanted(
            name,
            f"huggingface:{source.repo}@{source.revision}/{path}",
            hub.file_url(source.repo, path, source.revision, source.repo_type),
            source.sha256.get(name) or files[path].sha256,
            files[path].bytes,
            headers,
            files[path].sha256,
        )
        for name, path in found.items()
    ]


def github(job: Job, source: GithubSource, folder: Path) -> Taken:
    """Files of a repository at a commit, or all of it as one archive."""
    return bring(job, wanted_github(source), folder, place=_place("github", source, source.commit))


def wanted_github(source: GithubSource) -> list[Wanted]:
    """The files of a source; GitHub is asked for a listing only where a glob has to be filled in. Raises DataError."""
    origin = f"github:{source.repo}@{source.commit}"
    if not source.files:
        name = f"{source.repo.rpartition('/')[2]}-{source.commit}.zip"
        return [Wanted(name, origin, f"{CODE}/{source.repo}/zip/{source.commit}", source.sha256.get(name))]
    prefix = f"{source.root}/" if source.root else ""
    if any(sign in glob for glob in source.files for sign in "*?["):
        sizes = _tree(source)
        found = listed(sizes, source.root, source.files, source.count, f"{source.repo}@{source.commit} on GitHub")
    else:
        sizes, found = {}, {name: prefix + name for name in source.files}
    _no_stray_digests(source, found)
    base = f"{LFS if source.lfs else RAW}/{source.repo}/{source.commit}"
    return [
        Wanted(name, f"{origin}/{path}", f"{base}/{quote(path)}", source.sha256.get(name), sizes.get(path))
        for name, path in found.items()
    ]


def _tree(source: GithubSource) -> dict[str, int | None]:
    """Paths and sizes of all files at a commit (sizes are those of pointers where git-lfs keeps the files: none then)."""
    what = f"{source.repo}@{source.commit} on GitHub"
    token = os.environ.get("GITHUB_TOKEN")
    headers = AGENT | ({"Authorization": f"Bearer {token}"} if token else {})
    url = f"{API}/repos/{source.repo}/git/trees/{source.commit}?recursive=1"
    try:
        answer = requests.get(url, headers=headers, timeout=TIMEOUT)
        answer.raise_for_status()
        told = answer.json()
        tree = {e["path"]: None if source.lfs else e.get("size") for e in told["tree"] if e["type"] == "blob"}
    except (requests.RequestException, KeyError, TypeError, ValueError) as error:
        status = getattr(getattr(error, "response", None), "status_code", None)
        hint = "; it lists 60 times an hour without GITHUB_TOKEN" if status in (403, 429) else ""
        raise Refused(f"{what}: not to be listed: {error}{hint}", state_of(status)) from None
    if told.get("truncated"):
        raise DataError(
            f"{what}: too many files for GitHub to list; give `files` without globs, or none for an archive"
        )
    return tree


def _place(kind: str, source: HuggingfaceSource | GithubSource, revision: str) -> str:
    return f"{kind}:{source.repo}@{revision}" + (f"/{source.root}" if source.root else "")


def _no_stray_digests(source: HuggingfaceSource | GithubSource, found: dict[str, str]) -> None:
    if stray := sorted(set(source.sha256) - set(found)):
        raise DataError(f"`sha256` names {', '.join(stray[:5])}, which is not among its {len(found)} files")
