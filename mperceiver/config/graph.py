"""The whole graph of cards: which inputs the job of any card reads, and the check of an experiment."""

from collections.abc import Callable, Iterable
from pathlib import Path

from mperceiver import paths
from mperceiver.clock import check_times
from mperceiver.config import depends, outside_inputs, shown
from mperceiver.config.experiments import Experiment
from mperceiver.lineage import Part

# Folder of cards -> the inputs of the job that writes a card in it. The rest of a card's path are the arguments.
CARD_INPUTS: dict[Path, Callable[..., list[str]]] = {
    paths.FOUNDATIONS: depends.foundation_inputs,
    paths.RAW: depends.download_inputs,
    paths.PREPARED: depends.prepare_inputs,
    paths.LATENTS: depends.encode_inputs,
    paths.RUNS: depends.stage_inputs,
    paths.COMMANDED: outside_inputs.command_inputs,
    paths.RESTORED: depends.restore_inputs,
    paths.SCORES: depends.score_inputs,
    paths.COSTS: shown.measure_inputs,
    paths.TABLES: shown.table_inputs,
    paths.FIGURES: shown.figure_inputs,
}
RULES = {  # folder of cards -> the rule whose jobs write them
    paths.FOUNDATIONS: "foundation",
    paths.RAW: "download",
    paths.PREPARED: "prepare",
    paths.LATENTS: "encode",
    paths.COMMANDED: "command",
    paths.RESTORED: "restore",
    paths.SCORES: "score",
    paths.COSTS: "measure",
    paths.TABLES: "table",
    paths.FIGURES: "figure",
}
NAMES = {
    folder: 2 if folder in (paths.LATENTS, paths.RUNS, paths.COMMANDED, paths.RESTORED, paths.SCORES) else 1
    for folder in CARD_INPUTS
}


def inputs_of(file: str) -> list[str]:
    """Inputs of the job that writes a card; none for a file that no job writes, and for the report's card."""
    for folder, inputs in CARD_INPUTS.items():
        if Path(file).is_relative_to(folder):
            return inputs(*Path(file).with_suffix("").relative_to(folder).parts)
    return []


def job_of(card: Path | str) -> tuple[str, tuple[str, ...]]:
    """(rule, names) of the job that writes a card: ("restore", ("demo", "demo-mid6")). Raises KeyError for any other file."""
    path = Path(card)
    if path.parent == paths.REPORT:
        return "report", (path.stem,)
    folder = next((folder for folder in CARD_INPUTS if path.is_relative_to(folder)), None)
    if folder is None:
        raise KeyError(str(card))
    names = path.with_suffix("").relative_to(folder).parts
    return (f"train_{names[1]}", names[:1]) if folder == paths.RUNS else (RULES[folder], names)


def benchmark_of(card: Path | str) -> Path:
    """The TSV in which Snakemake keeps the seconds and the memory of the job that writes a card. Raises KeyError as ``job_of`` does."""
    rule, names = job_of(card)
    return paths.benchmark_file(rule, *(names or (rule,)))


def cards_here() -> list[str]:
    """All cards of jobs in the working directory, except the report's, sorted within each folder."""
    return [
        str(path)
        for folder, count in NAMES.items()
        for path in sorted(folder.glob("*.json" if count == 1 else "*/*.json"))
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
