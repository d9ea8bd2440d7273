"""dvc.yaml: the stages of an experiment with every configuration file that they read, its metrics, plots and artifacts."""

from pathlib import Path

import yaml

from mperceiver import config, paths
from mperceiver.config.experiments import Experiment
from mperceiver.report import summary

HEAD = """\
# Versions of data and results for `dvc push`, `dvc pull` and `dvc exp run`; see docs/dvc.md. `make docs` writes this file from the demo's
# configuration. Each stage is one call of Snakemake, which alone decides what is out of date. `persist: true` keeps DVC from deleting
# a stage's outputs before it runs. Jobs never call DVC; a person does.
"""
KEPT = {"persist": True}
# Stage -> (rules that it leaves to later stages, folders of cards whose rules it runs).
STAGES: dict[str, tuple[list[str], list[Path]]] = {
    "data": (
        ["train_predictor", "train_network", "restore", "figure"],
        [paths.FOUNDATIONS, paths.RAW, paths.PREPARED, paths.LATENTS],
    ),
    "train": (["restore", "figure"], [paths.RUNS]),
    "evaluate": (["table", "figure"], [paths.COMMANDED, paths.RESTORED, paths.SCORES, paths.COSTS]),
    "report": ([], [paths.TABLES, paths.FIGURES]),
}


def page() -> str:
    """The text of dvc.yaml for the demo."""
    return HEAD + text("config/demo.yaml", "snakemake --cores all")


def text(experiment: str, command: str) -> str:
    """The stages of an experiment's file as YAML. ``command``: the call of Snakemake that a stage adds its end to."""
    cards, runs = _cards(experiment), {}
    stages, before = {}, []
    for name, (later, folders) in STAGES.items():
        made = {folder: [card for card in cards if Path(card).is_relative_to(folder)] for folder in folders}
        # DVC refuses a stage that does not make each of its outputs.
        outs = [str(folder) for folder in folders if made[folder]]
        read = [file for of_folder in made.values() for card in of_folder for file in _files(card)]
        if name == "report":
            outs += [str(paths.REPORT), str(paths.METRICS)]
            read += [
                file for file in config.files_of_inputs(config.report_inputs(experiment)) if file.endswith(".yaml")
            ]
        stages[name] = {
            "cmd": command + (f" --omit-from {' '.join(later)}" if later else ""),
            "deps": before or None,
            "params": [{file: None} for file in sorted(set(read))],
            "outs": [{out: dict(KEPT)} for out in outs],
        }
        stages[name] = {key: value for key, value in stages[name].items() if value}
        before = [*before, *outs]
    for card in cards:
        if Path(card).is_relative_to(paths.RUNS):
            runs.setdefault(Path(card).parent.name, []).append(Path(card).stem)
    metrics = paths.metrics_folder(Path(experiment).stem)
    described = {
        "stages": stages,
        "metrics": [f"{metrics}/{summary.METRICS}"],
        "plots": _plots(runs, metrics),
        "artifacts": _artifacts(cards, runs),
    }
    return yaml.safe_dump(described, sort_keys=False, width=160)


def _cards(experiment: str) -> list[str]:
    """Every card that an experiment depends on, sorted by path."""
    config.parse(Path(experiment), Experiment)
    printed = [Path(entry) for entry in config.report_inputs(experiment)]
    cards = [str(card) for card in printed if card.parent in (paths.TABLES, paths.FIGURES)]
    for card in cards:  # grows as it is read
        cards += [str(entry) for entry in config.inputs_of(card) if paths.is_output(entry) and str(entry) not in cards]
    return sorted(dict.fromkeys(cards))


def _files(card: str) -> list[str]:
    """The configuration files that a card's job reads."""
    return [
        file
        for file in config.files_of_inputs(config.inputs_of(card))
        if not paths.is_output(file) and file.endswith(".yaml")
    ]


def _plots(runs: dict[str, list[str]], metrics: Path) -> list[dict]:
    """Curves of every stage, PSNR of each task as bars, and quality against the sampler's steps."""
    curves = [
        {str(paths.curve_file(run, stage)): {"x": "step", "y": "loss", "title": f"{run}: {stage}"}}
        for run, stages in runs.items()
        for stage in config.STAGES
        if stage in stages
    ]
    bars = {"x": "psnr", "y": "place", "template": "bar_horizontal", "title": "PSNR per task (dB)"}
    steps = {"x": "steps", "y": "value", "template": "scatter", "title": "Quality against the sampler's steps"}
    return [*curves, {f"{metrics}/{summary.BARS}": bars}, {f"{metrics}/{summary.STEPS}": steps}]


def _artifacts(cards: list[str], runs: dict[str, list[str]]) -> dict[str, dict]:
    """Every run's weights and every prepared dataset by name, with labels."""
    artifacts: dict[str, dict] = {}
    for run, stages in runs.items():
        spec = config.load("runs", run)
        labels = [spec.foundation or "no-foundation", *sorted(stages)]
        path = str(paths.RUNS / run)
        artifacts[run] = {"path": path, "type": "model", "desc": spec.title, "labels": labels}
    for card in cards:
        if Path(card).is_relative_to(paths.PREPARED):
            spec = config.load("datasets", Path(card).stem)
            name = f"pairs-{Path(card).stem}"
            path = str(Path(card).with_suffix(".arrow"))
            artifacts[name] = {"path": path, "type": "dataset", "desc": spec.title, "labels": spec.tasks}
    return artifacts
