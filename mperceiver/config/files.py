"""Reading the files of config/ as models. Their YAML is read by plain_yaml.py."""

import difflib
import os
import re
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, overload

from pydantic import ValidationError

from mperceiver import shipped
from mperceiver.config import liked, plain_yaml
from mperceiver.config.base import NAME, ConfigError, Model
from mperceiver.config.datasets import Dataset
from mperceiver.config.experiments import Experiment
from mperceiver.config.figures import Figure
from mperceiver.config.foundations import Foundation
from mperceiver.config.methods import Method
from mperceiver.config.protocols import Protocol
from mperceiver.config.runs import Run
from mperceiver.config.tables import Table
from mperceiver.printing import masked
from mperceiver.wording import did_you_mean, first_few

CONFIG = Path("config")
# Folders of config/ that tell a checkout's root from another folder with a config/.
AT_ROOT = ("methods", "foundations")
_root = Path()  # above config/: the working directory, unless `or_shipped` chose the shipped files
MOST_FAULTS = 30  # of a file, named in a message
KINDS: dict[str, type[Model]] = {  # folder of config/ -> model of its files
    "foundations": Foundation,
    "datasets": Dataset,
    "runs": Run,
    "methods": Method,
    "protocols": Protocol,
    "tables": Table,
    "figures": Figure,
}
AnyModel = TypeVar("AnyModel", bound=Model)


# ---------------------------------------------------------------- by name


def or_shipped() -> None:
    """From now on, read the files of the package if the working directory has neither config/methods/ nor config/foundations/.

    For work that makes no card: restoring photographs, and the package as a library.
    """
    global _root
    _root = Path() if any((CONFIG / kind).is_dir() for kind in AT_ROOT) else shipped.root()


def names(kind: str) -> list[str]:
    """The stems of all files in config/<kind>/, sorted."""
    return sorted(path.stem for path in (_root / CONFIG / kind).glob("*.yaml"))


def path_of(kind: str, name: str) -> Path:
    """Path of the file config/<kind>/<name>.yaml, relative to the working directory unless that is no checkout (`or_shipped`)."""
    return Path(_root, CONFIG, kind, f"{name}.yaml")


def files_of(kind: str, name: str) -> list[str]:
    """Paths of the file config/<kind>/<name>.yaml and of the files it is `like`. Raises ConfigError as ``load`` does."""
    load(kind, name)
    return with_liked(path_of(kind, name))


def with_liked(path: Path) -> list[str]:
    """Paths of a file without faults and of the files it is `like`."""
    return [str(file) for file, _ in liked.texts_of(path)]


@overload
def load(kind: Literal["foundations"], name: str) -> Foundation: ...
@overload
def load(kind: Literal["datasets"], name: str) -> Dataset: ...
@overload
def load(kind: Literal["runs"], name: str) -> Run: ...
@overload
def load(kind: Literal["methods"], name: str) -> Method: ...
@overload
def load(kind: Literal["protocols"], name: str) -> Protocol: ...
@overload
def load(kind: Literal["tables"], name: str) -> Table: ...
@overload
def load(kind: Literal["figures"], name: str) -> Figure: ...
@overload
def load(kind: str, name: str) -> Any: ...
def load(kind: str, name: str) -> Any:
    """Read the file config/<kind>/<name>.yaml.

    Raises:
        ConfigError: ``name`` is no name or has no file (the message lists the nearest names), or the file has faults.
    """
    check_name(kind, name)
    path = path_of(kind, name)
    if not path.is_file():
        if hint := _no_config_here():
            raise ConfigError(f"{path}: no such file{hint}")
        if path.is_symlink():
            raise ConfigError(
                f"{path}: a link to {path.readlink()}, where there is no file; put the file there, or copy configurations with what "
                f"their links lead to: cp -rL"
            )
        known = names(kind)
        near = difflib.get_close_matches(name, known, n=3, cutoff=0.4)
        hint = (
            f"The nearest {kind}: {', '.join(near)}"
            if near
            else f"The {kind} there are: {first_few(known, 8) or 'none'}"
        )
        raise ConfigError(f"{path}: no such file{_named_in(name)}. {hint} (all: ls {path.parent})")
    spec = parse(path, KINDS[kind])
    return _with_further_methods(name, spec) if isinstance(spec, Table) else spec


