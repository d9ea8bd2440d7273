"""Weights of metrics, staged as the project does it, out of the packages in the dev group."""

import os
import shutil
from pathlib import Path

from support import PROJECT


def stage_weights(root: Path, *names: str) -> None:
    """Copy the files of foundations into ``root``/config and stage them in ``root``/data. ``commits.current`` must answer."""
    from mperceiver.foundations import staging

    (root / "config/foundations").mkdir(parents=True, exist_ok=True)
    before = Path.cwd()
    os.chdir(root)
    try:
        for name in names:
            shutil.copy(PROJECT / f"config/foundations/{name}.yaml", "config/foundations")
            staging.stage(name)
    finally:
        os.chdir(before)


def link_weights(root: Path, staged: Path) -> None:
    """Let ``root`` have the foundations that are staged in ``staged``, and their files in config/."""
    folder = root / "data/foundations"
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copytree(staged / "config/foundations", root / "config/foundations", dirs_exist_ok=True)
    for path in (staged / "data/foundations").iterdir():
        if not path.name.startswith("."):
            (folder / path.name).symlink_to(path)


def write_stirred_weights(run_name: str, run, foundation) -> None:
    """The three stages' weights of a run, drawn instead of trained: nothing hides behind a convolution that starts at zero."""
    import torch

    from mperceiver import paths
    from mperceiver.models.branches import Branches
    from mperceiver.models.drm import DetailRefinement
    from mperceiver.models.predictor import build_predictor
    from mperceiver.models.weights import save_weights

    torch.manual_seed(0)
    parts = {
        "predictor": build_predictor(foundation, run),
        "branches": Branches(foundation, len(run.tasks), run.model),
        "drm": DetailRefinement(foundation.vae, len(run.tasks), run.model),
    }
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for stage, part in parts.items():
            for parameter in part.parameters():
                parameter += 0.05 * torch.randn(parameter.shape, generator=generator)
            save_weights(paths.weights_file(run_name, stage), part, run)


def write_training_cards(run_name: str) -> None:
    """The cards of a run's three stages, as its training writes them after the weights. ``commits.current`` must answer."""
    from mperceiver import lineage, paths

    for stage in ("predictor", "branches", "drm"):
        lineage.begin(f"train_{stage}", {}, [f"config/runs/{run_name}.yaml"]).write_card(
            paths.weights_card(run_name, stage), outputs=[paths.weights_file(run_name, stage)]
        )
