"""Kinds of source: what `source:` may be in an entry of a dataset's `sources`.

To add a kind, write its model in config/sources.py and a function ``(download, source, folder) -> Received`` that puts the
files into ``folder`` and raises DataError if it cannot; name it in FILL_FROM. If the source's files are known before they are
downloaded, so that ``mperceiver doctor`` can ask for them, also write ``(source) -> [RemoteFile]`` and name it in LIST_FILES.
"""

from collections.abc import Callable

from mperceiver.data.raw.sources.base import Download, Received, RemoteFile
from mperceiver.data.raw.sources.drive import fill_from_drive, list_drive_files
from mperceiver.data.raw.sources.local import (
    fill_from_folder,
    fill_from_generator,
    fill_from_manual,
    fill_from_package,
    list_manual_files,
)
from mperceiver.data.raw.sources.remote import (
    fill_from_github,
    fill_from_http,
    fill_from_hub,
    list_github_files,
    list_http_files,
    list_hub_files,
)

FILL_FROM: dict[str, Callable[..., Received]] = {
    "package": fill_from_package,
    "generated": fill_from_generator,
    "local": fill_from_folder,
    "http": fill_from_http,
    "huggingface": fill_from_hub,
    "github": fill_from_github,
    "gdrive": fill_from_drive,
    "manual": fill_from_manual,
}
LIST_FILES: dict[str, Callable[..., list[RemoteFile]]] = {
    "http": list_http_files,
    "huggingface": list_hub_files,
    "github": list_github_files,
    "gdrive": list_drive_files,
    "manual": list_manual_files,
}

__all__ = ["FILL_FROM", "LIST_FILES", "Download", "Received", "RemoteFile"]
