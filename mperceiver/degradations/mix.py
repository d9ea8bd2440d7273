"""Compose degradations into one picture, with a recipe that renders it again, equal in every pixel.

The layers of a mix follow the path of light: scene -> lens -> blur -> noise -> codec. The paper does not say how MID6 was
made; docs/mid6.md says how it is made here.
"""

import inspect
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from mperceiver import images
from mperceiver.degradations import DEGRADATIONS, PLACES
from mperceiver.degradations.common import check_picture, recorded_maps
from mperceiver.seeds import seed_of
from mperceiver.wording import did_you_mean

VERSION = 1  # of recipes
MOST = 2**62  # the farthest from 0 that an end of a range may be


class Rendered(NamedTuple):
    """A degraded picture, float32 (H, W, 3) in [0, 1] (``unclipped`` ones outside too), and the maps that it was made with, float32.

    The maps are depth, streaks, masks and point spread functions. Their names are made of the layer's number, its
    degradation and what they are: ``1-haze-depth``.
    """

    picture: np.ndarray
    layers: dict[str, np.ndarray]


# ---------------------------------------------------------------- drawing


def draw_parameters(specs: dict[str, Any], rng: np.random.Generator) -> dict[str, int | float | str]:
    """Draw parameters (numbers and words) from their specs, in alphabetical order, so that the order of keys in a config has no effect.

    Args:
        specs: name -> a number or a word (taken as it is), ``[low, high]`` (uniform; whole numbers with both ends if both
            ends are whole), or ``{"choices": [...]}`` (one of them).
        rng: numpy Generator.

    Raises:
        ValueError: a spec is none of these, or low > high.
    """
    return {name: _draw_parameter(name, specs[name], rng) for name in sorted(specs)}


def _draw_parameter(name: str, spec: Any, rng: np.random.Generator) -> int | float | str:
    if _is_plain(spec):
        return spec
    if isinstance(spec, (list, tuple)) and len(spec) == 2 and all(_is_number(end) for end in spec):
        low, high = spec
        if low > high:
            raise ValueError(f"{name} is {spec!r}: the first end of a range must not be above the second")
        if max(abs(low), abs(high)) > MOST:
            raise ValueError(f"{name} is {spec!r}: the ends of a range must be between {-MOST:g} and {MOST:g}")
        if isinstance(low, int) and isinstance(high, int):
            return int(rng.integers(low, high, endpoint=True))
        return float(rng.uniform(low, high))
    if isinstance(spec, dict) and list(spec) == ["choices"]:
        choices = spec["choices"]
        if isinstance(choices, (list, tuple)) and choices and all(map(_is_plain, choices)):
            return choices[int(rng.integers(len(choices)))]
    raise ValueError(f'{name} is {spec!r}, allowed is a finite number, a word, [low, high], or {{"choices": [...]}}')


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < float("inf")


def _is_plain(value: Any) -> bool:
    return _is_number(value) or isinstance(value, (str, bool))


def _generator(seed: int, purpose: int) -> np.random.Generator:
    # PCG64 by name: numpy may change what default_rng means.
    return np.random.Generator(np.random.PCG64([seed, purpose]))


def degrade(
    image: np.ndarray, layers: Sequence[tuple[str, dict[str, Any]]], seed: int, depth: np.ndarray | None = None
) -> tuple[np.ndarray, dict[str, Any]]:
    """Draw the parameters of each layer, apply the layers in float, then clip and round once.

    Args:
        image: float32 (H, W, 3) RGB in [0, 1].
        layers: (degradation, its parameters as for ``draw_parameters``), in the order of PLACES; within a place in any order. A
            layer may also be (any name, {"one_of": {degradation: parameters, ...}}): one of these is drawn, all equally likely.
        seed: whole number >= 0, such as that of ``picture_seed``.
        depth: (H, W) in [0, 1], 1 is far, for the degradations that need one; without it they draw an analytic depth.

    Returns:
        The degraded picture, uint8 (H, W, 3), and its recipe, which json can write.

    Raises:
        ValueError: unknown degradation, wrong order, a parameter outside its range, or not a picture.
    """
    recipe = draw_recipe(layers, seed, "analytic" if depth is None else "given")
    return render_uint8(image, recipe, depth), recipe


