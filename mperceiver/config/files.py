"""Reading the files: the only place that reads YAML."""

import difflib
import os
from functools import lru_cache
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import ValidationError

from mperceiver.config.base import NAME, ConfigError, Model
from mperceiver.config.datasets import Dataset
from mperceiver.config.experiments import Experiment
from mperceiver.config.figures import Figure
from mperceiver.config.foundations import Foundation
from mperceiver.config.methods import Method
from mperceiver.config.protocols import Protocol
from mperceiver.config.runs import Run
from mperceiver.config.tables import Table

KINDS = {
    "foundations": Foundation,
    "datasets": Dataset,
    "runs": Run,
    "methods": Method,
    "protocols": Protocol,
    "tables": Table,
    "figures": Figure,
}


def parse(path: Path, model: type[Model]) -> Any:
    """Read one YAML file as ``model``. Raises ConfigError naming the file, the key, the value and the nearest known key."""
    raw = _read(path)
    try:
        return model.model_validate(raw)
    except ValidationError as error:
        lines = []
        for problem in error.errors():
            key = ".".join(str(part) for part in problem["loc"]) or "(the whole file)"
            if problem["type"] == "extra_forbidden":
                near = difflib.get_close_matches(str(problem["loc"][-1]), keys_at(model, problem["loc"]), n=1)
                lines.append(f"  {key}: unknown key" + (f" (did you mean `{near[0]}`?)" if near else ""))
            else:
                lines.append(f"  {key}: {problem['msg']}, got {problem['input']!r:.80}")
        text = "\n".join(lines)
        raise ConfigError(f"{path}: {len(lines)} problem(s); every key stands in config/README.md\n{text}") from None


def keys_at(model: type[Model], place: tuple[int | str, ...]) -> list[str]:
    """The keys that may stand where the last one of ``place`` does, e.g. ("sources", 0, "package", "files")."""
    owners = [model]
    for part in place[:-1]:
        fields = [
            field for owner in owners for name, field in owner.model_fields.items() if part in (name, field.alias)
        ]
        inside = [found for field in fields for found in models_in(field.annotation)]
        tagged = [m for m in owners if "source" in m.model_fields and part == get_args(_tag(m))[0]]
        owners = inside or tagged or owners  # neither: an index of a list, or a key that the user chose
    return ["like", *(field.alias or name for owner in owners for name, field in owner.model_fields.items())]


def _tag(model: type[Model]) -> Any:
    return model.model_fields["source"].annotation


def models_in(annotation: Any) -> list[type[Model]]:
    if isinstance(annotation, type) and issubclass(annotation, Model):
        return [annotation]
    return [found for part in get_args(annotation) for found in models_in(part)]


# libyaml's parser where PyYAML has it, ten times as fast: the plan of a whole paper reads some thousand files.
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def _yaml(path: Path | str) -> Any:
    return _data(Path(path).read_text())


@lru_cache(maxsize=1024)
def _data(text: str) -> Any:
    """Plain YAML, but a key that stands twice in one place is refused: YAML would silently take the last one.

    By its text, so that a file that is written anew is read anew. What is returned is shared, and not to be changed.
    """
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        _no_key_twice(node)
        return None if node is None else loader.construct_document(node)
    finally:
        loader.dispose()


def _no_key_twice(node: yaml.Node | None) -> None:
    if isinstance(node, yaml.MappingNode):
        seen = set()
        for key, value in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value in seen:
                raise yaml.MarkedYAMLError(problem=f"`{key.value}` stands twice", problem_mark=key.start_mark)
            seen.add(key.value if isinstance(key, yaml.ScalarNode) else None)
            _no_key_twice(value)
    elif isinstance(node, yaml.SequenceNode):
        for item in node.value:
            _no_key_twice(item)


def read_yaml(path: Path) -> dict[str, Any]:
    """A YAML file that is none of this project's kinds, as it stands. Raises ConfigError if it cannot be read."""
    try:
        found = _yaml(path)
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file{_elsewhere()}") from None
    except (OSError, yaml.YAMLError) as error:
        raise ConfigError(f"{path}: {error}") from None
    if not isinstance(found, dict):
        raise ConfigError(f"{path}: no mapping of keys to values")
    return found


