"""Every path under data/ and results/, written once. All paths are relative to the working directory.

A name in a path is the stem of a file in config/. The rules of the workflow spell the same paths with wildcards; no other
module of the package does. Cards name files by these paths as text: ``str(paths.prepared_card(dataset))``.
"""

from pathlib import Path
from typing import NamedTuple

DATA = Path("data")
FOUNDATIONS = DATA / "foundations"
RAW = DATA / "raw"
MANUAL = DATA / "manual"
PREPARED = DATA / "prepared"
LATENTS = DATA / "latents"

RESULTS = Path("results")
RUNS = RESULTS / "runs"
RESUME = RESULTS / "resume"
COMMANDED = RESULTS / "commanded"
RESTORED = RESULTS / "restored"
SCORES = RESULTS / "scores"
COSTS = RESULTS / "costs"
TABLES = RESULTS / "tables"
FIGURES = RESULTS / "figures"
REPORT = RESULTS / "report"  # the sites, one an experiment, with their cards
METRICS = RESULTS / "metrics"  # the tables' numbers in small files, for DVC, a folder an experiment
TRACKERS = RESULTS / "trackers"
BENCHMARKS = RESULTS / "benchmarks"
EXPORTS = RESULTS / "export"


class Cards(NamedTuple):
    """The cards in one folder, and the rule whose jobs write them.

    Attributes:
        rule: the rule; None: ``train_<stage>``, where the stage is the last name of the card's path.
        names: how many names a card's path has below the folder, the stem of the card included.
        by_verb: whether messages advise the rule's verb, and not Snakemake, for a missing file.
    """

    rule: str | None
    names: int
    by_verb: bool = False


# Every folder of cards except the report's. What the jobs read, and what their cards record: JOBS in mperceiver/config/graph.py.
CARDS: dict[Path, Cards] = {
    FOUNDATIONS: Cards("foundation", 1, by_verb=True),
    RAW: Cards("download", 1, by_verb=True),
    PREPARED: Cards("prepare", 1, by_verb=True),
    LATENTS: Cards("encode", 2),
    RUNS: Cards(None, 2),
    COMMANDED: Cards("command", 2),
    RESTORED: Cards("restore", 2),
    SCORES: Cards("score", 2),
    COSTS: Cards("measure", 1),
    TABLES: Cards("table", 1),
    FIGURES: Cards("figure", 1),
}


def folder_of(path: Path | str) -> Path | None:
    """The folder of ``CARDS`` that a path lies in, however deep; None if it lies in none of them."""
    return next((folder for folder in Path(path).parents if folder in CARDS), None)


def is_output(path: Path | str) -> bool:
    """Whether a rule of the workflow makes the file: it lies under data/ or results/, and is not brought by a person."""
    path = Path(path)
    return (path.is_relative_to(DATA) or path.is_relative_to(RESULTS)) and not path.is_relative_to(MANUAL)


def making(*outputs: Path | str) -> str:
    """The command by which Snakemake makes outputs that are missing or out of date."""
    return f"snakemake --cores all {' '.join(map(str, outputs))}"


def making_again(*cards: Path | str) -> str:
    """The command by which Snakemake makes cards, and what stands beside them, whatever is there already."""
    return f"snakemake --cores all -f {' '.join(map(str, cards))}"


def command_for(path: Path | str) -> str | None:
    """The command that makes a missing file under data/ or results/, also one beside a card; None if no command does."""
    path = Path(path)
    if path.is_relative_to(REPORT) and path != REPORT:
        return making(f"--configfile config/{path.relative_to(REPORT).parts[0].removesuffix('.json')}.yaml")
    folder = folder_of(path)
    if folder is None:
        return None
    cards, parts = CARDS[folder], path.relative_to(folder).parts
    if cards.by_verb:
        name = parts[0].partition(".")[0]
        return f"mperceiver {cards.rule} {name}" if name else None
    if folder == RUNS:
        return making(path) if path.suffix in (".safetensors", ".json", ".csv") else None
    if len(parts) < cards.names:
        return None
    *above, last = parts[: cards.names]
    return making_again(folder.joinpath(*above, f"{last.rpartition('.')[0] or last}.json"))


# ---------------------------------------------------------------- data


def foundation_folder(foundation: str) -> Path:
    """Folder of a foundation's staged weights."""
    return FOUNDATIONS / foundation


def foundation_card(foundation: str) -> Path:
    """Card of a foundation's staged weights."""
    return FOUNDATIONS / f"{foundation}.json"


def raw_folder(dataset: str) -> Path:
    """Folder of a dataset's downloaded pictures or archives."""
    return RAW / dataset


def raw_card(dataset: str) -> Path:
    """Card of a dataset's download."""
    return RAW / f"{dataset}.json"


def partial_folder(dataset: str) -> Path:
    """Folder of a dataset's unfinished downloads, from which an interrupted download resumes."""
    return RAW / ".partial" / dataset


def manual_folder(dataset: str) -> Path:
    """Folder into which a person puts the files of a dataset that no program may fetch."""
    return MANUAL / dataset


