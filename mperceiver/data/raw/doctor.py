"""Check the sources of datasets and foundations without downloading: do they still offer what the config says?

Each file gets one answer; a source whose files are all as they should be gets one for all of them. The state of an answer is `ok`; `moved` (another
address for good, or not there any more); `needs login`; `hash differs` (or the size does: the server offers another file than
the config or the card names); `unreachable`; `manual` (a person has to bring the file, and has not yet).
"""

import importlib.util
import os
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from mperceiver import config, lineage, paths
from mperceiver.config.foundations import FileGroup, Mirror
from mperceiver.config.sources import (
    GdriveSource,
    GeneratedSource,
    GithubSource,
    HttpSource,
    HuggingfaceSource,
    LocalSource,
    ManualSource,
    PackageSource,
    Source,
)
from mperceiver.data import DataError
from mperceiver.data.raw.sources import LIST_FILES, RemoteFile
from mperceiver.data.raw.sources.base import SourceRefused, manual_folders, state_of_status
from mperceiver.data.raw.sources.drive import file_address
from mperceiver.data.raw.sources.local import expanded
from mperceiver.fetch import FetchError, hub, packages, probe
from mperceiver.printing import console, masked_data, say_json, shown
from mperceiver.progress import progress

PARALLEL_QUESTIONS = 16
LOGIN = ("login", "signin", "sign-in", "servicelogin", "accounts.google.com", "sso")  # in the address of a login page
FINE = ("ok", "manual")
LISTED = ("huggingface", "github")  # sources whose listing gives size and digest, so that asking for one file is enough
MOST = 20  # answers about one source


@dataclass(frozen=True)
class SourceAnswer:
    """What is known now about a file of a source."""

    kind: str  # datasets, foundations
    name: str
    source: str
    file: str
    state: str
    detail: str = ""


def ask_sources(names: list[str], mirrors: list[Path]) -> list[SourceAnswer]:
    """Ask the sources of datasets and foundations, and of the datasets that they are made from; without names, of all.

    Raises ConfigError for a name that is neither; DataError if this machine is set to stay off the network.
    """
    if os.environ.get("HF_HUB_OFFLINE", "").lower() in ("1", "true", "yes", "on"):
        raise DataError(
            "$HF_HUB_OFFLINE is set, so no server may be asked; on a machine with a network: unset HF_HUB_OFFLINE; "
            "mperceiver doctor"
        )
    questions = [question for kind, name in _selected(names) for question in _questions(kind, name, mirrors)]
    answers: list[SourceAnswer] = []
    with (
        ThreadPoolExecutor(PARALLEL_QUESTIONS) as pool,
        progress("doctor", len(questions), "sources") as advance,
    ):
        for about_source in pool.map(lambda question: question(), questions):
            answers += about_source
            advance(1)
    return answers


def _selected(names: list[str]) -> list[tuple[str, str]]:
    """(kind, name) of each dataset and foundation to ask about."""
    if not names:
        return [(kind, name) for kind in ("datasets", "foundations") for name in config.names(kind)]
    selected: list[tuple[str, str]] = []
    waiting = list(names)
    for name in waiting:  # the list grows while it is read
        kinds = [kind for kind in ("datasets", "foundations") if name in config.names(kind)]
        if not kinds:
            config.load("datasets", name)  # raises ConfigError with the names that exist
        selected += [(kind, name) for kind in kinds]
        if "datasets" in kinds:
            waiting += [other for other in config.load("datasets", name).from_ if other not in waiting]
    return selected


def _questions(kind: str, name: str, mirrors: list[Path]) -> Iterator[Callable[[], list[SourceAnswer]]]:
    """A function for each source that asks it."""
    if kind == "datasets":
        for source in config.load(kind, name).sources:
            yield partial(_ask_dataset, name, source, mirrors)
    else:
        for part in config.load(kind, name).parts:
            for mirror in part.mirrors:
                yield partial(_ask_mirror, name, part, mirror)


