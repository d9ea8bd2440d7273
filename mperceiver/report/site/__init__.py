"""The report: a static site that opens from disk, in results/report/<experiment>/index.html.

Each number of a table leads to a page with the pictures behind it (scores of each, the worst and the best beside input and
ground truth) and with the chain of cards that it came from. Everything that the site shows lies inside its own folder, so the
folder can be sent or published as it is. Nothing is loaded from elsewhere, and no time is written: same inputs, same bytes.
"""

from pathlib import Path

from mperceiver import commits, config, lineage, paths
from mperceiver.config.experiments import Experiment
from mperceiver.files import atomic_folder, write_text
from mperceiver.report import summary, tables
from mperceiver.report.grid import FilledTable
from mperceiver.report.rendering import environment
from mperceiver.report.site.cell_pages import CellPages
from mperceiver.report.site.folder import SiteFolder
from mperceiver.report.site.index import figure_entry, table_entry
from mperceiver.report.site.pictures import FULL_255, error_colours


def write(experiment_path: Path | str) -> Path:
    """Write the site of an experiment (config/demo.yaml) and its card results/report/demo.json; return the card's path.

    Raises ConfigError for a bad configuration, TableError where a column would mix protocols. What has not been run yet is
    shown as progress.
    """
    experiment_path = Path(experiment_path)
    experiment = config.parse(experiment_path, Experiment)
    templates = environment()
    templates.globals["footer"] = _footer(experiment_path)
    name = experiment_path.stem
    report, metrics, card = paths.report_folder(name), paths.metrics_folder(name), paths.report_card(name)
    filled = [tables.build(table) for table in experiment.tables]
    with atomic_folder(report, card) as folder:
        site = SiteFolder(folder, experiment, templates)
        colours = error_colours().T.round(4).tolist()
        for asset in ("style.css", "errors.js", "site.js", "compare.js"):
            write_text(folder / asset, templates.get_template(f"{asset}.j2").render(colours=colours, full=FULL_255))
        pages = CellPages(site)
        shown = [score for number, table in enumerate(filled, 1) for score in pages.write(table, number)]
        site.page(
            "index.html",
            "index.html.j2",
            figures=[figure_entry(site, figure) for figure in experiment.figures],
            tables=[table_entry(site, table, pages.comparisons.get(table.name, [])) for table in filled],
            toys=_toys(filled),
            reported=any(cell.reported is not None for table in filled for cell in table.cells.values()),
        )
    with atomic_folder(metrics, card) as folder:
        summary.write(folder, filled)
    progress = [table.progress for table in filled]
    read = dict.fromkeys([*config.report_inputs(experiment_path), *map(str, shown)])
    lineage.begin("report", experiment, [path for path in read if Path(path).is_file()]).write_card(
        card,
        outputs=[report, metrics],
        result={"cells": sum(total for _, total in progress), "run": sum(done for done, _ in progress)},
    )
    return card


def _footer(experiment_path: Path) -> dict:
    commit, dirty = commits.current()
    return {
        "commit": commit,
        "dirty": dirty,
        "code": lineage.code(),
        "versions": lineage.versions(),
        "experiment": str(experiment_path),
    }


def _toys(filled: list[FilledTable]) -> list[str]:
    """Titles of the foundations that this project made itself: numbers of methods on them are a toy's."""
    methods = [member for table in filled for row in table.rows for member in row.members]
    names = dict.fromkeys(config.method_foundation(method) for method in methods)
    foundations = [config.load("foundations", name) for name in names if name]
    return [one.title for one in foundations if one.build or Path(one.local or "").is_relative_to("assets")]
