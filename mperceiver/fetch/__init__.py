"""Fetch files over http and https: whole and verified, or not at all.

``fetch`` writes to ``{target}.part`` and renames that file to ``target`` once its size and SHA-256 are right. An interrupted
transfer is resumed with an HTTP Range request, but only if the bytes on disk certainly belong to the same file: either the
server still reports the same ETag or modification date, or the expected SHA-256 is known and will show a mix-up. What the
server reported is noted in ``{target}.part.json``. A lock beside the target keeps two jobs from fetching the same file.
"""

from mperceiver.fetch.base import DigestMismatch, FetchError
from mperceiver.fetch.probing import Probe, probe
from mperceiver.fetch.transfer import FetchedFile, fetch

__all__ = ["DigestMismatch", "FetchError", "FetchedFile", "Probe", "fetch", "probe"]
