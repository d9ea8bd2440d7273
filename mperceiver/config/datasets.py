"""config/datasets/: what pictures there are, where they come from, how pairs are made of them."""

from typing import Any, Literal

from pydantic import Field, model_validator

from mperceiver.config.base import Model, Name, Positive
from mperceiver.config.pairs import Pairs, Sample
from mperceiver.config.sources import FilePath, Source


class Encode(Model):
    """The fixed crops of whole pictures on which training stands: what `encode` caches, and stage 3's pictures."""

    crop_px: Positive = Field(
        description="side of a crop; a smaller picture is reflected at its right and bottom edges up to it"
    )
    crops: Positive = Field(1, description="crops of each picture; where they lie is a hash of the picture and `seed`")
    flip: bool = Field(False, description="half of them mirrored left to right")


class Dataset(Model):
    """config/datasets/<name>.yaml: pictures or archives from a source, pairs found in archives, or pairs made of pictures.

    With `sources` it is what is downloaded; with `from` and `pairs` it is ready-made pairs out of downloaded archives; with
    `from` and `degradations` it is the pictures of other datasets, degraded here.
    """

    title: str = Field(description="what it is, in a line")
    licence: str = Field(description="licence or terms of use of the pictures")
    citation: str = Field("", description="whom to cite for it")
    page: str = Field("", description="its official page")
    access: Literal["unattended", "drive", "manual"] | None = Field(
        None,
        description="unattended: any program may fetch it; drive: from Google Drive, which has a daily limit; "
        "manual: a person has to bring it",
    )
    sources: list[Source] = Field(default_factory=list, description="tried in order; the first that is there is taken")
    passwords: dict[FilePath, str] = Field(
        default_factory=dict, description="archive: its password, where the official page publishes one"
    )
    expected: Positive | None = Field(
        None, description="number of pictures a download must have; with `pairs`, of pairs (before they are tiled)"
    )
    defects: list[str] = Field(
        default_factory=list, description="what is wrong with it or odd, and what is done about it"
    )
    from_: list[Name] = Field(
        default_factory=list,
        alias="from",
        description="datasets that this one is made of: raw ones with `pairs`; with `degradations` those whose pictures, "
        "or ground truths, are its ground truth",
    )
    pairs: Pairs | None = Field(None, description="how ready-made pairs are found in the raw datasets")
    degradations: dict[Name, dict[Name, dict[str, Any]]] = Field(
        default_factory=dict,
        description="task: its layers in order, each a degradation (`mperceiver degradations` lists them) with its "
        "numbers (a scalar, a word, a [low, high] range, or {choices: [...]}); or any name with {one_of: {layer: numbers, ...}}, one of them a picture",
    )
    only: list[Name] = Field(
        default_factory=list, description="of `degradations`, only these; for a file that is `like` one with more"
    )
    onto: Literal["gt", "lq"] = Field(
        "gt",
        description="which picture of ready-made pairs is degraded: the clean one, or the degraded one, for a mix whose "
        "first part is real",
    )
    depth: Name | None = Field(
        None,
        description="downloaded dataset that has a depth map for each picture, under the picture's id, white being far; for the "
        "degradations that need one (haze, underwater). None: they draw an analytic one, and the recipes say so",
    )
    every: bool = Field(
        True, description="true: each crop is degraded in every way; false: the ways take turns over the crops"
    )
    sample: Sample | None = Field(
        None, description="only a part of the pictures of each dataset in `from`, drawn by `seed` from their ids"
    )
    multiple_px: Positive | None = Field(
        None, description="whole pictures are cut about their centre to sides that are multiples of this"
    )
    short_side_px: Positive | None = Field(None, description="least height and width that its pictures must have")
    crop_px: Positive | None = Field(None, description="cut square crops of this side; none: whole pictures")
    crops: Positive | None = Field(None, description="crops in all, drawn evenly over the pictures (needs crop_px)")
    candidates: Positive = Field(
        1, description="crops drawn for each one kept, the most detailed being kept (variance of the Laplacian)"
    )
    on_the_fly: bool = Field(
        False,
        description="for training: only the clean picture is kept, and it is degraded whenever it is read, with numbers drawn "
        "anew and without rounding to 8 bit",
    )
    encode: Encode | None = Field(
        None, description="for training: the crops `mperceiver encode` takes; none: whole pictures, all of one size"
    )
    seed: int = Field(0, description="a picture's own seed is a hash of the dataset's name, the picture's id and this")
    protocol: Name = Field("rgb", description="how restored pictures of this dataset are scored")

    @model_validator(mode="before")
    @classmethod
    def _without_others(cls, raw: Any) -> Any:
        only, ways = (raw.get("only"), raw.get("degradations")) if isinstance(raw, dict) else (None, None)
        if isinstance(only, list) and only and isinstance(ways, dict):
            if unknown := [task for task in only if task not in ways]:
                raise ValueError(f"`only`: {', '.join(map(str, unknown))} is not among `degradations`")
            return raw | {"degradations": {task: way for task, way in ways.items() if task in only}}
        return raw

    @model_validator(mode="after")
    def _one_kind(self):
        if bool(self.sources) == bool(self.from_):
            raise ValueError("give either `sources` (pictures from somewhere) or `from` (pairs made of other datasets)")
        if bool(self.from_) != (bool(self.degradations) or self.pairs is not None):
            raise ValueError("`from` goes with `degradations` or with `pairs`")
        if self.degradations and self.pairs:
            raise ValueError(
                "`pairs` are ready-made; to degrade their pictures, name this dataset in `from` of another"
            )
        if (self.crops is None) != (self.crop_px is None):
            raise ValueError("`crops` and `crop_px` go together")
        if self.multiple_px and self.crop_px:
            raise ValueError("`multiple_px` is for whole pictures; crops are of `crop_px` anyway")
        if not self.degradations and (self.only or self.depth or self.sample or self.multiple_px or self.short_side_px):
            raise ValueError("`only`, `depth`, `sample`, `multiple_px` and `short_side_px` are for `degradations`")
        if self.on_the_fly and self.depth:
            raise ValueError("`on_the_fly` degrades without a `depth` map; leave one of them out")
        if self.pairs and self.crop_px:
            raise ValueError("`crop_px` is for `degradations`; to cut ready-made pairs give `tile_px` in `pairs`")
        if self.on_the_fly and not self.degradations:
            raise ValueError("`on_the_fly` says when `degradations` are applied; there are none")
        if self.on_the_fly and self.onto != "gt":
            raise ValueError("`on_the_fly` degrades the clean picture; it does not go with `onto: lq`")
        return self

    @property
    def tasks(self) -> list[str]:
        """Tasks of its rows; `clean` alone for pictures as they are."""
        if self.pairs:
            return list(dict.fromkeys([*self.pairs.tasks.values(), self.pairs.task]))
        return list(self.degradations) or ["clean"]
