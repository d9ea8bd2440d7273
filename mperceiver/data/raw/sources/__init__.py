"""Kinds of source: what `source:` in an entry of a dataset's `sources` may be.

To add a kind, write its model in config/sources.py and one function ``(job, source, folder) -> Taken`` that puts files into
``folder`` and raises DataError where it cannot; name it in SOURCES. If its files can be told before they come, so that the
doctor can ask after them, a second one ``(source) -> [Wanted]``, named in WANTED.
"""

from collections.abc import Callable

from mperceiver.data.raw.sources.base import Job, Taken, Wanted
from mperceiver.data.raw.sources.drive import gdrive, wanted_gdrive
from mperceiver.data.raw.sources.local import generated, local, manual, package, wanted_manual
from mperceiver.data.raw.sources.remote import github, http, huggingface, wanted_github, wanted_http, wanted_huggingface

SOURCES: dict[str, Callable[..., Taken]] = {
    "package": package,
    "generated": generated,
    "local": local,
    "http": http,
    "huggingface": huggingface,
    "github": github,
    "gdrive": gdrive,
    "manual": manual,
}
WANTED: dict[str, Callable[..., list[Wanted]]] = {
    "http": wanted_http,
    "huggingface": wanted_huggingface,
    "github": wanted_github,
    "gdrive": wanted_gdrive,
    "manual": wanted_manual,
}

__all__ = ["SOURCES", "WANTED", "Job", "Taken", "Wanted"]
