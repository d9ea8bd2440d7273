"""Copy a trained run into assets/, so that a method restores with it after installation: uv run python -m tools.ship RUN

config/methods/<name>.yaml then says `weights: assets/runs/RUN`. Each card keeps its training's commit, code and configuration. Its inputs are
named `at-build:…`, since whoever installs the project does not have them.
"""

import shutil
import sys
from pathlib import Path

from mperceiver import config, files, lineage, paths


def ship(run: str) -> list[Path]:
    """Write assets/runs/<run>/<stage>.safetensors and its card for each stage that the run trained; return the cards.

    Raises LineageError for a stage that is not trained, whose weights are not those of its card, or whose card is dirty.
    """
    cards = []
    for stage, owner in config.weights_of(run).items():
        card, weights = lineage.read_card(paths.weights_card(owner, stage)), paths.weights_file(owner, stage)
        if files.sha256(weights) != card["outputs"][str(weights)]:
            raise lineage.LineageError(f"{weights}: is not what its card describes; train again: snakemake {weights}")
        if card["dirty"]:
            raise lineage.LineageError(f"{weights}: trained by files that no commit has; commit them, and train again")
        copy = Path("assets/runs") / run / weights.name
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(weights, copy)
        card["inputs"] = {f"at-build:{name}": digest for name, digest in card["inputs"].items()}
        card["outputs"] = {str(copy): files.sha256(copy)}
        files.write_json(copy.with_suffix(".json"), card)
        cards.append(copy.with_suffix(".json"))
    return cards


if __name__ == "__main__":
    for written in ship(sys.argv[1]):
        print(written)
