"""The ceiling of the VAE: what becomes of the ground truth itself when it is encoded and decoded, without and with the DRM."""

import torch
from torch import Tensor, nn

from mperceiver import config, paths
from mperceiver.models import towers
from mperceiver.models.drm import DetailRefinement
from mperceiver.models.predictor import Seen, build_predictor, look
from mperceiver.models.tiling import Tiles
from mperceiver.models.towers import Towers
from mperceiver.models.weights import load_weights


class VaeCeiling:
    """Encode-decode of the ground truth: what no method can pass that restores through this VAE without the DRM."""

    batch = 8
    sees = ("gt",)
    tasks = ()

    def __init__(self, foundation: Towers) -> None:
        self.foundation, self.device = foundation, foundation.device
        self.multiple = self.minimum = foundation.factor

    def look(self, whole: Tensor) -> None:
        return None

    @torch.no_grad()
    def restore(self, whole: Tensor, seen: None, seeds: list[int], tiles: Tiles) -> Tensor:
        """Padded pictures (B, 3, H, W) in [0, 1] on the CPU -> encoded and decoded, the same."""
        latent = tiles.blend(map(self.foundation.encode, tiles.cut(whole)), len(whole), self.device)
        parts = (self.foundation.decode(part).clamp(0, 1) for part in tiles.cut(latent))
        return tiles.blend(parts, len(whole), whole.device)

    def modules(self) -> list[nn.Module]:
        return self.foundation.towers

    @torch.no_grad()
    def probe(self, pictures: Tensor) -> None:
        """The work on tiles (n, 3, h, w) once, for what it takes of the memory."""
        self.foundation.decode(self.foundation.encode(pictures.to(self.device)))


class DrmCeiling:
    """The same with a run's DRM, which repairs what is decoded from the degraded picture's features: the latent is perfect,
    the DRM as it is.

    Its pictures are a degraded one and its ground truth behind one another, (B, 6, H, W).
    """

    batch = 8
    sees = ("lq", "gt")

    def __init__(self, foundation: Towers, run_name: str, clip_crop_px: int | None = None) -> None:
        run, owners = config.load("runs", run_name), config.weights_of(run_name)
        self.foundation, self.device, self.tasks = foundation, foundation.device, run.tasks
        self.multiple, self.minimum, self.clip_crop_px = foundation.multiple, foundation.minimum, clip_crop_px
        self.predictor = build_predictor(foundation, run)
        self.drm = DetailRefinement(foundation.vae, len(run.tasks), run.model)
        for stage, module in (("predictor", self.predictor), ("drm", self.drm)):
            load_weights(paths.weights_file(owners[stage], stage), module)
            towers.freeze(module).to(foundation.device)
        self.drm.attach(foundation.vae)

    def look(self, whole: Tensor) -> Seen:
        """At the degraded halves, as MPerceiver looks."""
        return look(self.foundation, self.predictor, whole[:, :3], self.clip_crop_px)

    @torch.no_grad()
    def restore(self, whole: Tensor, seen: Seen, seeds: list[int], tiles: Tiles) -> Tensor:
        """Padded pairs (B, 6, H, W) in [0, 1] on the CPU -> the ground truth encoded and decoded, (B, 3, H, W)."""
        degraded, truth = whole.split(3, dim=1)
        latent = tiles.blend(map(self.foundation.encode, tiles.cut(truth)), len(whole), self.device)
        work = zip(tiles.cut(latent), tiles.cut(degraded), tiles.owners(len(whole)), strict=True)
        parts = (self._decoded(part, lq, seen.probabilities[pictures]) for part, lq, pictures in work)
        return tiles.blend(parts, len(whole), whole.device)

    def _decoded(self, latent: Tensor, degraded: Tensor, probabilities: Tensor) -> Tensor:
        features = self.drm.degraded_features(self.foundation.encode, degraded)[1]
        return self.drm(self.foundation.decode, latent, features, probabilities).clamp(0, 1)

    def modules(self) -> list[nn.Module]:
        return [*self.foundation.towers, self.predictor, self.drm]

    @torch.no_grad()
    def probe(self, pictures: Tensor) -> None:
        """The work on tiles (n, 3, h, w) once, for what it takes of the memory."""
        pictures = pictures.to(self.device)
        self._decoded(self.foundation.encode(pictures), pictures, self.look(pictures).probabilities)


def load_restorer(method_name: str, device: torch.device | str = "cpu") -> VaeCeiling | DrmCeiling:
    """The restorer of a method of kind vae."""
    method = config.load("methods", method_name)
    config.method_weights(method_name)  # a missing stage is told before the foundation is loaded
    foundation = towers.load(config.method_foundation(method_name), device)
    return DrmCeiling(foundation, method.run, method.clip_crop_px) if method.run else VaeCeiling(foundation)
