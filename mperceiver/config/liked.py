"""Files that are `like` another one beside them: each takes every key that it does not give from that file."""

from pathlib import Path
from typing import Any

from mperceiver.config import plain_yaml
from mperceiver.config.base import NAME, ConfigError
from mperceiver.wording import did_you_mean

Texts = tuple[tuple[Path, str], ...]  # path and text of a file, of the one that it is `like`, and so on


def texts_of(path: Path) -> Texts:
    """The texts that a YAML file is made of.

    Raises:
        FileNotFoundError: there is no such file.
        ConfigError: a `like` names no file, or is circular; or what ``plain_yaml.read`` raises.
    """
    found: Texts = ()
    while True:
        text = plain_yaml.text_of(path)
        found = (*found, (path, text))
        raw = plain_yaml.parse(path, text)
        if not isinstance(raw, dict) or "like" not in raw:
            return found
        if not isinstance(raw["like"], str) or not NAME.fullmatch(raw["like"]):
            raise ConfigError(f"{path}: like: {raw['like']!r} is not a name; give the stem of a file beside this one")
        other = path.with_name(f"{raw['like']}.yaml")
        if not other.is_file():
            beside = sorted(file.stem for file in path.parent.glob("*.yaml"))
            raise ConfigError(f"{path}: like: {raw['like']}: no such file: {other}{did_you_mean(raw['like'], beside)}")
        before = [file for file, _ in found]
        if other in before:
            raise ConfigError(f"{path}: `like` is circular: {' -> '.join(map(str, (*before, other)))}")
        path = other


def merged(texts: Texts) -> Any:
    """The value of a file, with the keys that it takes from others; it is shared with other callers, and must not be changed."""
    *above, lowest = texts
    value = plain_yaml.parse(*lowest)
    for file in reversed(above):
        raw = plain_yaml.parse(*file)
        value = _merge(value, {key: raw[key] for key in raw if key != "like"})
    return value


def _merge(below: Any, above: Any) -> Any:
    """``above`` where it is not a mapping; else both mappings, key by key; a null in ``above`` removes the key."""
    if not (isinstance(below, dict) and isinstance(above, dict)):
        return above
    merged = below | {key: _merge(below.get(key), value) for key, value in above.items()}
    return {key: value for key, value in merged.items() if value is not None}
