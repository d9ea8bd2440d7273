"""The stages of a run: predictor, branches (the dual branch) and DRM, and the one stage of a baseline.

Each stage writes results/runs/<run>/<stage>.safetensors, its curve (.csv) and its card (.json). Its resume states stand in
results/resume/<run>/ until it has ended.
"""

import csv
from pathlib import Path
from typing import Any

import torch
from torch import nn

from mperceiver import commits, config, files, lineage, machine, paths
from mperceiver.config.runs import Run, Stage
from mperceiver.data.read.unchanged import check_unchanged
from mperceiver.models.weights import save_weights
from mperceiver.training import processes
from mperceiver.training.discarding import discard_stage, in_workflow
from mperceiver.training.stages.branches import train_branches
from mperceiver.training.stages.drm import train_drm
from mperceiver.training.stages.network import train_network
from mperceiver.training.stages.predictor import train_predictor

# (run name, run, stage's settings, folder of resume states, inputs of the fingerprint) -> trained module, curve
STAGES = {"predictor": train_predictor, "branches": train_branches, "drm": train_drm, "network": train_network}


def train(run_name: str, stage: str) -> Path:
    """Train one stage of config/runs/<run_name>.yaml; return the path of its card.

    Raises ConfigError if the run has no such stage, LineageError if weights or data that the stage needs are missing.
    """
    run = config.load("runs", run_name)
    spec = getattr(run, stage)
    if spec is None:
        stages = [name for name in config.STAGES if getattr(run, name) is not None]
        raise config.ConfigError(f"{config.path_of('runs', run_name)}: no {stage} stage; it has {', '.join(stages)}")
    resume = paths.resume_folder(run_name)
    inputs = config.stage_inputs(run_name, stage)
    check_unchanged(inputs)
    # The fingerprint of a resume state holds what the run's file says of this stage in place of the file's digest: a changed
    # comment or tracker must not start the training from the beginning.
    work = lineage.begin(f"train_{stage}", config.read_part("runs", run_name, f"train_{stage}"), inputs, seed=run.seed)
    identity: dict[str, Any] = {path: digest for path, digest in work.inputs.items() if not path.startswith("config/")}
    identity["config/runs"] = run.model_dump(mode="json", exclude={"title", *config.STAGES})
    module, curve = STAGES[stage](run_name, run, spec, resume, identity)
    if processes.is_main():
        _write(work, run_name, run, stage, module, curve)
        if not in_workflow():  # there Snakemake may still remove the weights: its head discards the states at the end
            discard_stage(run_name, stage)
    processes.wait_for_all()
    return paths.weights_card(run_name, stage)


def _write(work: lineage.Work, run_name: str, run: Run, stage: str, module: nn.Module, curve: str) -> None:
    """Write the weights, the curve and, last, the card."""
    weights = paths.weights_file(run_name, stage)
    parameters = sum(p.numel() for p in module.parameters() if p.requires_grad)
    save_weights(weights, module.requires_grad_(True), run)  # also those modules that a few-shot run did not train
    files.write_text(paths.curve_file(run_name, stage), curve)
    work.write_card(
        paths.weights_card(run_name, stage),
        outputs=[weights],
        device=machine.device_name(processes.device()),
        result={"parameters": parameters, **_length(getattr(run, stage), curve)},
    )


def _length(spec: Stage, curve: str) -> dict[str, int | float]:
    """How long a training was, for its card: its steps, and where CPU time set its length, also its pictures and that time."""
    if spec.cpu_seconds is None:
        return {"steps": spec.steps}
    last = list(csv.DictReader(curve.splitlines()))[-1]
    return {
        "steps": int(last["step"]),
        "pictures": int(last["pictures"]),
        "cpu_seconds": float(last["cpu_seconds"]),
    }