def draw_recipe(layers: Sequence[tuple[str, dict[str, Any]]], seed: int, depth: str = "analytic") -> dict[str, Any]:
    """The recipe of ``degrade``: each layer with its drawn parameters and, if it needs a depth, whether that is given or analytic.

    Raises ValueError for an unknown degradation or a wrong order.
    """
    recipe: dict[str, Any] = {"version": VERSION, "seed": int(seed), "layers": []}
    for position, (name, parameters) in enumerate(layers):
        layer_seed = seed_of(f"{seed}|{position}|{name}")
        rng = _generator(layer_seed, 0)
        choices = alternatives(name, parameters)
        name = list(choices)[int(rng.integers(len(choices)))] if len(choices) > 1 else next(iter(choices))
        layer = {"name": name, "numbers": draw_parameters(choices[name], rng), "seed": layer_seed}
        if _needs_depth(name):
            layer["depth"] = depth
        recipe["layers"].append(layer)
    _check_names([layer["name"] for layer in recipe["layers"]])
    for layer in recipe["layers"][:-1]:
        if layer["numbers"].get("clip") is False:
            raise ValueError(
                f"{layer['name']}: clip is false, and another layer follows; only the last one may be unclipped"
            )
    return recipe


def check_layers(layers: Sequence[tuple[str, dict[str, Any]]]) -> None:
    """Raise ValueError or TypeError for layers that ``degrade`` may refuse for some of the parameters that can be drawn.

    It raises ValueError also if a degradation's function does not return a picture of the size of its input.
    """
    choices = [list(alternatives(name, parameters).items()) for name, parameters in layers]
    every = [choice for of_layer in choices for choice in of_layer]
    for name, parameters in every:
        _check_parameters(name, parameters)
        _check_output(name)
    for i in range(max(map(len, choices), default=0)):
        selected = [of_layer[i % len(of_layer)] for of_layer in choices]
        draw_recipe(selected, seed=0)
        for end in (0, -1):  # what is allowed at both ends of a range is allowed between them
            at_end = [(name, {key: _end(spec, end) for key, spec in specs.items()}) for name, specs in selected]
            degrade(np.full((32, 32, 3), 0.5, np.float32), at_end, seed=0)
    for name, parameters in every:
        _check_between(name, parameters)


def _check_between(name: str, parameters: dict[str, Any]) -> None:
    """Raise ValueError for a value between the first and the last one that may be drawn, if a degradation refuses it.

    Of a range of whole numbers only the second number is tried: a degradation that takes odd numbers alone refuses it, or the first.
    """
    first = {key: _end(spec, 0) for key, spec in parameters.items()}
    image = np.full((32, 32, 3), 0.5, np.float32)
    for key, spec in parameters.items():
        if isinstance(spec, dict):
            between, hint = spec["choices"][1:-1], ""
        elif isinstance(spec, (list, tuple)) and all(isinstance(end, int) for end in spec):
            between = range(spec[0] + 1, spec[1])[:1]
            hint = f"; {key}: {list(spec)} may draw it: give the numbers that may be drawn, {key}: {{choices: [{spec[0]}, ...]}}"
        else:
            continue
        for value in between:
            try:
                DEGRADATIONS[name].apply(image, _generator(0, 1), **first | {key: value})
            except ValueError as error:
                raise ValueError(f"{error}{hint}") from None


def _check_parameters(name: str, parameters: dict[str, Any]) -> None:
    """Raise ValueError for a parameter that a degradation does not have, or that does nothing beside another one."""
    _check_names([name])
    known = list(inspect.signature(DEGRADATIONS[name].apply).parameters)[2:]  # after image and rng
    for parameter in parameters:
        if parameter not in known or parameter == "depth":
            raise ValueError(
                f"{name} has no parameter {parameter}{did_you_mean(str(parameter), known)}; it has {', '.join(sorted(set(known) - {'depth'})) or 'none'}. "
                f"`mperceiver degradations {name}` explains them"
            )
    for idle, decisive in DEGRADATIONS[name].either:
        if idle in parameters and decisive in parameters:
            raise ValueError(f"{name}: {idle} does nothing beside {decisive}; remove one of the two")


def _check_output(name: str) -> None:
    """Raise ValueError unless a degradation's function, with its defaults, gives a picture of the size of its input."""
    image = np.full((32, 48, 3), 0.5, np.float32)
    degraded = DEGRADATIONS[name].apply(image, _generator(0, 1))
    if not isinstance(degraded, np.ndarray) or degraded.shape != image.shape:
        returned = f"an array {degraded.shape}" if isinstance(degraded, np.ndarray) else f"{degraded!r}"[:60]
        raise ValueError(
            f"the function of {name} returned {returned} for a picture {image.shape}; a degradation returns a picture of the same size"
        )


