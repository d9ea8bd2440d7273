"""YAML as plain values, read within bounds.

An alias (`*name`) stands for all that its anchor (`&name`) holds, so a few lines can stand for millions of values; libyaml's composer recurses, and
a file of brackets alone would end the process. Both are counted before anything is built.
"""

import contextlib
import re
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

import yaml

from mperceiver.config.base import ConfigError

DEEPEST = 64  # mappings and lists inside each other
MOST_VALUES = 100_000  # with what aliases stand for
MOST_LETTERS = 4_000_000
# Plain numbers that YAML 1.1 reads to another base than a person does: 0500 is 320, and 1:30 is 90.
OTHER_BASE = re.compile(r"[-+]?(0[0-7_]+|[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?)")
LONG_NUMBER = re.compile(r"[-+0-9a-fA-FxXoO_:.]{400,}")  # Python may refuse to print so long a number

HINTS = {  # words of PyYAML's messages -> what to do
    "mapping values are not allowed": "Write a text that contains `: ` in quotes, and indent the keys of one mapping equally",
    "found a tab character": "Indent by spaces, not by tabs",
    "cannot start any token": "Indent by spaces, not by tabs; write a text that begins with @, ` or % in quotes",
    "did not find expected ',' or": "A bracket or a brace is not closed, or a comma is missing",
    "could not find expected ':'": "A colon after a key, or the space after that colon, is missing",
}

# libyaml's parser, where PyYAML has it, is ten times as fast; planning the paper's tables reads some thousand files.
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def read(path: Path) -> Any:
    """The value in a YAML file; it is shared with other callers, and must not be changed. Raises what ``text_of`` and ``parse`` do."""
    return parse(path, text_of(path))


def text_of(path: Path) -> str:
    """The text of a YAML file.

    Raises:
        FileNotFoundError: there is no such file. ConfigError, which names the file: it cannot be read, is not UTF-8, or larger than a
        configuration can be.
    """
    try:
        with path.open(encoding="utf-8") as file:
            text = file.read(MOST_LETTERS + 1)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror or error}") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not valid YAML: {error}") from None
    if len(text) > MOST_LETTERS:
        raise ConfigError(f"{path}: longer than {MOST_LETTERS} letters; this is no configuration")
    return text


def parse(path: Path, text: str) -> Any:
    """The value in the text of a YAML file; it is shared with other callers, and must not be changed.

    Raises ConfigError, which names the file: it is no valid YAML.
    """
    try:
        return parse_text(text)
    except Exception as error:  # YAMLError; ValueError for a date or a number that cannot be; RecursionError
        # PyYAML calls a text "<unicode string>".
        words = str(error).replace('\n  in "<unicode string>", ', " at ").replace("\n", "; ")
        hint = next((f". {hint}" for fragment, hint in HINTS.items() if fragment in words), "")
        raise ConfigError(f"{path}: not valid YAML: {words or type(error).__name__}{hint}") from None


@lru_cache(maxsize=1024)
def parse_text(text: str) -> Any:
    """Plain YAML. A key that is given twice in one mapping is an error; YAML itself would silently use the last one.

    The cache is by text, so that a changed file is read again. Raises YAMLError, or ValueError for what no value can be.
    """
    _check_bounds(text)
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        _check_keys(node)
        return None if node is None else loader.construct_document(node)
    finally:
        loader.dispose()


def lines_with(word: re.Pattern[str], path: Path) -> list[int]:
    """Numbers of the lines (from 1) at which a YAML file has a key, or a value without spaces, in which ``word`` is found.

    Texts such as captions and the values of `like` are left out. If the file has a fault, only the lines before it count.
    """
    lines: list[int] = []
    before = ""  # the scalar (key or value) that came before
    with contextlib.suppress(OSError, UnicodeDecodeError, yaml.YAMLError):
        for event in yaml.parse(path.read_text(encoding="utf-8"), Loader=_Loader):
            if isinstance(event, yaml.ScalarEvent):
                line = cast(Any, event.start_mark).line + 1
                if before != "like" and " " not in event.value and word.search(event.value) and line not in lines:
                    lines.append(line)
                before = event.value
    return lines


def _check_bounds(text: str) -> None:
    """Raise YAMLError for a text that is nested too deeply, stands for too many values, or has an alias inside its own anchor."""
    values: dict[str, int] = {}  # anchor: how many values it stands for
    # Of each mapping and list that has begun and not ended: its anchor, and the number of values before it.
    open_: list[tuple[str | None, int]] = []
    count = 0
    for event in yaml.parse(text, Loader=_Loader):
        if isinstance(event, yaml.AliasEvent):
            if any(anchor == event.anchor for anchor, _ in open_):
                raise _fault(f"*{event.anchor} stands inside its own anchor", event)
            count += values.get(str(event.anchor), 0)  # an unknown one is an error of the composer
        elif isinstance(event, yaml.CollectionStartEvent):
            open_.append((event.anchor, count))
            count += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, before = open_.pop()
            if anchor is not None:
                values[anchor] = count - before
        elif isinstance(event, yaml.ScalarEvent):
            count += 1
            if event.anchor is not None:
                values[event.anchor] = 1
            if not event.style and LONG_NUMBER.fullmatch(event.value):
                raise _fault("a number of too many digits", event)
            if event.implicit[0] and OTHER_BASE.fullmatch(event.value):
                raise _fault(
                    f"{event.value} is no decimal number in YAML 1.1; write it without leading zeros, or a text as '{event.value}'",
                    event,
                )
        if len(open_) > DEEPEST or count > MOST_VALUES:
            what = (
                f"more than {DEEPEST} levels" if len(open_) > DEEPEST else f"stands for more than {MOST_VALUES} values"
            )
            raise _fault(f"{what}; this is no configuration", event)


def _fault(problem: str, event: yaml.Event) -> yaml.YAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=cast(Any, event.start_mark))


def _check_keys(node: yaml.Node | None) -> None:
    """Raise YAMLError for a key that is given twice in one mapping."""
    if isinstance(node, yaml.MappingNode):
        keys = set()
        for key, value in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in keys:
                    raise yaml.MarkedYAMLError(problem=f"`{key.value}` is given twice", problem_mark=key.start_mark)
                keys.add(key.value)
            _check_keys(value)
    elif isinstance(node, yaml.SequenceNode):
        for item in node.value:
            _check_keys(item)
