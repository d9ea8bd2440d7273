"""The dual branch around a frozen foundation: what stage 2 trains (section 3.2, Fig. 3)."""

from torch import Tensor, nn

from mperceiver import config
from mperceiver.models.foundation import Foundation
from mperceiver.models.modulation import Modulation
from mperceiver.models.textual import TextualBranch, empty_prompt
from mperceiver.models.visual import IRAdapter


class Branches(nn.Module):
    """What stage 2 trains: textual branch, IR-Adapter with its visual prompts, and the U-Net's modulators.

    Hooks itself into ``foundation``'s U-Net, which it holds without owning its weights.
    """

    def __init__(self, foundation: Foundation, count: int, spec: config.ModelConfig) -> None:
        super().__init__()
        self.spec = spec
        self._foundation = [foundation]  # in a list: not a submodule
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

    def predict(self, z: Tensor, t: Tensor, context: Tensor, lq_latent: Tensor, probabilities: Tensor) -> Tensor:
        """The steered U-Net's output at z_t (B, 4, h, w)."""
        unet = self._foundation[0].unet
        if not self.spec.visual:
            return unet(z, t, context).sample
        return self.modulation(unet, self.ir_adapter(lq_latent, t, probabilities), z, t, context)

    def forward(self, z: Tensor, t: Tensor, embedding: Tensor, lq_latent: Tensor, probabilities: Tensor) -> Tensor:
        """One training step's output: context and prediction in one call."""
        return self.predict(z, t, self.context(embedding, probabilities), lq_latent, probabilities)
