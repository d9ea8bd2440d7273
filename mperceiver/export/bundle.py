"""A bundle of a table for an artefact reviewer: one zip that is checked without this repository."""

import json
import tempfile
import zipfile
from pathlib import Path

from mperceiver import config, paths, shipped
from mperceiver.export.crate import fill_crate
from mperceiver.export.gather import TEXT_VERBS, ExportError, Gathered, check_recorded, credits, gather
from mperceiver.export.private import cleaned, is_private
from mperceiver.files import MANIFEST, atomic_file, sha256, write_text
from mperceiver.report.trace import trace

TEXTS = {".html", ".csv", ".tex", ".json", ".yaml", ".md", ".txt", ".lock", "", MANIFEST}
VERIFY = '''\
"""Check this bundle: python3 verify.py"""
import hashlib, json, pathlib, sys
here = pathlib.Path(__file__).parent
files = json.loads((here / "manifest.json").read_text("utf-8"))
bad = [f for f, of in files.items() if not (here / f).is_file() or hashlib.sha256((here / f).read_bytes()).hexdigest() != of["sha256"]]
cards = {f: json.loads((here / f).read_text("utf-8")) for f, of in files.items() if of["card"] and f not in bad}
for card, of in cards.items():  # what a card read and made must be what lies here under that name
    named = {**of["inputs"], **of["outputs"]}.items()
    bad += [f"{card}: {f}" for f, was in named for here_as in (f, f + "/.sha256") if files.get(here_as, {}).get("original", was) != was]
print("\\n".join(["differs or is missing:", *bad]) if bad else f"{len(files)} files are as the manifest and {len(cards)} cards say")
sys.exit(bool(bad))
'''
README = """\
# {title}

Table `{name}` with all that its numbers were computed from, as far as it is text; written by `mperceiver bundle {name}`.

- `python3 verify.py` compares every file with `manifest.json`, and with the cards that name it. Nothing has to be installed.
- `trace.txt` says where the table came from: each line is a card (a JSON file here), what it made, and below it what it read.
- `results/scores/<method>/<dataset>.csv` holds the score of each picture. A cell is the mean of a column, over the rows of its task.
- A card names the commit, the hash of the code, the configuration that was read (`spec`), and inputs and outputs by SHA-256.
- `ro-crate-metadata.json` and `prov.json` say the same for machines. `licences.md` names the terms of the datasets and weights.
"""


def write_bundle(table: str, with_pictures: bool = False, with_weights: bool = False) -> Path:
    """Write results/export/<table>.zip and return it.

    Args:
        table: a table that has been printed.
        with_pictures: add the restored pictures.
        with_weights: add the trained weights.

    Raises:
        LineageError: the table, or a card below it, is missing. ExportError: the extra `export` is not installed, a file is not
        what its card says, or one that cannot be cleaned holds a secret or a name of this machine.
    """
    card = str(paths.table_file(table, "json"))
    gathered = gather([card])
    chosen = _chosen(gathered, with_pictures, with_weights)
    # Cards name pictures by their folder.
    folders = {str(Path(file).parent) for file in chosen if Path(file).name != MANIFEST}
    check_recorded(gathered, {*chosen, *folders})
    spec = config.load("tables", table)
    target = paths.bundle_file(table)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        fill_crate(folder, spec.title, gathered, str(config.path_of("tables", table)), card)
        for file in chosen:
            _copy(file, folder / file)
        write_text(folder / "README.md", cleaned(README.format(title=spec.title, name=table)))
        write_text(folder / "licences.md", cleaned(_licences(gathered)))
        write_text(folder / "trace.txt", cleaned("\n".join(trace(table).chain.lines()) + "\n"))
        write_text(folder / "manifest.json", json.dumps(_manifest(folder, gathered), indent=1, sort_keys=True) + "\n")
        write_text(folder / "verify.py", VERIFY)
        with atomic_file(target) as beside, zipfile.ZipFile(beside, "w", zipfile.ZIP_DEFLATED) as archive:
            for path in sorted(path for path in folder.rglob("*") if path.is_file()):
                # No times: the same bundle has the same bytes.
                member = zipfile.ZipInfo(f"{table}/{path.relative_to(folder).as_posix()}")
                member.compress_type, member.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
                archive.writestr(member, path.read_bytes())
    return target


def _chosen(gathered: Gathered, with_pictures: bool, with_weights: bool) -> list[str]:
    """Files to copy: what tables and scores made, the lists of folders, and if wished pictures and weights."""
    chosen = []
    for card in gathered.cards.values():
        for name in card["outputs"]:
            path = Path(name)
            if path.is_dir():
                chosen += [f"{name}/{MANIFEST}"] * (path / MANIFEST).is_file()
                if with_pictures and card["verb"] == "restore":
                    chosen += [str(file) for file in sorted(path.glob("*")) if not file.name.startswith(".")]
            elif card["verb"] in TEXT_VERBS or (with_weights and path.suffix == ".safetensors"):
                chosen.append(name)
    return list(dict.fromkeys(chosen))


def _copy(source: str, target: Path) -> None:
    """Copy a file, a text cleaned. Raises ExportError for another one with something private in it."""
    content = Path(source).read_bytes()
    if Path(source).suffix in TEXTS or Path(source).name == MANIFEST:
        return write_text(target, cleaned(content.decode("utf-8")))
    if found := is_private(content):
        raise ExportError(
            f"{source}: holds {found}, which must not leave; make it again without, or leave it out of the bundle"
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(content)


def _manifest(folder: Path, gathered: Gathered) -> dict[str, dict]:
    """{file: its SHA-256 here, that of the original (another one where something private was taken out), whether it is a card}."""
    entries = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        name = path.relative_to(folder).as_posix()
        original = next((place for place in (Path(name), shipped.PACKAGE.parent / name) if place.is_file()), path)
        made_here = name in ("README.md", "licences.md", "trace.txt", "ro-crate-metadata.json", "prov.json")
        digest = sha256(path)
        entries[name] = {
            "sha256": digest,
            "original": digest if made_here else sha256(original),
            "card": name in gathered.cards,
        }
    return entries


def _licences(gathered: Gathered) -> str:
    lines = ["# Licences and citations of what was used", ""]
    for credit in credits(gathered):
        lines.append(
            f"- {credit['kind']} `{credit['name']}`: {credit['title']}. {credit['licence']}. {credit['citation']}".rstrip()
        )
    return "\n".join(lines) + "\n"
