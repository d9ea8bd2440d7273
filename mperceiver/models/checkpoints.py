"""Methods of kind checkpoint: published weights of architectures that spandrel knows, and of two that this project builds."""

import math
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from mperceiver import config, images, lineage
from mperceiver.config.outside import Checkpoint
from mperceiver.models.baselines.network import Network
from mperceiver.models.baselines.promptir import PromptIR
from mperceiver.models.baselines.restormer import Restormer
from mperceiver.models.checkpoint_files import CheckpointError, read, unwrapped, without_prefixes
from mperceiver.models.staged import staged
from mperceiver.models.towers import freeze
from mperceiver.models.weights import differing

if TYPE_CHECKING:
    from spandrel import ArchRegistry, ImageModelDescriptor

NATIVE = {"PromptIR": (PromptIR, 8), "Restormer": (Restormer, 8)}  # name -> module, and what sides are multiples of
# A tensor that only PromptIR has. Its other tensors have Restormer's names, so spandrel takes a PromptIR for a Restormer.
PROMPT = "prompt1.prompt_param"
# Architectures of spandrel_extra_arches, whose licences forbid commercial use.
RESTRICTED = ("SRFormer", "CodeFormer", "MAT", "DDColor", "AdaCode", "FeMaSR", "M3SNet", "MPRNet", "MIRNet2")
MOST_NAMED = 3


def load_restorer(method: str, dataset: str | None, device: torch.device | str) -> Network:
    """The restorer of a method of kind checkpoint.

    Args:
        dataset: what is to be restored; None for photographs, which need the key `file`.

    Raises:
        ConfigError: no file for the dataset, or an architecture that is not known or not installed.
        CheckpointError: the file is damaged, holds more than tensors, or is of another architecture.
        LineageError, ChecksumError: the foundation is not staged, or was changed.
    """
    spec = config.load("methods", method)
    checkpoint, foundation = spec.checkpoint, spec.foundation
    assert checkpoint is not None and foundation is not None
    name = checkpoint.files.get(dataset or "", checkpoint.file)
    if name is None:
        raise config.ConfigError(
            f"{config.path_of('methods', method)}: checkpoint.files has no weights for {dataset or 'photographs'}, only for "
            f"{', '.join(checkpoint.files)}; name one of them as checkpoint.file to restore all else with it"
        )
    file = _staged(foundation, name)
    network, multiple, minimum = build(file, checkpoint, str(config.path_of("methods", method)))
    return Network(freeze(network), math.lcm(multiple, checkpoint.multiple or 1), device, minimum)


def _staged(foundation: str, name: str) -> Path:
    """A file of a staged foundation, which is what its card says."""
    files = staged(foundation)
    if files.digests is None:
        raise lineage.LineageError(f"{files.folder}: no card; stage the foundation first: {files.command}")
    if name not in files.digests:
        raise config.ConfigError(
            f"{config.path_of('foundations', foundation)}: has no file {name}, only {', '.join(files.digests) or 'none'}"
        )
    files._replace(digests={name: files.digests[name]}).verify()
    return files.folder / name


def build(file: Path, spec: Checkpoint, named_in: str) -> tuple[nn.Module, int, int]:
    """Build the network of a checkpoint, with its weights.

    Args:
        named_in: the file of config/ that errors of ``spec`` name.

    Returns:
        The network, which maps (B, 3, H, W) in [0, 1] to the same; the number in px that its input's sides must be multiples of; the least side in px.

    Raises ConfigError, CheckpointError: as ``load_restorer``.
    """
    state = unwrapped(file, read(file))
    if spec.architecture in NATIVE:
        return _native(file, spec, state)
    from spandrel import MAIN_REGISTRY, ImageModelDescriptor

    registry = _with_restricted(MAIN_REGISTRY, spec.architecture, named_in)
    entry = registry.get(spec.architecture)
    if entry is None:
        known = sorted({*NATIVE, *RESTRICTED, *(support.architecture.id for support in registry)})
        raise config.ConfigError(
            f"{named_in}: checkpoint.architecture: {spec.architecture} is none that spandrel knows: {', '.join(known)}"
        )
    fitting = next((named for named in without_prefixes(state) if entry.detect(named)), None)
    if fitting is None:
        raise CheckpointError(f"{file}: is no whole checkpoint of {spec.architecture}{_likely(registry, state)}")
    try:
        descriptor = entry.architecture.load(dict(fitting))
    except Exception as error:  # load_state_dict's RuntimeError, KeyError for a missing tensor, and others
        reason = " ".join(str(error).split())
        raise CheckpointError(
            f"{file}: does not fit {spec.architecture}: {type(error).__name__}: {reason:.300}{_likely(registry, state)}"
        ) from None
    if not isinstance(descriptor, ImageModelDescriptor) or descriptor.scale != 1:
        raise CheckpointError(f"{file}: a network that enlarges or fills holes, not one that restores at the same size")
    channels = descriptor.input_channels, descriptor.output_channels
    if channels != ((3, 3) if spec.colour == "rgb" else (1, 1)):
        colour = "luma or channels" if channels == (1, 1) else "rgb"
        raise CheckpointError(
            f"{file}: a network of {channels[0]} to {channels[1]} channels, but checkpoint.colour in {named_in} is {spec.colour}"
            + (f"; set it to {colour}" if channels in ((1, 1), (3, 3)) else "")
        )
    needs = descriptor.size_requirements
    return Described(descriptor, spec, file), needs.multiple_of, max(needs.minimum, 1)


