"""The dual branch around a frozen foundation: what stage 2 trains (section 3.2, Fig. 3)."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn
from torch.utils.weak import WeakTensorKeyDictionary

from mperceiver.config.base import Precision
from mperceiver.config.runs import ModelConfig
from mperceiver.models import context as attention
from mperceiver.models.modulation import Modulation
from mperceiver.models.textual import TextualBranch, empty_prompt
from mperceiver.models.towers import Towers
from mperceiver.models.visual import IRAdapter

HALF = {"bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass
class Static:
    """What of B pictures does not depend on t: made once by ``Branches.prepare``, used at each step of the sampler.

    It is of whole pictures: each tile of a picture uses its picture's. What depends on a tile's LQ latent too is added by
    ``Branches.predict`` at the first step and lives as long as that latent tensor does; a latent must not be changed in
    place while it is sampled from.
    """

    context: Tensor  # of the U-Net: (B, T, C)
    probabilities: Tensor  # P (B, N)
    attended: dict[str, tuple[Tensor, Tensor]]  # keys and values of the context, by cross-attention layer of the U-Net
    prompts: list[
        tuple[Tensor, Tensor] | None
    ]  # keys and values of the visual prompts, by scale; the same for any picture
    starts: WeakTensorKeyDictionary = field(default_factory=WeakTensorKeyDictionary)  # LQ latent -> IR-Adapter's start

    def of(self, pictures: Sequence[int]) -> "Static":
        """Of these pictures in this order, repeats allowed: what a batch of tiles needs, a row for each tile."""
        rows = torch.as_tensor(pictures, device=self.context.device)
        attended = {name: (k[rows], v[rows]) for name, (k, v) in self.attended.items()}
        return replace(self, context=self.context[rows], probabilities=self.probabilities[rows], attended=attended)


class Branches(nn.Module):
    """What stage 2 trains: textual branch, IR-Adapter with its visual prompts, and the U-Net's modulators.

    Hooks itself into ``foundation``'s U-Net, which it holds without owning its weights.
    """

    def __init__(self, foundation: Towers, count: int, spec: ModelConfig) -> None:
        super().__init__()
        self.spec = spec
        self._foundation = [foundation]  # in a list: not a submodule
        self.half: torch.dtype | None = None  # products are computed in
        self._attentions = [attention.cross_attentions(foundation.unet)]
        if spec.textual:
            self.textual = TextualBranch(foundation.embedding_width, foundation.context_width, count, spec)
        if spec.visual:
            self.ir_adapter = IRAdapter(foundation.vae.config.latent_channels, count, spec)
            self.modulation = Modulation(foundation.unet, spec)
            self.modulation.attach(foundation.unet)

    def context(self, embedding: Tensor, probabilities: Tensor) -> Tensor:
        """The U-Net's text context (B, T, C); it does not depend on t."""
        if self.spec.textual:
            return self.textual(embedding, probabilities, self._foundation[0])
        return empty_prompt(self._foundation[0], len(embedding))

    def forward(self, z: Tensor, t: Tensor, embedding: Tensor, lq_latent: Tensor, probabilities: Tensor) -> Tensor:
        """One training step's output: the steered U-Net's at z_t (B, 4, h, w)."""
        with self._autocast():
            features = self.ir_adapter(lq_latent, t, probabilities) if self.spec.visual else None
            return self._steered(features, z, t, self.context(embedding, probabilities))

    def _steered(self, features: list[Tensor] | None, z: Tensor, t: Tensor, context: Tensor) -> Tensor:
        unet = self._foundation[0].unet
        if features is None:
            return unet(z, t, context).sample
        return self.modulation(unet, features, z, t, context)

    # ------------------------------------------------------------ how it is run

    def set_up(
        self,
        precision: Precision = "no",
        channels_last: bool = False,
        compile: bool = False,
        gradient_checkpointing: bool = False,
    ) -> None:
        """How the branches and the U-Net are run from now on; what they compute stays the same up to rounding.

        Args:
            precision: products in half precision, by autocast; the U-Net's frozen weights are then stored as autocast would
                cast them at every call. Norms, softmax and the output's arithmetic stay in single precision.
            channels_last: memory layout of the convolutions.
            compile: each of the U-Net's transformer blocks by torch.compile, anew for each new shape.
            gradient_checkpointing: of each block only the inputs are kept for the gradient.
        """
        unet = self._foundation[0].unet
        self.half = HALF.get(precision)
        for module in [*unet.modules(), *self.modules()] if channels_last else []:
            if isinstance(module, nn.Conv2d):
                module.to(memory_format=torch.channels_last)
        for module in unet.modules() if self.half else []:
            if isinstance(module, (nn.Conv2d, nn.Linear)):
                for parameter in module.parameters():
                    parameter.data = parameter.data.to(self.half)
        if compile:
            unet.compile_repeated_blocks(dynamic=False)
        if gradient_checkpointing:
            if self.spec.textual:
                self.textual.checkpointing = True
            if self.spec.visual:
                self.ir_adapter.checkpointing = True
                self.modulation.given.checkpoint(unet)
            else:
                unet.enable_gradient_checkpointing()

    def _autocast(self) -> AbstractContextManager:
        """Nothing without ``precision``: a training loop has its own."""
        return torch.autocast(self._foundation[0].device.type, self.half) if self.half else nullcontext()

    # ------------------------------------------------------------ sampling: the same, what is static computed once

    @torch.no_grad()
    def prepare(self, embedding: Tensor, probabilities: Tensor) -> Static:
        """What does not depend on t, of whole pictures: e_img (B, C_clip), P (B, N)."""
        with self._autocast():
            context = self.context(embedding, probabilities)
            attended = {name: attention.keys_values(layer, context) for name, layer in self._attentions[0].items()}
            return Static(context, probabilities, attended, self.ir_adapter.prompts() if self.spec.visual else [])

    @torch.no_grad()
    def predict(self, z: Tensor, t: Tensor, static: Static, lq_latent: Tensor) -> Tensor:
        """The steered U-Net's output at z_t (B, 4, h, w), for the pictures that ``static`` is of or tiles of them."""
        features = None
        with self._autocast(), attention.attending(self._attentions[0], static.attended):
            if self.spec.visual:
                if lq_latent not in static.starts:
                    static.starts[lq_latent] = self.ir_adapter.start(lq_latent)
                features = self.ir_adapter.features(static.starts[lq_latent], static.prompts, t, static.probabilities)
            return self._steered(features, z, t, static.context)
