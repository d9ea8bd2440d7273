"""`pairs` of a dataset: how ready-made pairs are found among the files of the downloaded datasets it is made from.

Paths are those inside the unpacked archives and the folders of loose files, all merged into one tree, relative to `root`.
In a glob, `*` matches within one part of a path and `**` matches any number of parts.
"""

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from mperceiver.config.base import Model, Name, Positive, Share
from mperceiver.config.sources import FilePath, Glob


def _check_pattern(value: str) -> str:
    try:
        re.compile(value)
    except re.error as error:
        raise ValueError(f"not a regular expression: {error}") from None
    return value


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


def _check_template(key: str, template: str, pattern: str) -> None:
    """Raise ValueError, naming the key, for a replacement with a group that the regular expression does not have."""
    compiled = re.compile(pattern)
    try:
        compiled.sub(template, "")  # reads the replacement even where nothing matches
    except (re.error, IndexError) as error:  # IndexError: no group of that name
        has = f"{compiled.groups} group(s)" + "".join(f", {name}" for name in compiled.groupindex)
        raise ValueError(f"`{key}` {template!r} does not go with `match`, which has {has}: {error}") from None


Pattern = Annotated[str, AfterValidator(_check_pattern)]
Globs = Annotated[list[Glob], BeforeValidator(_as_list), Field(min_length=1)]
Templates = Annotated[list[str], BeforeValidator(_as_list), Field(min_length=1)]


class PairList(Model):
    """Pairs that a text file lists, two paths a line."""

    file: FilePath = Field(description="the text file, relative to `root`")
    lq_column: int = Field(description="column with the degraded picture's path; the first column is 0")
    gt_column: int = Field(description="column with the ground truth's path")


class GroundTruth(Model):
    """How the ground truth of a degraded picture is found: exactly one of these."""

    rule: Templates | None = Field(
        None,
        description="path of the ground truth: a replacement for what `match` matches in the degraded picture's path "
        r"(`\g<1>` is its first group); of several replacements, the first whose file exists",
    )
    sorted: Globs | None = Field(
        None,
        description="globs of the ground truths; both sides are sorted with numbers in numerical order and paired one to one, "
        "so they must be equal in number, and their names must not contradict the order",
    )
    listed: PairList | None = Field(None, description="a text file that lists the pairs; `lq` is then left out")
    itself: bool = Field(
        False, description="true: the pictures are clean ones, of task clean, for other datasets to degrade"
    )
    none: str = Field("", description="why there is no ground truth")

    @model_validator(mode="after")
    def _check_one(self) -> "GroundTruth":
        if sum(map(bool, (self.rule, self.sorted, self.listed, self.itself, self.none))) != 1:
            raise ValueError("give exactly one of `rule`, `sorted`, `listed`, `itself: true` and `none`")
        return self


class Arrays(Model):
    """Pairs in two arrays of MATLAB files (before version 7.3), uint8 (..., H, W, 3).

    The axes before H are flattened; a pair's id is its index, from 0.
    """

    lq: FilePath = Field(description="file with the degraded pictures, relative to `root`")
    lq_key: str | None = Field(None, description="name of the array in the file; none: the only one")
    gt: FilePath = Field(description="file with the ground truths, relative to `root`")
    gt_key: str | None = Field(None, description="name of the array in the file; none: the only one")


class KnownDefect(Model):
    """A known defect of the published set. Pairs that have it are left out and counted in the card.

    Without `ids` and `count`, any number of pairs may have it.
    """

    ids: list[str] = Field(default_factory=list, description="ids of the pairs that have it; no other pair may")
    count: Positive | None = Field(None, description="exact number of pairs that have it")
    note: str = Field(description="what is wrong, and who found it")


class Defects(Model):
    """Known defects of the published set, by kind. A pair with a defect that is not listed here ends the work."""

    missing: KnownDefect | None = Field(None, description="a degraded picture has no ground truth")
    sizes: KnownDefect | None = Field(None, description="a degraded picture and its ground truth differ in size")
    damaged: KnownDefect | None = Field(None, description="a picture cannot be decoded")


class Sample(Model):
    """A random part of the pairs or pictures, drawn with the dataset's `seed` from their ids."""

    share: Share | None = Field(None, description="share of them, rounded to the nearest number")
    count: Positive | None = Field(
        None, description="number of them; of pictures to degrade, the number of each dataset in `from`"
    )

    @model_validator(mode="after")
    def _check_one(self) -> "Sample":
        if (self.share is None) == (self.count is None):
            raise ValueError("give either `share` or `count`")
        return self