def _with_further_methods(name: str, table: Table) -> Table:
    """A table with the methods that name it under `tables`. Raises ConfigError for a method with faults, or that names no table."""
    wanted = _tables_of_methods(tuple(_states_of("methods")))
    for method, tables in wanted.items():
        for other in tables:
            if not path_of("tables", other).is_file():
                raise ConfigError(
                    f"{path_of('methods', method)}: tables: there is no {path_of('tables', other)}{did_you_mean(other, names('tables'))}"
                )
    further = [method for method, tables in wanted.items() if name in tables]
    return table.with_methods(further) if further else table


def _states_of(kind: str) -> list[tuple[str, int, int]]:
    """Absolute path, modification time (ns) and size of each file in config/<kind>/, sorted."""
    folder = os.path.abspath(Path(_root, CONFIG, kind))
    if not os.path.isdir(folder):
        return []
    with os.scandir(folder) as entries:
        files = [(entry.path, entry.stat()) for entry in entries if entry.name.endswith(".yaml") and entry.is_file()]
    return sorted((path, stat.st_mtime_ns, stat.st_size) for path, stat in files)


@lru_cache(maxsize=4)
def _tables_of_methods(files: tuple[tuple[str, int, int], ...]) -> dict[str, list[str]]:
    """{method: its `tables`} of the methods that have any.

    Args:
        files: path, modification time (ns) and size of each method's file; the cache is by them, so that a changed file is read again.
    """
    paths = [Path(path) for path, _, _ in files]
    texts = {path.stem: path.read_text(encoding="utf-8", errors="replace") for path in paths}
    if not any(re.search(r"\btables\b", text) for text in texts.values()):
        return {}
    return {method: tables for method in texts if (tables := load("methods", method).tables)}


def _named_in(name: str) -> str:
    """Where the configuration names a thing that has no file, for an error's message."""
    word = re.compile(rf"(?<![\w/.-]){re.escape(name)}(?![\w/-])")
    folder = _root / CONFIG
    places = [
        f"{path}, line {number}: `{masked(path.read_text(encoding='utf-8').splitlines()[number - 1].strip()):.80}`"
        for path in sorted(folder.glob("*.yaml")) + sorted(folder.glob("*/*.yaml"))
        for number in plain_yaml.lines_with(word, path)
    ]
    more = f", and {len(places) - 3} more lines" if len(places) > 3 else ""
    return f"; it is named in {'; '.join(places[:3])}{more}" if places else ""


def check_name(kind: str, name: str) -> None:
    """Raise ConfigError for what cannot be the name of a file in config/<kind>/."""
    if not NAME.fullmatch(name):
        example = Path(name).stem.lower()
        suggestion = f", here perhaps {example}" if NAME.fullmatch(example) else ""
        raise ConfigError(
            f"{name!r} is not a name. Give the stem of a file in {CONFIG}/{kind}/{suggestion} "
            "(names have lower-case letters, digits and single hyphens only)"
        )


def mirrors(experiment: Experiment | None = None) -> list[Path]:
    """Folders with local copies of datasets, in the order in which they are searched."""
    folders = [part for part in os.environ.get("MPERCEIVER_MIRROR", "").split(os.pathsep) if part]
    return [Path(folder).expanduser() for folder in folders + (list(experiment.mirror) if experiment else [])]


# ---------------------------------------------------------------- a file as a model


def parse(path: Path, model: type[AnyModel]) -> AnyModel:
    """Read a YAML file as a model, which is shared with other callers: its lists and mappings must not be changed.

    Raises:
        ConfigError: the message names the file, and for each fault the key, the value and, for an unknown key, the nearest
            key there is.
    """
    try:
        texts = liked.texts_of(path)
    except FileNotFoundError:
        experiments = ", ".join(map(str, sorted(CONFIG.glob("*.yaml"))))
        at_top = bool(experiments) and path.parent in (Path(), CONFIG)
        hint = f". Experiments: {experiments}" if at_top else _no_config_here()
        raise ConfigError(f"{path}: no such file{hint}") from None
    return _validated(path, texts, model)


