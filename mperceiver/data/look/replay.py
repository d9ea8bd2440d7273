"""Render a degraded picture again, from its recipe and the picture it was made of, together with the maps between the two."""

import json
import re
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from mperceiver import config, files, images, paths
from mperceiver.config.base import Count, Name
from mperceiver.data import DataError
from mperceiver.data.prepare.cutting import cut
from mperceiver.data.prepare.synthesised import open_picture, origin_pictures, to_float
from mperceiver.data.read.loader import PreparedDataset
from mperceiver.degradations.common import SIDE_MIN_PX
from mperceiver.degradations.mix import VERSION, render_layers

KEYS, KEYS_OF_SOURCE = ("id", "source", "cut"), ("dataset", "picture", "onto")  # that a recipe cannot do without
FILE_NAME = re.compile(r"[^/\x00-\x1f\x7f]+")
MOST = 5  # faults in a message


class RecipePart(BaseModel):
    """What a part of a recipe must be: ``prepare`` writes it, and a person may have changed it."""

    model_config = ConfigDict(strict=True, allow_inf_nan=False)


class RecipeLayer(RecipePart):
    """A degradation with what was drawn for it; ``mix`` knows the names and the ranges of the numbers."""

    name: str
    numbers: dict[str, int | float | str | bool]
    seed: Count
    depth: Literal["analytic", "given"] | None = None


class RecipeSource(RecipePart):
    """The picture that was degraded."""

    dataset: Name
    picture: str
    onto: Literal["gt", "lq"]
    sha256: str = ""
    depth: Name | None = None
    depth_sha256: str = ""


class Recipe(RecipePart):
    """A recipe that can be rendered. This model only checks it: the dict itself is used on, since it is compared with the prepared one."""

    dataset: Name
    id: str
    source: RecipeSource
    cut: Annotated[list[Count], Field(min_length=4, max_length=4)]  # y, x, height, width
    version: int
    seed: Count
    layers: list[RecipeLayer]

    @field_validator("version")
    @classmethod
    def _check_version(cls, value: int) -> int:
        if value != VERSION:
            raise ValueError(f"recipe has version {value}, this code renders version {VERSION}")
        return value

    @field_validator("cut")
    @classmethod
    def _check_sides(cls, value: list[int]) -> list[int]:
        if min(value[2:]) < SIDE_MIN_PX:
            raise ValueError(
                f"(y, x, height, width) is {value}; both sides of what is degraded have {SIDE_MIN_PX} px or more"
            )
        return value


class RenderedPair(NamedTuple):
    """A pair, and the maps that its degraded picture was made with."""

    lq: np.ndarray  # uint8 (H, W, 3)
    gt: np.ndarray  # uint8 (H, W, 3)
    layers: dict[str, np.ndarray]  # float32: depth, streaks, masks (H, W) or (H, W, 3), point spread functions


