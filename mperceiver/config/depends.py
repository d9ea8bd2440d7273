"""Which files and cards each job reads: the inputs of the workflow's rules, and the inputs that cards name.

Functions called ``*_inputs`` list the inputs of a rule of that name; their parameters are the rule's wildcards. Files and
cards are given as text, as Snakemake and cards compare them; a file of config/ is a ``lineage.Part``, what the rule reads of it.
All functions raise ConfigError for a name without a file, and for files that do not fit each other.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import TypeVar

from mperceiver import paths, shipped
from mperceiver.config.base import METRIC_FOUNDATIONS, STAGES, ConfigError, lpips_foundation
from mperceiver.config.checks import check_protocol, check_stage
from mperceiver.config.files import load, path_of
from mperceiver.config.outside_inputs import outside_inputs_of
from mperceiver.config.parts import part_of
from mperceiver.config.protocols import Protocol

Item = TypeVar("Item")


# ---------------------------------------------------------------- data


def foundation_inputs(foundation: str) -> list[str]:
    """The file of a foundation."""
    return [part_of("foundations", foundation, "foundation")]


def download_inputs(dataset: str) -> list[str]:
    """The file of a downloaded dataset."""
    return [part_of("datasets", dataset, "download")]


def prepare_inputs(dataset: str) -> list[str]:
    """The file of a prepared dataset, and the cards of the datasets it is made of: downloaded ones or ready-made pairs."""
    spec = load("datasets", dataset)
    check_protocol(spec)
    inputs: list[str] = [part_of("datasets", dataset, "prepare")]
    for origin in spec.from_ or [dataset]:
        source = load("datasets", origin)
        if not source.sources and (spec.pairs or not source.pairs):
            raise ConfigError(
                f"{path_of('datasets', dataset)}: from: {origin} has no `sources`"
                + ("; name a downloaded dataset" if spec.pairs else " and no `pairs`; name datasets of clean pictures")
            )
        inputs.append(str(paths.raw_card(origin) if source.sources else paths.prepared_card(origin)))
    if spec.depth:
        if not load("datasets", spec.depth).sources:
            raise ConfigError(
                f"{path_of('datasets', dataset)}: depth: {spec.depth} has no `sources`; name a downloaded dataset"
            )
        inputs.append(str(paths.raw_card(spec.depth)))
    return inputs


def encode_inputs(foundation: str, dataset: str) -> list[str]:
    """The dataset's file, which names the crops, and the cards of the foundation and of the prepared dataset."""
    return [
        part_of("datasets", dataset, "encode"),
        str(paths.foundation_card(foundation)),
        str(paths.prepared_card(dataset)),
    ]


def pictures_of(dataset: str) -> list[str]:
    """The datasets whose pictures a dataset shows: those in its `from` if it degrades them, else itself."""
    spec = load("datasets", dataset)
    return spec.from_ if spec.degradations else [dataset]


def origins(dataset: str) -> list[str]:
    """The downloaded datasets that a dataset is made of; itself if it is downloaded."""
    spec = load("datasets", dataset)
    return [dataset] if spec.sources else unique(origin for name in spec.from_ for origin in origins(name))


# ---------------------------------------------------------------- runs


def weights_of(run: str, reused_by: tuple[str, ...] = ()) -> dict[str, str]:
    """{stage: run that trains its weights} of a run, following `reuse`.

    ``reused_by``: the runs whose `reuse` has led here.
    """
    spec, file = load("runs", run), path_of("runs", run)
    if run in reused_by:
        raise ConfigError(f"{file}: `reuse` is circular: {' -> '.join((*reused_by, run))}")
    trainers = {stage: run for stage in STAGES if getattr(spec, stage) is not None}
    for stage, other in spec.reuse.items():
        trainer = weights_of(other, (*reused_by, run)).get(stage)
        if trainer is None:
            raise ConfigError(f"{file}: reuse.{stage}: run {other} has no {stage} stage")
        trainers[stage] = trainer
    return trainers


