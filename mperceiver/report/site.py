"""The report: one static site that opens from disk, in results/report/index.html.

Each number of a table leads to a page with the pictures behind it (scores a picture, the worst and the best of them against
input and ground truth) and with the chain of cards it came from. Everything it shows lies inside its own folder, so the
folder can be sent or published as it is. Nothing is fetched, and no time is written: same inputs, same bytes.
"""

import json
import math
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mperceiver import config, images, lineage
from mperceiver.config.experiments import Experiment
from mperceiver.files import atomic_folder, sha256, write_text
from mperceiver.metrics import METRICS
from mperceiver.report import figures, grid, pictures, tables, trace
from mperceiver.report.seen import seen
from mperceiver.report.undone import undone

if TYPE_CHECKING:
    import numpy as np

OUT = Path("results/report")
WIDE = 18  # a table of more numbers a row opens on its first metric


@dataclass
class Site:
    """What the pages share while they are written."""

    folder: Path
    experiment: Experiment
    env: Any
    prepared: dict[str, Any] = field(default_factory=dict)
    chains: dict[str, dict] = field(default_factory=dict)
    references: list[tuple] = field(default_factory=lambda: _held_against())

    def page(self, path: str, template: str, **values) -> None:
        """Write one page; ``root`` leads from it back to the site's folder."""
        root = "../" * path.count("/")
        write_text(
            self.folder / path, self.env.get_template(template).render(root=root, site=self.experiment, **values)
        )

    def copy(self, file: Path | str, under: str = "files") -> str:
        """Copy a file into the site; where it lies there."""
        place = f"{under}/{file}"
        if not (self.folder / place).exists():
            (self.folder / place).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, self.folder / place)
        return place

    def picture(self, place: str, pixels: "np.ndarray") -> str:
        """Write a picture, uint8 (H, W, 3), into the site, unless it is there; ``place`` again."""
        if not (self.folder / place).exists():
            (self.folder / place).parent.mkdir(parents=True, exist_ok=True)
            (self.folder / place).write_bytes(images.encode(pixels))
        return place


def write(experiment_path: Path | str) -> Path:
    """Write the site of an experiment (config/demo.yaml) and its card results/report.json, whose path is returned.

    Raises ConfigError for a bad configuration, TableError where a column would mix protocols. What has not been run yet is
    shown as progress.
    """
    experiment_path = Path(experiment_path)
    experiment = config.parse(experiment_path, Experiment)
    commit, dirty = lineage.commit()
    built = [tables.build(name) for name in experiment.tables]
    env = tables.environment()
    env.globals["footer"] = {
        "commit": commit,
        "dirty": dirty,
        "code": lineage.code(),
        "versions": lineage.versions(),
        "experiment": str(experiment_path),
    }
    env.filters["size"] = lambda mapping: len(mapping)
    inputs: list[Path] = [experiment_path]
    with atomic_folder(OUT) as folder:
        site = Site(folder, experiment, env)
        for asset in ("style.css", "site.js"):
            write_text(folder / asset, env.get_template(f"{asset}.j2").render())
        for number, table in enumerate(built, 1):
            inputs += _cells(site, table, number)
        drawn = [_figure(site, name) for name in experiment.figures]
        shown = [_table(site, table) for table in built]
        reported = any(cell.reported is not None for table in built for _, _, cell in table.there())
        told = {"tables": shown, "figures": drawn, "foundations": _toys(built), "reported": reported}
        site.page("index.html", "index.html.j2", **told)
    made = [Path("results/tables") / f"{name}.json" for name in experiment.tables]
    made += [Path("results/figures") / f"{name}.json" for name in experiment.figures]
    progress = [table.progress for table in built]
    card = OUT.with_suffix(".json")
    lineage.write_card(
        card,
        verb="report",
        spec=experiment,
        inputs=[path for path in dict.fromkeys([*inputs, *made]) if path.is_file()],
        outputs=[OUT],
        result={"cells": sum(total for _, total in progress), "run": sum(done for done, _ in progress)},
    )
    return card


def _toys(built: list[grid.Built]) -> list[str]:
    """Titles of the foundations that this project pre-trained itself: the numbers above them are a toy's."""
    names = [config.method_foundation(member) for table in built for row in table.rows for member in row.members]
    found = [config.load("foundations", name) for name in dict.fromkeys(names) if name]
    return [foundation.title for foundation in found if foundation.build]


