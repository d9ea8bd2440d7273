"""What depends on what: the workflow's inputs and those in the cards are these lists."""

from mperceiver import paths
from mperceiver.config.base import STAGES, ConfigError
from mperceiver.config.files import files_of, load, path_of
from mperceiver.config.tables import Table

FID_FOUNDATION = "inception-fid"  # whose Inception FID is computed with
REPORTED = "config/reported/cvpr2024.csv"  # the paper's own numbers


def weights_of(run_name: str, seen: tuple[str, ...] = ()) -> dict[str, str]:
    """Stage -> name of the run that trains its weights, following ``reuse``."""
    run = load("runs", run_name)
    if run_name in seen:
        raise ConfigError(
            f"{path_of('runs', run_name)}: `reuse` goes round in a circle: {' -> '.join((*seen, run_name))}"
        )
    found = {stage: run_name for stage in STAGES if getattr(run, stage) is not None}
    for stage, other in run.reuse.items():
        owner = weights_of(other, (*seen, run_name)).get(stage)
        if owner is None:
            raise ConfigError(f"{path_of('runs', run_name)}: reuse.{stage}: run {other} has no {stage} stage")
        found[stage] = owner
    return found


def members(method_name: str) -> list[str]:
    """The methods whose scores make a method's row: itself, those of a mean, or none for one that is only reported.

    Raises ConfigError for a mean over what has no scores of its own.
    """
    method = load("methods", method_name)
    if method.kind != "mean":
        return [] if method.kind == "reported" else [method_name]
    for name in method.methods:
        if (kind := load("methods", name).kind) in ("mean", "reported"):
            raise ConfigError(
                f"{path_of('methods', method_name)}: methods: {name} is of kind {kind} and has no scores of its own"
            )
    return list(method.methods)


def method_weights(method_name: str) -> dict[str, str]:
    """Stage -> run of every weight file a method needs (the DRM only where the method uses it)."""
    method = load("methods", method_name)
    if method.run is None:
        return {}
    found = weights_of(method.run)
    if method.kind in ("network", "vae"):
        wanted = ["network"] if method.kind == "network" else ["predictor", "drm"]
    else:
        model = load("runs", method.run).model
        steered = model.textual or model.visual  # without either branch it is Stable Diffusion as it is
        wanted = ["predictor", *["branches"] * steered, *["drm"] * method.drm]
    missing = [stage for stage in wanted if stage not in found]
    if missing:
        raise ConfigError(
            f"{path_of('methods', method_name)}: run {method.run} trains no {missing[0]}"
            + ("; set `drm: false` or add a drm stage to the run" if missing[0] == "drm" else "")
        )
    return {stage: found[stage] for stage in wanted}


def method_foundation(method_name: str) -> str | None:
    """The foundation a method stands on, if any."""
    method = load("methods", method_name)
    return method.foundation or (load("runs", method.run).foundation if method.run else None)


def stage_inputs(run_name: str, stage: str) -> list[str]:
    """Files and cards a training stage stands on; the workflow's inputs and the card's are this one list."""
    run = load("runs", run_name)
    found = files_of("runs", run_name) + [str(paths.prepared_card(name)) for name in run.train]
    if stage != "network":
        found.append(str(paths.foundation_card(run.foundation)))
        if run.cached or stage == "drm":
            found += [str(paths.latents_card(run.foundation, name)) for name in run.train]
        owners = weights_of(run_name)
        for before in STAGES[: STAGES.index(stage)]:
            if before not in owners:
                raise ConfigError(f"{path_of('runs', run_name)}: stage {stage} needs a {before}; train or reuse one")
            found.append(str(paths.weights_card(owners[before], before)))
    if run.start_from:
        start = weights_of(run.start_from).get(stage)
        if start is None:
            raise ConfigError(f"{path_of('runs', run_name)}: start_from: run {run.start_from} has no {stage} stage")
        found.append(str(paths.weights_card(start, stage)))
    return found


def learned_from(method_name: str) -> list[str]:
    """The datasets that a method's weights learned from: those of its runs and of what they started from."""
    waiting = list(dict.fromkeys(method_weights(method_name).values()))
    found = []
    for name in waiting:  # grows as it goes
        run = load("runs", name)
        found += run.train
        owners = weights_of(run.start_from).values() if run.start_from else ()
        waiting += [owner for owner in dict.fromkeys(owners) if owner not in waiting]
    return list(dict.fromkeys(found))


def restore_inputs(method_name: str, dataset_name: str) -> list[str]:
    """Files and cards that restoring a dataset by a method stands on. Raises ConfigError for one that restores nothing."""
    if members(method_name) != [method_name]:
        kind = load("methods", method_name).kind
        raise ConfigError(f"{path_of('methods', method_name)}: a method of kind {kind} restores nothing itself")
    found = [*files_of("methods", method_name), str(paths.prepared_card(dataset_name))]
    foundation = method_foundation(method_name)
    if foundation:
        found.append(str(paths.foundation_card(foundation)))
    return found + [str(paths.weights_card(run, stage)) for stage, run in method_weights(method_name).items()]


