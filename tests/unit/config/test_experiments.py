"""Options of Snakemake that would do nothing here are refused, and only those."""

from pathlib import Path

import pytest

from mperceiver.config import ConfigError
from mperceiver.config.experiments import check_command_line


@pytest.mark.parametrize(
    "words",
    [
        "-n --configfile a.yaml --configfile b.yaml",
        "--configfile=a.yaml --cores 2 --configfile=b.yaml",
        "--configfiles a.yaml -q all --configfile b.yaml",
        "--profile slurm --configfile a.yaml --configfile b.yaml -- results/x.json",
    ],
)
def test_an_experiment_that_a_later_option_replaces_is_named(words):
    with pytest.raises(ConfigError, match=r"^--configfile a.yaml, b.yaml: of several experiments only the last"):
        check_command_line([], [Path.cwd() / "b.yaml"], words.split())


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["-n", "--cores", "2", "results/report/demo.json"],
        ["--profile", "slurm", "--configfile", "b.yaml"],  # the profile names another one, which this one replaces
        ["--configfile", "b.yaml", "--config-none", "--", "--configfile", "a.yaml"],
        ["-c", "2", "-C", "--conda-prefix", "x", "--configfile=b.yaml"],
        # Of a job, as Snakemake starts it.
        ["--snakefile", "Snakefile", "--cores", "all", "--mode", "remote", "--configfiles", "b.yaml", "--allowed-rules", "restore"],
    ],
)  # fmt: skip
def test_one_experiment_is_not_refused(words):
    check_command_line([], [Path("b.yaml")], words)


def test_several_files_of_a_profile_are_refused():
    with pytest.raises(ConfigError, match=r"^--configfile a.yaml, b.yaml: of several"):
        check_command_line([], [Path("a.yaml"), Path("b.yaml")], ["--profile", "slurm"])
