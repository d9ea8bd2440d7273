"""Published checkpoints of the other all-in-one methods, as the weights of a run."""

import json
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mperceiver import commits, config, files, lineage, paths
from mperceiver.config.runs import Run
from mperceiver.models import baselines
from mperceiver.models.checkpoint_files import CheckpointError, read, unwrapped, without_prefixes
from mperceiver.models.weights import differing, save_weights

SHOWN = 12  # lines of a shape diff


def _banks(state: dict[str, Tensor]) -> dict[str, int]:
    """The number of WGWS-Net's banks, and the side of their kernels."""
    residuals = [(name, tensor) for name, tensor in state.items() if name.endswith("_residual")]
    numbers = {name.rpartition(".")[2].removeprefix("B").partition("_")[0] for name, _ in residuals}
    return {"banks": len(numbers), "bank_kernel": max((tensor.shape[-1] for _, tensor in residuals), default=1)}


def _queue(state: dict[str, Tensor]) -> dict[str, int]:
    """The length of AirNet's queue, which depends on the batch of its training."""
    return {"queue": state["E.E.queue"].shape[1]} if "E.E.queue" in state and state["E.E.queue"].ndim == 2 else {}


# Architecture -> the arguments that the tensors of a checkpoint tell.
SIZES: dict[str, Callable[[dict[str, Tensor]], dict[str, int]]] = {"airnet": _queue, "wgws": _banks}


def convert(
    checkpoint: Path, run_name: str, architecture: str, arguments: dict[str, Any], tasks: list[str] | None = None
) -> Path:
    """Make a run from a published checkpoint: config/runs/{run_name}.yaml, and its weights with their card; return the card's path.

    Args:
        checkpoint: safetensors, or a pickle of tensors (.pth, .pt, .ckpt). No code in it is run.
        architecture: a key of ARCHITECTURES.
        arguments: of its function, where they differ from the published size; those that the file tells are taken from it.
        tasks: of a network with weights for each task, the tasks in the order of its flags.

    Raises:
        CheckpointError: the file is damaged, holds code or anything but tensors, or is of another architecture or width.
        ConfigError: checkpoints of the architecture cannot be converted, ``run_name`` is no name, or the run is there already.
    """
    target, file = config.path_of("runs", run_name), paths.weights_file(run_name, "network")
    if not config.NAME.fullmatch(run_name):
        raise config.ConfigError(f"{run_name!r} is no name of a run: lower-case letters, digits and hyphens")
    for path in (target, file):
        if path.exists():
            raise config.ConfigError(f"{path}: is there already; choose another name for the run, or remove it")
    if architecture not in baselines.ARCHITECTURES or "clip_view" in baselines.ARCHITECTURES[architecture].needs:
        known = [name for name, entry in baselines.ARCHITECTURES.items() if "clip_view" not in entry.needs]
        raise config.ConfigError(f"architecture {architecture!r}: checkpoints of {', '.join(known)} can be converted")
    commits.require()
    state = _named(checkpoint)
    told = SIZES.get(architecture, lambda _: {})(state)
    count = baselines.ARCHITECTURES[architecture].count
    if count and len(tasks or []) != told.get(count, 0):
        raise config.ConfigError(
            f"{checkpoint}: has weights for {told.get(count, 0)} tasks; name them in the order of its flags: --tasks snow,rain,…"
        )
    run = _run(checkpoint, architecture, arguments | told, tasks)
    network = baselines.build(run_name, run).requires_grad_(True)
    _fit(checkpoint, architecture, network, state)
    _write(checkpoint, run_name, run, network)
    return paths.weights_card(run_name, "network")


def _named(checkpoint: Path) -> dict[str, Tensor]:
    """The tensors by their names in the network. Raises CheckpointError for a file that has none."""
    *_, shortest = without_prefixes(unwrapped(checkpoint, read(checkpoint)))
    return shortest


def _run(checkpoint: Path, architecture: str, arguments: dict[str, Any], tasks: list[str] | None) -> Run:
    """The run, checked as if it had been read from its file."""
    published = {"file": checkpoint.name, "sha256": files.sha256(checkpoint)}
    network = {
        "architecture": architecture,
        "arguments": arguments,
        "steps": 1,
        "phases": [{"batch": 1, "crop_px": 64}],
        "losses": {"perceptual": 0, "colour": 0, "adversarial": 0},
    }
    title = f"{architecture}, the published weights {checkpoint.name}"
    keys: dict[str, Any] = {"title": title, "train": [], "published": published, "network": network}
    return Run.model_validate(keys | ({"tasks": tasks} if tasks else {}))


def _fit(checkpoint: Path, architecture: str, network: nn.Module, state: dict[str, Tensor]) -> None:
    """Load the tensors strictly. Raises CheckpointError with the names and shapes that differ."""
    own = network.state_dict()
    if differ := differing(state, own):
        more = [f"… and {len(differ) - SHOWN} more"] if len(differ) > SHOWN else []
        raise CheckpointError(
            f"{checkpoint}: does not fit {architecture}{_likely(architecture, set(state))}; {len(differ)} of {len(own)} tensors differ:"
            + "".join(f"\n  {line}" for line in [*differ[:SHOWN], *more])
        )
    network.load_state_dict(state, strict=True)


def _likely(architecture: str, names: set[str]) -> str:
    """Which other architecture has most of these names, in words; nothing if none has."""
    likeness, names = {}, _kinds(names)
    for other, entry in baselines.ARCHITECTURES.items():
        if "clip_view" not in entry.needs:
            with torch.device("meta"):
                own = _kinds(entry.build(**({entry.count: 3} if entry.count else {})).state_dict())
            likeness[other] = len(own & names) / len(own | names)
    best = max(likeness, key=lambda other: likeness[other])
    if best != architecture and likeness[best] > max(0.5, likeness[architecture]):
        return f" (its names are those of {best})"
    return ""


def _kinds(names: Iterable[str]) -> set[str]:
    """Names without the numbers of blocks, so that a network is known whatever its depth."""
    return {re.sub(r"\d+", "#", name) for name in names}


def _write(checkpoint: Path, run_name: str, run: Run, network: nn.Module) -> None:
    """The run's file, the weights and, last, the card; all of them or none."""
    target, weights = config.path_of("runs", run_name), paths.weights_file(run_name, "network")
    keys = run.model_dump(mode="json", exclude_unset=True)
    text = "# Written by `mperceiver convert`. Nothing is trained: the weights are those of the published file.\n"
    text += "".join(f"{key}: {json.dumps(value, ensure_ascii=False)}\n" for key, value in keys.items())
    try:
        files.write_text(target, text)
        save_weights(weights, network, config.load("runs", run_name))
        work = lineage.begin("convert", run, config.stage_inputs(run_name, "network"))
        work.write_card(
            paths.weights_card(run_name, "network"),
            outputs=[weights],
            result={"parameters": sum(p.numel() for p in network.parameters())},
            sources={f"checkpoint: {checkpoint.name}": files.sha256(checkpoint)},
        )
    except BaseException:
        for path in (target, weights):
            path.unlink(missing_ok=True)
        raise