def prepared_file(dataset: str) -> Path:
    """Arrow file of a dataset's prepared pairs."""
    return PREPARED / f"{dataset}.arrow"


def prepared_card(dataset: str) -> Path:
    """Card of a dataset's prepared pairs."""
    return PREPARED / f"{dataset}.json"


def latents_file(foundation: str, dataset: str) -> Path:
    """Arrow file of a training dataset's latents and CLIP embeddings, computed by a foundation."""
    return LATENTS / foundation / f"{dataset}.arrow"


def latents_card(foundation: str, dataset: str) -> Path:
    """Card of a training dataset's latents."""
    return LATENTS / foundation / f"{dataset}.json"


def features_file(dataset: str, protocol: str) -> Path:
    """Cached features of a dataset's ground truths under a protocol; they make no output and have no card."""
    return DATA / "features" / dataset / f"{protocol}.safetensors"


# ---------------------------------------------------------------- results


def weights_file(run: str, stage: str) -> Path:
    """The weights that a run trained in a stage."""
    return RUNS / run / f"{stage}.safetensors"


def weights_card(run: str, stage: str) -> Path:
    """Card of the weights that a run trained in a stage."""
    return RUNS / run / f"{stage}.json"


def curve_file(run: str, stage: str) -> Path:
    """CSV of a stage's training curve."""
    return RUNS / run / f"{stage}.csv"


def resume_folder(run: str) -> Path:
    """Folder of a run's resume states. It is no output of a rule, since Snakemake deletes the outputs of a failed job."""
    return RESUME / run


def resume_file(run: str, stage: str) -> Path:
    """The path that names a stage's resume states; each file has its step before the suffix: drm-00000600.pt."""
    return resume_folder(run) / f"{stage}.pt"


def cost_card(method: str) -> Path:
    """Card of what a method costs: it holds the measurements themselves."""
    return COSTS / f"{method}.json"


def commanded_folder(method: str, dataset: str) -> Path:
    """Folder of what the program of a method of kind command made of a dataset, as it wrote it."""
    return COMMANDED / method / dataset


def commanded_card(method: str, dataset: str) -> Path:
    """Card of what the program of a method of kind command made of a dataset."""
    return COMMANDED / method / f"{dataset}.json"


def restored_folder(method: str, dataset: str) -> Path:
    """Folder of a dataset's pictures, restored by a method."""
    return RESTORED / method / dataset


def restored_card(method: str, dataset: str) -> Path:
    """Card of a dataset's pictures, restored by a method."""
    return RESTORED / method / f"{dataset}.json"


def restored_picture(method: str, dataset: str, picture: str) -> Path:
    """One restored picture."""
    return restored_folder(method, dataset) / f"{picture}.png"


def probabilities_file(method: str, dataset: str) -> Path:
    """CSV of the degradation predictor's probabilities, a row a picture."""
    return restored_folder(method, dataset) / "probabilities.csv"


def scores_file(method: str, dataset: str) -> Path:
    """CSV of a method's scores on a dataset, a row a picture."""
    return SCORES / method / f"{dataset}.csv"


def scores_card(method: str, dataset: str) -> Path:
    """Card of a method's scores on a dataset, with their means."""
    return SCORES / method / f"{dataset}.json"


def table_file(table: str, suffix: str) -> Path:
    """One of a table's files; ``suffix`` is html, csv, tex, or json for its card."""
    return TABLES / f"{table}.{suffix}"


def figure_file(figure: str, suffix: str) -> Path:
    """One of a figure's files; ``suffix`` is png, svg, or json for its card."""
    return FIGURES / f"{figure}.{suffix}"


def report_folder(experiment: str) -> Path:
    """Folder of an experiment's site; ``experiment`` is the stem of its file."""
    return REPORT / experiment


def report_card(experiment: str) -> Path:
    """Card of an experiment's site."""
    return REPORT / f"{experiment}.json"


def metrics_folder(experiment: str) -> Path:
    """Folder of the numbers of an experiment's tables, for DVC."""
    return METRICS / experiment


def shown_file(dataset: str) -> Path:
    """Contact sheet of a dataset, written by `mperceiver show`."""
    return RESULTS / "shown" / f"{dataset}.png"


def replayed_folder(dataset: str, picture: str) -> Path:
    """Folder of one picture's degradation, repeated step by step by `mperceiver prepare --replay`."""
    return RESULTS / "replayed" / dataset / picture


def benchmark_file(rule: str, *names: str) -> Path:
    """TSV of a job's seconds and memory, as Snakemake measured them; ``names`` are the rule's wildcards."""
    return BENCHMARKS.joinpath(rule, *names).with_suffix(".tsv")


def bundle_file(table: str) -> Path:
    """ZIP of a table for a reviewer, written by `mperceiver bundle`."""
    return EXPORTS / f"{table}.zip"


def crate_folder(experiment: str) -> Path:
    """Folder of an experiment's RO-Crate, written by `mperceiver crate`."""
    return EXPORTS / experiment / "crate"


def croissant_file(dataset: str) -> Path:
    """A prepared dataset's description in the Croissant format, written by `mperceiver croissant`."""
    return EXPORTS / "croissant" / f"{dataset}.json"
