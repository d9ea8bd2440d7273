"""Every run in a line: state, scores, cost, commit, and what differs from the run it is like."""

import csv
import json
from pathlib import Path
from typing import Any

from mperceiver import config, csvs, lineage, paths
from mperceiver.printing import console, say
from mperceiver.report import scores
from mperceiver.report.differences import changed_keys, in_words
from mperceiver.report.why import seconds
from mperceiver.training.discarding import unfinished_curve

HEADLINE = "psnr"
LINE = 250  # most characters of a line where standard output is no terminal


def runs() -> list[dict[str, Any]]:
    """A dictionary a run of config/runs/, in the order of their names.

    Keys: name, title, state ("planned", "training", "done", "stale", "shipped": not trained here, but a method has its weights from
    assets/, or "no training": it has no stage of its own), stages {stage: {state, and where known step, steps,
    seconds, cpu_seconds, watt_hours of its GPUs, commit, and in training eta_seconds}}, scores {method: {dataset: mean PSNR}},
    seconds, cpu_seconds and watt_hours of all its stages, like, differs (sentences).
    """
    methods = {name: config.load("methods", name) for name in config.names("methods")}
    rows = []
    for name in config.names("runs"):
        spec = config.load("runs", name)
        own = [stage for stage, trainer in config.weights_of(name).items() if trainer == name]
        stages = {stage: _stage(name, stage, getattr(spec, stage).steps) for stage in own}
        shipped = any(method.run == name and method.weights for method in methods.values())
        like = _like(name)
        rows.append(
            {
                "name": name,
                "title": spec.title,
                "state": _state([stage["state"] for stage in stages.values()], shipped),
                "stages": stages,
                "scores": {method: of for method, m in methods.items() if m.run == name and (of := _scores(method))},
                "seconds": sum(stage.get("seconds") or 0 for stage in stages.values()),
                "cpu_seconds": sum(stage.get("cpu_seconds") or 0 for stage in stages.values()),
                "watt_hours": sum(stage.get("watt_hours") or 0 for stage in stages.values()),
                "like": like,
                "differs": _differs(name, like) if like else [],
            }
        )
    return rows


def _state(stages: list[str], shipped: bool) -> str:
    """A run's state, from those of its own stages."""
    if not stages:
        return "no training"
    state = next((state for state in ("training", "stale", "planned") if state in stages), "done")
    return "shipped" if shipped and state == "planned" else state


def _stage(run: str, stage: str, steps: int) -> dict[str, Any]:
    card = paths.weights_card(run, stage)
    if card.is_file():
        stale = bool(config.changes(card, config.inputs_of(str(card))))
        made = {"state": "stale" if stale else "done", "steps": steps, "commit": lineage.read_card(card)["commit"]}
        last = _last_row(paths.curve_file(run, stage))
        told = {
            # Of the curve if it has them: the seconds of Snakemake's benchmark are those of the last job, too few after a requeue.
            "seconds": last.get("seconds", seconds(str(card))),
            "cpu_seconds": csvs.measured(paths.benchmark_file(f"train_{stage}", run), "cpu_time"),
            "watt_hours": last.get("watt_hours"),
        }
        return made | told
    curve = unfinished_curve(paths.resume_file(run, stage))
    if not curve.is_file():
        return {"state": "planned", "steps": steps}
    last = _last_row(curve)
    at: dict[str, Any] = {"state": "training", "step": int(last.get("step", 0)), "steps": steps}
    limit = getattr(config.load("runs", run), stage).cpu_seconds
    if limit is not None:
        at |= {"at_cpu_seconds": last.get("cpu_seconds", 0), "of_cpu_seconds": limit}
    done, all_of_it = (at["at_cpu_seconds"], limit) if limit is not None else (at["step"], steps)
    if done and "seconds" in last:
        at["eta_seconds"] = round(last["seconds"] / done * (all_of_it - done))
    return at | {key: last[key] for key in ("seconds", "watt_hours") if key in last}


def _last_row(curve: Path) -> dict[str, float]:
    """The numbers of a curve's last row; none where there is no curve, or no row yet."""
    try:
        with curve.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    except OSError:
        return {}
    return {key: float(value) for key, value in rows[-1].items() if value} if rows else {}


def _scores(method: str) -> dict[str, float]:
    """{dataset: mean of the headline metric} of every dataset that a method was scored on."""
    cards = sorted((paths.SCORES / method).glob("*.json"))
    by_dataset = {card.stem: scores.result(method, card.stem) for card in cards}
    means = {dataset: of["means"].get(HEADLINE) for dataset, of in by_dataset.items() if of}
    return {dataset: mean for dataset, mean in means.items() if mean is not None}


def _like(run: str) -> str | None:
    """The run whose keys this one takes."""
    liked = config.files_of("runs", run)[1:]
    return Path(liked[0]).stem if liked else None


def _differs(run: str, like: str) -> list[str]:
    own, other = (config.load("runs", name).model_dump(mode="json", by_alias=True) for name in (run, like))
    return [in_words(*change) for change in changed_keys(other, own) if change[0] != "title"]


def print_runs(as_json: bool = False) -> None:
    """Print all runs, a line each, or as JSON. The mean is over all datasets that methods with the run's weights were scored on."""
    rows = runs()
    if as_json:
        say(json.dumps(rows, indent=1))
        return
    from rich.table import Table

    table = Table(
        "run",
        "state",
        f"mean {HEADLINE.upper()}",
        "hours",
        "CPU-hours",
        "GPU Wh",
        "commit",
        "differs from",
        box=None,
    )
    for run in rows:
        means = [mean for of in run["scores"].values() for mean in of.values()]
        at = next((stage for stage in run["stages"].values() if stage["state"] == "training"), None)
        commits = dict.fromkeys(stage["commit"][:8] for stage in run["stages"].values() if "commit" in stage)
        table.add_row(
            run["name"],
            _progress(at) if at else run["state"],
            f"{sum(means) / len(means):.2f}" if means else "",
            f"{run['seconds'] / 3600:.2f}" if run["seconds"] else "",
            f"{run['cpu_seconds'] / 3600:.2f}" if run["cpu_seconds"] else "",
            f"{run['watt_hours']:.1f}" if run["watt_hours"] else "",
            " ".join(commits),
            _differences(run),
        )
    for column in table.columns:
        column.no_wrap = True
    terminal = console()
    (terminal if terminal.is_terminal else console(width=LINE)).print(table, crop=False, no_wrap=True)


def _differences(run: dict[str, Any]) -> str:
    """``small: drm.steps 900 → 50, and 8 more``; empty for a run that is like no other."""
    if not run["like"]:
        return ""
    first, *rest = run["differs"] or ["nothing"]
    return f"{run['like']}: {first}" + (f", and {len(rest)} more" if rest else "")


def _progress(stage: dict[str, Any]) -> str:
    """``step 50 of 900, 3 min left``; of a training that CPU time limits, ``60 of 480 CPU-seconds, 7 min left``."""
    left = stage.get("eta_seconds")
    at = f"step {stage['step']} of {stage['steps']}"
    if "of_cpu_seconds" in stage:
        at = f"{stage['at_cpu_seconds']:.0f} of {stage['of_cpu_seconds']:.0f} CPU-seconds"
    return at + ("" if left is None else f", {max(left, 0) / 60:.0f} min left")