def _read(path: Path, seen: tuple[Path, ...] = ()) -> Any:
    """YAML of a file; with `like: NAME`, laid over that of NAME beside it, key by key (a null takes a key away)."""
    try:
        raw = _yaml(path)
    except FileNotFoundError:
        known = ", ".join(map(str, sorted(Path("config").glob("*.yaml"))))
        hint = f". Experiments: {known}" if known and path.parent in (Path(), Path("config")) else _elsewhere()
        raise ConfigError(f"{path}: no such file{hint}") from None
    except (yaml.YAMLError, ValueError) as error:  # ValueError: not UTF-8, or a date that does not exist
        raise ConfigError(f"{path}: not valid YAML: {error}") from None
    if not isinstance(raw, dict) or "like" not in raw:
        return raw
    if not isinstance(raw["like"], str) or not NAME.fullmatch(raw["like"]):
        raise ConfigError(f"{path}: like: {raw['like']!r} is not a name: the stem of a file beside this one")
    other = path.with_name(f"{raw['like']}.yaml")
    if not other.is_file():
        raise ConfigError(f"{path}: like: {raw['like']}: there is no {other}")
    if other in (*seen, path):
        raise ConfigError(f"{path}: `like` goes round in a circle: {' -> '.join(map(str, (*seen, path, other)))}")
    return _laid_over(_read(other, (*seen, path)), {key: value for key, value in raw.items() if key != "like"})


def _laid_over(below: Any, above: Any) -> Any:
    if not (isinstance(below, dict) and isinstance(above, dict)):
        return above
    merged = below | {key: _laid_over(below.get(key), value) for key, value in above.items()}
    return {key: value for key, value in merged.items() if value is not None}


def files_of(kind: str, name: str) -> list[str]:
    """The file that describes ``name`` and those it is `like`. Raises ConfigError as ``load`` does."""
    load(kind, name)
    found = [path_of(kind, name)]
    while "like" in (raw := _yaml(found[-1])):
        found.append(path_of(kind, raw["like"]))
    return [str(path) for path in found]


def path_of(kind: str, name: str) -> Path:
    """The file that describes ``name``: config/<kind>/<name>.yaml, relative to the working directory."""
    return Path("config") / kind / f"{name}.yaml"


def load(kind: str, name: str) -> Any:
    """Load config/<kind>/<name>.yaml. Raises ConfigError; a name that does not exist lists the nearest ones."""
    if not NAME.fullmatch(name):
        example = Path(name).stem.lower()
        given = f", here perhaps {example}" if NAME.fullmatch(example) else ""
        raise ConfigError(
            f"{name!r} is not a name. Give the stem of a file in config/{kind}/{given} "
            "(names have lower-case letters, digits and single hyphens only)"
        )
    path = path_of(kind, name)
    if not path.is_file():
        if elsewhere := _elsewhere():
            raise ConfigError(f"{path}: no such file{elsewhere}")
        known = names(kind)
        near = difflib.get_close_matches(name, known, n=3, cutoff=0.4) or known[:8]
        raise ConfigError(f"{path}: no such file. Known {kind}: {', '.join(near) or 'none'} (see ls {path.parent})")
    return parse(path, KINDS[kind])


def _elsewhere() -> str:
    """The end of an error's message where the working directory is no checkout; else empty."""
    if Path("config").is_dir():
        return ""
    return f": {Path.cwd()} has no folder config/. Run the command at the root of the project's checkout"


def names(kind: str) -> list[str]:
    """The stems of all files of a kind, sorted."""
    return sorted(path.stem for path in (Path("config") / kind).glob("*.yaml"))


def mirrors(experiment: Experiment | None = None) -> list[Path]:
    """Folders with local copies of datasets, first to be looked into first."""
    listed = [part for part in os.environ.get("MPERCEIVER_MIRROR", "").split(os.pathsep) if part]
    return [Path(part).expanduser() for part in listed + (list(experiment.mirror) if experiment else [])]
