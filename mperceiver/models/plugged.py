"""Methods of kind python: a torch.nn.Module that a function outside this project returns."""

import importlib
import sys
from pathlib import Path

import torch
from torch import nn

from mperceiver import config
from mperceiver.config.outside_inputs import module_inputs
from mperceiver.models.baselines.network import Network
from mperceiver.models.restorer import Restorer
from mperceiver.wording import first_few

PARTS = [name for name in vars(Restorer) if not name.startswith("_")]  # of the protocol


def load_restorer(method: str, device: torch.device | str) -> Restorer:
    """The restorer of a method of kind python.

    The module either maps pictures (B, 3, H, W) in [0, 1] to restored ones, and is padded, tiled and blended as the baselines
    are; or it has a method ``restore`` and fulfils the whole protocol ``models.restorer.Restorer`` itself.

    Raises ConfigError if there is no such function, if it fails, if it returns something else, or if it imports files of the working
    directory that are no inputs of the method.
    """
    spec = config.load("methods", method).python
    assert spec is not None
    where, (module_name, _, name) = f"{config.path_of('methods', method)}: python.entry", spec.entry.partition(":")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    importlib.invalidate_caches()
    before = set(sys.modules)
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
    _check_known(where, method, set(sys.modules) - before)
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


def _check_known(where: str, method: str, imported: set[str]) -> None:
    """Raise ConfigError if the method's module imported a file of the working directory that is none of the method's inputs."""
    known = [Path(file).resolve() for file in module_inputs(method)]
    files = (
        getattr(sys.modules.get(name), "__file__", None) for name in imported if name.partition(".")[0] != "mperceiver"
    )
    own = {Path(file).resolve() for file in files if file and "site-packages" not in Path(file).parts}
    here = Path.cwd().resolve()
    unknown = sorted(
        str(file.relative_to(here))
        for file in own
        if file.is_relative_to(here) and not any(file == one or file.is_relative_to(one) for one in known)
    )
    if unknown:
        raise config.ConfigError(
            f"{where}: its module imports {first_few(unknown)}, and a change there would not be seen: add {'them' if unknown[1:] else 'it'} to "
            "`python.reads`"
        )
