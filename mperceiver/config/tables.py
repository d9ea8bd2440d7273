"""config/tables/: which methods, datasets and metrics a table shows."""

from typing import Literal

from pydantic import Field, model_validator

from mperceiver.config.base import MetricName, Model, Name

Average = bool | Literal["mixed"]
AVERAGE = "true: append the mean over the columns, which have one protocol; mixed: though they have several, and its heading says so"


class RowGroup(Model):
    """Rows of a table under one heading, a row a method."""

    title: str = Field(description="heading of the group of rows")
    methods: list[Name] = Field(description="one row each, from top to bottom")


class Reported(Model):
    """Where a column's numbers stand in config/reported/cvpr2024.csv."""

    table: int = Field(description="number of the paper's table")
    task: str = Field(description="as in its column `task`")
    dataset: str = Field(description="as in its column `dataset`")


class ColumnGroup(Model):
    """Columns of a table under one heading: of one dataset or task, a column a metric."""

    dataset: Name | list[Name] = Field(
        description="the dataset that is restored and scored; of several the mean of their means"
    )
    task: Name | None = Field(None, description="only the pictures of this task")
    label: str = Field(description="heading")
    kind: Name = Field(
        "score",
        description="what its numbers are: score, the means of metrics, or another kind of mperceiver/report/columns",
    )
    metrics: list[MetricName] = Field(
        ["psnr", "ssim"], description="of kind score: each of them one that the dataset's protocol computes"
    )
    reported: Reported | None = Field(None, description="the paper's numbers, which are shown beside ours")
    scored: str = Field("", description="how sure it is that the paper scored them so, and why; said in the HTML")

    @model_validator(mode="after")
    def _metrics_of_scores(self):
        if self.kind != "score" and "metrics" in self.model_fields_set:
            raise ValueError("`metrics` are of columns of kind score")
        return self

    @property
    def datasets(self) -> list[str]:
        return self.dataset if isinstance(self.dataset, list) else [self.dataset]


class Block(Model):
    """A part of a table with rows and columns of its own."""

    title: str = Field("", description="heading, where the table has several")
    rows: list[RowGroup] = Field(description="groups of rows, from top to bottom")
    columns: list[ColumnGroup] = Field(description="from left to right")
    average: Average = Field(False, description=AVERAGE)
    average_reported: Reported | None = Field(None, description="the paper's numbers for that mean")


class Table(Model):
    """config/tables/<name>.yaml: rows of methods, columns of datasets and metrics."""

    title: str = Field(description="heading")
    caption: str = Field(description="what a reader must know to read it")
    rows: list[RowGroup] = Field(default_factory=list, description="groups of rows, from top to bottom")
    columns: list[ColumnGroup] = Field(default_factory=list, description="from left to right")
    average: Average = Field(False, description=AVERAGE)
    average_reported: Reported | None = Field(None, description="the paper's numbers for that mean")
    blocks: list[Block] = Field(
        default_factory=list,
        description="instead of rows and columns: parts below each other, as in the paper's Table 1",
    )

    @model_validator(mode="after")
    def _one_form(self):
        if bool(self.blocks) == bool(self.rows or self.columns):
            raise ValueError("give either `rows` and `columns`, or `blocks` of them")
        if not all(block.rows and block.columns for block in self.parts):
            raise ValueError("a table needs both `rows` and `columns`")
        return self

    @property
    def parts(self) -> list[Block]:
        """The blocks; a table without any is one itself."""
        return self.blocks or [
            Block(
                rows=self.rows,
                columns=self.columns,
                average=self.average,
                average_reported=self.average_reported,
            )
        ]
