"""Files of trained weights: safetensors that hold the trained parameters and, as metadata, the run's configuration."""

from pathlib import Path

from torch import nn

from mperceiver.config.runs import Run
from mperceiver.files import atomic_file
from mperceiver.lineage import LineageError


def save_weights(path: Path, module: nn.Module, spec: Run) -> None:
    """Write the trained parameters and the buffers of ``module``, whole or not at all."""
    from safetensors.torch import save_file

    names = _saved_names(module)
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in module.state_dict().items() if name in names}
    with atomic_file(path) as beside:
        save_file(state, beside, metadata={"config": spec.model_dump_json(by_alias=True)})


def _saved_names(module: nn.Module) -> set[str]:
    """Names of the tensors in a weights file: parameters that require a gradient, and buffers."""
    trained = {name for name, parameter in module.named_parameters() if parameter.requires_grad}
    return trained | {name for name, _ in module.named_buffers()}


def load_weights(path: Path, module: nn.Module) -> None:
    """Load a weights file into ``module``, which must have exactly its names and shapes.

    Raises LineageError if the file is missing or damaged, or does not fit; the message names the first tensors that differ.
    """
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
    names = _saved_names(module)
    own = {name: tensor.shape for name, tensor in module.state_dict().items() if name in names}
    stored = {name: tensor.shape for name, tensor in state.items()}
    wrong = [
        f"{name}: {tuple(stored[name]) if name in stored else 'missing'} in the file, "
        f"{tuple(own[name]) if name in own else 'unknown'} in the model"
        for name in sorted(own.keys() | stored.keys())
        if own.get(name) != stored.get(name)
    ]
    if wrong:
        raise LineageError(
            f"{path}: does not fit the model that its run describes ({len(wrong)} tensors): " + "; ".join(wrong[:3])
        )
    module.load_state_dict(state, strict=False)
