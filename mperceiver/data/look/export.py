"""Export a prepared dataset as plain folders of pictures, for programs that do not read Arrow files."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from mperceiver import images
from mperceiver.data import DataError
from mperceiver.data.look.replay import render_pair
from mperceiver.data.read.loader import PreparedDataset
from mperceiver.files import atomic_folder
from mperceiver.progress import progress


def export_pairs(name: str, folder: Path, layers: bool = False) -> Path:
    """Write lq/ and gt/ with pictures of equal names, and pairs.jsonl (id, task, files, source, recipe), or nothing at all.

    The pictures' bytes are those of the prepared dataset. Only if the two pictures of a pair have different formats are both
    written as PNG. A picture without ground truth has no file in gt/, a clean one none in lq/. With ``layers``, pictures that
    have a recipe are rendered again, and layers/ gets the maps between gt and lq (.npz): depth, streaks, masks, point spread
    functions.

    Raises:
        DataError: the dataset is not prepared, the folder exists and is not empty, or a picture that ``layers`` needs has
            changed. PictureError: a picture is damaged.
    """
    pairs = PreparedDataset(name)
    if pairs.on_the_fly:
        raise DataError(f"{name}: is degraded on the fly and has no degraded pictures to export")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise DataError(f"{folder}: exists and is not empty; name a new folder")
    with atomic_folder(folder) as beside, progress(f"export {name}", len(pairs)) as advance:
        with (beside / "pairs.jsonl").open("w", encoding="utf-8") as listing:
            for i, row_id in enumerate(pairs.ids):
                recipe = pairs.recipe(i)
                line: dict[str, Any] = {"id": row_id, "task": pairs.tasks[i]} | _write_pictures(pairs, i, beside)
                line |= {"source": pairs.source(i), "recipe": recipe}
                if layers and recipe:
                    line["layers"] = f"layers/{row_id}.npz"
                    (beside / "layers").mkdir(exist_ok=True)
                    arrays: dict[str, Any] = dict(render_pair(recipe).layers)
                    np.savez_compressed(beside / line["layers"], **arrays)
                listing.write(json.dumps(line) + "\n")
                advance(1)
    return folder


def _write_pictures(pairs: PreparedDataset, i: int, folder: Path) -> dict[str, str]:
    """Write the pictures of row i; returns {"lq": file, "gt": file}, without those that the row does not have."""
    pictures = {column: pairs.stored(column, i) for column in ("lq", "gt") if pairs.has(column, i)}
    suffixes = {".png" if data[:4] == b"\x89PNG" else ".jpg" for data in pictures.values()}
    if len(suffixes) > 1:
        pictures = {"lq": images.encode(pairs.lq(i)), "gt": images.encode(pairs.gt(i))}
        suffixes = {".png"}
    files = {}
    for column, data in pictures.items():
        files[column] = f"{column}/{pairs.ids[i]}{next(iter(suffixes))}"
        (folder / column).mkdir(exist_ok=True)
        (folder / files[column]).write_bytes(data)
    return files
