"""Any picture of any size through any method: padding, overlapping tiles, self-ensemble.

A method's model is a restorer, an object with

- ``multiple``, ``minimum``: pixels that a side must be a multiple of, and at least; ``batch`` (1 if it has none):
  tiles it takes at once at most; ``device`` (the CPU if it has none): where it works,
- ``look(whole) -> seen``: what is to be known of whole pictures, (B, 3, H, W) in [0, 1], padded, on the CPU: for MPerceiver
  the CLIP embedding and the degradations' probabilities,
- ``restore(whole, seen, seeds, tiles) -> restored``: the same shape, on the CPU again; ``seeds[b]`` is where all that is
  drawn for picture b comes from, ``tiles`` (mperceiver.tiling) how its work is cut.

Whole pictures stay on the CPU: the device holds their latents and the work on one batch of tiles.
"""

from collections.abc import Iterable, Iterator
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mperceiver import config, images, lineage
from mperceiver.data.loader import Prepared
from mperceiver.degradations.mix import picture_seed
from mperceiver.images import PictureError
from mperceiver.progress import progress

if TYPE_CHECKING:
    import torch

    from mperceiver.tiling import Tiles

# (quarter turns, mirrored) of the views that a self-ensemble averages; a half turn and a mirror make the vertical flip.
VIEWS = {
    "none": [(0, False)],
    "flip4": list(product((0, 2), (False, True))),
    "geometric8": list(product(range(4), (False, True))),
}
HELD = 4  # batches that wait for pictures of their size, or to be written


class Identity:
    """The degraded picture itself: what a method is measured against."""

    multiple = minimum = 1
    batch = 16

    def look(self, whole: "torch.Tensor") -> None:
        return None

    def restore(self, whole: "torch.Tensor", seen: None, seeds: list[int], tiles: "Tiles") -> "torch.Tensor":
        return whole


def load(method: str) -> Any:
    """The restorer of config/methods/<method>.yaml, with its weights, on the GPU where there is one."""
    kind = config.load("methods", method).kind
    if kind == "identity":
        return Identity()
    if kind == "mperceiver":
        from mperceiver.models.mperceiver import load_restorer
    elif kind == "network":
        from mperceiver.models.baselines import load_restorer
    else:
        from mperceiver.models.foundation import load_vae_ceiling as load_restorer
    import torch

    return load_restorer(method, "cuda" if torch.cuda.is_available() else "cpu")


# ---------------------------------------------------------------- pictures in memory


def restore_picture(restorer: Any, picture: "torch.Tensor", method: config.Method, seed: int) -> "torch.Tensor":
    """Restore one picture: (1, 3, H, W) in [0, 1] -> the same."""
    return restore_pictures(restorer, picture, method, [seed])


def restore_pictures(
    restorer: Any, pictures: "torch.Tensor", method: config.Method, seeds: list[int]
) -> "torch.Tensor":
    """Restore B pictures of one size: float (B, 3, H, W) in [0, 1] on the CPU -> the same, not rounded.

    A self-ensemble restores every view from start noise of its own and averages the outputs, turned back, before they
    are clamped and rounded.

    Raises:
        PictureError: not pictures, or the restorer gave back something else. ConfigError: tiles that cannot be cut.
    """
    import torch

    images.check(pictures)
    views = VIEWS[method.self_ensemble]
    total = torch.zeros_like(pictures)
    with torch.inference_mode():
        for number, (turns, mirrored) in enumerate(views):
            view = pictures.rot90(turns, (-2, -1))
            view = view.flip(-1) if mirrored else view
            restored = _one_view(restorer, view.contiguous(), method, [(seed + number) % 2**64 for seed in seeds])
            restored = restored.flip(-1) if mirrored else restored
            total += restored.rot90(-turns, (-2, -1))
    return (total / len(views)).clamp(0, 1)


def _one_view(restorer: Any, pictures: "torch.Tensor", method: config.Method, seeds: list[int]) -> "torch.Tensor":
    """Pad, restore in tiles, crop."""
    from mperceiver import tiling

    height, width = pictures.shape[-2:]
    whole = images.pad(pictures, restorer.multiple, tiling.smallest_side(restorer))
    size = (whole.shape[-2], whole.shape[-1])
    tiles = tiling.lay_out(restorer, size, method.tile_px, method.overlap_px, getattr(restorer, "batch", 1))
    restored = restorer.restore(whole, restorer.look(whole), seeds, tiles)
    if restored.shape != whole.shape or not restored.isfinite().all():
        what = "values that are not numbers" if restored.shape == whole.shape else f"the shape {tuple(restored.shape)}"
        raise PictureError(
            f"the model returned {what} for a picture of shape {tuple(whole.shape)}; "
            "its weights are damaged or its training diverged (see the run's curve)"
        )
    return restored[..., :height, :width]


# ---------------------------------------------------------------- datasets


def restored_folder(method: str, dataset: str) -> Path:
    return Path("results/restored") / method / dataset


def restored_card(method: str, dataset: str) -> Path:
    return Path("results/restored") / method / f"{dataset}.json"