def score_inputs(method_name: str, dataset_name: str) -> list[str]:
    """Files and cards that a score stands on."""
    protocol = load("datasets", dataset_name).protocol
    found = [
        str(paths.restored_card(method_name, dataset_name)),
        str(paths.prepared_card(dataset_name)),
        *files_of("protocols", protocol),
    ]
    return found + [str(paths.foundation_card(FID_FOUNDATION))] * ("fid" in load("protocols", protocol).metrics)


def table_inputs(name: str) -> list[str]:
    """The table's file, the score cards of its cells, and the files whose words and numbers it prints."""
    table = load("tables", name)
    found = files_of("tables", name)
    found += [str(paths.scores_card(method, dataset)) for method, dataset in cells(table)]
    rows = [method for block in table.parts for rows in block.rows for method in rows.methods]
    methods = [method for row in rows for method in (row, *members(row))]
    found += [file for method in dict.fromkeys(methods) for file in files_of("methods", method)]
    columns = [column for block in table.parts for column in block.columns]
    protocols = [load("datasets", dataset).protocol for column in columns for dataset in column.datasets]
    found += [file for protocol in dict.fromkeys(protocols) for file in files_of("protocols", protocol)]
    reported = any(column.reported for column in columns) or any(block.average_reported for block in table.parts)
    return list(dict.fromkeys(found + [REPORTED] * reported))


def figure_inputs(name: str) -> list[str]:
    """The figure's file and the cards of what it shows."""
    figure = load("figures", name)
    found = files_of("figures", name)
    measured = [member for method in figure.methods for member in members(method)]
    datasets = [panel.dataset for panel in figure.panels]
    found += [str(paths.prepared_card(dataset)) for dataset in datasets]
    datasets += [dataset for column in figure.columns for dataset in column.datasets]
    card = paths.restored_card if figure.kind == "probabilities" else paths.scores_card
    found += [str(card(method, dataset)) for dataset in datasets for method in measured]
    stages = {run: weights_of(run) for run in figure.runs}
    if figure.kind == "prompts":
        found += [
            str(paths.weights_card(owners["branches"], "branches"))
            for owners in stages.values()
            if "branches" in owners
        ]
    else:
        found += [
            str(paths.weights_card(run, s))
            for run, owners in stages.items()
            for s, owner in owners.items()
            if owner == run
        ]
    return list(dict.fromkeys(found + [REPORTED] * any(column.reported for column in figure.columns)))


def pictures_of(dataset_name: str) -> list[str]:
    """The datasets whose pictures it shows: those in ``from`` if it degrades them, else itself."""
    dataset = load("datasets", dataset_name)
    return dataset.from_ if dataset.degradations else [dataset_name]


def origins(dataset_name: str) -> list[str]:
    """The downloaded datasets that a dataset is made of, itself if it is one."""
    dataset = load("datasets", dataset_name)
    return [dataset_name] if dataset.sources else list(dict.fromkeys(o for d in dataset.from_ for o in origins(d)))


def prepare_inputs(dataset_name: str) -> list[str]:
    """Files of a prepared dataset and the cards of what it is made of: raw pictures and archives, or ready-made pairs.

    Raises ConfigError for an origin that is neither.
    """
    dataset = load("datasets", dataset_name)
    found = files_of("datasets", dataset_name)
    for origin in dataset.from_ or [dataset_name]:
        made_of = load("datasets", origin)
        if not made_of.sources and (dataset.pairs or not made_of.pairs):
            raise ConfigError(
                f"{path_of('datasets', dataset_name)}: from: {origin} has no `sources`"
                + ("; name what is downloaded" if dataset.pairs else " and no `pairs`; name datasets of clean pictures")
            )
        found.append(str(paths.raw_card(origin) if made_of.sources else paths.prepared_card(origin)))
    if dataset.depth:
        if not load("datasets", dataset.depth).sources:
            raise ConfigError(f"{path_of('datasets', dataset_name)}: depth: {dataset.depth} has no `sources`")
        found.append(str(paths.raw_card(dataset.depth)))
    return found


def cells(table: Table) -> list[tuple[str, str]]:
    """All (method, dataset) pairs a table needs, without repeats. A reported method needs none, a mean its members'."""
    found = [
        (member, dataset)
        for block in table.parts
        for rows in block.rows
        for method in rows.methods
        for member in members(method)
        for column in block.columns
        for dataset in column.datasets
    ]
    return list(dict.fromkeys(found))
