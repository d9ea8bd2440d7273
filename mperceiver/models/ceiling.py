"""The ceiling of the VAE: the ground truth, encoded and decoded, without and with the DRM."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mperceiver import config, paths
from mperceiver.models import towers
from mperceiver.models.drm import DetailRefinement
from mperceiver.models.predictor import DegradationEstimate, build_predictor, estimate_degradations
from mperceiver.models.restorer import OnShare, unheard
from mperceiver.models.tiling import Tiles
from mperceiver.models.towers import Towers
from mperceiver.models.weights import load_weights


class VaeCeiling:
    """Encodes and decodes the ground truth: the best that a method can reach through this VAE without the DRM."""

    batch = 8
    sees = ("gt",)
    tasks = ()

    def __init__(self, foundation: Towers) -> None:
        self.foundation, self.device = foundation, foundation.device
        self.multiple = self.minimum = foundation.factor
        self.on_share: OnShare = unheard

    def look(self, whole: Tensor, tasks: Sequence[str] = ()) -> None:
        return None

    @torch.no_grad()
    def restore(self, whole: Tensor, seen: None, seeds: list[int], tiles: Tiles) -> Tensor:
        """Padded ground truths (B, 3, H, W) in [0, 1] on the CPU -> encoded and decoded, of the same shape and range."""
        latent = tiles.blend(map(self.foundation.encode, tiles.cut(whole)), len(whole), self.device)
        decoded = (self.foundation.decode(tile).clamp(0, 1) for tile in tiles.cut(latent))
        return tiles.blend(decoded, len(whole), whole.device, self.on_share)

    def modules(self) -> list[nn.Module]:
        """Every module that has weights."""
        return self.foundation.modules

    @torch.no_grad()
    def probe(self, pictures: Tensor) -> None:
        """Encode and decode tiles (n, 3, h, w) once, so that the memory it takes can be counted."""
        self.foundation.decode(self.foundation.encode(pictures.to(self.device)))


class DrmCeiling:
    """Encodes the ground truth and decodes it with a run's DRM, which repairs the decoded picture from the degraded picture's features.

    Here the latent is perfect, and the DRM is the trained one. A picture is a degraded one and its ground truth, (B, 6, H, W).
    """

    batch = 8
    sees = ("lq", "gt")

    def __init__(self, foundation: Towers, run_name: str, clip_crop_px: int | None = None) -> None:
        """See ``MPerceiver`` for the arguments."""
        run, owners = config.load("runs", run_name), config.weights_of(run_name)
        self.foundation, self.device, self.tasks = foundation, foundation.device, run.tasks
        self.multiple, self.minimum, self.clip_crop_px = foundation.multiple, foundation.minimum, clip_crop_px
        self.on_share: OnShare = unheard
        self.predictor = build_predictor(foundation, run)
        self.drm = DetailRefinement(foundation.vae, len(run.tasks), run.model)
        stages: dict[str, nn.Module] = {"predictor": self.predictor, "drm": self.drm}
        for stage, module in stages.items():
            load_weights(paths.weights_file(owners[stage], stage), module)
            towers.freeze(module).to(foundation.device)
        self.drm.attach(foundation.vae)

    def look(self, whole: Tensor, tasks: Sequence[str] = ()) -> DegradationEstimate:
        """Estimate the degradations of the degraded pictures, which are the first three of the channels (B, 6, H, W)."""
        return estimate_degradations(self.foundation, self.predictor, whole[:, :3], self.clip_crop_px)

    @torch.no_grad()
    def restore(self, whole: Tensor, seen: DegradationEstimate, seeds: list[int], tiles: Tiles) -> Tensor:
        """Padded pairs (B, 6, H, W) in [0, 1] on the CPU -> the ground truths, encoded and decoded, (B, 3, H, W) on the CPU."""
        degraded, truth = whole.split(3, dim=1)
        latent = tiles.blend(map(self.foundation.encode, tiles.cut(truth)), len(whole), self.device)
        batches = zip(tiles.cut(latent), tiles.cut(degraded), tiles.owners(len(whole)), strict=True)
        decoded = (self._decode(tile, lq, seen.probabilities[pictures]) for tile, lq, pictures in batches)
        return tiles.blend(decoded, len(whole), whole.device, self.on_share)

    def _decode(self, latent: Tensor, degraded: Tensor, probabilities: Tensor) -> Tensor:
        features = self.drm.degraded_features(self.foundation.encode, degraded)[1]
        return self.drm(self.foundation.decode, latent, features, probabilities).clamp(0, 1)

    def modules(self) -> list[nn.Module]:
        """Every module that has weights."""
        return [*self.foundation.modules, self.predictor, self.drm]

    @torch.no_grad()
    def probe(self, pictures: Tensor) -> None:
        """Do every kind of work once on tiles (n, 3, h, w), so that the memory it takes can be counted."""
        pictures = pictures.to(self.device)
        self._decode(self.foundation.encode(pictures), pictures, self.look(pictures).probabilities)


def load_restorer(method_name: str, device: torch.device | str = "cpu") -> VaeCeiling | DrmCeiling:
    """The restorer of a method of kind `vae`; with a run, the one with the run's DRM.

    Raises ConfigError, LineageError: the method is not described, or its foundation or weights are missing.
    """
    method = config.load("methods", method_name)
    config.method_weights(method_name)  # reports a missing stage before the foundation is loaded
    foundation_name = config.method_foundation(method_name)
    assert foundation_name is not None
    foundation = towers.load(foundation_name, device)
    return DrmCeiling(foundation, method.run, method.clip_crop_px) if method.run else VaeCeiling(foundation)