def _with_restricted(registry: "ArchRegistry", architecture: str, named_in: str) -> "ArchRegistry":
    """spandrel's architectures; with those of spandrel_extra_arches if ``architecture`` is one of them. Raises ConfigError if they are not installed."""
    if architecture not in RESTRICTED:
        return registry
    try:
        from spandrel_extra_arches import EXTRA_REGISTRY
    except ImportError:
        raise config.ConfigError(
            f"{named_in}: checkpoint.architecture: {architecture} is in spandrel_extra_arches, which is not installed. Its "
            "architectures have licences that forbid commercial use; if that suits you: uv sync --extra restrictive-archs"
        ) from None
    both = registry.copy()
    both.add(*EXTRA_REGISTRY, ignore_duplicates=True)
    return both


def _likely(registry: "ArchRegistry", state: dict[str, Tensor]) -> str:
    """Which other architecture a checkpoint is of, in words; nothing if none is known."""
    for named in without_prefixes(state):
        if PROMPT in named:
            return "; its tensors are those of PromptIR"
        for support in registry.architectures("detection"):
            if support.detect(named):
                return f"; its tensors look like those of {support.architecture.id}"
    return f"; it has {len(state)} tensors, such as {', '.join(list(state)[:MOST_NAMED])}"


def _native(file: Path, spec: Checkpoint, state: dict[str, Tensor]) -> tuple[nn.Module, int, int]:
    """A network that this project builds itself."""
    from spandrel import MAIN_REGISTRY

    module, multiple = NATIVE[spec.architecture]
    if spec.colour != "rgb":
        raise CheckpointError(f"{file}: {spec.architecture} restores colour pictures; leave out checkpoint.colour")
    tensors = next((named for named in without_prefixes(state) if "patch_embed.proj.weight" in named), state)
    if (PROMPT in tensors) != (spec.architecture == "PromptIR"):
        raise CheckpointError(f"{file}: is no checkpoint of {spec.architecture}{_likely(MAIN_REGISTRY, state)}")
    bias_free = spec.architecture == "Restormer" and "encoder_level1.0.norm1.body.bias" not in tensors
    try:
        network = module(**spec.arguments, **({"bias_free": True} if bias_free else {}))
    except TypeError as error:
        raise CheckpointError(f"{file}: checkpoint.arguments: {error}") from None
    own = network.state_dict()
    if differ := differing(tensors, own):
        raise CheckpointError(
            f"{file}: does not fit {spec.architecture}, {len(differ)} of {len(own)} tensors differ: {'; '.join(differ[:MOST_NAMED])}"
        )
    network.load_state_dict(tensors, strict=True)
    return network, multiple, 1


class Described(nn.Module):
    """A network of spandrel as a map of RGB pictures (B, 3, H, W) in [0, 1]."""

    def __init__(self, descriptor: "ImageModelDescriptor", spec: Checkpoint, file: Path) -> None:
        """Raises CheckpointError if `sigma_255` is given to a network that is told no noise level, or missing for one that is."""
        super().__init__()
        self.network = descriptor.model.eval()
        self.descriptor, self.colour = descriptor, spec.colour
        # DRUNet and FDnCNN get a map of the noise level as one more channel.
        told = descriptor.architecture.id == "DRUNet" or "FDnCNN" in descriptor.tags
        if told != (spec.sigma_255 is not None):
            raise CheckpointError(
                f"{file}: {spec.architecture} is told a noise level; give checkpoint.sigma_255"
                if told
                else f"{file}: {spec.architecture} is told no noise level; leave out checkpoint.sigma_255"
            )
        self.sigma = None if spec.sigma_255 is None else spec.sigma_255 / 255

    def forward(self, pictures: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, 3, H, W); of a grey network the luma, or each channel, is restored."""
        if self.colour == "rgb":
            return self._restored(pictures)
        if self.colour == "channels":
            batch, _, height, width = pictures.shape
            return self._restored(pictures.reshape(batch * 3, 1, height, width)).reshape(pictures.shape)
        luma = sum(weight * pictures[:, k : k + 1] for k, weight in enumerate(images.GREY))
        assert isinstance(luma, Tensor)
        return pictures + (self._restored(luma) - luma)

    def _restored(self, pictures: Tensor) -> Tensor:
        if self.sigma is None:
            return self.descriptor(pictures)
        level = torch.full_like(pictures[:, :1], self.sigma)
        return self.network(torch.cat([pictures, level], 1))
