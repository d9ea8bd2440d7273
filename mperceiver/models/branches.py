"""The dual branch around the frozen U-Net, which stage 2 trains (section 3.2, Fig. 3)."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn
from torch.utils.weak import WeakTensorKeyDictionary

from mperceiver.config.base import Precision
from mperceiver.config.modules import ModelConfig
from mperceiver.models.blocks import use_channels_last
from mperceiver.models.cross_attention import attending, cross_attentions, keys_values
from mperceiver.models.ir_adapter import IRAdapter
from mperceiver.models.modulation import Modulation
from mperceiver.models.textual import TextualBranch, empty_prompt
from mperceiver.models.towers import Towers
from mperceiver.models.vp_modulator import KeysValues

HALF = {"bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass
class StaticInputs:
    """What the U-Net's steps need of B pictures and what does not depend on t; computed once by ``Branches.prepare``.

    It describes whole pictures, and each tile of a picture uses its picture's. The IR-Adapter's part also depends on the tile's
    LQ latent: ``Branches.predict`` computes it at the first step and caches it for as long as that latent tensor lives. So a
    latent must not be changed in place while it is sampled from.
    """

    context: Tensor  # of the U-Net (B, T, C)
    probabilities: Tensor  # P (B, N)
    context_keys_values: dict[str, tuple[Tensor, Tensor]]  # of the context, by cross-attention layer of the U-Net
    prompts: list[KeysValues | None]  # of the visual prompts, by scale; the same for every picture
    latent_features: WeakTensorKeyDictionary = field(default_factory=WeakTensorKeyDictionary)  # by LQ latent

    def of(self, pictures: Sequence[int]) -> "StaticInputs":
        """The rows of these pictures, in this order and with repeats: a row for each tile of a batch."""
        rows = torch.as_tensor(pictures, device=self.context.device)
        return replace(
            self,
            context=self.context[rows],
            probabilities=self.probabilities[rows],
            context_keys_values={name: (k[rows], v[rows]) for name, (k, v) in self.context_keys_values.items()},
        )


class Branches(nn.Module):
    """The textual branch, the IR-Adapter with its visual prompts, and the U-Net's modulators.

    The modulators are hooked into ``foundation``'s U-Net. The foundation is no submodule: its weights are not part of this
    module's.
    """

    def __init__(self, foundation: Towers, count: int, spec: ModelConfig) -> None:
        """``count``: N, the number of degradations. A branch that ``spec`` switches off is None."""
        super().__init__()
        self.spec = spec
        self._foundation = foundation
        self.autocast_dtype: torch.dtype | None = None  # of matrix products and convolutions
        self._attentions = cross_attentions(foundation.unet)
        self.textual: TextualBranch | None = None
        self.ir_adapter: IRAdapter | None = None
        if spec.textual:
            self.textual = TextualBranch(foundation.embedding_width, foundation.context_width, count, spec)
        if spec.visual:
            self.ir_adapter = IRAdapter(foundation.latent_channels, count, spec)
            self.modulation = Modulation(foundation.unet, spec)
            self.modulation.attach(foundation.unet)

    def context(self, embedding: Tensor, probabilities: Tensor) -> Tensor:
        """The U-Net's text context, from e_img (B, C_clip) and P (B, N): (B, T, C)."""
        if self.textual is not None:
            return self.textual(embedding, probabilities, self._foundation)
        return empty_prompt(self._foundation, len(embedding))

    def forward(self, z: Tensor, t: Tensor, embedding: Tensor, lq_latent: Tensor, probabilities: Tensor) -> Tensor:
        """The steered U-Net's output in a training step.

        z_t (B, 4, h, w), t (B,), e_img (B, C_clip), z_lq (B, 4, h, w), P (B, N) -> epsilon or v, (B, 4, h, w).
        """
        with self._autocast():
            features = None if self.ir_adapter is None else self.ir_adapter(lq_latent, t, probabilities)
            return self._steered(features, z, t, self.context(embedding, probabilities))

    def _steered(self, features: list[Tensor] | None, z: Tensor, t: Tensor, context: Tensor) -> Tensor:
        unet: nn.Module = self._foundation.unet
        if features is None:
            return unet(z, t, context).sample
        return self.modulation(unet, features, z, t, context)

    # ------------------------------------------------------------ how the branches are run

    def set_up(
        self,
        precision: Precision = "no",
        channels_last: bool = False,
        compile: bool = False,
        gradient_checkpointing: bool = False,
    ) -> None:
        """Set how the branches and the U-Net are run from now on. Their results stay the same, up to rounding.

        Args:
            precision: of matrix products and convolutions, by autocast. The weights of the frozen U-Net are then stored as
                autocast would cast them at every call. Norms, softmax and the output's arithmetic stay in single precision.
            channels_last: memory layout of the convolutions.
            compile: compile the U-Net's transformer blocks by torch.compile, once for each shape.
            gradient_checkpointing: store only the inputs of a block for the gradient.
        """
        unet = self._foundation.unet
        self.autocast_dtype = HALF.get(precision)
        if channels_last:
            use_channels_last(unet, self)
        for module in unet.modules() if self.autocast_dtype else []:
            if isinstance(module, (nn.Conv2d, nn.Linear)):
                for parameter in module.parameters():
                    parameter.data = parameter.data.to(self.autocast_dtype)
        if compile:
            unet.compile_repeated_blocks(dynamic=False)
        if gradient_checkpointing:
            if self.textual is not None:
                self.textual.checkpointing = True
            if self.ir_adapter is not None:
                self.ir_adapter.checkpointing = True
                self.modulation.steering.checkpoint(unet)
            else:
                unet.enable_gradient_checkpointing()

    def _autocast(self) -> AbstractContextManager:
        """Does nothing at precision "no": in a training, the loop sets the precision."""
        if self.autocast_dtype is None:
            return nullcontext()
        return torch.autocast(self._foundation.device.type, self.autocast_dtype)

    # ------------------------------------------------------------ sampling: the same, with what does not depend on t computed once

    @torch.no_grad()
    def prepare(self, embedding: Tensor, probabilities: Tensor) -> StaticInputs:
        """Compute what does not depend on t for whole pictures, from e_img (B, C_clip) and P (B, N)."""
        with self._autocast():
            context = self.context(embedding, probabilities)
            context_keys_values = {name: keys_values(layer, context) for name, layer in self._attentions.items()}
            prompts = [] if self.ir_adapter is None else self.ir_adapter.prompts()
            return StaticInputs(context, probabilities, context_keys_values, prompts)

    @torch.no_grad()
    def predict(self, z: Tensor, t: Tensor, static: StaticInputs, lq_latent: Tensor) -> Tensor:
        """The steered U-Net's output in a step of the sampler, for the pictures of ``static`` or for tiles of them.

        z_t (B, 4, h, w), t (B,), z_lq (B, 4, h, w) -> epsilon or v, (B, 4, h, w).
        """
        features = None
        with self._autocast(), attending(self._attentions, static.context_keys_values):
            if self.ir_adapter is not None:
                if lq_latent not in static.latent_features:
                    static.latent_features[lq_latent] = self.ir_adapter.static_features(lq_latent)
                latent_features = static.latent_features[lq_latent]
                features = self.ir_adapter.features(latent_features, static.prompts, t, static.probabilities)
            return self._steered(features, z, t, static.context)