def _end(spec: Any, end: int) -> Any:
    """The first (0) or the last (-1) value that may be drawn."""
    values = spec["choices"] if isinstance(spec, dict) else spec
    return values[end] if isinstance(values, (list, tuple)) else values


def alternatives(name: str, parameters: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The degradations that a layer may be, each with its parameters: one, or those of ``one_of``. Raises ValueError."""
    if list(parameters) != ["one_of"]:
        return {name: parameters}
    choices = parameters["one_of"]
    if not isinstance(choices, dict) or not choices or not all(isinstance(specs, dict) for specs in choices.values()):
        raise ValueError(f"{name}: one_of is {choices!r}, allowed is {{degradation: its parameters, ...}}")
    return choices


def _needs_depth(name: str) -> bool:
    return name in DEGRADATIONS and "depth" in inspect.signature(DEGRADATIONS[name].apply).parameters


# ---------------------------------------------------------------- rendering


def render_uint8(image: np.ndarray, recipe: dict[str, Any], depth: np.ndarray | None = None) -> np.ndarray:
    """Render a recipe, equal in every pixel each time: float32 (H, W, 3) in [0, 1] -> uint8 (H, W, 3).

    Raises as ``render_layers``.
    """
    return images.to_levels(render(image, recipe, depth), 8)


def render(image: np.ndarray, recipe: dict[str, Any], depth: np.ndarray | None = None) -> np.ndarray:
    """Render a recipe without rounding to 8 bit: float32 (H, W, 3) in [0, 1] -> the same; with `clip: false` in any range.

    Raises as ``render_layers``.
    """
    return render_layers(image, recipe, depth).picture


def render_layers(image: np.ndarray, recipe: dict[str, Any], depth: np.ndarray | None = None) -> Rendered:
    """Render a recipe, and record the maps of its layers.

    Args:
        image: float32 (H, W, 3) RGB in [0, 1].
        recipe: what ``draw_recipe`` gave, possibly after a way through JSON.
        depth: the depth map, (H, W) in [0, 1], if the recipe was drawn with one.

    Raises:
        ValueError: the recipe has another version, ``degrade`` cannot have written it, or its depth map is not given.
    """
    check_picture("degrade", image)
    if recipe.get("version") != VERSION:
        raise ValueError(f"recipe has version {recipe.get('version')!r}, this code renders version {VERSION}")
    _check_names([layer["name"] for layer in recipe["layers"]])
    layers: dict[str, np.ndarray] = {}
    for number, layer in enumerate(recipe["layers"], 1):
        name = layer["name"]
        depth_argument = {"depth": depth} if layer.get("depth") == "given" else {}
        if depth_argument and depth is None:
            raise ValueError(f"{name} was rendered with a depth map; without it, it cannot be rendered again")
        with recorded_maps() as maps:
            rng = _generator(layer["seed"], 1)
            image = DEGRADATIONS[name].apply(image, rng, **layer["numbers"], **depth_argument)
        layers |= {f"{number}-{name}-{kind}": array for kind, array in maps.items()}
    return Rendered(image if unclipped(recipe) else np.clip(image, 0, 1), layers)


def unclipped(recipe: dict[str, Any] | None) -> bool:
    """Whether a recipe's picture has values outside [0, 1]: its last layer says `clip: false`."""
    layers = recipe["layers"] if recipe else []
    return bool(layers) and layers[-1]["numbers"].get("clip") is False


def _check_names(names: list[str]) -> None:
    """Raise ValueError for an unknown degradation, or for layers that are not in the order of PLACES."""
    for name in names:
        if name not in DEGRADATIONS:
            raise ValueError(f"unknown degradation {name!r}; the degradations are {', '.join(sorted(DEGRADATIONS))}")
    for first, second in pairwise(names):
        before, after = DEGRADATIONS[first].place, DEGRADATIONS[second].place
        if PLACES.index(before) > PLACES.index(after):
            by_place = [
                f"{place}: {', '.join(n for n in DEGRADATIONS if DEGRADATIONS[n].place == place)}" for place in PLACES
            ]
            raise ValueError(
                f"{first} ({before}) is before {second} ({after}); the order is {' -> '.join(PLACES)}: {'; '.join(by_place)}"
            )
