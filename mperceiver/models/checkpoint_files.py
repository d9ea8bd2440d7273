"""Reading checkpoints that others published: tensors by name, whatever a trainer wrapped them in. No code in a file is run."""

import errno
import pickle
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mperceiver.fetch.stand_ins import stand_in

WRAPPERS = ("params_ema", "params", "state_dict", "model_state_dict", "model", "net")
NAMED = re.compile(r"GLOBAL (\S+)")  # the function or class that a pickle would call
PREFIXES = ("module.", "net.", "model.")  # of DataParallel, of Lightning


class CheckpointError(ValueError):
    """A file is no checkpoint of the network it is taken for. The message says what differs."""


def read(checkpoint: Path) -> Any:
    """What is in the file. Raises CheckpointError if it is damaged, or a pickle with anything but tensors and plain data."""
    if words := stand_in(checkpoint):
        raise CheckpointError(f"{checkpoint}: {words}")
    if checkpoint.suffix == ".safetensors":
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            return load_file(checkpoint)
        except SafetensorError as error:
            raise CheckpointError(f"{checkpoint}: damaged, or not a safetensors file ({error})") from None
    try:
        with warnings.catch_warnings():
            # Old files have protocol 3.
            warnings.filterwarnings("ignore", message="Detected pickle protocol", category=UserWarning)
            return torch.load(checkpoint, weights_only=True, map_location="cpu")
    except pickle.UnpicklingError as error:
        named = NAMED.search(str(error))  # torch's own message recommends to load it all the same
        reason = f": {named[1]}" if named else ""
        raise CheckpointError(
            f"{checkpoint}: holds more than tensors, and nothing of it was run{reason}. Save its tensors alone in a place where you "
            "trust it: torch.save(checkpoint['state_dict'], …)"
        ) from None
    except Exception as error:  # a damaged file raises a dozen classes
        # EINVAL: torch looked for a place beyond the end of a file that was cut short.
        if isinstance(error, OSError) and error.errno != errno.EINVAL:
            raise
        raise CheckpointError(f"{checkpoint}: damaged, cut short, or not a file of torch.save ({error})") from None


def unwrapped(checkpoint: Path, content: Any) -> dict[str, Tensor]:
    """The tensors by name in what ``read`` returned, out of the wrappers of trainers; the prefixes of names stay.

    Floating-point tensors become float32. Raises CheckpointError if there are none, if there is anything else, or for NaN or infinity.
    """
    while isinstance(content, dict) and (
        inner := next((w for w in WRAPPERS if isinstance(content.get(w), dict)), None)
    ):
        content = content[inner]
    if not isinstance(content, dict) or not content:
        raise CheckpointError(f"{checkpoint}: no tensors by name in it, but {type(content).__name__}")
    other = [str(name) for name, value in content.items() if not isinstance(value, Tensor)]
    if other:
        raise CheckpointError(f"{checkpoint}: {other[0]} is no tensor ({len(other)} such entries)")
    state = {str(name): tensor for name, tensor in content.items()}
    bad = [name for name, t in state.items() if t.is_floating_point() and not t.isfinite().all()]
    if bad:
        raise CheckpointError(f"{checkpoint}: {bad[0]} has values that are not numbers ({len(bad)} such tensors)")
    return {name: t.float() if t.is_floating_point() else t for name, t in state.items()}


def without_prefixes(state: dict[str, Tensor]) -> Iterator[dict[str, Tensor]]:
    """Yield the tensors as they are named; then, as long as all names begin with a trainer's prefix, without it. ``state`` has a tensor."""
    yield state
    while prefix := next((p for p in PREFIXES if all(name.startswith(p) for name in state)), None):
        state = {name.removeprefix(prefix): tensor for name, tensor in state.items()}
        yield state
