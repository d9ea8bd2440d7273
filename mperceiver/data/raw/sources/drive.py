"""Google Drive: files that anyone with the link may read.

Drive often answers with a page (a virus-scan warning, a used-up quota, a login). A page is reported, never kept as the file.
"""

import contextlib
import html
import re
from functools import partial
from pathlib import Path

import requests

from mperceiver.config.sources import GdriveSource
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
from mperceiver.fetch.base import REQUEST_HEADERS, TIMEOUT_S, ask, root_cause

DOWNLOAD = "https://drive.usercontent.google.com/download"
PAGE_BYTES = 1 << 20
QUOTA = ("Quota exceeded", "quota", "Too many users have viewed or downloaded")


def fill_from_drive(download: Download, source: GdriveSource, folder: Path) -> Received:
    """Fetch files by their ids, or all selected files of a folder."""
    origin = f"gdrive:{source.folder}" if source.folder else None
    return get_files(download, list_drive_files(source), folder, origin)


def list_drive_files(source: GdriveSource) -> list[RemoteFile]:
    """The files of a source; for a folder, Drive is asked for its listing. Raises SourceRefused or DataError."""
    if source.files:
        return [
            RemoteFile(file.name, f"gdrive:{file.id}", partial(file_address, file.id), file.sha256, file.bytes)
            for file in source.files
        ]
    import gdown

    where = f"folder {source.folder} on Google Drive"
    try:
        listing = gdown.download_folder(
            id=source.folder, quiet=True, use_cookies=False, skip_download=True, timeout=TIMEOUT_S
        )
    except Exception as error:  # gdown's own, requests', and whatever reading an odd page raises
        why = root_cause(error) if isinstance(error, requests.RequestException) else " ".join(str(error).split())
        status = re.search(r"status code (\d+)", why)
        state = state_of_status(int(status[1]) if status else None)
        raise SourceRefused(f"{where}: cannot be listed: {why}", state) from None
    # gdown gives names alone only for what it has downloaded; here nothing is.
    files = [file for file in listing if not isinstance(file, str)]
    ids = {file.path: file.id for file in files}
    if len(ids) != len(files):
        raise DataError(f"{where}: two of its files have one name; give `files` with their ids instead")
    names = select_paths(ids, None, source.wanted, source.count, where)
    return [
        RemoteFile(name, f"gdrive:{ids[name]}", partial(file_address, ids[name]), source.sha256.get(name))
        for name in names
    ]


def file_address(file_id: str) -> str:
    """Address of a file's bytes. It is the same each time, so that a transfer can be resumed where Drive allows it.

    Raises SourceRefused, with the words of the page, if Drive answers with a page that does not lead to the file.
    """
    from gdown.download import get_url_from_gdrive_confirmation
    from gdown.exceptions import FileURLRetrievalError

    url = f"{DOWNLOAD}?id={file_id}&export=download&confirm=t"
    try:
        with ask(url, REQUEST_HEADERS) as answer:
            if "text/html" not in answer.headers.get("Content-Type", "") and answer.status_code < 400:
                return url
            page = answer.raw.read(PAGE_BYTES, decode_content=True).decode("utf-8", "replace")
    except Exception as error:  # the network's errors, and others that requests raises for odd headers
        raise SourceRefused(f"Google Drive cannot be reached: {root_cause(error)}") from None
    if answer.status_code < 400 and "ServiceLogin" not in answer.url:
        with contextlib.suppress(FileURLRetrievalError):
            return get_url_from_gdrive_confirmation(page)
    state, why = explain_page(answer.status_code, page, answer.url)
    raise SourceRefused(f"file {file_id} on Google Drive: {why}", state)


def explain_page(status: int, page: str, url: str) -> tuple[str, str]:
    """Why Drive sent a page instead of a file: the doctor's word for it, and what to do."""
    if any(words in page for words in QUOTA):
        return (
            "unreachable",
            "its daily quota is used up by other people's downloads; try again tomorrow, or download it in a browser",
        )
    if "ServiceLogin" in url or status in (401, 403):
        return (
            "needs login",
            "it needs a login: its owner has closed it; use another source, or download it in a browser",
        )
    if status == 404:
        return "moved", "it does not exist, or no longer"
    without_tags = re.sub(r"<(script|style).*?</\1>|<[^>]*>", " ", page, flags=re.S)
    text = re.sub(r"\s+", " ", html.unescape(without_tags)).strip()
    return "unreachable", f"Drive answers {status} with a page instead of the file: {text[:200]!r}"
