"""A run's weights around their foundation, ready to restore: predictor, dual branch, sampler and DRM (section 3, Fig. 3)."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from mperceiver import config, paths
from mperceiver.config.samplers import Sampler
from mperceiver.models import towers
from mperceiver.models.branches import Branches, Static
from mperceiver.models.drm import DetailRefinement
from mperceiver.models.predictor import Seen, build_predictor, look
from mperceiver.models.sampling import ddim
from mperceiver.models.tiling import Tiles
from mperceiver.models.towers import Towers
from mperceiver.models.weights import load_weights

Features = dict[int, Tensor]  # of the VAE's encoder, by level


class MPerceiver:
    """A run's weights around their foundation, ready to restore.

    Prompts and probabilities are of the whole picture; the VAE, the U-Net and the DRM work on tiles of it, and after each of
    them, and after each step of the sampler, the tiles are blended into one latent or picture.
    """

    batch = 8  # tiles, or pictures that are one tile, restored together at most
    sees = ("lq",)

    def __init__(
        self,
        foundation: Towers,
        run_name: str,
        sampler: Sampler,
        drm: bool,
        clip_crop_px: int | None = None,
        precision: str = "no",
        channels_last: bool = False,
        compile: bool = False,
    ) -> None:
        run = config.load("runs", run_name)
        owners = config.weights_of(run_name)
        self.foundation, self.sampler, self.device = foundation, sampler, foundation.device
        self.clip_crop_px, self.tasks = clip_crop_px, run.tasks
        self.multiple, self.minimum = foundation.multiple, foundation.minimum
        self.on_step: Callable[[int], None] = lambda steps: None  # called with 1 after each step of the sampler
        self.alphas = foundation.alphas()
        self.predictor = build_predictor(foundation, run)
        self.branches = Branches(foundation, len(run.tasks), run.model)
        self.drm = DetailRefinement(foundation.vae, len(run.tasks), run.model) if drm else None
        parts = {"predictor": self.predictor, "branches": self.branches} | ({"drm": self.drm} if drm else {})
        for stage, module in parts.items():
            if next(module.parameters(), None) is not None:  # without either branch there is nothing to load
                load_weights(paths.weights_file(owners[stage], stage), module)
            towers.freeze(module).to(foundation.device)
        on_cpu = torch.device(self.device).type == "cpu"
        self.branches.set_up("no" if on_cpu else precision, channels_last, compile)
        if drm:
            self.drm.attach(foundation.vae)
            self.drm.set_up(foundation.vae, channels_last)

    def look(self, whole: Tensor) -> Seen:
        """At whole pictures (B, 3, H, W) in [0, 1], or at crops of ``clip_crop_px`` that cover them, averaged."""
        return look(self.foundation, self.predictor, whole, self.clip_crop_px)

    @torch.no_grad()
    def restore(self, whole: Tensor, seen: Seen, seeds: list[int], tiles: Tiles) -> Tensor:
        """Padded pictures (B, 3, H, W) in [0, 1] on the CPU, what was seen of them and a seed each -> restored, the same."""
        static = self.branches.prepare(seen.embedding, seen.probabilities)
        statics = _by_batch(static, tiles.owners(len(whole)))
        lq_latent, degraded = self._encode(whole, tiles)
        latent = self._sample(lq_latent, statics, seeds, tiles)
        return tiles.blend(self._decoded(latent, whole, degraded, statics, tiles), len(whole), whole.device)

    def _encode(self, whole: Tensor, tiles: Tiles) -> tuple[Tensor, list[Features]]:
        """The LQ latent (B, 4, h, w). The features that the DRM wants are kept where each picture is one tile; more would
        fill the memory, and are computed again when their tile is decoded."""
        keep, kept = self.drm is not None and tiles.count == 1, []

        def encode(tile: Tensor) -> Tensor:
            if not keep:
                return self.foundation.encode(tile)
            latent, degraded = self.drm.degraded_features(self.foundation.encode, tile)
            kept.append(degraded)
            return latent

        return tiles.blend(map(encode, tiles.cut(whole)), len(whole), self.device), kept

    def _sample(self, lq_latent: Tensor, statics: list[Static], seeds: list[int], tiles: Tiles) -> Tensor:
        """The restored latent (B, 4, h, w): DDIM on the whole latent, each prediction blended from its tiles'."""
        generators = [torch.Generator().manual_seed(seed % 2**63) for seed in seeds]
        degraded = list(tiles.cut(lq_latent))  # kept, since what `predict` makes of each lives as long as it does

        def draw() -> Tensor:
            return torch.stack([torch.randn(lq_latent.shape[1:], generator=generator) for generator in generators])

        def predict(z: Tensor, t: Tensor) -> Tensor:
            work = zip(tiles.cut(z), degraded, statics, strict=True)
            parts = (self.branches.predict(part, t[:1].expand(len(part)), static, lq) for part, lq, static in work)
            found = tiles.blend(parts, len(z), z.device)
            self.on_step(1)
            return found

        noise = draw().to(self.device)
        return ddim(predict, noise, self.alphas, self.foundation.prediction, self.sampler, lq_latent, draw)

    def _decoded(
        self, latent: Tensor, whole: Tensor, degraded: list[Features], statics: list[Static], tiles: Tiles
    ) -> Iterator[Tensor]:
        """Batches of restored tiles (n, 3, h, w) in [0, 1]."""
        if self.drm is None:
            yield from (self.foundation.decode(part).clamp(0, 1) for part in tiles.cut(latent))
            return
        encode, decode = self.foundation.encode, self.foundation.decode
        found = (
            iter(degraded) if degraded else (self.drm.degraded_features(encode, part)[1] for part in tiles.cut(whole))
        )
        for part, features, static in zip(tiles.cut(latent), found, statics, strict=True):
            yield self.drm(decode, part, features, static.probabilities).clamp(0, 1)

    def modules(self) -> list[nn.Module]:
        """All that has weights."""
        return [*self.foundation.towers, self.predictor, self.branches, *([self.drm] if self.drm else [])]

    def probe(self, pictures: Tensor) -> None:
        """Every kind of work once on tiles (n, 3, h, w), for what it takes of the memory."""
        some = Tiles(tuple(pictures.shape[-2:]), [0], [0], tuple(pictures.shape[-2:]), len(pictures), self.device)
        kept = self.sampler, self.on_step
        self.sampler, self.on_step = self.sampler.model_copy(update={"steps": 1}), lambda steps: None
        try:
            self.restore(pictures, self.look(pictures), [0] * len(pictures), some)
        finally:
            self.sampler, self.on_step = kept


def _by_batch(static: Static, owners: list[list[int]]) -> list[Static]:
    """For each batch of tiles that of its pictures; what is of the same pictures is the same object."""
    if len(owners) == 1 and len(set(owners[0])) == len(owners[0]):
        return [static]
    made = {tuple(pictures): pictures for pictures in owners}
    of = {key: static.of(pictures) for key, pictures in made.items()}
    return [of[tuple(pictures)] for pictures in owners]


def load_restorer(method_name: str, device: torch.device | str = "cpu") -> MPerceiver:
    """The restorer of a method of kind mperceiver, with the weights of its run."""
    method = config.load("methods", method_name)
    config.method_weights(method_name)  # a missing stage is told before the foundation is loaded
    run = config.load("runs", method.run)
    foundation = towers.load(run.foundation, device)
    return MPerceiver(
        foundation,
        method.run,
        method.sampler,
        method.drm,
        method.clip_crop_px,
        method.precision,
        method.channels_last,
        method.compile,
    )
