"""Compose degradations into one picture and a recipe that renders it again, pixel for pixel.

The order of a mix is the way of the light: scene -> lens -> blur -> noise -> codec. The paper does not say how MID6 was
made; docs/mid6.md tells how it is made here.
"""

import inspect
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from mperceiver.degradations import DEGRADATIONS
from mperceiver.degradations.common import check_picture, maps
from mperceiver.seeds import seed_of

VERSION = 1
STAGES = ("scene", "lens", "blur", "noise", "codec")
ORDER: dict[str, str] = {
    "haze": "scene",
    "rain": "scene",
    "snow": "scene",
    "low-light": "scene",
    "underwater": "scene",
    "under-display": "lens",
    "raindrop": "lens",
    "motion-blur": "blur",
    "defocus": "blur",
    "gaussian-blur": "blur",
    "moire": "blur",
    "gaussian-noise": "noise",
    "real-noise": "noise",
    "demosaic": "codec",
    "jpeg": "codec",
}


def draw(numbers: dict[str, Any], rng: np.random.Generator) -> dict[str, int | float | str]:
    """Draw plain numbers and words from their specifications, in alphabetical order, so that a config's order of keys never matters.

    Args:
        numbers: name -> a number or a word (kept), ``[low, high]`` (uniform; whole numbers with both ends if both are whole),
            or ``{"choices": [...]}`` (one of them).
        rng: numpy Generator.

    Raises:
        ValueError: a specification is none of these, or low > high.
    """
    return {name: _draw_one(name, numbers[name], rng) for name in sorted(numbers)}


def _draw_one(name: str, spec: Any, rng: np.random.Generator) -> int | float | str:
    if _is_plain(spec):
        return spec
    if isinstance(spec, (list, tuple)) and len(spec) == 2 and all(_is_number(end) for end in spec):
        low, high = spec
        if low > high:
            raise ValueError(f"{name} is {spec!r}: the first end of a range must not be above the second")
        if isinstance(low, int) and isinstance(high, int):
            return int(rng.integers(low, high, endpoint=True))
        return float(rng.uniform(low, high))
    if isinstance(spec, dict) and list(spec) == ["choices"]:
        choices = spec["choices"]
        if isinstance(choices, (list, tuple)) and choices and all(map(_is_plain, choices)):
            return choices[int(rng.integers(len(choices)))]
    raise ValueError(f'{name} is {spec!r}, allowed is a number, a word, [low, high], or {{"choices": [...]}}')


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_plain(value: Any) -> bool:
    return _is_number(value) or isinstance(value, str)


def _generator(seed: int, purpose: int) -> np.random.Generator:
    # PCG64 by name: numpy may change what default_rng means.
    return np.random.Generator(np.random.PCG64([seed, purpose]))


def degrade(
    image: np.ndarray, layers: Sequence[tuple[str, dict[str, Any]]], seed: int, depth: np.ndarray | None = None
) -> tuple[np.ndarray, dict[str, Any]]:
    """Draw the numbers of each layer, apply the layers in float, clip and round once.

    Args:
        image: float32 (H, W, 3) RGB in [0, 1].
        layers: (name, numbers as for draw), in the order of ORDER's stages; within a stage any order. Instead of a degradation
            also (any name, {"one_of": {degradation: numbers, ...}}): one of them is drawn, all equally likely.
        seed: whole number >= 0, such as picture_seed's.
        depth: (H, W) in [0, 1], 1 is far, for the degradations that need one; if not given, they draw an analytic one.

    Returns:
        The degraded picture, uint8 (H, W, 3), and the recipe for replay, which json can write.

    Raises:
        ValueError: unknown name, wrong order, a number outside its range, or not a picture.
    """
    recipe = draw_recipe(layers, seed, "analytic" if depth is None else "given")
    return replay(image, recipe, depth), recipe


def draw_recipe(layers: Sequence[tuple[str, dict[str, Any]]], seed: int, depth: str = "analytic") -> dict[str, Any]:
    """The recipe of ``degrade``: each layer with its numbers drawn, and how it comes by its depth (analytic or given).

    Raises ValueError: unknown name or wrong order.
    """
    recipe: dict[str, Any] = {"version": VERSION, "seed": int(seed), "layers": []}
    for position, (name, numbers) in enumerate(layers):
        layer_seed = seed_of(f"{seed}|{position}|{name}")
        rng = _generator(layer_seed, 0)
        ways = ways_of(name, numbers)
        name = list(ways)[int(rng.integers(len(ways)))] if len(ways) > 1 else next(iter(ways))
        layer = {"name": name, "numbers": draw(ways[name], rng), "seed": layer_seed}
        if _needs_depth(name):
            layer["depth"] = depth
        recipe["layers"].append(layer)
    _check_names([layer["name"] for layer in recipe["layers"]])
    return recipe