def print_answers(answers: list[SourceAnswer], as_json: bool) -> None:
    """Print answers: a table and the number of each state, or JSON."""
    if as_json:
        say_json(masked_data([asdict(answer) for answer in answers]), indent=1)
        return
    from rich.table import Table
    from rich.text import Text

    table = Table("name", "source", "state", header_style="bold")
    table.add_column("file", overflow="fold")
    table.add_column("what is known", overflow="fold")
    last = None
    for answer in answers:
        state = Text(answer.state, style={"ok": "green", "manual": "yellow"}.get(answer.state, "red"))
        name = answer.name if answer.name != last else ""
        table.add_row(name, answer.source, state, Text(shown(answer.file)), Text(shown(answer.detail)))
        last = answer.name
    output = console()
    output.print(table)
    counts = Counter(answer.state for answer in answers)
    output.print(", ".join(f"{count} {state}" for state, count in counts.most_common()) or "no sources")
    if counts["unreachable"] > 1 and all(answer.state in ("manual", "unreachable") for answer in answers):
        output.print("No server could be reached: has this machine a network? (Compute nodes often have none.)")


# ---------------------------------------------------------------- datasets


def _ask_dataset(name: str, source: Source, mirrors: list[Path]) -> list[SourceAnswer]:
    def answer(file: str, state: str, detail: str) -> SourceAnswer:
        return SourceAnswer("datasets", name, source.source, file, state, detail)

    if isinstance(source, PackageSource | GeneratedSource | LocalSource):
        return [answer(*_look_on_this_machine(source, mirrors))]
    try:
        files = LIST_FILES[source.source](source)
    except DataError as error:
        return [answer(_label(source), getattr(error, "state", "hash differs"), str(error))]
    recorded = _recorded_files(name)
    answers, to_ask = [], files
    if source.source in LISTED:
        answers = [answer(file.name, *_compare(file, file.bytes, recorded)) for file in files]
        to_ask = files[:1]  # the listing describes the others
    for file in to_ask:
        if any((folder / file.name).is_file() for folder in manual_folders(name, mirrors)):
            state, detail = "ok", "brought by hand"
        elif isinstance(source, ManualSource):
            state, detail = "manual", f"from {source.page} into {paths.manual_folder(name)}/"
        else:
            state, detail = _ask_server(file, recorded)
        answers.append(answer(file.name, state, detail))
    problems = [given for given in answers if given.state != "ok"][:MOST]
    return problems or ([answer(_label(source), "ok", f"{len(files)} files")] if len(files) > 1 else answers[-1:])


def _label(source: HttpSource | HuggingfaceSource | GithubSource | GdriveSource | ManualSource) -> str:
    """A source in a word or two."""
    if isinstance(source, HuggingfaceSource | GithubSource):
        return source.repo + (f"/{source.root}" if source.root else "")
    if isinstance(source, GdriveSource):
        return source.folder or source.files[0].name
    return urlsplit(source.files[0].url).hostname or "" if isinstance(source, HttpSource) else source.page


def _look_on_this_machine(
    source: PackageSource | GeneratedSource | LocalSource, mirrors: list[Path]
) -> tuple[str, str, str]:
    """(package, generator or folder; state; detail) of a source that needs no network."""
    if isinstance(source, GeneratedSource):
        return source.generator, "ok", "generated on this machine"
    if isinstance(source, PackageSource):
        installed = importlib.util.find_spec(source.package.split(".")[0]) is not None
        return source.package, *(("ok", "installed") if installed else ("unreachable", "not installed; uv sync"))
    try:
        folder = expanded(source.folder)
    except DataError as error:
        return source.folder, "unreachable", str(error)
    candidates = [folder] if folder.is_absolute() else [mirror / folder for mirror in mirrors]
    existing = next((str(candidate) for candidate in candidates if candidate.is_dir()), None)
    absent = ("manual", "in none of the mirror folders (MPERCEIVER_MIRROR)")
    return source.folder, *(("ok", existing) if existing else absent)


def _recorded_files(name: str) -> dict[str, dict]:
    """The files in the card of a dataset's last download, by their origin: {origin: {from, bytes, sha256}}."""
    try:
        files = lineage.read_card(paths.raw_card(name))["result"].get("files", {})
    except lineage.LineageError:
        return {}
    return {file["from"]: file for file in files.values()}


