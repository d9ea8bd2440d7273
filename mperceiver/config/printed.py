"""config/protocols/, config/tables/, config/figures/ and the experiments: how pictures are scored and what is printed."""

from typing import Literal

from pydantic import Field, model_validator

from mperceiver.config.base import MetricName, Model, Name, Positive

Average = bool | Literal["mixed"]
AVERAGE = "true: append the mean over the columns, which have one protocol; mixed: though they have several, and its heading says so"


class Protocol(Model):
    """config/protocols/<name>.yaml: how a picture is scored."""

    title: str = Field(description="the protocol in words, printed under tables")
    channel: Literal["rgb", "y"] = Field("rgb", description="y: BT.601 luma, for PSNR and SSIM")
    luma_rounded: bool = Field(False, description="round luma to 8 bit, as MATLAB's rgb2ycbcr does of 8-bit pictures")
    border_px: int = Field(0, ge=0, description="cropped from each side before scoring")
    quantised: bool = Field(True, description="round to 8 bit before scoring")
    align: Literal["none", "realblur"] = Field(
        "none",
        description="realblur: the restored picture is brought to the ground truth's exposure and warped onto it by a "
        "homography, for PSNR and SSIM",
    )
    ssim: Literal["gaussian", "uniform", "matlab-3d"] = Field(
        "gaussian",
        description="gaussian: 11x11 window of sigma 1.5, mean over channels (BasicSR); uniform: 7x7 flat window, sample "
        "covariance (skimage's default); matlab-3d: MATLAB's `ssim` of a colour picture, whose window runs over channels too",
    )
    lpips: Literal["alex", "vgg"] = Field("alex", description="trunk of LPIPS (version 0.1), which is always on RGB")
    metrics: list[MetricName] = Field(
        ["psnr", "ssim", "lpips"], description="what is computed, in the order of the score file's columns"
    )


class Rows(Model):
    """A group of a table's rows."""

    title: str = Field(description="heading of the group of rows")
    methods: list[Name] = Field(description="one row each, from top to bottom")


class Reported(Model):
    """Where a column's numbers stand in config/reported/cvpr2024.csv."""

    table: int = Field(description="number of the paper's table")
    task: str = Field(description="as in its column `task`")
    dataset: str = Field(description="as in its column `dataset`")


class Column(Model):
    """A column of a table, one for each of its metrics."""

    dataset: Name | list[Name] = Field(
        description="the dataset that is restored and scored; of several the mean of their means"
    )
    task: Name | None = Field(None, description="only the pictures of this task")
    label: str = Field(description="heading")
    metrics: list[MetricName] = Field(
        ["psnr", "ssim"], description="each of them one that the dataset's protocol computes"
    )
    reported: Reported | None = Field(None, description="the paper's numbers, which are shown beside ours")
    scored: str = Field("", description="how sure it is that the paper scored them so, and why; said in the HTML")

    @property
    def datasets(self) -> list[str]:
        return self.dataset if isinstance(self.dataset, list) else [self.dataset]


class Block(Model):
    """A part of a table with rows and columns of its own."""

    title: str = Field("", description="heading, where the table has several")
    rows: list[Rows] = Field(description="groups of rows, from top to bottom")
    columns: list[Column] = Field(description="from left to right")
    average: Average = Field(False, description=AVERAGE)
    average_reported: Reported | None = Field(None, description="the paper's numbers for that mean")


class Table(Model):
    """config/tables/<name>.yaml: rows of methods, columns of datasets and metrics."""

    title: str = Field(description="heading")
    caption: str = Field(description="what a reader must know to read it")
    rows: list[Rows] = Field(default_factory=list, description="groups of rows, from top to bottom")
    columns: list[Column] = Field(default_factory=list, description="from left to right")
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


class Panel(Model):
    """A row of a visual comparison."""

    dataset: Name = Field(description="the dataset that the picture is in")
    picture: str = Field(description="picture id inside the dataset")
    crop: tuple[int, int, Positive] | None = Field(
        None,
        description="left, top and side in px of the part that is shown, the same of every column; none: the middle, or "
        "with the figure's zoom_px the part in which the error of the input varies most",
    )


class Figure(Model):
    """config/figures/<name>.yaml: a visual comparison or a plot."""

    title: str = Field(description="heading")
    caption: str = Field(description="what a reader must know to read it")
    kind: Literal["comparison", "curves", "bars", "prompts", "probabilities", "tradeoff"] = Field(
        description="comparison: pictures side by side; curves: training curves; bars: a metric as bars; prompts: t-SNE of a "
        "run's prompt tokens; probabilities: what the predictor says of the pictures of each task; tradeoff: quality against "
        "steps and seconds"
    )
    methods: list[Name] = Field(
        default_factory=list,
        description="comparison: columns; bars: series; probabilities: one; tradeoff: points of a curve, which differ in steps",
    )
    panels: list[Panel] = Field(default_factory=list, description="comparison: rows")
    zoom_px: Positive | None = Field(
        None,
        description="comparison: side of the part that is shown enlarged below each whole picture, which has a frame around "
        "it; none: parts alone",
    )
    runs: list[Name] = Field(default_factory=list, description="curves: runs whose curves are drawn; prompts: one run")
    columns: list[Column] = Field(
        default_factory=list,
        description="bars, probabilities: one group, or bar, each; tradeoff: one curve each (first metric)",
    )


class Experiment(Model):
    """config/<name>.yaml: which tables and figures to build."""

    title: str = Field(description="heading of the report")
    tables: list[Name] = Field(description="in the report's order")
    figures: list[Name] = Field(default_factory=list, description="in the report's order")
    mirror: list[str] = Field(
        default_factory=list,
        description="folders with local copies of datasets, looked into first; $MPERCEIVER_MIRROR (paths joined by ':') "
        "comes before them",
    )
