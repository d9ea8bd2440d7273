"""config/datasets/: what pictures there are, where they come from, how pairs are made of them."""

from typing import Any, Literal

from pydantic import Field, model_validator

from mperceiver.config.base import Model, Name, Positive
from mperceiver.config.pairs import Example, Pairs, Sample
from mperceiver.config.sources import Encoding, FilePath, Source


class Encode(Model):
    """The fixed crops of a training dataset: `encode` caches their latents, and stage 3 trains on their pixels."""

    crop_px: Positive = Field(
        description="side of a crop; a smaller picture is padded by reflection at its right and bottom edges"
    )
    crops: Positive = Field(
        1, description="crops of each picture; their positions are drawn by a hash of the picture and `seed`"
    )
    flip: bool = Field(False, description="mirror half of the crops left to right")


class Dataset(Model):
    """config/datasets/<name>.yaml: downloaded files, pairs found in them, or pairs made by degrading pictures.

    A dataset with `sources` is downloaded. One with `from` and `pairs` has ready-made pairs, found among the files of
    downloaded datasets. One with `from` and `degradations` has pictures of other datasets, degraded here.
    """

    title: str = Field(description="what it is, in a line")
    licence: str = Field(description="licence or terms of use of the pictures")
    citation: str = Field("", description="paper to cite")
    page: str = Field("", description="its official page")
    access: Literal["unattended", "drive", "manual"] | None = Field(
        None,
        description="unattended: a program can download it; drive: it is on Google Drive, which has a daily limit; manual: a "
        "person has to download it",
    )
    sources: list[Source] = Field(
        default_factory=list, description="places to download it from; the first that works is used"
    )
    passwords: dict[FilePath, str] = Field(
        default_factory=dict, description="archive: its password, where the official page publishes one"
    )
    names: dict[FilePath, Encoding] = Field(
        default_factory=dict,
        description="archive: encoding of its members' names (gbk, shift_jis, …), where the archive does not say it",
    )
    expected: Positive | None = Field(
        None, description="exact number of pictures in a download; with `pairs`, of pairs (before tiling)"
    )
    defects: list[str] = Field(
        default_factory=list, description="what is wrong or odd about it, and what is done about that"
    )
    from_: list[Name] = Field(
        default_factory=list,
        alias="from",
        description="datasets it is made of: with `pairs`, downloaded datasets; with `degradations`, datasets whose pictures "
        "or ground truths become its ground truths",
    )
    pairs: Pairs | None = Field(
        None, description="how ready-made pairs are found in the downloaded files of the datasets in `from`"
    )
    example: Example | None = Field(
        None,
        exclude=True,  # not in cards: it changes nothing in the prepared pairs
        description="with `pairs`: the names of a few files in the true archives, and the pairs that must be found among them; "
        "a test makes such archives of tiny pictures and prepares them",
    )
    degradations: dict[Name, dict[Name, dict[str, Any]]] = Field(
        default_factory=dict,
        description="task: its layers in order, each a degradation (`mperceiver degradations` lists them) with its parameters; "
        "a parameter is a number, a word, a range [low, high], or {choices: [...]}. In place of a layer, any name with "
        "{one_of: {layer: parameters, ...}} applies one of several layers to each picture",
    )
    only: list[Name] = Field(
        default_factory=list,
        description="tasks of `degradations` to use; for a file that is `like` another with more tasks; none: all",
    )
    onto: Literal["gt", "lq"] = Field(
        "gt",
        description="which picture of a ready-made pair is degraded: gt, the clean one; lq, the degraded one, for a mix whose "
        "first degradation is real",
    )
    depth: Name | None = Field(
        None,
        description="downloaded dataset with a depth map for each picture, under the picture's id, white being far; used by "
        "haze and underwater; none: these draw an analytic depth map, and the recipes say so",
    )
    every: bool = Field(
        True,
        description="true: each crop is degraded by every task, a row each; false: the tasks take turns over the crops",
    )
    clean_share: float = Field(
        0.0,
        ge=0.0,
        lt=1.0,
        description="for training: share of the rows, drawn for each row by itself, whose degraded picture is the clean one, "
        "whatever their task; from these the predictor learns to be unsure of a sound photograph, and the DRM to leave it as it is",
    )
    clean_darkest_of: Positive = Field(
        1,
        description="for `clean_share`: the crop of such a row is the darkest of up to so many random crops of its picture, the number drawn for each "
        "row by itself; from dark scenes the predictor learns that not every dark picture was taken in low light",
    )
    sample: Sample | None = Field(None, description="use only a random part of the pictures of each dataset in `from`")
    multiple_px: Positive | None = Field(
        None, description="crop whole pictures about their centre so that both sides are multiples of this"
    )
    short_side_px: Positive | None = Field(None, description="smallest height and width that a picture may have")
    crop_px: Positive | None = Field(None, description="cut square crops of this side; none: whole pictures")
    crops: Positive | None = Field(
        None, description="number of crops in all, divided evenly (needs crop_px; see `share_by`)"
    )
    share_by: Literal["datasets", "pictures"] = Field(
        "datasets",
        description="how `crops` are divided. datasets: each dataset in `from` gets as many, and divides them evenly over its pictures; pictures: each "
        "picture of any dataset gets as many",
    )
    candidates: Positive = Field(
        1,
        description="crops drawn for each crop that is kept; the most detailed ones are kept (largest variance of the Laplacian)",
    )
    on_the_fly: bool = Field(
        False,
        description="for training: store only the clean picture and degrade it whenever it is read, with new random numbers "
        "and without rounding to 8 bit",
    )
    encode: Encode | None = Field(
        None, description="for training: the crops that `mperceiver encode` uses; none: whole pictures, all of one size"
    )
    seed: int = Field(
        0,
        description="a picture's random numbers are seeded by a hash of the dataset, the picture's id and this number",
    )
    protocol: Name = Field("rgb", description="protocol by which restored pictures are scored")

    @model_validator(mode="before")
    @classmethod
    def _select_tasks(cls, raw: Any) -> Any:
        only, tasks = (raw.get("only"), raw.get("degradations")) if isinstance(raw, dict) else (None, None)
        if isinstance(only, list) and only and isinstance(tasks, dict):
            names = list(tasks)  # a list, since an entry of `only` may be a list itself, which has no hash
            if unknown := [task for task in only if task not in names]:
                raise ValueError(f"`only`: {', '.join(map(str, unknown))} is not a task of `degradations`")
            return raw | {"degradations": {task: layers for task, layers in tasks.items() if task in only}}
        return raw

    @model_validator(mode="after")
    def _check_kind(self) -> "Dataset":
        if bool(self.sources) == bool(self.from_):
            raise ValueError("give either `sources` (a downloaded dataset) or `from` (a dataset made of others)")
        if bool(self.from_) != (bool(self.degradations) or self.pairs is not None):
            raise ValueError("`from` needs `degradations` or `pairs`, and these need `from`")
        if self.degradations and self.pairs:
            raise ValueError(
                "give either `pairs` or `degradations`; to degrade ready-made pairs, name this dataset in `from` of another"
            )
        if (self.crops is None) != (self.crop_px is None):
            raise ValueError("give both `crops` and `crop_px`, or neither")
        if self.share_by == "pictures" and self.crops is None:
            raise ValueError("`share_by` says how `crops` are divided; there are none")
        if self.multiple_px and self.crop_px:
            raise ValueError("`multiple_px` is for whole pictures; leave it out, or leave `crop_px` out")
        if not self.degradations and (
            self.only or self.depth or self.sample or self.multiple_px or self.short_side_px or self.clean_share
        ):
            raise ValueError(
                "`only`, `depth`, `sample`, `multiple_px`, `short_side_px` and `clean_share` need `degradations`"
            )
        if self.clean_share and (self.on_the_fly or self.onto != "gt" or self.unclipped):
            raise ValueError("`clean_share` cannot be combined with `on_the_fly`, `onto: lq` or `clip: false`")
        if self.clean_darkest_of > 1 and (not self.clean_share or self.crop_px is None or self.every):
            raise ValueError("`clean_darkest_of` needs `clean_share`, `crop_px` and `every: false`")
        if self.on_the_fly and self.depth:
            raise ValueError("`on_the_fly` cannot use a `depth` map; leave one of them out")
        if self.pairs and self.crop_px:
            raise ValueError("`crop_px` is for `degradations`; to cut ready-made pairs give `tile_px` in `pairs`")
        if self.example and not self.pairs:
            raise ValueError("`example` needs `pairs`")
        if self.example and (unknown := [name for name in self.example.files if name not in self.from_]):
            raise ValueError(f"`example.files`: {', '.join(unknown)} is not in `from`")
        if self.unclipped:
            if self.onto != "gt" or self.depth or self.on_the_fly:
                raise ValueError(
                    "`clip: false` noise is drawn again on the ground truth when a picture is read; it cannot be combined with "
                    "`onto: lq`, `depth` or `on_the_fly`"
                )
        if self.on_the_fly and not self.degradations:
            raise ValueError("`on_the_fly` says when `degradations` are applied; there are none")
        if self.on_the_fly and self.onto != "gt":
            raise ValueError("`on_the_fly` degrades the clean picture; it cannot be combined with `onto: lq`")
        return self

    @property
    def unclipped(self) -> bool:
        """Whether noise of its pairs is not clipped (`clip: false`): methods are given it in float, drawn again on the ground truth."""
        return _unclipped(self.degradations)

    @property
    def tasks(self) -> list[str]:
        """Tasks of its pairs; `clean` alone for a downloaded dataset."""
        if self.pairs:
            return list(dict.fromkeys([*self.pairs.tasks.values(), self.pairs.task]))
        return list(self.degradations) or ["clean"]


def _unclipped(value: Any) -> bool:
    """Whether a layer, in a `one_of` too, says `clip: false`."""
    return isinstance(value, dict) and any(
        (key == "clip" and inside is False) or _unclipped(inside) for key, inside in value.items()
    )
