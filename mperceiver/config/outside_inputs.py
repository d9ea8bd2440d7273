"""What the jobs of methods that were not trained here read (their files are described by outside.py)."""

import os
from pathlib import Path

from mperceiver import paths
from mperceiver.config.base import ConfigError
from mperceiver.config.files import load, parse, path_of
from mperceiver.config.outside import Manifest
from mperceiver.config.parts import PICTURES, part_of, pictures_digest
from mperceiver.files import members
from mperceiver.lineage import Part


def covers(method: str, dataset: str) -> bool:
    """Whether a method restores a dataset: its `datasets` do not leave it out, and it has weights for it."""
    spec = load("methods", method)
    if spec.checkpoint and spec.checkpoint.file is None and dataset not in spec.checkpoint.files:
        return False
    return not spec.datasets or dataset in spec.datasets


def manifest_file(method: str) -> Path:
    """manifest.yaml of a method of kind results."""
    results = load("methods", method).results
    assert results is not None
    return Path(results.folder).expanduser() / "manifest.yaml"


def results_folder(method: str, dataset: str) -> Path:
    """The folder with a dataset's pictures of a method of kind results."""
    return manifest_file(method).parent / dataset


def manifest(method: str) -> Manifest:
    """What the restored pictures of a method of kind results are. Raises ConfigError if the file is missing or has faults."""
    file = manifest_file(method)
    if not file.is_file():
        raise ConfigError(
            f"{file}: no such file; it says what the pictures in {file.parent} are: method, source, trained_on, date "
            "(docs/outside-methods.md)"
        )
    return parse(file, Manifest)


def trained_on(method: str) -> list[str]:
    """What a method which was not trained here says it was trained on; of datasets in config/datasets/ these are their names."""
    spec = load("methods", method)
    told = spec.trained_on
    if spec.results and manifest_file(method).is_file():
        told = manifest(method).trained_on
    return list(told)


def outside_inputs_of(method: str, dataset: str) -> list[str]:
    """What restoring reads beside the method's file, the pairs and the foundation."""
    spec = load("methods", method)
    if not covers(method, dataset):
        raise ConfigError(
            f"{path_of('methods', method)}: `datasets`, or `checkpoint.files`, leaves out {dataset}; add it there if the method "
            "restores it"
        )
    if spec.results:
        folder = results_folder(method, dataset)
        inside = [str(folder / member) for member in members(folder)] if folder.is_dir() else []
        label = f"{folder}#{PICTURES}"
        return [
            str(manifest_file(method)),
            Part(str(folder), label, [str(folder), *inside], lambda: pictures_digest(folder) or "missing"),
        ]
    if spec.command:
        return [str(paths.commanded_card(method, dataset))]
    return module_inputs(method)


def module_inputs(method: str) -> list[str]:
    """The files that a method of kind python is made of: those in `reads`, and the sources of its module and the packages around it,
    where they lie in the working directory.
    """
    spec = load("methods", method)
    if not spec.python:
        return []
    path = Path(*spec.python.entry.partition(":")[0].split("."))
    sources = [path.with_suffix(".py"), *(folder / "__init__.py" for folder in (path, *path.parents[:-1]))]
    return [os.fspath(file) for file in sources if file.is_file()] + spec.python.reads


def command_inputs(method: str, dataset: str) -> list[str]:
    """The method's file, the card of the pairs, the files that the program reads, and its container's image.

    An image that is a folder is left out: it holds a whole system, and files of other users.
    """
    spec = load("methods", method)
    if not spec.command:
        raise ConfigError(
            f"{path_of('methods', method)}: of kind {spec.kind}; only a method of kind command runs a program"
        )
    if not covers(method, dataset):
        raise ConfigError(f"{path_of('methods', method)}: `datasets` leaves out {dataset}")
    image = spec.command.image
    images = [] if image is None or image.is_dir() else [os.fspath(image)]
    return [part_of("methods", method, "command"), str(paths.prepared_card(dataset)), *spec.command.reads, *images]
