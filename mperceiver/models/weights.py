"""Files of trained weights: safetensors with what was trained, its run's configuration inside."""

from pathlib import Path

from torch import nn

from mperceiver.config.runs import Run
from mperceiver.files import atomic_file
from mperceiver.lineage import LineageError


def save_weights(path: Path, module: nn.Module, spec: Run) -> None:
    """Write what was trained, with the run's configuration inside, whole or not at all."""
    from safetensors.torch import save_file

    wanted = _kept(module)
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in module.state_dict().items() if name in wanted}
    with atomic_file(path) as beside:
        save_file(state, beside, metadata={"config": spec.model_dump_json(by_alias=True)})


def _kept(module: nn.Module) -> set[str]:
    """Names of what a weights file holds: what was trained, and buffers."""
    trained = {name for name, parameter in module.named_parameters() if parameter.requires_grad}
    return trained | {name for name, _ in module.named_buffers()}


def load_weights(path: Path, module: nn.Module) -> None:
    """Load strictly; a mismatch names the file and the first tensors that differ."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if not path.is_file():
        raise LineageError(f"{path}: no such weights; train them first: snakemake {path}")
    try:
        state = load_file(path)
    except SafetensorError as error:
        raise LineageError(
            f"{path}: damaged, or not a safetensors file ({error}); remove it and train again: snakemake {path}"
        ) from None
    kept = _kept(module)
    own = {name: tensor.shape for name, tensor in module.state_dict().items() if name in kept}
    found = {name: tensor.shape for name, tensor in state.items()}
    wrong = [
        f"{name}: {tuple(found[name]) if name in found else 'missing'} in the file, "
        f"{tuple(own[name]) if name in own else 'unknown'} in the model"
        for name in sorted(own.keys() | found.keys())
        if own.get(name) != found.get(name)
    ]
    if wrong:
        raise LineageError(
            f"{path}: does not fit the model its run describes ({len(wrong)} tensors): " + "; ".join(wrong[:3])
        )
    module.load_state_dict(state, strict=False)
