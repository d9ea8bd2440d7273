"""config/figures/: what a figure shows."""

from typing import Literal

from pydantic import Field, model_validator

from mperceiver.config.base import Model, Name, Names, Positive, without
from mperceiver.config.tables import ColumnGroup

OF_PREDICTOR = ("probabilities", "reliability")  # kinds that show what one method's predictor says
NEEDS = {  # kind of figure -> keys that it cannot do without
    "comparison": ["panels"],
    "curves": ["runs"],
    "bars": ["methods", "columns"],
    "prompts": ["runs"],
    "probabilities": ["methods", "columns"],
    "reliability": ["methods", "columns"],
    "tradeoff": ["methods", "columns"],
    "usage": ["runs"],
}
MAY_HAVE = {"comparison": ["methods", "zoom_px"]}  # kind of figure -> keys that it reads beside those


class Panel(Model):
    """A row of a visual comparison: one picture, by all methods."""

    dataset: Name = Field(description="dataset of the picture")
    picture: str = Field(description="id of the picture in the dataset")
    crop: tuple[int, int, Positive] | None = Field(
        None,
        description="left, top and side in px of the square that is shown of each method's picture; none: the middle of the "
        "picture, or with the figure's `zoom_px` the square in which the error of the degraded picture varies most",
    )


class Figure(Model):
    """config/figures/<name>.yaml: a visual comparison or a plot."""

    title: str = Field(description="heading")
    caption: str = Field(description="what a reader must know to read the figure")
    kind: Literal["comparison", "curves", "bars", "prompts", "probabilities", "reliability", "tradeoff", "usage"] = (
        Field(
            description="comparison: pictures side by side; curves: training curves; bars: a metric as bars; prompts: t-SNE of a "
            "run's prompt tokens; probabilities: the degradation predictor's mean probabilities for the pictures of each task; "
            "reliability: how often its most probable class is right, against the probability of that class; "
            "tradeoff: quality against sampling steps and seconds; usage: memory, speed, use and power of GPUs over a training's time"
        )
    )
    methods: Names = Field(
        default_factory=list,
        description="comparison: the columns, methods with pictures; bars: the series; probabilities, reliability: one method with a "
        "predictor; tradeoff: methods of kind mperceiver that differ in their steps, the points of a curve",
    )
    panels: list[Panel] = Field(default_factory=list, description="comparison: the rows")
    zoom_px: Positive | None = Field(
        None,
        description="comparison: below each whole picture, show a square of this side enlarged, framed in the picture; none: "
        "show squares only",
    )
    runs: Names = Field(
        default_factory=list, description="curves, usage: runs whose trainings are drawn; prompts: one run"
    )
    columns: list[ColumnGroup] = Field(
        default_factory=list,
        description="bars: a group of bars each, of the first metric; tradeoff: a curve each, of the first metric; "
        "probabilities: a bar each; reliability: a line each",
    )

    @model_validator(mode="after")
    def _check_needs(self) -> "Figure":
        if missing := [key for key in NEEDS[self.kind] if not getattr(self, key)]:
            raise ValueError(f"a figure of kind {self.kind} needs {' and '.join(f'`{key}`' for key in missing)}")
        read = NEEDS[self.kind] + MAY_HAVE.get(self.kind, [])
        for key in ("methods", "panels", "zoom_px", "runs", "columns"):
            if key not in read and self.is_set(key):
                raise ValueError(f"`{key}` does nothing in a figure of kind {self.kind}; {without(key)}")
        if self.kind in OF_PREDICTOR and len(self.methods) != 1:
            raise ValueError(f"{self.kind} is that of one method: give `methods` one name")
        if self.kind == "prompts" and len(self.runs) != 1:
            raise ValueError("prompts are those of one run: give `runs` one name")
        if self.kind == "bars" and len({column.metrics[0] for column in self.columns}) > 1:
            raise ValueError("bars show one metric: the `columns` must all begin with the same one")
        return self
