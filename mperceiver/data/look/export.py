"""Write a prepared dataset as plain folders of pictures, for programs that know no Arrow."""

import json
from pathlib import Path

import numpy as np

from mperceiver import images
from mperceiver.data import DataError
from mperceiver.data.look.replay import render_pair
from mperceiver.data.read.loader import PreparedDataset
from mperceiver.files import atomic_folder
from mperceiver.progress import progress


def export_pairs(name: str, folder: Path, layers: bool = False) -> Path:
    """Write lq/ and gt/ with pictures of equal names, and pairs.jsonl (id, task, files, source, recipe); whole or not at all.

    Bytes are as they were prepared, so no picture is encoded again unless the two of a pair are of different kinds: then both
    become PNG. Pictures without ground truth have no file in gt/, clean ones none in lq/. With ``layers``, pictures that have a
    recipe are rendered again, and layers/ has what lies between gt and lq: depth, streaks, masks, point spread functions (.npz).

    Raises:
        DataError: the dataset is not prepared, the folder is there and not empty, or a picture that ``layers`` needs is not as
            it was. PictureError: a picture is damaged.
    """
    pairs = PreparedDataset(name)
    if pairs.on_the_fly:
        raise DataError(f"{name}: is degraded on the fly and has no degraded pictures to export")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise DataError(f"{folder}: is there and not empty; name a new folder")
    with atomic_folder(folder) as beside, progress(f"export {name}", len(pairs)) as step:
        with (beside / "pairs.jsonl").open("w") as listed:
            for i, id_ in enumerate(pairs.ids):
                row = {"id": id_, "task": pairs.tasks[i]} | _write(pairs, i, beside)
                row |= {"source": pairs.source(i), "recipe": pairs.recipe(i)}
                if layers and row["recipe"]:
                    row["layers"] = f"layers/{id_}.npz"
                    (beside / "layers").mkdir(exist_ok=True)
                    np.savez_compressed(beside / row["layers"], **render_pair(row["recipe"]).layers)
                listed.write(json.dumps(row) + "\n")
                step(1)
    return folder


def _write(pairs: PreparedDataset, i: int, folder: Path) -> dict[str, str]:
    """Write the pictures of a row; {"lq": file, "gt": file}."""
    found = {column: pairs.stored(column, i) for column in ("lq", "gt") if pairs.has(column, i)}
    suffixes = {".png" if data[:4] == b"\x89PNG" else ".jpg" for data in found.values()}
    if len(suffixes) > 1:
        found = {column: images.encode(getattr(pairs, column)(i)) for column in found}
        suffixes = {".png"}
    files = {column: f"{column}/{pairs.ids[i]}{next(iter(suffixes))}" for column in found}
    for column, file in files.items():
        (folder / column).mkdir(exist_ok=True)
        (folder / file).write_bytes(found[column])
    return files
