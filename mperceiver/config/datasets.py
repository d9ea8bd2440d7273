"""config/datasets/: what pictures there are, where they come from, how pairs are made of them."""

from typing import Any

from pydantic import Field, model_validator

from mperceiver.config.base import Model, Name, Positive
from mperceiver.config.sources import FilePath, Source


class Dataset(Model):
    """config/datasets/<name>.yaml: clean pictures from a source, or pairs made from them by degradations."""

    title: str = Field(description="what it is, in a line")
    licence: str = Field(description="licence or terms of use of the pictures")
    citation: str = Field("", description="whom to cite for it")
    sources: list[Source] = Field(default_factory=list, description="tried in order; the first that is there is taken")
    expected: Positive | None = Field(None, description="number of pictures a download must have")
    passwords: dict[FilePath, str] = Field(
        default_factory=dict, description="archive: its password, where the official page publishes one"
    )
    from_: list[Name] = Field(
        default_factory=list, alias="from", description="datasets whose pictures are the ground truth of this one"
    )
    degradations: dict[Name, dict[Name, dict[str, Any]]] = Field(
        default_factory=dict,
        description="task: its layers in order, each a key of DEGRADATIONS with its numbers (a scalar, a [low, high] "
        "range, or {choices: [...]})",
    )
    every: bool = Field(
        True, description="true: each crop is degraded in every way; false: the ways take turns over the crops"
    )
    crop_px: Positive | None = Field(None, description="cut square crops of this side; none: whole pictures")
    crops: Positive | None = Field(None, description="crops in all, drawn evenly over the pictures (needs crop_px)")
    candidates: Positive = Field(
        1, description="crops drawn for each one kept, the most detailed being kept (variance of the Laplacian)"
    )
    seed: int = Field(0, description="a picture's own seed is a hash of the dataset's name, the picture's id and this")
    protocol: Name = Field("rgb", description="how restored pictures of this dataset are scored")

    @model_validator(mode="after")
    def _one_kind(self):
        if bool(self.sources) == bool(self.from_):
            raise ValueError("give either `sources` (pictures from somewhere) or `from` (pairs made of other datasets)")
        if bool(self.from_) != bool(self.degradations):
            raise ValueError("`from` and `degradations` go together")
        if (self.crops is None) != (self.crop_px is None):
            raise ValueError("`crops` and `crop_px` go together")
        return self
