"""Which keys of a configuration file each rule reads: a change of any other key makes nothing again.

A part is an input of a rule and of its card: ``config/datasets/rain1400.yaml#prepare`` is what `prepare` reads of that file, with
the keys that it takes from a file it is `like`. Its digest is over the values that differ from the defaults, so that comments, the
order of keys, and a default that is spelt out change nothing.
"""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mperceiver.config.base import STAGES, Model
from mperceiver.config.experiments import Experiment
from mperceiver.config.files import KINDS, files_of, load, parse, path_of, with_liked
from mperceiver.files import sha256
from mperceiver.lineage import Part

PICTURES = "pictures"  # in place of a rule, in the label of a folder of pictures: "results-of-x/rain1400#pictures"
WORDS = {"title", "licence", "citation", "page", "access", "defects"}  # keys that only describe
READ_BY_DOWNLOAD = {"sources", "passwords", "names", "expected", "seed"}
# (folder of config/, rule) -> keys that the rule does not read. A rule that is not here reads the whole file.
NOT_READ: dict[tuple[str, str], set[str]] = {
    ("foundations", "foundation"): WORDS,
    ("datasets", "prepare"): WORDS | {"sources", "passwords", "encode", "protocol", "example"},
    ("methods", "restore"): {"title", "citation", "reported", "datasets", "trained_on", "tables"},
    ("methods", "measure"): {"title", "citation", "reported", "datasets", "trained_on", "tables"},
    ("protocols", "score"): {"title"},
    ("experiments", "report"): {"mirror"},
}
NOT_READ |= {("runs", f"train_{stage}"): {"title", *STAGES} - {stage} for stage in STAGES}
NOT_READ |= {("runs", f"train_{stage}"): {"title", "latents", *STAGES} - {stage} for stage in ("predictor", "branches")}
# (folder of config/, rule) -> the only keys that the rule reads.
ONLY_READ: dict[tuple[str, str], set[str]] = {
    ("datasets", "download"): READ_BY_DOWNLOAD,
    ("datasets", "encode"): {"encode"},
    ("methods", "command"): {"kind", "command"},
    ("runs", "restore"): {"foundation", "tasks", "model", "network"},
    ("methods", "report"): {"title", "kind", "foundation", "run"},
    ("runs", "table"): {"train", "reuse", "start_from"},
    ("foundations", "report"): {"title", "build", "local"},
    ("foundations", "restore"): {"trunk_norm", "tokens", "minimum_px"},
}


def part_of(kind: str, name: str, rule: str) -> Part:
    """What a rule reads of config/<kind>/<name>.yaml. Raises ConfigError as ``load`` does."""
    return _part(
        str(path_of(kind, name)), files_of(kind, name), rule, lambda: read_part(kind, name, rule, compact=True)
    )


def experiment_part(path: Path | str, rule: str = "report") -> Part:
    """What a rule reads of an experiment's file (config/demo.yaml)."""
    experiment = parse(Path(path), Experiment)
    return _part(
        str(path), with_liked(Path(path)), rule, lambda: _values(experiment, "experiments", rule, compact=True)
    )


def read_part(kind: str, name: str, rule: str, compact: bool = False) -> dict[str, Any]:
    """The values that a rule reads of config/<kind>/<name>.yaml, as JSON data; ``compact`` leaves the defaults out."""
    return _values(load(kind, name), kind, rule, compact)


def _values(model: Model, kind: str, rule: str, compact: bool) -> dict[str, Any]:
    only, without = ONLY_READ.get((kind, rule)), NOT_READ.get((kind, rule))
    return model.model_dump(mode="json", by_alias=True, include=only, exclude=without, exclude_defaults=compact)


def _part(path: str, files: list[str], rule: str, values: Callable[[], dict[str, Any]]) -> Part:
    def digest() -> str:
        return hashlib.sha256(json.dumps(values(), sort_keys=True).encode()).hexdigest()

    return Part(path, f"{path}#{rule}", files, digest)


def pictures_digest(folder: Path | str) -> str | None:
    """SHA-256 of a folder of restored pictures, hidden files left out; None if there is no such folder."""
    return sha256(folder) if Path(folder).is_dir() else None


def digest_of_label(label: str) -> str | None:
    """The digest now of a part that a card names by its label; None if there is no such file any more.

    Raises ConfigError for a file with faults.
    """
    path, _, rule = label.rpartition("#")
    file = Path(path)
    if rule == PICTURES:
        return pictures_digest(file)
    if not file.is_file():
        return None
    if file.parent.name in KINDS:
        return part_of(file.parent.name, file.stem, rule).digest
    return experiment_part(path, rule).digest
