"""Building a foundation: pre-training it by the recipe in its file, into its `local` folder, with a card."""

import shutil
from pathlib import Path

from mperceiver import config, lineage, paths, shipped
from mperceiver.files import atomic_folder, sha256, write_json


def build(name: str) -> Path:
    """Pre-train a foundation into its `local` folder; return the card's path. A killed build continues with the next network.

    Raises ConfigError if its file has no recipe or names no folder.
    """
    from mperceiver.foundations import pretrain

    spec = config.load("foundations", name)
    if spec.build is None or spec.local is None:
        raise config.ConfigError(
            f"{config.path_of('foundations', name)}: no `build` recipe with a `local` folder; only staging is possible"
        )
    work = lineage.begin("foundation --build", spec, seed=spec.build.seed)
    inputs = config.files_of("foundations", name)
    datasets = (*spec.build.pictures, spec.build.degradations)
    inputs += [str(paths.prepared_card(dataset)) for dataset in datasets]
    sources = {f"at-build:{path}": sha256(path) for path in inputs}
    target = Path(spec.local)
    resume = paths.resume_folder(f"foundation-{name}")
    with atomic_folder(target) as beside:
        result = pretrain.build(name, spec, beside, resume)
        files = sorted(path for path in beside.rglob("*") if path.is_file())
        outputs = {str(path.relative_to(beside)): sha256(path) for path in files}
        # The card lies inside the folder and names the files relative to it, because the folder is copied to other places.
        card = work.write_card(beside / shipped.CARD, result=result, sources=sources)
        write_json(beside / shipped.CARD, card | {"outputs": outputs})
    shutil.rmtree(resume)
    return target / shipped.CARD
