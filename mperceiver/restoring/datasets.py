"""Restoring a prepared dataset into results/restored/, with its card."""

from functools import partial
from pathlib import Path

import numpy as np

from mperceiver import config, csvs, files, images, lineage, machine, paths
from mperceiver.config.base import NOTHING_WRONG
from mperceiver.config.outside import RESTORED_ELSEWHERE
from mperceiver.data.read.loader import PreparedDataset
from mperceiver.data.read.unchanged import check_unchanged
from mperceiver.images import PictureError
from mperceiver.models.restorer import Restorer
from mperceiver.progress import progress
from mperceiver.restoring.restorers import load_restorer
from mperceiver.restoring.stream import RestoreRequest, restore_all
from mperceiver.restoring.taking import take_in
from mperceiver.seeds import picture_seed


def restore_dataset(method: str, dataset: str) -> Path:
    """Write results/restored/{method}/{dataset}/{id}.png and the card, whole or not at all; return the card's path.

    A model that predicts the degradations also leaves their probabilities there (probabilities.csv: id, task, a column
    for each degradation, and `nothing wrong` of a predictor that has a class for it). Pictures have the bits of the dataset's
    pairs, 8 or 16. A picture's seed is a hash of (dataset, id, the sampler's seed), so neither the order of the pictures nor
    the batch changes it. A second job for the same pictures waits for the first.

    Raises:
        ConfigError: the method or the dataset is not described. LineageError, DataError: weights or pictures are missing.
        PictureError: a picture cannot be read or restored; the message names it.
    """
    spec = config.load("methods", method)
    config.load("datasets", dataset)
    inputs = config.restore_inputs(method, dataset)
    lineage.check_cards(inputs)
    if spec.results is not None:
        config.manifest(method)  # says what is wrong with it, or missing
    check_unchanged(inputs)
    elsewhere = spec.kind in RESTORED_ELSEWHERE
    settings = {"method": config.read_part("methods", method, "restore"), "dataset": dataset}
    work = lineage.begin("restore", settings, inputs, seed=None if elsewhere else spec.sampler.seed)
    prepared = PreparedDataset(dataset)
    restorer = None if elsewhere else load_restorer(method, dataset=dataset)
    folder, card = paths.restored_folder(method, dataset), paths.restored_card(method, dataset)
    with files.locked(folder):
        with files.atomic_folder(folder, card) as beside:
            result = (
                _restore(restorer, method, prepared, beside) if restorer else take_in(method, dataset, prepared, beside)
            )
        device = machine.device_name(restorer.device, spec.vae_precision) if restorer else "cpu"
        work.write_card(card, outputs=[folder], device=device, result=result)
    return card


def _restore(restorer: Restorer, method: str, prepared: PreparedDataset, beside: Path) -> dict[str, int]:
    """Restore every picture of a dataset into a folder; return what their card says of them."""
    spec, dataset = config.load("methods", method), prepared.name
    read = partial(prepared.stacked, restorer.sees)
    tiled, said = 0, {}
    with progress(f"restore {method} {dataset}", len(prepared)) as advance:
        requests = (
            RestoreRequest(
                name,
                partial(read, i),
                partial(_write, beside / f"{name}.png"),
                picture_seed(dataset, name, spec.sampler.seed),
                task,
                prepared.bits,
            )
            for i, (name, task) in enumerate(zip(prepared.ids, prepared.tasks, strict=True))
        )
        for outcome in restore_all(restorer, spec, requests):
            if outcome.error:
                raise PictureError(f"{dataset}, {outcome.request.name}: {outcome.error}")
            tiled += outcome.tiles is not None and outcome.tiles.count > 1
            if outcome.probabilities:
                clean = {} if outcome.clean is None else {NOTHING_WRONG: outcome.clean}
                said[outcome.request.name] = outcome.probabilities | clean
            advance(1)
        if said:
            _write_probabilities(beside / paths.probabilities_file(method, dataset).name, prepared, said)
    return {"count": len(prepared)} | ({"tiled": tiled} if tiled else {})


def _write_probabilities(path: Path, prepared: PreparedDataset, said: dict[str, dict[str, float]]) -> None:
    classes = list(next(iter(said.values())))
    rows = (
        [name, task, *(f"{said[name][c]:.6g}" for c in classes)]
        for name, task in zip(prepared.ids, prepared.tasks, strict=True)
    )
    path.write_text(csvs.to_csv(["id", "task", *classes], rows), encoding="utf-8")


def _write(path: Path, picture: np.ndarray) -> None:
    path.write_bytes(images.encode(picture))
