"""Weights and pictures by rule, so that a network can be compared with that of other code without a file of weights.

Every tensor of a state dictionary is filled from its own name; neither the order of definition nor the initialisation
matters. The golden statistics in tests/golden/ come from the official code, filled by the same rule in float64.
"""

import hashlib
import math

import numpy as np
import torch
from torch import Tensor, nn

SAMPLES = 16


def tensor_of(name: str, shape: tuple[int, ...]) -> Tensor:
    """Float64 values of the tensor ``name``: normal, scaled by its fan-in; norms' weights near 1, biases small."""
    seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big")
    values = np.random.Generator(np.random.PCG64(seed)).standard_normal(shape)
    if len(shape) <= 1:
        scaled = 0.05 * values if name.endswith("bias") else 1 + 0.1 * values
    else:
        scaled = values / math.sqrt(max(1, math.prod(shape[1:])))
    return torch.from_numpy(np.asarray(scaled))


def fill(network: nn.Module, scale: dict[str, float] | None = None) -> nn.Module:
    """``network`` in float64 and in evaluation mode, every floating tensor by rule. ``scale``: {end of a name: factor}."""
    state = network.state_dict()
    for name, tensor in state.items():
        if tensor.is_floating_point():
            factor = next((f for end, f in (scale or {}).items() if name.endswith(end)), 1.0)
            state[name] = factor * tensor_of(name, tuple(tensor.shape))
    network.double().load_state_dict(state, strict=True)
    return network.eval()


def picture(height: int, width: int, count: int = 1) -> Tensor:
    """A synthetic picture (count, 3, height, width) in [0, 1], float64: waves and an edge."""
    y, x = np.mgrid[:height, :width] / 16.0
    planes = [
        0.5 + 0.3 * np.sin(x * (1 + c) + y * (0.5 + n)) + 0.2 * (x > y + c) * np.cos(3 * y)
        for n in range(count)
        for c in range(3)
    ]
    return torch.from_numpy(np.stack(planes).reshape(count, 3, height, width).clip(0, 1))


def statistics(values: Tensor) -> dict:
    """Mean, standard deviation and SAMPLES evenly spaced values of a tensor, with its shape."""
    flat = values.detach().double().flatten()
    at = torch.linspace(0, len(flat) - 1, SAMPLES).long()
    return {
        "shape": list(values.shape),
        "mean": flat.mean().item(),
        "std": flat.std().item(),
        "samples": flat[at].tolist(),
    }


def observed(network: nn.Module, names: list[str], *inputs: Tensor) -> dict[str, dict]:
    """Statistics of the output, and of the outputs of the submodules ``names``, of one forward pass."""
    seen: dict[str, dict] = {}

    def take(name: str):
        def hook(module, arguments, output):
            seen.setdefault(name, statistics(output[0] if isinstance(output, tuple | list) else output))

        return hook

    modules = dict(network.named_modules())
    handles = [modules[name].register_forward_hook(take(name)) for name in names]
    with torch.no_grad():
        output = network(*inputs)
    for handle in handles:
        handle.remove()
    return seen | {"output": statistics(output[0] if isinstance(output, tuple | list) else output)}