def _table(site: Site, table: grid.Built) -> dict:
    """A table with its links, files and metric switch."""
    downloads = [Path("results/tables") / f"{table.name}.{suffix}" for suffix in ("csv", "tex", "html")]
    metrics = list(dict.fromkeys(c.metric for c in table.columns))

    def href(i: int, j: int) -> str | None:
        column, cell = table.columns[j], table.cells[i][j]
        return None if column.average or not cell.n else _place(table, table.rows[i].method, column)

    return {
        "built": table,
        "undone": undone(table),
        "href": href,
        "metrics": metrics,
        "first": metrics[0] if len(table.columns) > WIDE else "all",
        "downloads": [(file.suffix[1:], site.copy(file)) for file in downloads if file.is_file()],
        "pictures": sorted({cell.n for _, j, cell in table.there() if cell.n and not table.columns[j].average}),
    }


def _place(table: grid.Built, method: str, column: grid.Column) -> str:
    return f"cells/{table.name}/{method}/{column.place}.html"


def _figure(site: Site, name: str) -> dict:
    spec = config.load("figures", name)
    files = [Path("results/figures") / f"{name}.{suffix}" for suffix in ("svg", "png")]
    columns, methods, runs = ", ".join(c.label for c in spec.columns), ", ".join(spec.methods), ", ".join(spec.runs)
    what = {
        "comparison": f"Pictures side by side: {len(spec.panels)} rows; columns input, {methods}, ground truth.",
        "curves": f"Training loss against step for the runs {runs}.",
        "bars": f"Bars for {columns}; methods {methods}.",
        "prompts": f"Prompt tokens of the run {runs} in the plane, a colour a degradation.",
        "probabilities": f"Stacked bars of the predictor's mean probabilities for {columns}; method {methods}.",
        "tradeoff": f"Quality against steps and seconds for {columns}; methods {methods}.",
    }
    there = [site.copy(file) for file in files if file.is_file()]
    size = None
    if files[
        1
    ].is_file():  # so that the page does not move when it comes: a pixel of a comparison is one, plots are of 200 dpi
        with files[1].open("rb") as file:
            height, width = images.size(file, str(files[1]))
        scale = 1 if spec.kind == "comparison" else 96 / figures.DPI
        size = [round(side * scale) for side in (width, height)]
    return {"name": name, "spec": spec, "files": there, "size": size, "alt": f"{spec.title}. {what[spec.kind]}"}


# ---------------------------------------------------------------- a cell's page


def _cells(site: Site, table: grid.Built, number: int) -> list[Path]:
    """The pages of the cells that have been run, and of the runs that some are a mean of; the score cards they show."""
    used = []
    places = dict.fromkeys((c.datasets, c.task, c.label, c.place) for c in table.columns if not c.average)
    for datasets, task, label, place in places:
        at = [j for j, c in enumerate(table.columns) if c.place == place and not c.average]
        here = {table.rows[i].method: i for i, j, cell in table.there() if j == at[0] and cell.n}
        shared = {
            "table": table,
            "number": number,
            "label": label,
            "datasets": datasets,
            "task": task,
            "place": place,
            "others": [(table.rows[k].title, m, f"{m}/{place}.html") for m, k in here.items()],
        }
        for method, i in here.items():
            row, columns = table.rows[i], [table.columns[j] for j in at]
            shown = {method: (row, [table.cells[i][j] for j in at])}
            for member in row.members if len(row.members) > 1 else ():
                title = config.load("methods", member).title
                shown[member] = (
                    grid.Row(row.group, member, title, row.ranked, (member,)),
                    [tables.cell(member, column) for column in columns],
                )
            for name, (of, cells) in shown.items():
                if name != method and name in here:
                    continue
                values = [(column.metric, cell) for column, cell in zip(columns, cells, strict=True)]
                of_mean = [(method, row.title)] if name != method else []
                runs = [(m, r.title, c) for m, (r, c) in shown.items() if m != method] if name == method else []
                used += _cell(site, columns[0], of, shared | {"values": values, "of_mean": of_mean, "runs": runs})
    return used


