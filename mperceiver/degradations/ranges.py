"""What each parameter of a degradation may be, read from its docstring, where the ranges are written for people."""

import inspect
import re
from typing import NamedTuple

from mperceiver.degradations import DEGRADATIONS

# "[0, 0.05]" or "1 to 100", in the docstring of a degradation
RANGE = re.compile(r"\[(-?[\d.]+), (-?[\d.]+)\]|\b(\d+) to (\d+)\b")


class Parameter(NamedTuple):
    """A parameter that a person may set: a number from ``low`` to ``high``, or one of the words ``choices``."""

    name: str
    default: int | float | str
    meaning: str  # in words, with its unit and range
    low: float = 0.0
    high: float = 0.0
    choices: tuple[str, ...] = ()

    @property
    def whole(self) -> bool:
        """Whether only whole numbers are allowed."""
        return isinstance(self.default, int)


def parameters(name: str) -> list[Parameter]:
    """The numbers and words among the parameters of a degradation that have a default, in the function's order.

    Raises ValueError if a docstring does not say what a parameter may be.
    """
    function = DEGRADATIONS[name].apply
    meanings = _meanings(inspect.getdoc(function) or "")
    found = []
    for parameter in inspect.signature(function).parameters.values():
        if parameter.default in (parameter.empty, None) or isinstance(parameter.default, bool):
            continue
        meaning, place = meanings.get(parameter.name, ("", 0))
        if isinstance(parameter.default, str):
            choices = _choices(meaning, parameter.default)
            found.append(Parameter(parameter.name, parameter.default, meaning, choices=choices))
            continue
        ranges = RANGE.findall(meaning)
        if not ranges:
            raise ValueError(f"{name}: the docstring does not say which values of {parameter.name} are allowed")
        low, high = (text for text in ranges[min(place, len(ranges) - 1)] if text)
        found.append(Parameter(parameter.name, parameter.default, meaning, float(low), float(high)))
    return found


def _meanings(docstring: str) -> dict[str, tuple[str, int]]:
    """{parameter: (what ``Args:`` says of it, its place among the parameters that are described together)}."""
    described = docstring.partition("Args:\n")[2].partition("\n\n")[0]
    lines: list[str] = []
    for line in described.splitlines():
        if line.startswith(" " * 8) and lines:
            lines[-1] += f" {line.strip()}"
        else:
            lines.append(line.strip())
    meanings = {}
    for line in lines:
        names, _, meaning = line.partition(": ")
        for place, name in enumerate(names.split(", ")):
            meanings[name] = (meaning, place)
    return meanings


def _choices(meaning: str, default: str) -> tuple[str, ...]:
    """The words of the list "a, b, c or d" that has the default in it."""
    for part in re.split(r"[:.]", meaning):
        words = tuple(re.findall(r"\w+", re.sub(r"\(.*?\)|\bor\b", "", part)))
        if default in words:
            return words
    raise ValueError(f"the docstring does not say which words beside {default} are allowed")
