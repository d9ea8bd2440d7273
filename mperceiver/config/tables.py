"""config/tables/: which methods, datasets and metrics a table shows."""

from typing import Literal

from pydantic import Field, model_validator

from mperceiver.config.base import MetricName, Model, Name, Positive, check_once
from mperceiver.config.reported import PAPER, Place

SCORE = "score"  # kind of columns that show mean scores of pictures
COST, TRAINING = "cost", "training"  # kinds of columns whose numbers are of a method alone, whatever the dataset

FURTHER = "Further methods"  # heading of the methods that name a table under `tables`

Average = bool | Literal["mixed"]
AVERAGE = (
    "true: append columns with the mean over the columns, which must have one protocol; mixed: append them although the "
    "columns have several protocols, and say so in the heading"
)


class RowGroup(Model):
    """Rows of a table under one heading, a row a method."""

    title: str = Field(description="heading of the rows")
    methods: list[Name] = Field(default_factory=list, description="methods, from top to bottom")
    reported: Name | None = Field(
        None,
        description="a row for every method of config/reported/<name>.csv with a number under these columns, below `methods`; "
        "a method that is shown beside the own number of another row has no such row. These methods need no file in config/methods",
    )

    @model_validator(mode="after")
    def _check_rows(self) -> "RowGroup":
        if not (self.methods or self.reported):
            raise ValueError("give `methods`, `reported`, or both")
        return self


class Reported(Model):
    """Where the published numbers for a column are in a file of config/reported/."""

    file: Name = Field(PAPER, description="the file's stem; the default is the paper's own numbers")
    table: int | Name = Field(description="value in the file's column `table`: the number of the paper's table")
    task: str = Field(description="value in the file's column `task`")
    dataset: str = Field(description="value in the file's column `dataset`")

    @property
    def place(self) -> Place:
        """As the file's numbers have it."""
        return (self.file, str(self.table), self.task, self.dataset)


class ColumnGroup(Model):
    """Columns of a table under one heading: of one dataset or task, a column a metric."""

    dataset: Name | list[Name] = Field(
        description="dataset whose scores are shown; for several datasets, the mean of their mean scores"
    )
    task: Name | None = Field(None, description="only the pictures of this task")
    label: str = Field(description="heading")
    kind: Name = Field(
        SCORE,
        description="what the columns show; score: mean scores; cost: what a method costs at the picture of `px`, or without it "
        "its parameters; training: how long its training was; predictor: how often its predictor is right, and sure; "
        "any other: a kind in mperceiver/report/columns",
    )
    px: Positive | None = Field(
        None, description="for kind cost: side of the square picture whose restoration is measured"
    )
    metrics: list[MetricName] = Field(
        ["psnr", "ssim"],
        min_length=1,
        description="for kind score: metrics, each of them among those of the dataset's protocol",
    )
    reported: Reported | None = Field(None, description="the published numbers, shown beside ours")
    scored: str = Field(
        "", description="how certain it is that the paper scored with this protocol, and why; shown in the HTML"
    )

    @model_validator(mode="after")
    def _check_metrics(self) -> "ColumnGroup":
        if self.px is not None and self.kind != COST:
            raise ValueError("`px` is for columns of kind cost")
        if self.kind != SCORE and "metrics" in self.model_fields_set:
            raise ValueError("`metrics` is for columns of kind score")
        return self

    @property
    def datasets(self) -> list[str]:
        """The datasets as a list."""
        return self.dataset if isinstance(self.dataset, list) else [self.dataset]


class Block(Model):
    """A part of a table with rows and columns of its own."""

    title: str = Field("", description="heading, if the table has several blocks")
    rows: list[RowGroup] = Field(description="groups of rows, from top to bottom")
    columns: list[ColumnGroup] = Field(description="groups of columns, from left to right")
    average: Average = Field(False, description=AVERAGE)
    average_reported: Reported | None = Field(None, description="the published numbers for that mean")


class Table(Model):
    """config/tables/<name>.yaml: rows of methods, columns of datasets and metrics."""

    title: str = Field(description="heading")
    caption: str = Field(description="what a reader must know to read the table")
    rows: list[RowGroup] = Field(default_factory=list, description="groups of rows, from top to bottom")
    columns: list[ColumnGroup] = Field(default_factory=list, description="groups of columns, from left to right")
    average: Average = Field(False, description=AVERAGE)
    average_reported: Reported | None = Field(None, description="the published numbers for that mean")
    blocks: list[Block] = Field(
        default_factory=list,
        description="in place of `rows` and `columns`: several of both below each other, as in the paper's Table 1",
    )

    @model_validator(mode="after")
    def _check_form(self) -> "Table":
        if bool(self.blocks) == bool(self.rows or self.columns):
            raise ValueError("give either `rows` and `columns`, or `blocks` of them")
        if not all(block.rows and block.columns for block in self.parts):
            raise ValueError("a table needs both `rows` and `columns`")
        for block in self.parts:
            try:
                check_once([method for group in block.rows for method in group.methods])
            except ValueError as error:  # a method would be ranked beside itself
                raise ValueError(f"rows: method {error}{f' in block {block.title}' if block.title else ''}") from None
        return self

    def with_methods(self, methods: list[str]) -> "Table":
        """The table with further rows in each block, before those of published numbers alone. Methods that a block has are left out."""

        def more(rows: list[RowGroup]) -> list[RowGroup]:
            shown = {method for group in rows for method in group.methods}
            new = [method for method in methods if method not in shown]
            at = next((i for i, group in enumerate(rows) if not group.methods), len(rows))
            return [*rows[:at], *([RowGroup(title=FURTHER, methods=new)] if new else []), *rows[at:]]

        if self.blocks:
            return self.model_copy(
                update={"blocks": [b.model_copy(update={"rows": more(b.rows)}) for b in self.blocks]}
            )
        return self.model_copy(update={"rows": more(self.rows)})

    @property
    def parts(self) -> list[Block]:
        """The blocks; a table with `rows` and `columns` is a single block."""
        if self.blocks:
            return self.blocks
        average = {"average": self.average, "average_reported": self.average_reported}
        return [Block(rows=self.rows, columns=self.columns, **average)]


def places_of(block: Block) -> list[Reported]:
    """Where the published numbers of a block are."""
    found = [*(column.reported for column in block.columns), block.average_reported]
    return [place for place in found if place is not None]


def reported_files(table: Table) -> list[str]:
    """The stems of the files in config/reported/ that a table reads."""
    groups = (group.reported for block in table.parts for group in block.rows if group.reported)
    places = (place.file for block in table.parts for place in places_of(block))
    return list(dict.fromkeys([*groups, *places]))
