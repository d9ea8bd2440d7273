"""Every path under data/ and results/, written once; all are relative to the working directory.

A name in a path is the stem of a file in config/. The rules of the workflow spell the same paths with wildcards.
"""

from pathlib import Path

RESULTS = Path("results")
REPORT = RESULTS / "report"  # the site; its card is results/report.json
TRACKERS = RESULTS / "trackers"
FOUNDATIONS = Path("data/foundations")
RAW = Path("data/raw")
MANUAL = Path("data/manual")  # what a person has downloaded


# ---------------------------------------------------------------- data


def foundation_folder(foundation: str) -> Path:
    return FOUNDATIONS / foundation


def foundation_card(foundation: str) -> Path:
    return FOUNDATIONS / f"{foundation}.json"


def raw_folder(dataset: str) -> Path:
    return RAW / dataset


def raw_card(dataset: str) -> Path:
    return RAW / f"{dataset}.json"


def prepared_file(dataset: str) -> Path:
    return Path("data/prepared") / f"{dataset}.arrow"


def prepared_card(dataset: str) -> Path:
    return prepared_file(dataset).with_suffix(".json")


def latents_file(foundation: str, dataset: str) -> Path:
    return Path("data/latents") / foundation / f"{dataset}.arrow"


def latents_card(foundation: str, dataset: str) -> Path:
    return latents_file(foundation, dataset).with_suffix(".json")


# ---------------------------------------------------------------- results


def weights_file(run: str, stage: str) -> Path:
    return RESULTS / "runs" / run / f"{stage}.safetensors"


def weights_card(run: str, stage: str) -> Path:
    return weights_file(run, stage).with_suffix(".json")


def curve_file(run: str, stage: str) -> Path:
    return weights_file(run, stage).with_suffix(".csv")


def resume_folder(run: str) -> Path:
    """Resume states of a run's trainings: no output of any rule, since Snakemake deletes the outputs of a failed job."""
    return RESULTS / "resume" / run


def restored_folder(method: str, dataset: str) -> Path:
    return RESULTS / "restored" / method / dataset


def restored_card(method: str, dataset: str) -> Path:
    return RESULTS / "restored" / method / f"{dataset}.json"


def restored_picture(method: str, dataset: str, picture: str) -> Path:
    return restored_folder(method, dataset) / f"{picture}.png"


def probabilities_file(method: str, dataset: str) -> Path:
    """What the degradation predictor made of each picture of a dataset."""
    return restored_folder(method, dataset) / "probabilities.csv"


def scores_file(method: str, dataset: str) -> Path:
    return RESULTS / "scores" / method / f"{dataset}.csv"


def scores_card(method: str, dataset: str) -> Path:
    return scores_file(method, dataset).with_suffix(".json")


def table_file(table: str, suffix: str) -> Path:
    """One of a table's files; ``suffix``: html, csv, tex, or json (its card)."""
    return RESULTS / "tables" / f"{table}.{suffix}"


def figure_file(figure: str, suffix: str) -> Path:
    """One of a figure's files; ``suffix``: png, svg, or json (its card)."""
    return RESULTS / "figures" / f"{figure}.{suffix}"


def replayed_folder(dataset: str, picture: str) -> Path:
    return RESULTS / "replayed" / dataset / picture


def benchmark_file(rule: str, *names: str) -> Path:
    """Seconds and memory of a job, as Snakemake measured them: results/benchmarks/<rule>/<names>.tsv."""
    return (RESULTS / "benchmarks" / rule).joinpath(*names).with_suffix(".tsv")
