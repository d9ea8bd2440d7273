"""Methods of kind python: a torch.nn.Module that a function outside this project returns."""

import importlib
import sys
from pathlib import Path

import torch
from torch import nn

from mperceiver import config
from mperceiver.models.baselines.network import Network
from mperceiver.models.restorer import Restorer


def load_restorer(method: str, device: torch.device | str) -> Restorer:
    """The restorer of a method of kind python.

    The module either maps pictures (B, 3, H, W) in [0, 1] to restored ones, and is padded, tiled and blended as the baselines
    are; or it has a method ``restore`` and fulfils the whole protocol ``models.restorer.Restorer`` itself.

    Raises ConfigError if there is no such function, if it fails, or if it returns something else.
    """
    spec = config.load("methods", method).python
    assert spec is not None
    where, (module_name, _, name) = f"{config.path_of('methods', method)}: python.entry", spec.entry.partition(":")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    importlib.invalidate_caches()
    try:
        module = importlib.import_module(module_name)
    except Exception as error:  # whatever the module's code raises
        raise config.ConfigError(
            f"{where}: {module_name} cannot be imported: {type(error).__name__}: {error}"
        ) from error
    if not callable(make := vars(module).get(name)):
        raise config.ConfigError(
            f"{where}: {module_name} has no function {name} (it is looked for in {module.__file__})"
        )
    try:
        network = make(**spec.arguments)
    except Exception as error:
        raise config.ConfigError(f"{where}: {name} failed: {type(error).__name__}: {error}") from error
    if not isinstance(network, nn.Module):
        raise config.ConfigError(f"{where}: {name} returned {type(network).__name__}, not a torch.nn.Module")
    network = network.eval().requires_grad_(False)
    if callable(getattr(network, "restore", None)):
        missing = [part for part in PARTS if not hasattr(network, part)]
        if missing:
            raise config.ConfigError(
                f"{where}: {type(network).__name__} has `restore`, and lacks {', '.join(missing)} of the protocol Restorer; "
                "without `restore` it is taken for a map of pictures"
            )
        return network  # type: ignore[return-value]
    return Network(network, spec.multiple, device, spec.minimum)


PARTS = [name for name in vars(Restorer) if not name.startswith("_")]
