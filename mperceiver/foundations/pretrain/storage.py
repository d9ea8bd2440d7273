"""How the pre-trained networks are stored, and their size."""

import math
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from diffusers import ModelMixin
    from transformers import PreTrainedModel


def save_half(model: "ModelMixin | PreTrainedModel", out: Path) -> None:
    """Save a model in half precision: the small foundation is committed to the repository."""
    model.half().save_pretrained(out, safe_serialization=True)


def parameter_count(folder: Path) -> int:
    """Number of values in the safetensors files of a folder."""
    from safetensors import safe_open

    count = 0
    for path in folder.glob("*.safetensors"):
        with safe_open(path, framework="pt") as file:
            count += sum(math.prod(file.get_slice(key).get_shape()) for key in file.keys())
    return count
