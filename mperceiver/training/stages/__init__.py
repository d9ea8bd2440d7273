"""The stages of a run: predictor, branches (the dual branch), DRM, and a baseline's one stage.

Each stage writes results/runs/<run>/<stage>.safetensors, its curve (.csv) and its card (.json); its resume state stands in
results/resume/<run>/ until it has ended well.
"""

import shutil
from pathlib import Path

import torch
from torch import nn

from mperceiver import config, files, lineage, paths
from mperceiver.config.runs import Run, Stage
from mperceiver.models.weights import save_weights
from mperceiver.training import processes
from mperceiver.training.resume import discard
from mperceiver.training.stages.branches import train_branches
from mperceiver.training.stages.common import latents_folder
from mperceiver.training.stages.drm import train_drm
from mperceiver.training.stages.network import train_network
from mperceiver.training.stages.predictor import train_predictor

STAGES = {"predictor": train_predictor, "branches": train_branches, "drm": train_drm, "network": train_network}


def train(run_name: str, stage: str) -> Path:
    """Train one stage of config/runs/<run>.yaml; return the path of its card.

    Raises ConfigError if the run has no such stage, LineageError if weights or data it stands on are missing.
    """
    run = config.load("runs", run_name)
    spec = getattr(run, stage)
    if spec is None:
        there = [name for name in config.STAGES if getattr(run, name) is not None]
        raise config.ConfigError(f"{config.path_of('runs', run_name)}: no {stage} stage; it has {', '.join(there)}")
    lineage.commit()
    resume = Path("results/resume") / run_name
    inputs = {path: files.sha256(path) for path in config.stage_inputs(run_name, stage)}
    # A state goes by what the run's file says of this stage, not by its bytes: a comment or a tracker begins nothing anew.
    made_of = {path: digest for path, digest in inputs.items() if not path.startswith("config/")}
    made_of["config/runs"] = run.model_dump(mode="json", exclude={"title", *config.STAGES})
    module, curve = STAGES[stage](run_name, run, spec, resume, made_of)
    target = paths.weights_file(run_name, stage)
    card = target.with_suffix(".json")
    if processes.is_main():
        _write(run, stage, spec, inputs, module, curve, target, card)
        discard(resume / f"{stage}.pt")
        shutil.rmtree(latents_folder(run_name), ignore_errors=True)
    processes.together()
    return card


def _write(run: Run, stage: str, spec: Stage, inputs: dict, module: nn.Module, curve: str, target: Path, card: Path):
    """The weights, the curve and, last, the card."""
    parameters = sum(p.numel() for p in module.parameters() if p.requires_grad)
    save_weights(target, module.requires_grad_(True), run)  # what a few-shot run left as it was, too
    files.write_text(target.with_suffix(".csv"), curve)
    lineage.write_card(
        card,
        verb=f"train_{stage}",
        spec=run,
        inputs=inputs,
        outputs=[target],
        seed=run.seed,
        device=torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
        result={"parameters": parameters, "steps": spec.steps},
    )
