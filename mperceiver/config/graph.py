"""The whole graph of cards: which inputs the job of any card reads, and the check of an experiment."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

from mperceiver import paths
from mperceiver.clock import check_times
from mperceiver.config import depends, outside_inputs, shown
from mperceiver.config.experiments import Experiment
from mperceiver.lineage import Part


class Job(NamedTuple):
    """A kind of job: what it reads, and what the card that it writes records.

    Attributes:
        inputs: the inputs of a job; its arguments are the names in the path of the job's card.
        records: the folder of config/ whose file the card records, and the key of the card's spec that holds it; None: the whole
            spec.
    """

    inputs: Callable[..., list[str]]
    records: tuple[str, str | None]


# Folder of cards -> the jobs that write them. Their rules, and how many names the cards have: paths.CARDS.
JOBS: dict[Path, Job] = {
    paths.FOUNDATIONS: Job(depends.foundation_inputs, ("foundations", None)),
    paths.RAW: Job(depends.download_inputs, ("datasets", None)),
    paths.PREPARED: Job(depends.prepare_inputs, ("datasets", None)),
    paths.LATENTS: Job(depends.encode_inputs, ("datasets", None)),
    paths.RUNS: Job(depends.stage_inputs, ("runs", None)),
    paths.COMMANDED: Job(outside_inputs.command_inputs, ("methods", "method")),
    paths.RESTORED: Job(depends.restore_inputs, ("methods", "method")),
    paths.SCORES: Job(depends.score_inputs, ("protocols", "protocol")),
    paths.COSTS: Job(shown.measure_inputs, ("methods", "method")),
    paths.TABLES: Job(shown.table_inputs, ("tables", None)),
    paths.FIGURES: Job(shown.figure_inputs, ("figures", None)),
}


def inputs_of(file: str) -> list[str]:
    """Inputs of the job that writes a card; none for a file that no job writes, and for the report's card."""
    folder = paths.folder_of(file)
    return [] if folder is None else JOBS[folder].inputs(*_names(file, folder))


def job_of(card: Path | str) -> tuple[str, tuple[str, ...]]:
    """(rule, names) of the job that writes a card: ("restore", ("demo", "demo-mid6")). Raises KeyError for any other file."""
    path = Path(card)
    if path.parent == paths.REPORT:
        return "report", (path.stem,)
    folder = paths.folder_of(path)
    if folder is None:
        raise KeyError(str(card))
    rule, names = paths.CARDS[folder].rule, _names(path, folder)
    return (f"train_{names[1]}", names[:1]) if rule is None else (rule, names)


def _names(card: Path | str, folder: Path) -> tuple[str, ...]:
    """The names in a card's path, from below its folder."""
    return Path(card).with_suffix("").relative_to(folder).parts


def benchmark_of(card: Path | str) -> Path:
    """The TSV in which Snakemake keeps the seconds and the memory of the job that writes a card. Raises KeyError as ``job_of`` does."""
    rule, names = job_of(card)
    return paths.benchmark_file(rule, *(names or (rule,)))


def cards_here() -> list[str]:
    """All cards of jobs in the working directory, except the report's, sorted within each folder."""
    return [
        str(path)
        for folder, cards in paths.CARDS.items()
        for path in sorted(folder.glob("*.json" if cards.names == 1 else "*/*.json"))
        if not any(part.startswith(".") for part in path.parts)
    ]


def files_of_inputs(inputs: Iterable[str]) -> list[str]:
    """Paths of the inputs; for a part of a configuration file also the files that it takes keys from."""
    return list(
        dict.fromkeys(file for entry in inputs for file in (entry.files if isinstance(entry, Part) else [entry]))
    )


def check(experiment: Experiment) -> None:
    """Read every file of config/ that an experiment's tables and figures depend on. Raises ConfigError for the first fault, and
    ClockError for a file whose time is ahead of the clock.

    Snakemake does not report an error in an input function whose rule's output exists already; this walk does.
    """
    files = [file for table in experiment.tables for file in shown.table_inputs(table)]
    files += [file for figure in experiment.figures for file in shown.figure_inputs(figure)]
    files = list(dict.fromkeys(files))
    known = set(files)
    for file in files:  # grows as it is read
        new = [path for path in dict.fromkeys(inputs_of(file)) if path not in known]
        files += new
        known.update(new)
    check_times(files_of_inputs(files))