def check_layers(layers: Sequence[tuple[str, dict[str, Any]]]) -> None:
    """Raise ValueError or TypeError for layers that ``degrade`` would not take, whatever is drawn."""
    ways = [list(ways_of(name, numbers).items()) for name, numbers in layers]
    for i in range(max(map(len, ways), default=0)):
        taken = [of_layer[i % len(of_layer)] for of_layer in ways]
        draw_recipe(taken, seed=0)
        for end in (0, -1):  # what is taken at both ends of a range is taken between them
            ends = [(name, {key: _end(spec, end) for key, spec in numbers.items()}) for name, numbers in taken]
            degrade(np.full((32, 32, 3), 0.5, np.float32), ends, seed=0)


def _end(spec: Any, end: int) -> Any:
    """The first or the last of what may be drawn."""
    found = spec["choices"] if isinstance(spec, dict) else spec
    return found[end] if isinstance(found, (list, tuple)) else found


def ways_of(name: str, numbers: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The degradations that a layer may be, each with its numbers: one, or those of ``one_of``. Raises ValueError."""
    if list(numbers) != ["one_of"]:
        return {name: numbers}
    ways = numbers["one_of"]
    if not isinstance(ways, dict) or not ways or not all(isinstance(of_way, dict) for of_way in ways.values()):
        raise ValueError(f"{name}: one_of is {ways!r}, allowed is {{degradation: its numbers, ...}}")
    return ways


def _needs_depth(name: str) -> bool:
    return name in DEGRADATIONS and "depth" in inspect.signature(DEGRADATIONS[name]).parameters


def replay(image: np.ndarray, recipe: dict[str, Any], depth: np.ndarray | None = None) -> np.ndarray:
    """Render a recipe of degrade again, equal in every pixel: float32 (H, W, 3) in [0, 1] -> uint8 (H, W, 3).

    Raises:
        ValueError: the recipe is of another version, or not a recipe degrade could have written; it wants the depth map.
    """
    return np.round(render(image, recipe, depth) * 255).astype(np.uint8)


def render(image: np.ndarray, recipe: dict[str, Any], depth: np.ndarray | None = None) -> np.ndarray:
    """``replay`` before it is rounded: float32 (H, W, 3) in [0, 1], clipped."""
    return _render(image, recipe, depth)[0]


def layers_of(image: np.ndarray, recipe: dict[str, Any], depth: np.ndarray | None = None) -> dict[str, np.ndarray]:
    """What lies between ``image`` and what ``replay`` makes of it: depth, streaks, masks, point spread functions, as float32.

    Named by the layer's place, its degradation and what it is: ``1-haze-depth``.
    """
    return _render(image, recipe, depth)[1]


def _render(
    image: np.ndarray, recipe: dict[str, Any], depth: np.ndarray | None
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    check_picture("degrade", image)
    if recipe.get("version") != VERSION:
        raise ValueError(f"recipe has version {recipe.get('version')!r}, this code renders version {VERSION}")
    _check_names([layer["name"] for layer in recipe["layers"]])
    found = {}
    for place, layer in enumerate(recipe["layers"], 1):
        given = {"depth": depth} if layer.get("depth") == "given" else {}
        if given and depth is None:
            raise ValueError(f"{layer['name']} was rendered with a depth map; it cannot be rendered again without")
        with maps() as kept:
            image = DEGRADATIONS[layer["name"]](image, _generator(layer["seed"], 1), **layer["numbers"], **given)
        found |= {f"{place}-{layer['name']}-{what}": array for what, array in kept.items()}
    return np.clip(image, 0, 1), found


def _check_names(names: list[str]) -> None:
    for name in names:
        if name not in DEGRADATIONS:
            raise ValueError(f"unknown degradation {name!r}, known are {', '.join(sorted(DEGRADATIONS))}")
    for first, second in pairwise(names):
        if STAGES.index(ORDER[first]) > STAGES.index(ORDER[second]):
            raise ValueError(
                f"{first} ({ORDER[first]}) stands before {second} ({ORDER[second]}); the order is {' -> '.join(STAGES)}: "
                + "; ".join(f"{stage}: {', '.join(n for n in ORDER if ORDER[n] == stage)}" for stage in STAGES)
            )
