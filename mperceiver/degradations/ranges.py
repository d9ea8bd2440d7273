"""What each parameter of a degradation may be: written once, as its annotation; checked at each call, and shown to people."""

import dataclasses
import functools
import inspect
import re
from collections.abc import Callable
from typing import Annotated, Any, Literal, NamedTuple, ParamSpec, get_args, get_origin

import numpy as np

from mperceiver.degradations.common import check_picture

P = ParamSpec("P")


class Parameter(NamedTuple):
    """A parameter of a degradation: a number from ``low`` to ``high``, or one of the words ``choices``."""

    name: str
    default: Any  # None: it may be left out; inspect.Parameter.empty: it must be given
    meaning: str  # in words, with its unit
    low: float = 0
    high: float = 0
    whole: bool = False  # only whole numbers
    choices: tuple[str, ...] = ()

    @property
    def allowed(self) -> str:
        """In words: "a number in [0, 5]"."""
        if self.choices:
            return f"one of {', '.join(self.choices)}"
        return f"a {'whole ' if self.whole else ''}number in [{self.low}, {self.high}]"

    def check(self, degradation: str, value: Any) -> None:
        """Raise ValueError, which names the degradation, unless value is allowed."""
        if value is None and self.default is None:
            return
        if self.choices:
            fits = value in self.choices
        else:
            numbers = (int, np.integer) if self.whole else (int, float, np.number)
            fits = isinstance(value, numbers) and not isinstance(value, bool) and bool(self.low <= value <= self.high)
        if not fits:
            raise ValueError(f"{degradation}: {self.name} is {value!r}, allowed is {self.allowed}")


def parameters(function: Callable[..., Any]) -> list[Parameter]:
    """The parameters whose annotation says what they may be, in the function's order.

    Such an annotation is ``Literal["a", "b"]`` or ``Annotated[float, Field(ge=0, le=5)]``; in the latter, the type is int for whole
    numbers, and has ``| None`` behind it if the parameter may be left out. What a parameter means is read from the docstring's
    ``Args:``. Raises KeyError for a range without ``ge`` or ``le``.
    """
    described = re.findall(r"^ {4}(\w[\w, ]*): (.+(?:\n {8}.+)*)", inspect.getdoc(function) or "", re.MULTILINE)
    meanings = {name: " ".join(text.split()) for names, text in described for name in names.split(", ")}
    found = []
    for name, parameter in inspect.signature(function, eval_str=True).parameters.items():
        said = get_args(parameter.annotation)
        about = (name, parameter.default, meanings.get(name, ""))
        if get_origin(parameter.annotation) is Literal:
            found.append(Parameter(*about, choices=said))
        elif get_origin(parameter.annotation) is Annotated:
            kind, field = said
            ends = {end: value for bound in field.metadata for end, value in dataclasses.asdict(bound).items()}
            found.append(Parameter(*about, ends["ge"], ends["le"], whole=int in (kind, *get_args(kind))))
    return found


def checked(degradation: str) -> Callable[[Callable[P, np.ndarray]], Callable[P, np.ndarray]]:
    """Have a function of a degradation check the picture ``image``, if it takes one, and each of its ``parameters`` that is given.

    The function then raises ValueError for a wrong one, or TypeError for an image that is not an array.
    """

    def decorate(function: Callable[P, np.ndarray]) -> Callable[P, np.ndarray]:
        names, ranged = list(inspect.signature(function).parameters), parameters(function)

        @functools.wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> np.ndarray:
            given: dict[str, Any] = dict(zip(names, args, strict=False)) | kwargs
            if "image" in given:
                check_picture(degradation, given["image"])
            for parameter in ranged:
                if parameter.name in given:
                    parameter.check(degradation, given[parameter.name])
            return function(*args, **kwargs)

        return call

    return decorate