def _cell(site: Site, column: grid.Column, row: grid.Row, shared: dict) -> list[Path]:
    """The page of a cell, whose first column is given; the score cards it shows."""
    table, datasets, task, method = shared["table"], column.datasets, column.task, row.method
    cards = [tables.score_card(member, dataset) for member in row.members for dataset in datasets]
    columns = [c for c in table.columns if c.place == column.place and not c.average]
    references = _references(site, row.members[0], columns)
    told = shared | {"row": row, "references": list(references.values())}
    told["commands"] = [trace.command(table.name, method, dataset, task) for dataset in datasets]
    place = _place(table, method, column)
    used = cards + [tables.score_card(name, dataset) for name in references for dataset in datasets]
    if len(row.members) > 1:
        site.page(place, "mean.html.j2", **told)
        return used
    scores = _scores(method, datasets, task)
    inputs = _scores("input", datasets, task) if method != "input" else {}
    gains = {k: _gain(v, inputs.get(k, {})) for k, v in scores.items()}
    site.page(
        place,
        "cell.html.j2",
        **told,
        scores=scores,
        mixed=len({v["task"] for v in scores.values()}) > 1,
        metrics=[m for m in METRICS if any(v.get(m) is not None for v in scores.values())],
        gains=gains if any(g is not None for g in gains.values()) else {},
        seen=[(dataset, seen(method, dataset, task)) for dataset in datasets],
        shown=pictures.shown(site, method, scores, column.metric),
        white=pictures.FULL_255,
        main=column.metric,
        chains=[(dataset, _chain(site, str(card))) for dataset, card in zip(datasets, cards, strict=True)],
    )
    return used


def _references(site: Site, method: str, columns: list[grid.Column]) -> dict[str, tuple[str, list[grid.Cell]]]:
    """Method -> (title, a cell a column) of what every result is to be held against, where it has been scored alike.

    That is the degraded input itself, and what a perfect restorer would reach through this method's frozen VAE and its DRM.
    """
    foundation, drm = config.method_foundation(method), config.method_weights(method).get("drm")
    mine = _scored_by(method, columns[0])
    return {
        name: (title, [tables.cell(name, column) for column in columns])
        for name, title, of, refined_by in site.references
        if name != method and (of is None or foundation in (None, of)) and refined_by in (None, drm)
        if mine and _scored_by(name, columns[0]) == mine
    }


def _held_against() -> list[tuple[str, str, str | None, str | None]]:
    """(method, title, foundation, run of its DRM) of the degraded input and, after it, of the VAEs' ceilings."""
    known = {name: config.load("methods", name) for name in config.names("methods")}
    return [
        (name, spec.title, config.method_foundation(name), config.method_weights(name).get("drm"))
        for kind in ("identity", "vae")
        for name, spec in known.items()
        if spec.kind == kind
    ]


def _scored_by(method: str, column: grid.Column) -> list[str]:
    """Digests of the protocols under which a method's scores were made; none if one of them is not there."""
    found = [tables.scores_of(method, dataset) for dataset in column.datasets]
    return [scores["protocol_sha256"] for scores in found] if all(found) else []


def _scores(method: str, datasets: tuple[str, ...], task: str | None) -> dict[tuple[str, str], dict]:
    """(dataset, picture id) -> its scores."""
    return {
        (dataset, picture): scores
        for dataset in datasets
        for picture, scores in figures.per_picture(method, dataset).items()
        if task in (None, scores["task"])
    }


def _gain(scores: dict, of_input: dict) -> float | None:
    mine, before = scores.get("psnr"), of_input.get("psnr")
    return None if mine is None or before is None or math.isinf(before) else mine - before


def _chain(site: Site, card: str) -> list[dict]:
    """The cards below a score, nearest first, each copied into the site; cached, since every task of a dataset shares it."""
    if card not in site.chains:
        found = lineage.chain(card)
        site.chains[card] = [
            {
                "path": path,
                "file": site.copy(path),
                "sha": sha256(path),
                "spec": json.dumps(told["spec"], indent=1, ensure_ascii=False),
                "below": set(found),
                "sources": [(file, sha) for file, sha in told["inputs"].items() if ":" in file],
                **{
                    key: told[key] for key in ("verb", "commit", "dirty", "code", "seed", "device", "inputs", "outputs")
                },
            }
            for path, told in found.items()
        ]
    return site.chains[card]