@lru_cache(maxsize=1024)
def _validated(path: Path, texts: liked.Texts, model: type[AnyModel]) -> AnyModel:
    """The texts of a file as a model, checked. The cache is by the texts, so that a changed file is read again."""
    try:
        return model.model_validate(liked.merged(texts))
    except ValidationError as error:
        faults = []
        for fault in error.errors():
            key = ".".join(str(part) for part in fault["loc"]) or "(the whole file)"
            if fault["type"] == "extra_forbidden":
                words = f"unknown key{did_you_mean(str(fault['loc'][-1]), keys_at(model, fault['loc']))}"
            else:
                words = _in_words(fault["type"], fault["msg"], fault["input"])
            faults.append(f"  {key}: {words}")
        more = [f"  and {len(faults) - MOST_FAULTS} more"] if len(faults) > MOST_FAULTS else []
        text = "\n".join(faults[:MOST_FAULTS] + more)
        raise ConfigError(f"{path}: {len(faults)} problem(s); config/README.md lists every key\n{text}") from None


def _in_words(kind: str, message: str, given: Any) -> str:
    """A fault that pydantic found, in words; ``given``: the value that is at fault."""
    if kind == "missing":
        return "this key is required"
    if kind in ("model_type", "model_attributes_type"):
        return f"keys with values are needed, got {'nothing' if given is None else f'{masked(repr(given)):.80}'}"
    message = message.removeprefix("Value error, ")
    # The fault of a whole mapping is in several of its keys, which the message names.
    return message if isinstance(given, dict) else f"{message}, got {masked(repr(given)):.80}"


def with_options(spec: AnyModel, options: dict[str, tuple[str, Any]]) -> AnyModel:
    """``spec`` with the values of a command's options, checked as if they stood in its file.

    Args:
        options: {option, such as --tile: (key, value)}; a value of None leaves the key as it is.

    Raises ConfigError, which names the option and its value.
    """
    given = {key: value for key, value in options.values() if value is not None}
    try:
        return type(spec).model_validate(dict(spec) | given)
    except ValidationError as error:
        names = {key: option for option, (key, value) in options.items() if value is not None}
        faults = []
        for fault in error.errors():
            key = str(fault["loc"][0]) if fault["loc"] else ""
            words = f"{names[key]} {given[key]}" if key in names else " ".join(names.values())
            message = fault["msg"].removeprefix("Value error, ")
            faults.append(f"{words}: {message[0].lower()}{message[1:]}")
        raise ConfigError("; ".join(faults)) from None


def keys_at(model: type[Model], location: tuple[int | str, ...]) -> list[str]:
    """The keys that are allowed in place of the last one of ``location``, e.g. ("sources", 0, "package", "files")."""
    owners = [model]
    for part in location[:-1]:
        fields = [
            field for owner in owners for name, field in owner.model_fields.items() if part in (name, field.alias)
        ]
        inner = [inside for field in fields for inside in models_in(field.annotation)]
        # pydantic adds the tag of a member of a union to the location
        tagged = [owner for owner in owners if "source" in owner.model_fields and part == _tag(owner)]
        owners = inner or tagged or owners  # unchanged by an index of a list, or by a key that the user chose
    return ["like", *(field.alias or name for owner in owners for name, field in owner.model_fields.items())]


def _tag(model: type[Model]) -> str:
    return get_args(model.model_fields["source"].annotation)[0]


def models_in(annotation: Any) -> list[type[Model]]:
    """The models in a field's annotation, e.g. [Stage] for ``Stage | None``."""
    if isinstance(annotation, type) and issubclass(annotation, Model):
        return [annotation]
    return [model for part in get_args(annotation) for model in models_in(part)]


# ---------------------------------------------------------------- YAML


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML file that is none of this project's kinds. Raises ConfigError if it cannot be read or is no mapping."""
    try:
        mapping = plain_yaml.read(path)
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file{_no_config_here()}") from None
    if not isinstance(mapping, dict):
        raise ConfigError(f"{path}: not a mapping of keys to values")
    return mapping


def parse_text(text: str | None) -> Any:
    """The text of a YAML file as plain data; {} without a text. Raises ConfigError if it is no YAML."""
    try:
        return plain_yaml.parse_text(text) if text else {}
    except Exception as error:  # YAMLError, and ValueError for what no value can be
        raise ConfigError(f"not valid YAML: {error}") from None


def _no_config_here() -> str:
    """The end of an error's message if the files are looked for in the working directory, and it has no folder config/; else empty."""
    if (_root / CONFIG).is_dir():
        return ""
    return f": {Path.cwd()} has no folder config/. Run the command at the root of the project's checkout"
