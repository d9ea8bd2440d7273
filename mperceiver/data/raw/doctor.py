"""Ask after every source of datasets and foundations without downloading any: does it still give what the config says?

One finding a file, or one for all files of a listing. Its state is `ok`; `moved` (another address for good, or not there any
more); `needs login`; `hash differs` (or the size does: it is another file than the config or the card knows); `unreachable`;
`manual` (a person has to bring it, and has not yet).
"""

import importlib.util
import json
import os
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import urlsplit

from mperceiver import config, lineage, paths
from mperceiver.config.foundations import Mirror, Part
from mperceiver.config.sources import Source
from mperceiver.data import DataError
from mperceiver.data.raw.sources import WANTED, Wanted
from mperceiver.data.raw.sources.base import Refused, drop_ins, state_of
from mperceiver.fetch import hub, probe
from mperceiver.progress import progress

AT_ONCE = 16
LOGIN = ("login", "signin", "sign-in", "servicelogin", "accounts.google.com", "sso")
FINE = ("ok", "manual")
LISTED = ("huggingface", "github")
MOST = 20  # findings of one source


@dataclass(frozen=True)
class SourceAnswer:
    """What is known now of a file of a source."""

    kind: str  # datasets, foundations
    name: str
    source: str
    file: str
    state: str
    detail: str = ""


def ask_sources(names: list[str], mirrors: list[Path]) -> list[SourceAnswer]:
    """Ask after the sources of datasets and foundations, those that datasets are made from among them; none given: of all.

    Raises ConfigError for a name that is neither; DataError where this machine is told to stay off the network.
    """
    if os.environ.get("HF_HUB_OFFLINE", "").lower() in ("1", "true", "yes", "on"):
        raise DataError(
            "$HF_HUB_OFFLINE is set, so no server may be asked; on a machine with a network: unset HF_HUB_OFFLINE; mperceiver doctor"
        )
    jobs = [job for kind, name in _chosen(names) for job in _jobs(kind, name, mirrors)]
    found: list[SourceAnswer] = []
    with ThreadPoolExecutor(AT_ONCE) as pool, progress("doctor", len(jobs), "sources") as step:
        for findings in pool.map(lambda job: job(), jobs):
            found += findings
            step(1)
    return found


def _chosen(names: list[str]) -> list[tuple[str, str]]:
    """(kind, name) of what is to be asked after."""
    if not names:
        return [(kind, name) for kind in ("datasets", "foundations") for name in config.names(kind)]
    chosen: list[tuple[str, str]] = []
    waiting = list(names)
    for name in waiting:  # grows as it goes
        kinds = [kind for kind in ("datasets", "foundations") if name in config.names(kind)]
        if not kinds:
            config.load("datasets", name)  # says which names there are
        chosen += [(kind, name) for kind in kinds]
        if "datasets" in kinds:
            waiting += [other for other in config.load("datasets", name).from_ if other not in waiting]
    return chosen


def _jobs(kind: str, name: str, mirrors: list[Path]) -> Iterator[Callable[[], list[SourceAnswer]]]:
    """A question for each source."""
    if kind == "datasets":
        for source in config.load(kind, name).sources:
            yield lambda source=source: _dataset(name, source, mirrors)
    else:
        for part in config.load(kind, name).parts:
            for mirror in part.mirrors:
                yield lambda part=part, mirror=mirror: _mirror(name, part, mirror)


def print_answers(findings: list[SourceAnswer], as_json: bool) -> None:
    """Print findings: a table and how many of each state, or JSON."""
    if as_json:
        print(json.dumps([asdict(finding) for finding in findings], indent=1))
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table("name", "source", "state", header_style="bold")
    table.add_column("file", overflow="fold")
    table.add_column("what is known", overflow="fold")
    last = None
    for found in findings:
        state = Text(found.state, style={"ok": "green", "manual": "yellow"}.get(found.state, "red"))
        table.add_row(
            found.name if found.name != last else "", found.source, state, Text(found.file), Text(found.detail)
        )
        last = found.name
    console = Console()
    console.print(table)
    counts = Counter(found.state for found in findings)
    console.print(", ".join(f"{count} {state}" for state, count in counts.most_common()) or "no sources")
    if counts["unreachable"] > 1 and all(found.state in ("manual", "unreachable") for found in findings):
        console.print("Not one server was to be reached: has this machine a network? (Compute nodes often have none.)")


# ---------------------------------------------------------------- datasets


def _dataset(name: str, source: Source, mirrors: list[Path]) -> list[SourceAnswer]:
    def finding(file: str, said: tuple[str, str]) -> SourceAnswer:
        return SourceAnswer("datasets", name, source.source, file, *said)

    if source.source not in WANTED:
        return [finding(*_here(source, mirrors))]
    try:
        files = WANTED[source.source](source)
    except DataError as error:
        return [finding(_label(source), (getattr(error, "state", "hash differs"), str(error)))]
    known = _known(name)
    findings, asked = [], files
    if source.source in LISTED:
        findings = [finding(file.name, _compared(file, file.bytes, known)) for file in files]
        asked = files[:1]  # the listing tells of the others
    for file in asked:
        if any((folder / file.name).is_file() for folder in drop_ins(name, mirrors)):
            said = ("ok", "brought by hand")
        elif file.url is None:
            said = ("manual", f"from {source.page} into data/manual/{name}/")
        else:
            said = _asked(file, known)
        findings.append(finding(file.name, said))
    wrong = [found for found in findings if found.state != "ok"][:MOST]
    return wrong or ([finding(_label(source), ("ok", f"{len(files)} files"))] if len(files) > 1 else findings[-1:])