def _compare(file: RemoteFile, size: int | None, recorded: dict[str, dict]) -> tuple[str, str]:
    """(state, detail): whether the file that a server offers is the one that the config and the card name."""
    record = recorded.get(file.origin, {})
    for owner, digest in (("the config", file.sha256), ("the card", record.get("sha256"))):
        if None not in (digest, file.listed_sha256) and digest != file.listed_sha256:
            return "hash differs", f"the server offers SHA-256 {file.listed_sha256}, {owner} has {digest}"
    for owner, expected in (("the config", file.bytes), ("the card", record.get("bytes"))):
        if None not in (expected, size) and expected != size:
            return "hash differs", f"the server offers {size} bytes, {owner} has {expected}"
    return "ok", "" if size is None else f"{size / 1e6:,.1f} MB"


def _ask_server(file: RemoteFile, recorded: dict[str, dict]) -> tuple[str, str]:
    """(state, detail) of a file, by asking its server for it."""
    try:
        url = file.url() if callable(file.url) else file.url
    except SourceRefused as error:
        return error.state, str(error)
    assert url is not None, "a file that a person brings has no server"
    reported = probe(url, file.headers)
    if not reported.available:
        why = reported.reason or f"the server answers {reported.status}"
        return state_of_status(reported.status), f"{why} ({url})"
    if "text/html" in reported.content_type and not urlsplit(url).path.endswith((".html", ".htm")):
        page = "login" if any(word in reported.final_url.lower() for word in LOGIN) else "web"
        return "needs login", f"the server sends a {page} page instead of the file ({reported.final_url})"
    state, detail = _compare(file, reported.bytes, recorded)
    if state == "ok" and reported.moved_permanently:
        return "moved", f"permanently, to {reported.final_url}"
    return state, detail


# ---------------------------------------------------------------- foundations


def _ask_mirror(name: str, part: FileGroup, mirror: Mirror) -> list[SourceAnswer]:
    def answer(file: str, state: str, detail: str) -> SourceAnswer:
        kind, _, place = str(mirror).partition(" ") if mirror.url is None else ("url", "", mirror.url)
        return SourceAnswer("foundations", name, kind, file, state, f"{place}: {detail}" if detail else place)

    at_mirror = {path: file.from_ or path for path, file in part.files.items()}  # path here: path at the mirror
    all_files = f"{len(at_mirror)} files" if len(at_mirror) > 1 else next(iter(at_mirror))
    if mirror.folder is not None:
        folder = Path(mirror.folder).expanduser()
        absent = [path for path, at in at_mirror.items() if not any((folder / p).is_file() for p in (path, at))]
        return [answer(absent[0], "manual", "not there")] if absent else [answer(all_files, "ok", "")]
    if mirror.package is not None and mirror.version is not None:
        if all(packages.installed_file(mirror.package, mirror.version, at) for at in at_mirror.values()):
            return [answer(all_files, "ok", "installed")]
        try:
            archive = packages.find_archive(mirror.package, mirror.version)
        except FetchError as error:
            return [answer(all_files, "unreachable", str(error))]
        return [answer(all_files, "ok", archive.filename)]
    if mirror.manual is not None:
        folder = paths.manual_folder(name)
        absent = [path for path, at in at_mirror.items() if not any((folder / p).is_file() for p in (path, at))]
        return [answer(absent[0], "manual", f"not in {folder}/")] if absent else [answer(all_files, "ok", "")]
    listing: dict[str, hub.HubFile] = {}
    if mirror.hub is not None:
        try:
            files = hub.list_files(mirror.hub, None, mirror.revision, endpoint=mirror.endpoint)
        except hub.ListingError as error:
            return [answer(all_files, state_of_status(error.status), f"cannot be listed: {error}")]
        listing = {file.path: file for file in files}
    answers = []
    for path, at in at_mirror.items():
        expected = part.files[path]
        if mirror.drive is not None:
            address = partial(file_address, mirror.drive)
            state, detail = _ask_server(RemoteFile(path, at, address, expected.sha256, expected.bytes), {})
        elif mirror.hub is None:
            url, headers = hub.mirror_request(mirror, at)
            file = RemoteFile(path, at, url, expected.sha256, expected.bytes, headers)
            state, detail = _ask_server(file, {})
        elif at not in listing:
            state, detail = "moved", f"{at} is not there"
        else:
            listed = listing[at]
            file = RemoteFile(path, at, None, expected.sha256, expected.bytes, listed_sha256=listed.sha256)
            state, detail = _compare(file, listed.bytes, {})
        answers.append(answer(path, state, detail))
    return [given for given in answers if given.state != "ok"] or [answer(all_files, "ok", "")]
