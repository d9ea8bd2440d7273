"""Pictures that another program restored: checked against the dataset, and taken into results/restored/."""

from collections import Counter
from pathlib import Path
from typing import Any

from mperceiver import config, files, images, paths
from mperceiver.data.read.loader import PreparedDataset
from mperceiver.images import PictureError
from mperceiver.progress import progress
from mperceiver.wording import first_few

SUFFIXES = (".png", ".tif", ".tiff", ".bmp")  # lossless forms; the score of a JPEG would also be one of its compression


def take_in(method: str, dataset: str, prepared: PreparedDataset, beside: Path) -> dict[str, Any]:
    """Write the pictures of a dataset that another program restored into a folder; return what their card says of them.

    Nothing is resized. Pictures of 16 bits are rounded to 8, as those of every other method are, unless the dataset holds 16.

    Raises PictureError, which names the pictures, for a folder that does not hold exactly those of the dataset.
    """
    spec = config.load("methods", method)
    if spec.results:
        manifest = config.manifest(method)
        source, about = config.results_folder(method, dataset), manifest.model_dump(mode="json")
    else:
        source, about = paths.commanded_folder(method, dataset), {}
    by_id = check_pictures(source, prepared)
    notes: Counter[str] = Counter()
    with progress(f"restore {method} {dataset}", len(by_id)) as advance:
        for name, file in by_id.items():
            pixels = None if prepared.bits == 8 else images.decode_deep(file)
            if pixels is None:
                photograph = images.read_photograph(file)
                notes.update(photograph.notes)
                pixels = photograph.pixels
            (beside / f"{name}.png").write_bytes(images.encode(pixels))
            advance(1)
    return (
        {"count": len(by_id), "taken_from": str(source)}
        | ({"manifest": about} if about else {})
        | ({"notes": dict(sorted(notes.items()))} if notes else {})
    )


def check_pictures(folder: Path, prepared: PreparedDataset, label: str = "") -> dict[str, Path]:
    """{picture id: file} of a folder that has exactly one picture of each id of a dataset, each of its size, and nothing else.

    ``label``: what errors begin with; the folder by default. Raises PictureError; the message names the first few pictures.
    """
    label = label or str(folder)
    if not folder.is_dir():
        raise PictureError(f"{folder}: no such folder; it has to hold the restored pictures of {prepared.name}")
    ids, by_id, other, twice = set(prepared.ids), {}, [], []
    for member in files.members(folder):
        if len(member.parts) > 1 or member.suffix.lower() not in SUFFIXES or member.stem not in ids:
            other.append(str(member))
        elif member.stem in by_id:
            twice.append(str(member))
        else:
            by_id[member.stem] = folder / member
    missing = [name for name in prepared.ids if name not in by_id]
    faults = []
    if missing:
        faults.append(f"{len(missing)} of {len(prepared)} pictures are missing: {first_few(missing)}")
    if other:
        faults.append(
            f"{len(other)} file(s) are no pictures of {prepared.name} (<picture id>{' or '.join(SUFFIXES)}): {first_few(other)}"
        )
    if twice:
        faults.append(f"{len(twice)} picture(s) are there twice: {first_few(twice)}")
    if faults:
        raise PictureError(f"{label}: " + "; ".join(faults))
    wrong = []
    for i, name in enumerate(prepared.ids):
        height, width = images.decode(by_id[name]).shape[:2]
        if (height, width) != prepared.size(i):
            wrong.append(f"{by_id[name].name} is {width}x{height} px, not {prepared.size(i)[1]}x{prepared.size(i)[0]}")
    if wrong:
        raise PictureError(
            f"{label}: {len(wrong)} picture(s) have another size than in {prepared.name}: {first_few(wrong)}. Nothing is resized here: "
            "restore them again at their own size"
        )
    return {name: by_id[name] for name in prepared.ids}