def _label(source: Source) -> str:
    """A source in a word or two."""
    if source.source in ("huggingface", "github"):
        return source.repo + (f"/{source.root}" if source.root else "")
    if source.source == "gdrive":
        return source.folder or source.files[0].name
    return urlsplit(source.files[0].url).hostname if source.source == "http" else source.page


def _here(source: Source, mirrors: list[Path]) -> tuple[str, tuple[str, str]]:
    """Of a source that needs no network: what it is, and whether it is there."""
    if source.source == "generated":
        return source.generator, ("ok", "drawn here")
    if source.source == "package":
        there = importlib.util.find_spec(source.package.split(".")[0]) is not None
        return source.package, ("ok", "installed") if there else ("unreachable", "not installed; uv sync")
    folder = Path(source.folder)
    places = [folder] if folder.is_absolute() else [mirror / folder for mirror in mirrors]
    there = next((str(place) for place in places if place.is_dir()), None)
    return source.folder, ("ok", there) if there else ("manual", "in none of the mirror folders (MPERCEIVER_MIRROR)")


def _known(name: str) -> dict[str, dict]:
    """What the card of a dataset tells of its files, by where they came from."""
    try:
        return {
            file["from"]: file for file in lineage.read_card(paths.raw_card(name))["result"].get("files", {}).values()
        }
    except lineage.LineageError:
        return {}


def _compared(file: Wanted, size: int | None, known: dict[str, dict]) -> tuple[str, str]:
    """Whether a file as it is offered is the one that the config and the card know."""
    card = known.get(file.origin, {})
    for who, digest in (("the config", file.sha256), ("the card", card.get("sha256"))):
        if None not in (digest, file.offered) and digest != file.offered:
            return "hash differs", f"SHA-256 {file.offered} is offered, {who} has {digest}"
    for who, wanted in (("the config", file.bytes), ("the card", card.get("bytes"))):
        if None not in (wanted, size) and wanted != size:
            return "hash differs", f"{size} bytes are offered, {who} has {wanted}"
    return "ok", "" if size is None else f"{size / 1e6:,.1f} MB"


def _asked(file: Wanted, known: dict[str, dict]) -> tuple[str, str]:
    """Ask the server after a file."""
    try:
        url = file.url() if callable(file.url) else file.url
    except Refused as error:
        return error.state, str(error)
    answer = probe(url, file.headers)
    if not answer.there:
        words = answer.reason or f"the server answers {answer.status}"
        return state_of(answer.status), f"{words} ({url})"
    if "text/html" in answer.kind and not urlsplit(url).path.endswith((".html", ".htm")):
        login = any(word in answer.at.lower() for word in LOGIN)
        return "needs login", f"a {'login' if login else 'web'} page comes in place of the file ({answer.at})"
    state, words = _compared(file, answer.bytes, known)
    if state == "ok" and answer.moved:
        return "moved", f"for good, to {answer.at}"
    return state, words


# ---------------------------------------------------------------- foundations


def _mirror(name: str, part: Part, mirror: Mirror) -> list[SourceAnswer]:
    def finding(file: str, said: tuple[str, str]) -> SourceAnswer:
        where, _, place = str(mirror).partition(" ") if mirror.url is None else ("url", "", mirror.url)
        return SourceAnswer("foundations", name, where, file, said[0], f"{place}: {said[1]}" if said[1] else place)

    files = {path: file.from_ or path for path, file in part.files.items()}
    if mirror.folder is not None:
        absent = [path for path, at in files.items() if not _in_folder(Path(mirror.folder).expanduser(), path, at)]
        return (
            [finding(f"{len(files)} files", ("ok", ""))]
            if not absent
            else [finding(absent[0], ("manual", "not there"))]
        )
    if mirror.hub is not None:
        try:
            offered = {
                file.path: file for file in hub.listing(mirror.hub, None, mirror.revision, endpoint=mirror.endpoint)
            }
        except hub.NotListed as error:
            return [finding(_count(files), (state_of(error.status), f"not to be listed: {error}"))]
    findings = []
    for path, at in files.items():
        told = part.files[path]
        if mirror.hub is None:
            wanted = Wanted(path, at, hub.of_mirror(mirror, at)[0], told.sha256, told.bytes)
            said = _asked(wanted, {})
        elif at not in offered:
            said = ("moved", f"{at} is not there")
        else:
            wanted = Wanted(path, at, None, told.sha256, told.bytes, offered=offered[at].sha256)
            said = _compared(wanted, offered[at].bytes, {})
        findings.append(finding(path, said))
    wrong = [found for found in findings if found.state != "ok"]
    return wrong or [finding(_count(files), ("ok", ""))]


def _count(files: dict[str, str]) -> str:
    return f"{len(files)} files" if len(files) > 1 else next(iter(files))


def _in_folder(folder: Path, path: str, at: str) -> bool:
    return (folder / path).is_file() or (folder / at).is_file()
