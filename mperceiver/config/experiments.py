"""config/<name>.yaml: an experiment, which names the tables and figures to build."""

from pydantic import Field

from mperceiver.config.base import Model, Name


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
