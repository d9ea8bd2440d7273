"""Google Drive: what anyone with the link may read. Its pages (a virus scan, a used-up quota, a login) are told, never kept."""

import contextlib
import html
import re
from functools import partial
from pathlib import Path

import requests

from mperceiver.config.sources import GdriveSource
from mperceiver.data import DataError
from mperceiver.data.raw.sources.base import Job, Refused, Taken, Wanted, bring, listed, state_of
from mperceiver.fetch.base import AGENT, TIMEOUT, reason

DOWNLOAD = "https://drive.usercontent.google.com/download"
PAGE_BYTES = 1 << 20
QUOTA = ("Quota exceeded", "quota", "Too many users have viewed or downloaded")


def gdrive(job: Job, source: GdriveSource, folder: Path) -> Taken:
    """Files by their ids, or all wanted ones of a folder."""
    place = f"gdrive:{source.folder}" if source.folder else None
    return bring(job, wanted_gdrive(source), folder, place)


def wanted_gdrive(source: GdriveSource) -> list[Wanted]:
    """The files of a source; Drive is asked for the listing of a folder. Raises DataError where there is none."""
    if source.files:
        return [Wanted(f.name, f"gdrive:{f.id}", partial(address, f.id), f.sha256, f.bytes) for f in source.files]
    import gdown

    what = f"folder {source.folder} on Google Drive"
    try:
        told = gdown.download_folder(
            id=source.folder, quiet=True, use_cookies=False, skip_download=True, timeout=TIMEOUT
        )
    except (gdown.DownloadError, gdown.FileURLRetrievalError, requests.RequestException) as error:
        words = reason(error) if isinstance(error, requests.RequestException) else " ".join(str(error).split())
        status = re.search(r"status code (\d+)", words)
        raise Refused(f"{what}: not to be listed: {words}", state_of(int(status[1]) if status else None)) from None
    ids = {file.path: file.id for file in told}
    if len(ids) != len(told):
        raise DataError(f"{what}: two of its files have one name; give `files` with their ids instead")
    found = listed(ids, None, source.wanted, source.count, what)
    return [Wanted(name, f"gdrive:{ids[name]}", partial(address, ids[name]), source.sha256.get(name)) for name in found]


def address(file_id: str) -> str:
    """Where the bytes of a file are: the same address each time, so that half a file can be gone on with, if Drive lets it.

    Raises DataError when a page comes that is no way to the file; its words are told.
    """
    from gdown.download import get_url_from_gdrive_confirmation
    from gdown.exceptions import FileURLRetrievalError

    url = f"{DOWNLOAD}?id={file_id}&export=download&confirm=t"
    try:
        with requests.get(url, headers=AGENT, stream=True, timeout=TIMEOUT) as answer:
            if "text/html" not in answer.headers.get("Content-Type", "") and answer.status_code < 400:
                return url
            page = answer.raw.read(PAGE_BYTES, decode_content=True).decode("utf-8", "replace")
    except requests.RequestException as error:
        raise Refused(f"Google Drive is not to be reached: {reason(error)}") from None
    if answer.status_code < 400 and "ServiceLogin" not in answer.url:
        with contextlib.suppress(FileURLRetrievalError):
            return get_url_from_gdrive_confirmation(page)
    state, words = refusal(answer.status_code, page, answer.url)
    raise Refused(f"file {file_id} on Google Drive: {words}", state)


def refusal(status: int, page: str, at: str) -> tuple[str, str]:
    """Why Drive does not give a file: the doctor's word for it, and what to do."""
    if any(sign in page for sign in QUOTA):
        return (
            "unreachable",
            "its quota is used up, as many have downloaded it today; try again tomorrow, or bring it by hand from a browser",
        )
    if "ServiceLogin" in at or status in (401, 403):
        return "needs login", "it wants a login: its owner has closed it; another source is needed, or bring it by hand"
    if status == 404:
        return "moved", "it is not there, or no longer"
    words = re.sub(
        r"\s+", " ", html.unescape(re.sub(r"<(script|style).*?</\1>|<[^>]*>", " ", page, flags=re.S))
    ).strip()
    return "unreachable", f"Drive answers {status} with a page instead of it: {words[:200]!r}"