def stage_inputs(run: str, stage: str) -> list[str]:
    """The run's file and the cards of what a training stage reads: data, foundation, and weights of other stages."""
    spec, file = load("runs", run), path_of("runs", run)
    if stage not in STAGES:
        raise ConfigError(f"{file}: {stage} is no stage of a training; the stages are {', '.join(STAGES)}")
    check_stage(run, spec, stage)
    inputs: list[str] = [part_of("runs", run, f"train_{stage}")]
    inputs += [str(paths.prepared_card(dataset)) for dataset in spec.train]
    if stage == "network":
        if spec.foundation is not None:
            inputs.append(str(paths.foundation_card(spec.foundation)))
    else:
        if spec.foundation is None:
            raise ConfigError(f"{file}: stage {stage} needs a `foundation`")
        inputs.append(str(paths.foundation_card(spec.foundation)))
        if spec.cached or stage == "drm":
            inputs += [str(paths.latents_card(spec.foundation, dataset)) for dataset in spec.train]
        trainers = weights_of(run)
        for earlier in STAGES[: STAGES.index(stage)]:
            if earlier not in trainers:
                raise ConfigError(f"{file}: stage {stage} needs a {earlier}; train or reuse one")
            inputs.append(str(paths.weights_card(trainers[earlier], earlier)))
    settings = {"drm": spec.drm, "network": spec.network}.get(stage)
    if settings is not None:
        losses = settings.losses
        networks = [losses.perceptual_network] * bool(losses.perceptual) + ["vgg"] * bool(losses.vgg)
        inputs += [str(paths.foundation_card(lpips_foundation(network))) for network in unique(networks)]
    if spec.start_from:
        _check_starts(run)
        trainer = weights_of(spec.start_from).get(stage)
        if trainer is None:
            raise ConfigError(f"{file}: start_from: run {spec.start_from} has no {stage} stage")
        inputs.append(str(paths.weights_card(trainer, stage)))
    return inputs


def _check_starts(run: str) -> None:
    """Raise ConfigError if a run starts from itself, through other runs or not."""
    runs = [run]
    while (start := load("runs", runs[-1]).start_from) is not None:
        if start in runs:
            raise ConfigError(f"{path_of('runs', run)}: `start_from` is circular: {' -> '.join((*runs, start))}")
        runs.append(start)


def stage_processes(run: str, stage: str) -> int:
    """The number of processes, with a core each, that train a stage on a machine without a GPU."""
    settings = getattr(load("runs", run), stage)
    return 1 if settings is None else settings.cpu_processes


# ---------------------------------------------------------------- methods


def members(method: str) -> list[str]:
    """The methods whose scores make a method's row in a table.

    A mean has several, a method of which only the paper's numbers are shown has none, any other has itself.
    """
    spec = load("methods", method)
    if spec.kind != "mean":
        return [] if spec.kind == "reported" else [method]
    for name in spec.methods:
        if (kind := load("methods", name).kind) in ("mean", "reported"):
            raise ConfigError(
                f"{path_of('methods', method)}: methods: {name} is of kind {kind} and has no scores of its own"
            )
    return list(spec.methods)


def method_weights(method: str) -> dict[str, str]:
    """{stage: run that trains its weights} of all weights that a method needs; the DRM only where the method uses it."""
    spec = load("methods", method)
    if spec.run is None:
        return {}
    trainers = weights_of(spec.run)
    if spec.kind in ("network", "vae"):
        stages = ["network"] if spec.kind == "network" else ["predictor", "drm"]
    else:
        model = load("runs", spec.run).model
        has_branches = model.textual or model.visual  # without both, the U-Net is Stable Diffusion's own
        stages = ["predictor", *["branches"] * has_branches, *["drm"] * spec.drm]
    missing = [stage for stage in stages if stage not in trainers]
    if missing:
        raise ConfigError(
            f"{path_of('methods', method)}: run {spec.run} trains no {missing[0]}"
            + ("; set `drm: false` or add a drm stage to the run" if missing[0] == "drm" else "")
        )
    weights = {stage: trainers[stage] for stage in stages}
    if spec.predictor:
        telling = weights_of(spec.predictor).get("predictor")
        if telling is None:
            raise ConfigError(f"{path_of('methods', method)}: predictor: run {spec.predictor} has no predictor stage")
        weights["predictor"] = telling
    return weights


