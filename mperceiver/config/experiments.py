"""config/<name>.yaml: experiments, each a list of tables and figures to build."""

from pydantic import Field

from mperceiver.config.base import Model, Name


class Experiment(Model):
    """config/<name>.yaml: which tables and figures to build."""

    title: str = Field(description="heading of the report")
    tables: list[Name] = Field(description="tables, in the report's order")
    figures: list[Name] = Field(default_factory=list, description="figures, in the report's order")
    mirror: list[str] = Field(
        default_factory=list,
        description="folders with local copies of datasets, searched in this order before anything is downloaded; the "
        "folders in $MPERCEIVER_MIRROR (paths joined by ':') are searched before these",
    )