def load_recipe(name: str, picture: str) -> dict[str, Any]:
    """The recipe of a picture of a prepared dataset, or the one in the file ``picture`` if that ends in .json.

    Raises DataError if there is no such picture, if it has no recipe, or if the file is not a recipe of that dataset, or not one
    that can be rendered: the message names the keys that are wrong.
    """
    if picture.endswith(".json"):
        try:
            recipe = json.loads(Path(picture).read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as error:  # RecursionError: brackets in brackets without end
            raise DataError(f"{picture}: not a recipe: {error}") from None
        if not isinstance(recipe, dict) or recipe.get("dataset") != name:
            raise DataError(f"{picture}: not a recipe of {name}: its key `dataset` says otherwise")
        source = recipe.get("source")
        lacking = [key for key in KEYS if key not in recipe]
        lacking += [f"source.{key}" for key in KEYS_OF_SOURCE if not isinstance(source, dict) or key not in source]
        if lacking:
            raise DataError(
                f"{picture}: not a whole recipe: it lacks {', '.join(lacking)}; mperceiver prepare {name} --replay ID writes whole ones"
            )
        _check_recipe(picture, recipe, f"mperceiver prepare {name} --replay ID writes sound ones")
        return recipe
    rows = PreparedDataset(name)
    if picture not in rows.ids:
        raise DataError(f"{name}: no picture {picture!r}; its pictures are {', '.join(rows.ids[:3])}, ...")
    recipe = rows.recipe(rows.ids.index(picture))
    if recipe is None or "source" not in recipe:
        raise DataError(
            f"{name}: picture {picture} has no recipe; it was not degraded here, or it is degraded each time it is read"
        )
    _check_recipe(f"{name}: picture {picture}", recipe, f"prepare it again: mperceiver prepare {name}")
    return recipe


def _check_recipe(label: str, recipe: dict[str, Any], remedy: str) -> None:
    """Raise DataError, beginning with ``label``, for keys whose values cannot be rendered."""
    try:
        Recipe.model_validate(recipe)
    except ValidationError as error:
        faults = [f"{'.'.join(map(str, fault['loc']))}: {_in_words(fault)}" for fault in error.errors()[:MOST]]
        raise DataError(f"{label}: a recipe that cannot be rendered: {'; '.join(faults)}; {remedy}") from None


def _in_words(fault: Any) -> str:
    """One fault that pydantic found, with the value unless the message says it."""
    if fault["type"] == "value_error":
        return str(fault["ctx"]["error"])
    return fault["msg"] + ("" if fault["type"] == "missing" else f", not {fault['input']!r:.60}")


def render_pair(recipe: dict[str, Any]) -> RenderedPair:
    """The pair of a recipe, equal in every pixel to the one that was prepared.

    Needs the picture that it was made of in its place: in data/raw/, or in data/prepared/ if it is a ready-made pair's.

    Raises:
        DataError: that picture is missing, has changed or is smaller than what was cut out of it; or the recipe is of another
            version, or has a layer that is unknown or a number that is not allowed.
    """
    source, label = recipe["source"], f"{recipe['dataset']}: picture {recipe['id']}"
    origins = {origin.id: origin for origin in origin_pictures(source["dataset"], recipe["dataset"])}
    if source["picture"] not in origins:
        raise DataError(f"{label}: {source['dataset']} has no picture {source['picture']}, which it was made of")
    opened = open_picture(origins[source["picture"]], source["onto"], source.get("depth"), label)
    for key, digest in (("sha256", opened.sha256), ("depth_sha256", opened.depth_sha256)):
        if digest != source.get(key, ""):
            raise DataError(
                f"{label}: picture {source['picture']} of {source['dataset']}, or its depth map, has SHA-256 {digest}; it was "
                f"made of one with SHA-256 {source.get(key, '')}"
            )
    y, x, height, width = recipe["cut"]
    if y + height > opened.base.shape[0] or x + width > opened.base.shape[1]:
        raise DataError(
            f"{label}: `cut` (y, x, height, width) is {recipe['cut']}, which reaches out of picture {source['picture']} of "
            f"{source['dataset']}, {opened.base.shape[1]}x{opened.base.shape[0]} px"
        )
    base = to_float(cut(opened.base, recipe["cut"]))
    depth = None if opened.depth is None else cut(opened.depth, recipe["cut"])
    try:
        picture, layers = render_layers(base, recipe, depth)
    except (ValueError, TypeError) as error:  # TypeError: a number that the degradation does not take
        raise DataError(f"{label}: its recipe cannot be rendered: {error}") from error
    return RenderedPair(images.to_levels(picture, 8), cut(opened.gt, recipe["cut"]), layers)


def render_again(name: str, picture: str) -> Path:
    """Render a picture again and write it, its ground truth, recipe and layers to a folder; return the folder.

    Args:
        name: a dataset with `degradations`.
        picture: an id of the prepared dataset, or a file with a recipe, ending in .json.

    Raises:
        DataError: as ``load_recipe`` and ``render_pair`` do, and if the picture differs from the prepared one.
    """
    config.load("datasets", name)
    recipe = load_recipe(name, picture)
    if not FILE_NAME.fullmatch(recipe["id"]) or recipe["id"] in (".", ".."):
        raise DataError(f"{picture}: {recipe['id']!r} cannot be the id of a picture")
    rendered = render_pair(recipe)
    rows = PreparedDataset(name) if paths.prepared_file(name).is_file() else None
    if rows and recipe["id"] in rows.ids:
        row = rows.ids.index(recipe["id"])
        if rows.recipe(row) == recipe and not np.array_equal(rows.lq(row), rendered.lq):
            raise DataError(
                f"{name}: picture {recipe['id']} differs from the prepared one, which was made by another version of the "
                f"code or of numpy or scipy. Prepare it again: mperceiver prepare {name}"
            )
    folder = paths.replayed_folder(name, recipe["id"])
    with files.atomic_folder(folder) as beside:
        (beside / "lq.png").write_bytes(images.encode(rendered.lq))
        (beside / "gt.png").write_bytes(images.encode(rendered.gt))
        (beside / "recipe.json").write_text(json.dumps(recipe, indent=1, sort_keys=True) + "\n", encoding="utf-8")
        for layer, values in rendered.layers.items():
            (beside / f"{layer}.png").write_bytes(images.encode(_as_picture(values)))
        arrays: dict[str, Any] = dict(rendered.layers)
        np.savez_compressed(beside / "layers.npz", **arrays)
    return folder


def _as_picture(values: np.ndarray) -> np.ndarray:
    """A layer as a picture, uint8 (H, W, 3), in which its largest value is white."""
    values = values[None] if values.ndim == 1 else values
    largest = max(float(values.max()), 1e-12)
    grey = np.round(255 * np.clip(values / largest, 0, 1)).astype(np.uint8)
    return grey if grey.ndim == 3 else np.repeat(grey[..., None], 3, -1)
