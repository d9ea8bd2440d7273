"""Fetch a file over http(s): whole and verified, or not at all; an interrupted one goes on where it stopped.

``fetch`` writes ``{target}.part``, with what the server said of the file beside it in ``{target}.part.json``, and renames it when
all of it is there and its size and digest are right. A ``.part`` is gone on with (HTTP Range) only where it is certain to be of
the same file: the server's ETag or date is the same, or the wanted digest is known and will tell. A lock beside the target
keeps two jobs from fetching one file.
"""

from mperceiver.fetch.base import FetchError
from mperceiver.fetch.files import Fetched, fetch
from mperceiver.fetch.questions import Probe, probe

__all__ = ["FetchError", "Fetched", "Probe", "fetch", "probe"]
