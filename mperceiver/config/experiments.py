"""config/<name>.yaml: experiments, each a list of tables and figures to build."""

import argparse
import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from pydantic import Field

from mperceiver.config.base import ConfigError, Model, Names

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


def check_command_line(keys: Iterable[str], files: Sequence[Path], words: Sequence[str]) -> None:
    """Raise ConfigError for options of Snakemake that would do nothing here.

    Args:
        keys: those that `--config` sets, on the command line or in a profile.
        files: those that `--configfile` names, there or here. Of an option that is repeated, Snakemake keeps the last.
        words: the command line, without the program.
    """
    if listed := ", ".join(keys):
        raise ConfigError(
            f"--config {listed}: does nothing, since every setting is read from a file in config/. Change the file with the key (config/README.md "
            "lists every key); for another experiment, copy config/demo.yaml to config/<name>.yaml, edit the copy, and run: snakemake "
            "--cores all --configfile config/<name>.yaml"
        )
    repeated = _configfiles(words)
    if len(files) > 1 or len(repeated) > 1:
        named = ", ".join(os.path.relpath(file) for file in (repeated if len(repeated) > 1 else files))
        raise ConfigError(
            f"--configfile {named}: of several experiments only the last would be built. Name one, and run snakemake once for each; for an "
            "experiment with the tables and figures of all, write a file with them, config/<name>.yaml"
        )


def _configfiles(words: Sequence[str]) -> list[str]:
    """All files that a command line of Snakemake names by `--configfile`; Snakemake reads it in the same way, but keeps the last option only.

    The option has two names, so no short form of it is accepted.
    """
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--configfile", "--configfiles", nargs="+", action="extend", default=[], dest="files")
    return parser.parse_known_args(words)[0].files


class Experiment(Model):
    """config/<name>.yaml: which tables and figures to build."""

    title: str = Field(description="heading of the report")
    tables: Names = Field(description="tables, in the report's order")
    figures: Names = Field(default_factory=list, description="figures, in the report's order")
    mirror: list[str] = Field(
        default_factory=list,
        description="folders with local copies of datasets, searched in this order before anything is downloaded; the "
        "folders in $MPERCEIVER_MIRROR (paths joined by ':') are searched before these",
    )
