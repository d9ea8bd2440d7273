"""`pairs` of a dataset: how ready-made pairs are found in what its raw datasets hold.

Paths are those inside the unpacked archives and the folders of loose files, all laid into one tree, relative to `root`.
A glob's `*` stays within a part of a path, its `**` goes over any number of parts.
"""

import re
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from mperceiver.config.base import Model, Name, Positive, Share
from mperceiver.config.sources import FilePath, Glob


def _pattern(value: str) -> str:
    try:
        re.compile(value)
    except re.error as error:
        raise ValueError(f"not a regular expression: {error}") from None
    return value


def _listed(value):
    return [value] if isinstance(value, str) else value


Pattern = Annotated[str, AfterValidator(_pattern)]
Globs = Annotated[list[Glob], BeforeValidator(_listed), Field(min_length=1)]
Templates = Annotated[list[str], BeforeValidator(_listed), Field(min_length=1)]


class Listed(Model):
    """Pairs that a text file names, two paths a line."""

    file: FilePath = Field(description="the list, relative to `root`")
    lq_column: int = Field(description="column of the degraded picture's path, the first being 0")
    gt_column: int = Field(description="column of the ground truth's path")


class Partner(Model):
    """Where the ground truth of a degraded picture is: exactly one of these."""

    rule: Templates | None = Field(
        None,
        description=r"replacement for what `match` finds in the degraded picture's path (`\g<1>` is its first group); of "
        "several the first that is there",
    )
    sorted: Globs | None = Field(
        None, description="both sorted as people sort numbers, the first with the first; there must be as many of both"
    )
    listed: Listed | None = Field(None, description="a file says; `lq` is then not needed")
    itself: bool = Field(False, description="the pictures are clean ones: of task clean, degraded by other datasets")
    none: str = Field("", description="there is none; why")

    @model_validator(mode="after")
    def _one(self):
        if sum(map(bool, (self.rule, self.sorted, self.listed, self.itself, self.none))) != 1:
            raise ValueError("give exactly one of `rule`, `sorted`, `listed`, `itself: true` and `none`")
        return self


class Arrays(Model):
    """Pairs in two arrays of MATLAB files (before 7.3), uint8 (..., H, W, 3): numbered from 0 along what stands before H."""

    lq: FilePath = Field(description="file of the degraded pictures, relative to `root`")
    lq_key: str | None = Field(None, description="name of the array in it; none: the only one")
    gt: FilePath = Field(description="file of the ground truths")
    gt_key: str | None = Field(None, description="name of the array in it; none: the only one")


class Known(Model):
    """A defect of the published set. The pairs it touches are left out, and counted in the card."""

    ids: list[str] = Field(default_factory=list, description="ids of the pairs it touches, and of no others")
    count: Positive | None = Field(None, description="how many there are; no more and no fewer")
    note: str = Field(description="what is wrong, and who found it")


class Defects(Model):
    """What may be wrong with some pairs without stopping the work. Without `ids` and `count`: with any number of them."""

    missing: Known | None = Field(None, description="a degraded picture without its ground truth")
    sizes: Known | None = Field(None, description="a ground truth of another size")
    damaged: Known | None = Field(None, description="a picture that cannot be decoded")


class Sample(Model):
    """A part of the pairs, drawn by the dataset's `seed` from their sorted ids."""

    share: Share | None = Field(None, description="of all; rounded to the nearest number")
    count: Positive | None = Field(None, description="or their number")

    @model_validator(mode="after")
    def _one(self):
        if (self.share is None) == (self.count is None):
            raise ValueError("give either `share` or `count`")
        return self


class Pairs(Model):
    """Ready-made pairs out of the raw datasets in `from`. What is missing, unequal, damaged or twice there ends the work."""

    task: Name = Field("clean", description="task of the rows, as tables and training name it")
    tasks: dict[str, Name] = Field(
        default_factory=dict,
        description="regular expression: task of the pairs in whose path it is found, the first that fits",
    )
    root: Globs | None = Field(
        None, description="folder that paths are relative to: the first in which `lq` finds a file, else the top"
    )
    lq: Globs | None = Field(None, description="the degraded pictures (the clean ones, if `gt` is `itself`)")
    match: Pattern | None = Field(None, description="regular expression that the whole path of each of them must fit")
    id: str | None = Field(
        None, description=r"replacement that makes a pair's id of `match`, e.g. `\g<1>-\g<2>`; none: the file's stem"
    )
    gt: Partner | None = Field(None, description="their ground truths")
    arrays: Arrays | None = Field(None, description="instead of `lq` and `gt`: arrays of pictures")
    keep: Pattern | None = Field(None, description="only pairs in whose path (or number) this is found")
    keep_listed: FilePath | None = Field(
        None, description="only pairs whose degraded picture's name this text file has in a line, relative to the top"
    )
    drop: Pattern | None = Field(None, description="without the pairs in whose path this is found")
    sample: Sample | None = Field(None, description="only a part of them, drawn after `keep` and `drop`")
    crop_border_px: Positive | None = Field(
        None, description="what a ground truth has more on each side than its degraded picture, which is cut off"
    )
    cut_border_part: Positive | None = Field(
        None,
        description="cut off this part of the width and height at each side of both: 6 leaves the middle four sixths",
    )
    resize_px: Positive | None = Field(None, description="resize both to squares of this side (bilinear), after that")
    known: Defects = Field(Defects(), description="defects of the published set that do not stop the work")
    tile_px: Positive | None = Field(
        None, description="cut into squares of this side, which cover the picture; a smaller picture stays whole"
    )
    members: list[Glob] = Field(
        default_factory=list, description="unpack only these of the archives' members; none: all pictures and lists"
    )
    nested: list[Glob] = Field(default_factory=list, description="archives inside the archives, to be unpacked as well")
    apart: bool = Field(
        False, description="unpack each archive into a folder of its own name: their members share names"
    )

    @model_validator(mode="after")
    def _whole(self):
        if (self.arrays is None) == (self.gt is None):
            raise ValueError("give either `gt` or `arrays`")
        listed = self.gt is not None and self.gt.listed is not None
        if (self.lq is None) != (listed or self.arrays is not None):
            raise ValueError("give `lq`, unless a list or arrays say which pictures there are")
        needs = [key for key, there in (("id", self.id), ("gt.rule", self.gt and self.gt.rule)) if there]
        if needs and self.match is None:
            raise ValueError(f"`{needs[0]}` is a replacement for what `match` finds; give `match`")
        clean = self.gt is not None and self.gt.itself
        if clean != (self.task == "clean" and not self.tasks):
            raise ValueError("`task: clean` (the default) and `gt: {itself: true}` go together")
        return self
