"""config/datasets/: what pictures there are, where they come from, how pairs are made of them."""

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from mperceiver.config.base import Model, Name, Positive


class PackageSource(Model):
    """Pictures that ship inside an installed Python package."""

    source: Literal["package"] = Field(description="this kind of source")
    package: str = Field(description="import name of the package")
    files: dict[str, str] = Field(
        description="picture id: path inside the package, or other_package:path for one inside another package"
    )
    sha256: dict[str, str] = Field(default_factory=dict, description="picture id: SHA-256 of the file")


class GeneratedSource(Model):
    """Pictures drawn by a seeded generator."""

    source: Literal["generated"] = Field(description="this kind of source")
    generator: Name = Field(description="a key of GENERATORS in mperceiver/data/generated.py")
    count: Positive = Field(description="number of pictures")
    size_px: Positive = Field(description="side of each, which is square")


class LocalSource(Model):
    """A folder: absolute, or looked for inside each folder of the `mirror` setting."""

    source: Literal["local"] = Field(description="this kind of source")
    folder: str = Field(description="an absolute path, or one inside a mirror folder")
    glob: str = Field("*", description="pictures inside the folder")
    sha256: str | None = Field(
        None, description="SHA-256 over the lines '<sha256>  <basename>' of the folder's pictures, sorted by basename"
    )


Source = Annotated[PackageSource | GeneratedSource | LocalSource, Field(discriminator="source")]


class Dataset(Model):
    """config/datasets/<name>.yaml: clean pictures from a source, or pairs made from them by degradations."""

    title: str = Field(description="what it is, in a line")
    licence: str = Field(description="licence or terms of use of the pictures")
    citation: str = Field("", description="whom to cite for it")
    sources: list[Source] = Field(default_factory=list, description="tried in order; the first that is there is taken")
    expected: Positive | None = Field(None, description="number of pictures a download must have")
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
