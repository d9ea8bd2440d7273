"""Tiny downloads with the true layout of the project's datasets, made from the `example` in each dataset's file."""

import io
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from mperceiver import config
from mperceiver.config.pairs import Example

Files = dict[str, dict[str, bytes]]  # archive, or "." for files in no archive: {member: bytes}


def all_examples() -> dict[str, Example]:
    """The examples in config/datasets/ of the working directory, by dataset."""
    datasets = {name: config.load("datasets", name) for name in config.names("datasets")}
    return {name: dataset.example for name, dataset in datasets.items() if dataset.example}


def raw_files(example: Example, content: Callable[[str], bytes]) -> dict[str, Files]:
    """What is downloaded, by raw dataset. ``content`` gives the bytes of a member that is not a text file."""
    downloads: dict[str, Files] = {}
    for dataset, archives in example.files.items():
        files = downloads.setdefault(dataset, {})
        for archive, names in archives.items():
            members = {n: example.texts[n].encode() if n in example.texts else content(n) for n in names}
            outer, _, inner = archive.partition(".zip/")
            if inner:  # an archive inside another one
                files.setdefault(f"{outer}.zip", {})[inner] = zipped(members)
            else:
                files.setdefault(archive, {}).update(members)
    return downloads


def encoded(member: str, picture: np.ndarray) -> bytes:
    """A picture (H, W, 3) uint8 as a file of the member's suffix."""
    form = {"jpg": "jpeg", "tif": "tiff"}.get(Path(member).suffix[1:].lower(), Path(member).suffix[1:])
    Image.fromarray(picture).save(buffer := io.BytesIO(), form)
    return buffer.getvalue()


def matlab_file(key: str, array: np.ndarray) -> bytes:
    """A MATLAB file with one array."""
    from scipy.io import savemat

    savemat(buffer := io.BytesIO(), {key: array})
    return buffer.getvalue()


def zipped(members: dict[str, bytes]) -> bytes:
    with zipfile.ZipFile(buffer := io.BytesIO(), "w") as file:
        for name, data in members.items():
            file.writestr(name, data)
    return buffer.getvalue()


def write(folder: Path, files: Files) -> None:
    """Write archives and loose files into a folder, as a download leaves them."""
    for archive, members in files.items():
        for name, data in (members if archive == "." else {archive: zipped(members)}).items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(data)
