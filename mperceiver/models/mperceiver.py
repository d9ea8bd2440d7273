"""A run's weights around their foundation, ready to restore: predictor, dual branch, sampler and DRM (section 3, Fig. 3)."""

from dataclasses import dataclass

import torch
from torch import Tensor

from mperceiver import config, images
from mperceiver.models import foundation as towers
from mperceiver.models.branches import Branches, Static
from mperceiver.models.drm import DetailRefinement
from mperceiver.models.foundation import Foundation
from mperceiver.models.predictor import build_predictor
from mperceiver.models.weights import load_weights, weights_path
from mperceiver.sampling import ddim


@dataclass
class Conditions:
    """What is computed once per picture: all that steers the U-Net, start noise of the whole picture (B, 4, h, w).

    ``states``: of each picture's generator after its start noise, for the noise that a sampler with ``eta`` > 0 adds.
    """

    static: Static
    noise: Tensor
    states: list[Tensor]


class MPerceiver:
    """A run's weights around their foundation, ready to restore."""

    batch = 8  # pictures of one size restored together

    def __init__(
        self,
        foundation: Foundation,
        run_name: str,
        sampler: config.Sampler,
        drm: bool,
        clip_crop_px: int | None = None,
    ) -> None:
        run = config.load("runs", run_name)
        owners = config.weights_of(run_name)
        self.foundation, self.sampler, self.device = foundation, sampler, foundation.device
        self.clip_crop_px = clip_crop_px
        self.multiple = self.minimum = foundation.multiple
        self.alphas = foundation.alphas()
        self.predictor = build_predictor(foundation, run)
        self.branches = Branches(foundation, len(run.tasks), run.model)
        self.drm = DetailRefinement(foundation.vae, len(run.tasks), run.model) if drm else None
        parts = {"predictor": self.predictor, "branches": self.branches} | ({"drm": self.drm} if drm else {})
        for stage, module in parts.items():
            load_weights(weights_path(owners[stage], stage), module)
            towers.freeze(module).to(foundation.device)
        if drm:
            self.drm.attach(foundation.vae)

    @torch.no_grad()
    def begin(self, whole: Tensor, seeds: list[int]) -> Conditions:
        """(B, 3, H, W) in [0, 1] and a seed for each picture."""
        embedding, probabilities = self.look(whole)
        shape = (
            self.foundation.vae.config.latent_channels,
            *(side // self.foundation.factor for side in whole.shape[-2:]),
        )
        generators = [torch.Generator().manual_seed(seed % 2**63) for seed in seeds]
        noise = torch.stack([torch.randn(shape, generator=generator) for generator in generators])
        static = self.branches.prepare(embedding, probabilities)
        return Conditions(static, noise.to(self.device), [g.get_state() for g in generators])

    @torch.no_grad()
    def look(self, whole: Tensor) -> tuple[Tensor, Tensor]:
        """(e_img (B, C_clip), P (B, N)) of whole pictures, or averaged over crops of ``clip_crop_px`` that cover them."""
        side = self.clip_crop_px
        if side is None or min(whole.shape[-2:]) < side:
            embedding = self.foundation.embed(whole)
            return embedding, self.predictor.probabilities(embedding)
        corners = [
            (y, x) for y in images.tiles(whole.shape[-2], side, 0) for x in images.tiles(whole.shape[-1], side, 0)
        ]
        embeddings = torch.stack([self.foundation.embed(whole[..., y : y + side, x : x + side]) for y, x in corners])
        logits = self.predictor(embeddings.flatten(0, 1)).unflatten(0, embeddings.shape[:2])
        return embeddings.mean(0), logits.mean(0).softmax(dim=1)

    @torch.no_grad()
    def latent(self, lq_latent: Tensor, conditions: Conditions, window: tuple = (...,)) -> Tensor:
        """Sample the restored latent of a window of the whole picture: (B, 4, h, w). All noise is cut from the whole's."""
        generators = [torch.Generator().set_state(state) for state in conditions.states]

        def fresh() -> Tensor:
            return torch.stack([torch.randn(conditions.noise.shape[1:], generator=g) for g in generators])[window]

        def predict(z: Tensor, t: Tensor) -> Tensor:
            return self.branches.predict(z, t, conditions.static, lq_latent)

        noise = conditions.noise[window]
        return ddim(predict, noise, self.alphas, self.foundation.prediction, self.sampler, lq_latent, fresh)

    @torch.no_grad()
    def restore(self, tile: Tensor, conditions: Conditions, top: int, left: int) -> Tensor:
        """(B, 3, h, w) cut at (top, left) out of the whole picture -> restored (B, 3, h, w) in [0, 1]."""
        f = self.foundation.factor
        y, x, h, w = top // f, left // f, tile.shape[-2] // f, tile.shape[-1] // f
        window = (..., slice(y, y + h), slice(x, x + w))
        if self.drm is None:
            return self.foundation.decode(self.latent(self.foundation.encode(tile), conditions, window)).clamp(0, 1)
        lq_latent, degraded = self.drm.degraded_features(self.foundation.encode, tile)
        latent = self.latent(lq_latent, conditions, window)
        return self.drm(self.foundation.decode, latent, degraded, conditions.static.probabilities).clamp(0, 1)


def load_restorer(method_name: str, device: torch.device | str = "cpu") -> MPerceiver:
    """The restorer of a method of kind mperceiver, with the weights of its run."""
    method = config.load("methods", method_name)
    config.method_weights(method_name)  # a missing stage is told before the foundation is loaded
    run = config.load("runs", method.run)
    return MPerceiver(towers.load(run.foundation, device), method.run, method.sampler, method.drm, method.clip_crop_px)
