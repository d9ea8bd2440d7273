"""Files behind plain URLs, on the Hugging Face hub, and in GitHub repositories."""

import os
from pathlib import Path
from urllib.parse import quote

import requests

from mperceiver.config.sources import GithubSource, HttpFile, HttpSource, HuggingfaceSource
from mperceiver.data import DataError
from mperceiver.data.raw.sources.base import (
    Download,
    Received,
    RemoteFile,
    SourceRefused,
    get_files,
    select_paths,
    state_of_status,
)
from mperceiver.fetch import hub
from mperceiver.fetch.base import REQUEST_HEADERS, ask, read_json, root_cause
from mperceiver.printing import masked

GITHUB_FILES = "https://raw.githubusercontent.com"
GITHUB_LFS_FILES = "https://media.githubusercontent.com/media"
GITHUB_ARCHIVES = "https://codeload.github.com"
GITHUB_API = "https://api.github.com"


def fill_from_http(download: Download, source: HttpSource, folder: Path) -> Received:
    """Fetch files from plain URLs."""
    return get_files(download, list_http_files(source), folder)


def list_http_files(source: HttpSource) -> list[RemoteFile]:
    """The files of a source; no server is asked."""
    return [RemoteFile(file.filename, _named(file), file.url, file.sha256, file.bytes) for file in source.files]


def _named(file: HttpFile) -> str:
    """The origin of a file: its URL. If a token in the URL is masked, the file's name follows, so that two files differ."""
    address = masked(file.url)
    return address if address == file.url else f"{address} ({file.filename})"


def fill_from_hub(download: Download, source: HuggingfaceSource, folder: Path) -> Received:
    """Fetch files of a repository of the Hugging Face hub, which lists the digests of large files itself."""
    return get_files(download, list_hub_files(source), folder, _origin("huggingface", source, source.revision))


def list_hub_files(source: HuggingfaceSource) -> list[RemoteFile]:
    """The files of a source that the hub lists. Raises SourceRefused or DataError."""
    where = f"{source.repo}@{source.revision} on the Hugging Face hub"
    headers = hub.token_headers()
    try:
        listing = hub.list_files(source.repo, source.root, source.revision, source.repo_type)
    except hub.ListingError as error:
        raise SourceRefused(f"{where}: cannot be listed: {error}", state_of_status(error.status)) from None
    files = {file.path: file for file in listing}
    selected = select_paths(files, source.root, source.files, source.count, where)
    _refuse_unknown_digests(source, selected)
    return [
        RemoteFile(
            name,
            f"huggingface:{source.repo}@{source.revision}/{path}",
            hub.file_url(source.repo, path, source.revision, source.repo_type),
            source.sha256.get(name) or files[path].sha256,
            files[path].bytes,
            headers,
            files[path].sha256,
        )
        for name, path in selected.items()
    ]


def fill_from_github(download: Download, source: GithubSource, folder: Path) -> Received:
    """Fetch files of a GitHub repository at a commit, or the whole repository as one archive."""
    return get_files(download, list_github_files(source), folder, _origin("github", source, source.commit))


def list_github_files(source: GithubSource) -> list[RemoteFile]:
    """The files of a source; GitHub is asked for a listing only if `files` has globs. Raises SourceRefused or DataError."""
    origin = f"github:{source.repo}@{source.commit}"
    if not source.files:
        name = f"{source.repo.rpartition('/')[2]}-{source.commit}.zip"
        url = f"{GITHUB_ARCHIVES}/{source.repo}/zip/{source.commit}"
        return [RemoteFile(name, origin, url, source.sha256.get(name))]
    sizes: dict[str, int | None] = {}
    if any(character in glob for glob in source.files for character in "*?["):
        sizes = _file_sizes(source)
        where = f"{source.repo}@{source.commit} on GitHub"
        selected = select_paths(sizes, source.root, source.files, source.count, where)
    else:
        prefix = f"{source.root}/" if source.root else ""
        selected = {name: prefix + name for name in source.files}
    _refuse_unknown_digests(source, selected)
    base = f"{GITHUB_LFS_FILES if source.lfs else GITHUB_FILES}/{source.repo}/{source.commit}"
    return [
        RemoteFile(name, f"{origin}/{path}", f"{base}/{quote(path)}", source.sha256.get(name), sizes.get(path))
        for name, path in selected.items()
    ]


def _file_sizes(source: GithubSource) -> dict[str, int | None]:
    """Paths and sizes of all files at a commit. With git-lfs, GitHub lists the sizes of pointers: then they are None."""
    where = f"{source.repo}@{source.commit} on GitHub"
    token = os.environ.get("GITHUB_TOKEN")
    headers = REQUEST_HEADERS | ({"Authorization": f"Bearer {token}"} if token else {})
    url = f"{GITHUB_API}/repos/{source.repo}/git/trees/{source.commit}?recursive=1"
    try:
        answer = ask(url, headers)
        answer.raise_for_status()
        listing = read_json(answer)
        files = [entry for entry in listing["tree"] if entry["type"] == "blob"]
        sizes = {file["path"]: None if source.lfs else file.get("size") for file in files}
    except requests.HTTPError as error:
        status = error.response.status_code
        hint = "; without GITHUB_TOKEN it lists 60 times an hour" if status in (403, 429) else ""
        raise SourceRefused(f"{where}: cannot be listed: {error}{hint}", state_of_status(status)) from None
    except Exception as error:  # the network's errors, an answer of another form, headers that requests cannot read
        raise SourceRefused(f"{where}: cannot be listed: {root_cause(error):.300}", state_of_status(None)) from None
    if listing.get("truncated"):
        raise DataError(
            f"{where}: has too many files for GitHub to list; give `files` without globs, or leave out `files` for an archive"
        )
    return sizes


def _origin(kind: str, source: HuggingfaceSource | GithubSource, revision: str) -> str:
    return f"{kind}:{source.repo}@{revision}" + (f"/{source.root}" if source.root else "")


def _refuse_unknown_digests(source: HuggingfaceSource | GithubSource, selected: dict[str, str]) -> None:
    if unknown := sorted(set(source.sha256) - set(selected)):
        raise DataError(f"`sha256` names {', '.join(unknown[:5])}, which is not among its {len(selected)} files")
