"""What tables, figures and the report are made of: the inputs of their rules, and of what is measured for them."""

from pathlib import Path

from mperceiver import paths
from mperceiver.config.checks import check_figure, check_table
from mperceiver.config.depends import (
    members,
    method_foundation,
    method_weights,
    runs_parts,
    training_cards,
    unique,
    weights_cards,
    weights_of,
)
from mperceiver.config.experiments import Experiment
from mperceiver.config.figures import OF_PREDICTOR
from mperceiver.config.files import load, names, parse
from mperceiver.config.learned import compared_inputs
from mperceiver.config.outside_inputs import covers, module_inputs
from mperceiver.config.parts import experiment_part, part_of
from mperceiver.config.reported import path_of_reported
from mperceiver.config.tables import COST, SCORE, TRAINING, Table, reported_files

COST_SIZES = (256, 512, 1024)  # px, for a method that no table of costs has
# Kinds of methods with which others are compared; they restore nothing, and have no rank.
REFERENCES = ("identity", "vae")


def methods_of(table: Table) -> list[str]:
    """The methods of a table's rows, each once."""
    return unique(method for block in table.parts for group in block.rows for method in group.methods)


def cells(table: Table, kind: str | None = None) -> list[tuple[str, str]]:
    """All (method, dataset) pairs whose scores a table needs, each once; with ``kind``, those under its columns of that kind."""
    return unique(
        (member, dataset)
        for block in table.parts
        for group in block.rows
        for method in group.methods
        for member in members(method)
        for column in block.columns
        if column.kind not in (COST, TRAINING) and kind in (None, column.kind)
        for dataset in column.datasets
        if covers(member, dataset)
    )


def shown_with(table: Table, kind: str) -> list[str]:
    """The methods that a table shows under a column of a kind."""
    return unique(
        member
        for block in table.parts
        if any(column.kind == kind for column in block.columns)
        for group in block.rows
        for method in group.methods
        for member in members(method)
    )


def costed(table: Table) -> list[str]:
    """The methods whose costs a table shows: those with a network to measure."""
    return [method for method in shown_with(table, COST) if load("methods", method).has_network]


def cost_sizes(method: str) -> list[int]:
    """Sides in px of the square pictures that a method's costs are measured at: those that tables with the method ask for."""
    asked = {
        column.px
        for spec in (load("tables", name) for name in names("tables"))
        if method in costed(spec)
        for block in spec.parts
        for column in block.columns
        if column.px
    }
    return sorted(asked) or list(COST_SIZES)


def measure_inputs(method: str) -> list[str]:
    """The method's file, what restoring reads of its runs' files, and the cards of the foundation and the weights."""
    inputs: list[str] = [part_of("methods", method, "measure"), *runs_parts(method)]
    foundation = method_foundation(method)
    if foundation:
        inputs.append(str(paths.foundation_card(foundation)))
    return inputs + module_inputs(method) + weights_cards(method)


def table_inputs(table: str) -> list[str]:
    """The table's file, the score cards of its cells, what tells which test pictures were trained on, and the files whose titles and
    numbers it prints.
    """
    spec = load("tables", table)
    check_table(table, spec)
    inputs: list[str] = [part_of("tables", table, "table")]
    inputs += [str(paths.scores_card(method, dataset)) for method, dataset in cells(spec)]
    inputs += [str(paths.cost_card(method)) for method in costed(spec)]
    inputs += [str(card) for method in shown_with(spec, TRAINING) for card in training_cards(method).values()]
    scored = cells(spec, SCORE)
    for method in unique(method for method, _ in scored):
        inputs += compared_inputs(method, [dataset for other, dataset in scored if other == method])
    methods = unique(method for of_row in methods_of(spec) for method in (of_row, *members(of_row)))
    inputs += [part_of("methods", method, "table") for method in methods]
    columns = [column for block in spec.parts for column in block.columns]
    protocols = unique(load("datasets", dataset).protocol for column in columns for dataset in column.datasets)
    inputs += [part_of("protocols", protocol, "table") for protocol in protocols]
    return unique(inputs + [str(path_of_reported(name)) for name in reported_files(spec)])


def figure_inputs(figure: str) -> list[str]:
    """The figure's file and the cards of what it shows."""
    spec = load("figures", figure)
    check_figure(figure, spec)
    inputs: list[str] = [part_of("figures", figure, "figure")]
    methods = [member for method in spec.methods for member in members(method)]
    inputs += [part_of("methods", method, "figure") for method in unique([*spec.methods, *methods])]  # their titles
    datasets = [panel.dataset for panel in spec.panels]
    inputs += [str(paths.prepared_card(dataset)) for dataset in datasets]
    datasets += [dataset for column in spec.columns for dataset in column.datasets]
    card = paths.restored_card if spec.kind in OF_PREDICTOR else paths.scores_card
    inputs += [str(card(method, dataset)) for dataset in datasets for method in methods]
    trainers = {run: weights_of(run) for run in spec.runs}
    if spec.kind == "prompts":
        weights = [(stages["branches"], "branches") for stages in trainers.values() if "branches" in stages]
    else:  # the stages that the run trained itself
        weights = [(run, stage) for run, stages in trainers.items() for stage in stages if stages[stage] == run]
    inputs += [str(paths.weights_card(run, stage)) for run, stage in weights]
    files = unique(column.reported.file for column in spec.columns if column.reported)
    return unique(inputs + [str(path_of_reported(name)) for name in files])


def references() -> list[str]:
    """The methods with which others are compared: first the degraded inputs, then the upper bounds that VAEs set."""
    methods = {name: load("methods", name).kind for name in names("methods")}
    return [name for kind in REFERENCES for name, own in methods.items() if own == kind]


def is_beside(reference: str, method: str) -> bool:
    """Whether a method is compared with a reference: always with the degraded inputs; with an upper bound if it is set by the method's own
    VAE, and by its own DRM where the bound has one.
    """
    vae, drm = method_foundation(reference), method_weights(reference).get("drm")
    return (
        reference != method
        and (vae is None or method_foundation(method) in (None, vae))
        and drm in (None, method_weights(method).get("drm"))
    )


def report_inputs(path: Path | str) -> list[str]:
    """An experiment's file; what the site says of foundations and references; the cards of the tables, the figures and the references' scores.

    Of the references' scores, those that no table and no figure reads count only if they are there: the site makes no such score.
    """
    experiment = parse(Path(path), Experiment)
    printed = [str(paths.table_file(name, "json")) for name in experiment.tables]
    printed += [str(paths.figure_file(name, "json")) for name in experiment.figures]
    tables = [load("tables", name) for name in experiment.tables]
    pairs = unique(pair for table in tables for pair in cells(table, SCORE))
    every = references()
    of_method = {method: [name for name in every if is_beside(name, method)] for method in unique(m for m, _ in pairs)}
    beside = unique((name, dataset) for method, dataset in pairs for name in of_method[method])
    scores = [str(paths.scores_card(*pair)) for pair in beside]
    read = {str(paths.scores_card(*pair)) for table in tables for pair in cells(table)}
    read |= {str(entry) for name in experiment.figures for entry in figure_inputs(name)}
    methods = unique(method for table in tables for of_row in methods_of(table) for method in members(of_row))
    foundations = unique(name for method in methods if (name := method_foundation(method)))
    return [
        experiment_part(path),
        *(part_of("foundations", name, "report") for name in foundations),
        *(part_of("methods", name, "report") for name in unique(name for name, _ in beside)),
        *printed,
        *(card for card in scores if card in read or Path(card).is_file()),
    ]