def weights_files(method: str) -> dict[str, Path]:
    """{stage: weights file} of all weights that a method needs; the card of each stands beside it."""
    folder = load("methods", method).weights
    if folder is not None:
        return {stage: shipped.find(Path(folder) / f"{stage}.safetensors") for stage in method_weights(method)}
    return {stage: paths.weights_file(run, stage) for stage, run in method_weights(method).items()}


def method_foundation(method: str) -> str | None:
    """The foundation that a method uses, if any."""
    spec = load("methods", method)
    runs = [run for run in (spec.predictor, spec.run) if run]
    return spec.foundation or next((found for run in runs if (found := load("runs", run).foundation)), None)


def trainings(method: str) -> list[tuple[str, str]]:
    """(run, stage) of all trainings below a method's run, the runs that it started from among them.

    The run in `predictor`, which only tells the task, is not below it.
    """
    spec = load("methods", method)
    waiting = [spec.run] if spec.run else []
    found: dict[tuple[str, str], None] = {}
    for run in waiting:  # grows as it is read
        found |= dict.fromkeys((trainer, stage) for stage, trainer in weights_of(run).items())
        starts = [load("runs", trainer).start_from for trainer in weights_of(run).values()]
        waiting += [start for start in unique(starts) if start and start not in waiting]
    return list(found)


def training_cards(method: str) -> dict[tuple[str, str], Path]:
    """{(run, stage): card of the weights} of all ``trainings`` below a method; where its file names `weights`, the cards beside those."""
    cards = {training: paths.weights_card(*training) for training in trainings(method)}
    runs, files = method_weights(method), weights_files(method)
    named = {(runs[stage], stage): file.with_suffix(".json") for stage, file in files.items()}
    return cards | {training: card for training, card in named.items() if training in cards}


def restore_inputs(method: str, dataset: str) -> list[str]:
    """The method's file, what restoring reads of its runs' files, and the cards of the dataset, the foundation and the weights."""
    if members(method) != [method]:
        kind = load("methods", method).kind
        raise ConfigError(f"{path_of('methods', method)}: a method of kind {kind} restores nothing itself")
    inputs: list[str] = [part_of("methods", method, "restore"), *runs_parts(method), str(paths.prepared_card(dataset))]
    foundation = method_foundation(method)
    if foundation:
        inputs.append(str(paths.foundation_card(foundation)))
    return inputs + outside_inputs_of(method, dataset) + weights_cards(method)


def runs_parts(method: str) -> list[str]:
    """What restoring reads of the files of a method's runs: the widths and switches of the model, the tasks."""
    spec = load("methods", method)
    return [part_of("runs", run, "restore") for run in unique(run for run in (spec.run, spec.predictor) if run)]


def weights_cards(method: str) -> list[str]:
    """The cards of the weights that a method restores with: its run's, or those beside the files that it names itself."""
    return [str(file.with_suffix(".json")) for file in weights_files(method).values()]


def score_inputs(method: str, dataset: str) -> list[str]:
    """The cards of the restored and the prepared pictures, the protocol's file, and the cards of its metrics' weights."""
    protocol = load("datasets", dataset).protocol
    inputs = [str(paths.restored_card(method, dataset)), str(paths.prepared_card(dataset))]
    inputs.append(part_of("protocols", protocol, "score"))
    return inputs + [str(paths.foundation_card(name)) for name in metric_foundations(load("protocols", protocol))]


def metric_foundations(protocol: Protocol) -> list[str]:
    """The foundations with the weights of a protocol's metrics."""
    of_metrics = (METRIC_FOUNDATIONS[metric] for metric in protocol.metrics)
    return [name.format_map(protocol.model_dump()) for name in of_metrics if name]


def unique(items: Iterable[Item]) -> list[Item]:
    """The items without repeats, in order."""
    return list(dict.fromkeys(items))
