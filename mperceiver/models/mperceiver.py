"""MPerceiver, ready to restore: predictor, dual branch, sampler and DRM around their foundation (section 3, Fig. 3)."""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from mperceiver import config, machine
from mperceiver.config.methods import Tiling
from mperceiver.config.samplers import Sampler
from mperceiver.models import towers
from mperceiver.models.branches import HALF, Branches, StaticInputs
from mperceiver.models.drm import DetailRefinement, EncoderFeatures
from mperceiver.models.layout import lay_out
from mperceiver.models.predictor import (
    DegradationEstimate,
    DegradationPredictor,
    build_predictor,
    estimate_degradations,
)
from mperceiver.models.restorer import OnShare, unheard
from mperceiver.models.sampling import ddim
from mperceiver.models.tiling import Tiles
from mperceiver.models.towers import Towers
from mperceiver.models.weights import load_weights

# The time that encoding a tile, and decoding it with the DRM, takes: in steps of the sampler, at toy width, where it is longest.
COST_OF_ENCODING, COST_OF_DECODING = 0.2, 1.2


class MPerceiver:
    """Trained modules around their foundation.

    Prompts and probabilities describe the whole picture. The VAE, the U-Net and the DRM work on tiles of it; after each of
    them, and after each step of the sampler, the tiles are blended into one latent or picture.
    """

    batch = 8  # the most tiles, or pictures that are one tile, restored together
    sees = ("lq",)

    def __init__(
        self,
        foundation: Towers,
        predictor: DegradationPredictor,
        branches: Branches,
        drm: DetailRefinement | None,
        tasks: Sequence[str],
        sampler: Sampler,
        clip_crop_px: int | None = None,
        probabilities: Literal["predicted", "uniform", "given"] = "predicted",
        sampling_tiles: Tiling | None = None,
    ) -> None:
        """
        Args:
            foundation: on the device where the model works, as are the other modules. All are frozen, and the DRM is attached to this VAE.
            predictor, branches: as trained for ``tasks``.
            drm: repairs detail in the VAE's decoder; None: the decoder stays as it is.
            tasks: names of the degradations that the predictor tells apart.
            sampler: settings of the sampler.
            clip_crop_px: side of the crops that CLIP sees; None for the whole picture.
            probabilities: P as the predictor gives it, 1/N for every degradation, or 1 for the task that ``look`` is given.
            sampling_tiles: smaller tiles for the U-Net alone; None: the U-Net has the VAE's tiles.
        """
        self.foundation, self.predictor, self.branches, self.drm = foundation, predictor, branches, drm
        self.tasks, self.sampler, self.device = list(tasks), sampler, foundation.device
        self.clip_crop_px, self.probabilities, self.sampling_tiles = clip_crop_px, probabilities, sampling_tiles
        self.multiple, self.minimum = foundation.multiple, foundation.minimum
        # Called after each batch of tiles with the share of `restore`'s work that it was; the shares add up to 1.
        self.on_share: OnShare = unheard
        self.alphas = foundation.alphas()

    def look(self, whole: Tensor, tasks: Sequence[str] = ()) -> DegradationEstimate:
        """Estimate the degradations of padded pictures (B, 3, H, W) in [0, 1].

        ``tasks``: one for each picture, for ``probabilities: given``; a task that is none of the run's stays predicted.
        """
        estimate = estimate_degradations(self.foundation, self.predictor, whole, self.clip_crop_px)
        if self.probabilities == "uniform":
            estimate.probabilities = torch.full_like(estimate.probabilities, 1 / len(self.tasks))
        for i, task in enumerate(tasks if self.probabilities == "given" else ()):
            if task in self.tasks:
                estimate.probabilities[i] = torch.eye(len(self.tasks))[self.tasks.index(task)]
        return estimate

    def restore(self, whole: Tensor, seen: DegradationEstimate, seeds: list[int], tiles: Tiles) -> Tensor:
        """Padded pictures (B, 3, H, W) in [0, 1] on the CPU -> restored pictures of the same shape and range, on the CPU.

        Args:
            seen: what ``look`` returned for them.
            seeds: of each picture's noise.
            tiles: how the pictures are cut.
        """
        return self._restore(whole, seen, seeds, tiles, self.sampler, self.on_share)

    @torch.no_grad()
    def _restore(
        self,
        whole: Tensor,
        seen: DegradationEstimate,
        seeds: list[int],
        tiles: Tiles,
        sampler: Sampler,
        on_share: OnShare,
    ) -> Tensor:
        static = self.branches.prepare(seen.embedding, seen.probabilities)
        for_unet = self._tiles_of_unet(tiles)
        statics, unet_statics = (_by_batch(static, some.owners(len(whole))) for some in (tiles, for_unet))
        work = COST_OF_ENCODING + sampler.predictions + COST_OF_DECODING

        def report_of(batches: list[StaticInputs]) -> Callable[[float], None]:
            return lambda cost: on_share(cost / work / len(batches))

        report = report_of(statics)
        lq_latent, features = self._encode(whole, tiles, report)
        latent = self._sample(lq_latent, unet_statics, seeds, for_unet, sampler, report_of(unet_statics))
        return tiles.blend(self._decode(latent, whole, features, statics, tiles, report), len(whole), whole.device)

    def _tiles_of_unet(self, tiles: Tiles) -> Tiles:
        """The U-Net's tiles of pictures whose other tiles are ``tiles``, with no more pixels in a batch."""
        wanted = self.sampling_tiles
        if wanted is None or wanted.side_px >= max(tiles.tile):
            return tiles
        smaller = lay_out(self, tiles.size, wanted.side_px, wanted.overlap_px, step=self.foundation.factor)
        smaller.batch = min(self.batch, max(1, tiles.batch * math.prod(tiles.tile) // math.prod(smaller.tile)))
        return smaller

    def _encode(
        self, whole: Tensor, tiles: Tiles, report: Callable[[float], None]
    ) -> tuple[Tensor, list[EncoderFeatures]]:
        """The LQ latent (B, 4, h, w), and the encoder's features that the DRM needs, one entry for each batch of tiles.

        The features of all tiles of a large picture would fill the memory. If they need more than ``tiles.spare_bytes``, none are
        returned, and ``_decode`` computes them again, batch by batch.
        """
        drm = self.drm
        if drm is not None and tiles.count > 1:
            pixels = len(whole) * tiles.count * math.prod(tiles.tile)
            drm = drm if pixels * drm.bytes_per_pixel <= tiles.spare_bytes else None
        features: list[EncoderFeatures] = []

        def encode(tile: Tensor) -> Tensor:
            if drm is None:
                latent = self.foundation.encode(tile)
            else:
                latent, degraded = drm.degraded_features(self.foundation.encode, tile)
                features.append(degraded)
            report(COST_OF_ENCODING)
            return latent

        return tiles.blend(map(encode, tiles.cut(whole)), len(whole), self.device), features

    def _sample(
        self,
        lq_latent: Tensor,
        statics: list[StaticInputs],
        seeds: list[int],
        tiles: Tiles,
        sampler: Sampler,
        report: Callable[[float], None],
    ) -> Tensor:
        """The restored latent (B, 4, h, w), by DDIM on the whole latent; each prediction is blended from those of its tiles."""
        generators = [torch.Generator().manual_seed(seed % 2**63) for seed in seeds]
        # Kept for all steps, because the features that `predict` caches live as long as these tensors.
        lq_tiles = list(tiles.cut(lq_latent))

        def draw() -> Tensor:
            return torch.stack([torch.randn(lq_latent.shape[1:], generator=generator) for generator in generators])

        def predict(z: Tensor, t: Tensor) -> Tensor:
            def outputs() -> Iterator[Tensor]:
                for tile, lq, static in zip(tiles.cut(z), lq_tiles, statics, strict=True):
                    yield self.branches.predict(tile, t[:1].expand(len(tile)), static, lq)
                    report(1)

            return tiles.blend(outputs(), len(z), z.device)

        noise = draw().to(self.device)
        return ddim(predict, noise, self.alphas, self.foundation.prediction, sampler, lq_latent, draw)

    def _decode(
        self,
        latent: Tensor,
        whole: Tensor,
        features: list[EncoderFeatures],
        statics: list[StaticInputs],
        tiles: Tiles,
        report: Callable[[float], None],
    ) -> Iterator[Tensor]:
        """Batches of restored tiles (n, 3, h, w) in [0, 1]."""
        encode, decode, drm = self.foundation.encode, self.foundation.decode, self.drm
        if drm is None:
            for tile in tiles.cut(latent):
                yield decode(tile).clamp(0, 1)
                report(COST_OF_DECODING)
            return
        degraded = iter(features) if features else (drm.degraded_features(encode, tile)[1] for tile in tiles.cut(whole))
        for tile, lq_features, static in zip(tiles.cut(latent), degraded, statics, strict=True):
            yield drm(decode, tile, lq_features, static.probabilities).clamp(0, 1)
            report(COST_OF_DECODING)

    def modules(self) -> list[nn.Module]:
        """Every module that has weights."""
        return [*self.foundation.modules, self.predictor, self.branches, *([self.drm] if self.drm else [])]

    def probe(self, pictures: Tensor) -> None:
        """Do every kind of work once on tiles (n, 3, h, w), so that the memory it takes can be counted."""
        count, _, height, width = pictures.shape
        tiles = Tiles((height, width), [0], [0], (height, width), count, self.device)
        one_step = self.sampler.model_copy(update={"steps": 1})
        self._restore(pictures, self.look(pictures), [0] * count, tiles, one_step, unheard)


def _by_batch(static: StaticInputs, owners: list[list[int]]) -> list[StaticInputs]:
    """The static inputs of each batch of tiles; batches of the same pictures share one object."""
    if len(owners) == 1 and len(set(owners[0])) == len(owners[0]):
        return [static]
    by_pictures = {tuple(pictures): static.of(pictures) for pictures in {tuple(pictures) for pictures in owners}}
    return [by_pictures[tuple(pictures)] for pictures in owners]


def load_restorer(method_name: str, device: torch.device | str = "cpu") -> MPerceiver:
    """The restorer of a method of kind `mperceiver`, with the weights of its run.

    Raises ConfigError, LineageError: the method is not described, or its foundation or weights are missing.
    """
    method = config.load("methods", method_name)
    weights = config.weights_files(method_name)  # reports a missing stage before the foundation is loaded
    foundation_name = config.method_foundation(method_name)
    assert method.run is not None and foundation_name is not None
    run, foundation = config.load("runs", method.run), towers.load(foundation_name, device)
    predictor, branches = build_predictor(foundation, run), Branches(foundation, len(run.tasks), run.model)
    drm = DetailRefinement(foundation.vae, len(run.tasks), run.model) if method.drm else None
    stages: dict[str, nn.Module] = {"predictor": predictor, "branches": branches}
    if drm is not None:
        stages["drm"] = drm
    for stage, module in stages.items():
        if next(module.parameters(), None) is not None:  # a run without both branches has no weights of stage 2
            load_weights(weights[stage], module)
        towers.freeze(module).to(foundation.device)
    on_cpu = torch.device(foundation.device).type == "cpu"
    if machine.has_bfloat16(device):
        foundation.vae_dtype = HALF.get(method.vae_precision)
    branches.set_up("no" if on_cpu else method.precision, method.channels_last, method.compile)
    if drm is not None:
        drm.attach(foundation.vae)
        drm.set_up(foundation.vae, method.channels_last)
    return MPerceiver(
        foundation,
        predictor,
        branches,
        drm,
        run.tasks,
        method.sampler,
        method.clip_crop_px,
        method.probabilities,
        method.sampling_tiles,
    )
