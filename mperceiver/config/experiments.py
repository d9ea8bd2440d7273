"""config/<name>.yaml: experiments, each a list of tables and figures to build."""

import os
import re
from pathlib import Path

from pydantic import Field

from mperceiver.config.base import ConfigError, Model, Name

IN_WORKFLOW = "MPERCEIVER_EXPERIMENT"  # an environment variable that workflow/rules/common.smk sets in every job


def experiment_of_workflow() -> Path | None:
    """The experiment's file in a job of Snakemake's; None in any other process."""
    path = os.environ.get(IN_WORKFLOW)
    return Path(path) if path else None


def experiment_name(path: Path) -> str:
    """The stem of an experiment's file, which names its site and its logs. Raises ConfigError if it is no name."""
    if not re.fullmatch(r"[\w.-]+", path.stem, re.ASCII):
        raise ConfigError(
            f"{path}: {path.stem!r} is no name for an experiment, whose report is results/report/<name>/: take only letters without accents, digits and . _ -"
        )
    return path.stem


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