def restore_dataset(method: str, dataset: str) -> Path:
    """Write results/restored/{method}/{dataset}/{id}.png and the card, whole or not at all; return the card's path.

    Pictures of one size that fit a tile go through the model together. A picture's seed is a hash of (dataset, id, the
    sampler's seed), so neither order nor batch matters.

    Raises:
        ConfigError, LineageError, DataError: something is not described, or its weights or pictures are not there.
        PictureError: a picture cannot be read or restored, by name.
    """
    spec = config.load("methods", method)
    config.load("datasets", dataset)
    lineage.commit()  # a result without a commit cannot be kept: say so before the work, not after
    inputs = config.restore_inputs(method, dataset)
    for path in inputs:
        if path.endswith(".json"):
            lineage.read_card(path)
    prepared = Prepared(dataset)
    restorer = load(method)
    folder, card = restored_folder(method, dataset), restored_card(method, dataset)
    with lineage.whole_folder(folder) as beside, progress(f"restore {method} {dataset}", len(prepared)) as advance:
        _restore_all(restorer, spec, prepared, beside, advance)
        card.unlink(missing_ok=True)  # the old one must not stand beside the new pictures
    lineage.write_card(
        card,
        verb="restore",
        spec={"method": spec, "dataset": dataset},
        inputs=inputs,
        outputs=[folder],
        seed=spec.sampler.seed,
        device=_device_name(restorer),
        result={"count": len(prepared)},
    )
    return card


def _device(restorer: Any) -> Any:
    return getattr(restorer, "device", "cpu")


def _device_name(restorer: Any) -> str:
    """For the card: "cpu", or the name of the GPU."""
    if str(_device(restorer)) == "cpu":
        return "cpu"
    import torch

    return torch.cuda.get_device_name(_device(restorer))


def _restore_all(restorer: Any, spec: config.Method, prepared: Prepared, folder: Path, advance: Any) -> None:
    """Restore every picture; PNGs are encoded and written by a second thread while the model works on the next ones."""
    if isinstance(restorer, Identity):  # nothing to compute; the job is over before torch would be there
        for i, name in enumerate(prepared.ids):
            (folder / f"{name}.png").write_bytes(images.encode(prepared.lq(i)))
            advance(1)
        return
    from collections import deque
    from concurrent.futures import ThreadPoolExecutor

    import torch

    # The ceiling of the VAE is what it makes of the truth.
    read = prepared.gt if spec.kind == "vae" else prepared.lq
    pictures = ((prepared.ids[i], read(i)) for i in range(len(prepared)))
    batch = getattr(restorer, "batch", 1)
    waiting: deque = deque()
    with ThreadPoolExecutor(1) as writer:
        for group in _groups(pictures, batch, spec.tile_px):
            names, stack = zip(*group, strict=True)
            seeds = [picture_seed(prepared.name, name, spec.sampler.seed) for name in names]
            try:
                restored = restore_pictures(restorer, torch.cat([images.to_tensor(p) for p in stack]), spec, seeds)
            except PictureError as error:
                raise PictureError(f"{prepared.name}, {', '.join(names)}: {error}") from None
            waiting.append(writer.submit(_write, folder, names, restored))
            while len(waiting) > HELD:
                waiting.popleft().result()
            advance(len(names))
        for done in waiting:
            done.result()


def _write(folder: Path, names: tuple[str, ...], restored: "torch.Tensor") -> None:
    for name, picture in zip(names, restored, strict=True):
        (folder / f"{name}.png").write_bytes(images.encode(images.to_picture(picture)))


def _groups(
    pictures: Iterable[tuple[str, np.ndarray]], batch: int, tile_px: int
) -> Iterator[list[tuple[str, np.ndarray]]]:
    """Batches: up to ``batch`` pictures of one size that fit a tile, a larger one alone. Holds HELD batches at most."""
    waiting: dict[tuple, list] = {}
    for name, picture in pictures:
        size = picture.shape[:2]
        if batch == 1 or max(size) > tile_px:
            yield [(name, picture)]
            continue
        waiting.setdefault(size, []).append((name, picture))
        if len(waiting[size]) == batch:
            yield waiting.pop(size)
        elif sum(map(len, waiting.values())) >= HELD * batch:
            yield waiting.pop(max(waiting, key=lambda s: len(waiting[s])))
    yield from waiting.values()


# ---------------------------------------------------------------- one file


def restore_file(method: str, source: Path, target: Path, tile_px: int | None = None) -> None:
    """Restore a photograph into a PNG, whole or not at all.

    Args:
        tile_px: side of the tiles instead of the method's, which is what decides how much memory it takes.

    Raises:
        PictureError: ``source`` cannot be read, ``target`` is no .png or is ``source`` itself.
        ConfigError, LineageError: the method is not described, or has no weights yet.
    """
    source, target = Path(source), Path(target)
    if source.suffix.lower() not in images.SUFFIXES:
        raise PictureError(f"{source}: pictures end in {', '.join(sorted(images.SUFFIXES))}")
    if target.suffix.lower() != ".png":
        raise PictureError(f"{target}: a restored picture is written without loss; let its name end in .png")
    if target.resolve() == source.resolve() or (target.exists() and source.exists() and target.samefile(source)):
        raise PictureError(f"{target}: is the picture to restore; give the restored one another name")
    spec = config.load("methods", method)
    if spec.kind == "vae":
        raise PictureError(
            f"{method} restores from the ground truth, which a photograph has not; choose another method"
        )
    spec = spec.model_copy(update={"tile_px": tile_px}) if tile_px else spec
    picture = images.to_tensor(images.decode(source))
    restored = restore_picture(load(method), picture, spec, spec.sampler.seed)
    with lineage.whole(target) as beside:
        beside.write_bytes(images.encode(images.to_picture(restored)))
