"""config/figures/: what a figure shows."""

from typing import Literal

from pydantic import Field

from mperceiver.config.base import Model, Name, Positive
from mperceiver.config.tables import ColumnGroup


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
    columns: list[ColumnGroup] = Field(
        default_factory=list,
        description="bars, probabilities: one group, or bar, each; tradeoff: one curve each (first metric)",
    )