class Pairs(Model):
    """Ready-made pairs among the files of the downloaded datasets in `from`.

    A missing partner, a pair of unequal size, a damaged picture or an id given twice ends the work.
    """

    task: Name = Field("clean", description="task of the pairs, as tables and training name it")
    tasks: dict[Pattern, Name] = Field(
        default_factory=dict,
        description="regular expression: task of the pairs whose path it matches somewhere; the first match counts, and "
        "pairs without one are of `task`",
    )
    root: Globs | None = Field(
        None,
        description="folder that paths are relative to: the first that has a file of `lq`; none: the top folder",
    )
    lq: Globs | None = Field(None, description="globs of the degraded pictures, or of the clean ones with `gt.itself`")
    match: Pattern | None = Field(
        None, description="regular expression that must match the whole path of each picture of `lq`"
    )
    id: str | None = Field(
        None, description=r"replacement that makes a pair's id from `match`, e.g. `\g<1>-\g<2>`; none: the file's stem"
    )
    gt: GroundTruth | None = Field(None, description="how the ground truths are found")
    arrays: Arrays | None = Field(None, description="in place of `lq` and `gt`: arrays of pictures")
    keep: Pattern | None = Field(
        None, description="keep only pairs whose path (or index in an array) this regular expression matches somewhere"
    )
    keep_listed: FilePath | None = Field(
        None,
        description="keep only pairs whose degraded picture's name is in a line of this text file, which is relative to the "
        "top folder",
    )
    drop: Pattern | None = Field(
        None, description="leave out pairs whose path this regular expression matches somewhere"
    )
    sample: Sample | None = Field(None, description="keep only a random part of the pairs that are left after that")
    crop_border_px: Positive | None = Field(
        None,
        description="border of a ground truth that its degraded picture lacks, in px on each side; it is cropped off",
    )
    cut_border_part: Positive | None = Field(
        None,
        description="crop this fraction of the width and height off each side of both pictures: 6 crops one sixth and keeps "
        "the middle four sixths",
    )
    resize_px: Positive | None = Field(
        None, description="after cropping, resize both pictures to squares of this side (bilinear)"
    )
    known: Defects = Field(Defects(), description="known defects of the published set")
    bits: Literal[8, 16] = Field(
        8,
        description="bits a value of the prepared pairs, of the pictures that are restored of them, and of both when they are scored; "
        "16: for PNG files of 16 bits, which are rounded to 8 otherwise. Training reads 8 bits of both",
    )
    tile_px: Positive | None = Field(
        None, description="cut pictures into square tiles of this side that cover them; a smaller picture stays whole"
    )
    members: list[Glob] = Field(
        default_factory=list, description="members of the archives to unpack; none: all pictures and lists"
    )
    nested: list[Glob] = Field(
        default_factory=list, description="archives inside the archives that are unpacked as well"
    )
    apart: bool = Field(
        False,
        description="unpack each archive into a folder of its own name, for archives whose members have equal names",
    )

    @model_validator(mode="after")
    def _check_form(self) -> "Pairs":
        if (self.arrays is None) == (self.gt is None):
            raise ValueError("give either `gt` or `arrays`")
        listed = self.gt is not None and self.gt.listed is not None
        if (self.lq is None) != (listed or self.arrays is not None):
            raise ValueError("give `lq`, unless `gt.listed` or `arrays` says which pictures there are")
        needs = [key for key, given in (("id", self.id), ("gt.rule", self.gt and self.gt.rule)) if given]
        if needs and self.match is None:
            raise ValueError(f"`{needs[0]}` is a replacement for what `match` matches; give `match`")
        if self.match is not None:
            for rule in (self.gt and self.gt.rule) or []:
                _check_template("gt.rule", rule, self.match)
            if self.id is not None:
                _check_template("id", self.id, self.match)
        if self.bits == 16 and (self.arrays is not None or self.resize_px):
            raise ValueError(
                "`bits: 16` is for files of 16 bits that are not resized; leave out `arrays` and `resize_px`"
            )
        clean = self.gt is not None and self.gt.itself
        if clean != (self.task == "clean" and not self.tasks):
            raise ValueError("`task: clean` (the default) and `gt: {itself: true}` go together")
        return self


class ExamplePair(Model):
    """A pair that must be found among the files of an example."""

    id: str = Field(description="its id")
    lq: str = Field(description="member with the degraded picture")
    gt: str | None = Field(None, description="member with its ground truth; none: it has none")
    task: Name | None = Field(None, description="its task; none: `task` of `pairs`")


class ExampleArray(Model):
    """A MATLAB file of an example: numbers from 0 along what comes before H are the pairs."""

    key: str = Field(description="name of the array in it")
    shape: list[Positive] = Field(description="(..., H, W, 3)")


class Example(Model):
    """A miniature of what is downloaded: the names of a few members of each archive, and which of them are pairs."""

    files: dict[Name, dict[str, list[str]]] = Field(
        description="downloaded dataset: archive: members, in each the names as they are in the true archive. An archive named "
        "`a.zip/b/c.zip` is one inside another; `.` stands for files that are in no archive"
    )
    pairs: list[ExamplePair] = Field(
        default_factory=list, description="the pairs that must be found, and no others; a member is given by its name"
    )
    texts: dict[str, str] = Field(default_factory=dict, description="member that is a text file: its content")
    arrays: dict[str, ExampleArray] = Field(default_factory=dict, description="member that is a MATLAB file: its array")
    sizes: dict[str, list[Positive]] = Field(
        default_factory=dict, description="member: height and width of its picture, where that is not 8x8 px"
    )

    @model_validator(mode="after")
    def _known_members(self):
        if bool(self.pairs) == bool(self.arrays):
            raise ValueError("give either `pairs` or `arrays`")
        members = {member for archives in self.files.values() for names in archives.values() for member in names}
        named = [member for pair in self.pairs for member in (pair.lq, pair.gt) if member is not None]
        if unknown := [member for member in (*named, *self.texts, *self.arrays, *self.sizes) if member not in members]:
            raise ValueError(f"{', '.join(unknown)} is not among the members in `files`")
        return self
