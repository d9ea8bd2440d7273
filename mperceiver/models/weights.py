"""Files of trained weights: safetensors that hold the trained parameters and, as metadata, the run's configuration."""

from collections.abc import Callable
from pathlib import Path

from torch import Tensor, nn

from mperceiver import paths
from mperceiver.config.runs import Run
from mperceiver.files import ChecksumError, atomic_file, verify_checksums
from mperceiver.lineage import LineageError, read_card
from mperceiver.printing import say

TRAIN_AGAIN = "it is not what the card's training wrote. Put the right file back, or remove both and train again"

# (module, tensors by name) -> the module's tensors by name, where those of the file are another module's.
Adopt = Callable[[nn.Module, dict[str, Tensor]], dict[str, Tensor]]


def save_weights(path: Path, module: nn.Module, spec: Run) -> None:
    """Write the trained parameters and the buffers of ``module``, whole or not at all. A card beside an older file is removed."""
    from safetensors.torch import save_file

    names = _saved_names(module)
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in module.state_dict().items() if name in names}
    with atomic_file(path, path.with_suffix(".json")) as beside:
        save_file(state, beside, metadata={"config": spec.model_dump_json(by_alias=True)})


def _saved_names(module: nn.Module) -> set[str]:
    """Names of the tensors in a weights file: parameters that require a gradient, and buffers."""
    trained = {name for name, parameter in module.named_parameters() if parameter.requires_grad}
    return trained | {name for name, _ in module.named_buffers()}


def load_weights(path: Path, module: nn.Module, adopt: Adopt | None = None) -> None:
    """Load a weights file into ``module``, which must have exactly its names, shapes and types of numbers.

    Without ``adopt`` these are the parameters that require a gradient, and the buffers. With it, they are all tensors of
    ``module``, and ``adopt`` makes them of those of the file.

    Where the file has a card, its SHA-256 must be the card's; it is computed again only when the file's size or time has
    changed. Where it has none, a line on standard error says that nothing vouches for it.

    Raises LineageError if the file is missing, damaged or another one than its card describes, or does not fit; the message
    names the first tensors that differ.
    """
    if not path.is_file():
        raise LineageError(f"{path}: no such weights; train them first: {paths.making(path)}")
    _check_digest(path)
    state = _read(path)
    if adopt:
        state = adopt(module, state)
    names = set(module.state_dict()) if adopt else _saved_names(module)
    own = {name: tensor for name, tensor in module.state_dict().items() if name in names}
    if wrong := differing(state, own, _type_and_shape):
        raise LineageError(
            f"{path}: does not fit the network that its run describes ({len(wrong)} tensors): {'; '.join(wrong[:3])}"
        )
    module.load_state_dict(state, strict=False)


def _read(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file on the CPU. Raises LineageError whatever the reader finds wrong with it."""
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except OSError:
        raise  # the disk's own words: no right to read it, an input/output error
    except Exception as error:  # SafetensorError, and what torch says of a type that it does not know
        raise LineageError(
            f"{path}: damaged, or not a safetensors file ({error}); remove it and train again: {paths.making(path)}"
        ) from None


def _shape(tensor: Tensor) -> str:
    return str(tuple(tensor.shape))


def _type_and_shape(tensor: Tensor) -> str:
    """Type of numbers and shape: float32 (4, 3). A file of another type is refused, never cast."""
    return f"{str(tensor.dtype).removeprefix('torch.')} {_shape(tensor)}"


def differing(stored: dict[str, Tensor], own: dict[str, Tensor], form: Callable[[Tensor], str] = _shape) -> list[str]:
    """A line for each tensor that has another form in a file than in a network, or that only one of them has; sorted by name.

    Args:
        stored: the tensors of the file by name.
        own: those of the network.
        form: of a tensor, in words: all that is compared.
    """
    in_file = {name: form(tensor) for name, tensor in stored.items()}
    in_network = {name: form(tensor) for name, tensor in own.items()}
    return [
        f"{name}: {in_file.get(name, 'missing')} in the file, {in_network.get(name, 'unknown')} in the network"
        for name in sorted(in_file.keys() | in_network.keys())
        if in_file.get(name) != in_network.get(name)
    ]


def _check_digest(path: Path) -> None:
    """Compare a weights file with its card."""
    card = path.with_suffix(".json")
    if not card.is_file():
        say(f"{path}: no card ({card}), so nothing says which training made these weights", error=True)
        return
    digests = {Path(output).name: digest for output, digest in read_card(card)["outputs"].items()}
    if path.name not in digests:
        raise LineageError(f"{card}: not the card of {path}; train again: {paths.making(card)}")
    try:
        verify_checksums(path.parent, {path.name: digests[path.name]}, remedy=f"{TRAIN_AGAIN}: {paths.making(path)}")
    except ChecksumError as error:
        raise LineageError(str(error)) from None
