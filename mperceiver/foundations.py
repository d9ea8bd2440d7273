"""Staging a foundation: from its folder of weights to data/foundations/<name>/, verified, with a card."""

import shutil
from pathlib import Path

from mperceiver import config, lineage

CARD = "card.json"  # beside committed weights: how they were made


def stage(name: str) -> Path:
    """Copy a foundation's weights into data/foundations/<name>/ and verify them against the card that came with them.

    Returns the card's path. Raises LineageError if the weights are not there or a file's digest differs (both are shown).
    """
    spec = config.load("foundations", name)
    if spec.local is None:
        raise config.ConfigError(f"{config.path_of('foundations', name)}: no `local` folder to take weights from")
    source = local_folder(spec.local)
    if not source.is_dir():
        hint = f"; make it with: mperceiver foundation {name} --build" if spec.build else ""
        raise lineage.LineageError(f"{spec.local}: no such folder with weights of foundation {name}{hint}")
    folder, card = Path("data/foundations") / name, Path("data/foundations") / f"{name}.json"
    inputs, sources = config.files_of("foundations", name), {}
    lineage.commit()  # a result without a commit cannot be kept: say so before the work, not after
    with lineage.whole_folder(folder) as beside:
        shutil.copytree(source, beside, dirs_exist_ok=True, copy_function=shutil.copyfile)
        if (source / CARD).is_file():
            _verify(name, beside)
            sources[f"project:{spec.local}/{CARD}"] = lineage.sha256(source / CARD)
        card.unlink(missing_ok=True)  # the old one must not stand beside the new weights
    lineage.write_card(card, verb="foundation", spec=spec, inputs=inputs, outputs=[folder], sources=sources)
    return card


def _verify(name: str, folder: Path) -> None:
    for file, digest in lineage.read_card(folder / CARD)["outputs"].items():
        path = folder / file
        found = lineage.sha256(path) if path.is_file() else "missing"
        if found != digest:
            raise lineage.LineageError(
                f"foundation {name}: {file} is {found}, its card says {digest}; the weights are damaged or were replaced: git checkout the assets"
            )


def build(name: str) -> Path:
    """Pre-train a foundation by its own recipe into its `local` folder; return the card's path. Finished parts are kept."""
    from mperceiver.training import pretrain

    spec = config.load("foundations", name)
    if spec.build is None or spec.local is None:
        raise config.ConfigError(
            f"{config.path_of('foundations', name)}: no `build` recipe with a `local` folder; only staging is possible"
        )
    lineage.commit()
    inputs = config.files_of("foundations", name)
    inputs += [f"data/prepared/{dataset}.json" for dataset in (*spec.build.pictures, spec.build.degradations)]
    sources = {f"at-build:{path}": lineage.sha256(path) for path in inputs}
    target = Path(spec.local)
    work = Path("results/resume") / f"foundation-{name}"
    with lineage.whole_folder(target) as beside:
        result = pretrain.build(name, spec, beside, work)
        files = sorted(path for path in beside.rglob("*") if path.is_file())
        outputs = {str(path.relative_to(beside)): lineage.sha256(path) for path in files}
        # The card lies inside the folder it tells of and names files relative to it, since the folder travels.
        card = lineage.write_card(
            beside / CARD, verb="foundation --build", spec=spec, seed=spec.build.seed, result=result, sources=sources
        )
        lineage.write_json(beside / CARD, card | {"outputs": outputs})
    shutil.rmtree(work)
    return target / CARD


def local_folder(local: str) -> Path:
    """A path relative to the working directory if it is there, else to the project."""
    here = Path(local)
    return here if here.is_dir() else lineage.PACKAGE.parent / local
