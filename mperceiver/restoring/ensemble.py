"""Restoring pictures in memory: padding, overlapping tiles, and a self-ensemble over mirrored and turned views."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import reduce
from itertools import product
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from mperceiver import images
from mperceiver.images import PictureError
from mperceiver.restoring.memory import TilePlanner

if TYPE_CHECKING:
    from mperceiver.models.restorer import Seen

# (quarter turns, mirrored) of the views that a self-ensemble averages; a half turn and a mirror make the vertical flip.
VIEWS: dict[str, list[tuple[int, bool]]] = {
    "none": [(0, False)],
    "flip2": list(product((0,), (False, True))),
    "flip4": list(product((0, 2), (False, True))),
    "geometric8": list(product(range(4), (False, True))),
}


def restore_pictures(
    planner: TilePlanner, pictures: Tensor, seeds: list[int], tasks: Sequence[str] = (), unclipped: bool = False
) -> tuple[Tensor, "Seen | None"]:
    """Restore B pictures of one size, and return the result of the model's ``look`` at them too.

    A self-ensemble restores each view from start noise of its own, turns the outputs back, and averages them before they
    are clamped and rounded. The model looks at the pictures once, as they are, since what is wrong with a picture does not depend on how
    it is turned. If each view were looked at by itself, a single wrong estimate would spoil the average.

    Args:
        pictures: float (B, 3 for each picture that the model sees, H, W) in [0, 1] on the CPU.
        seeds: one for each picture; view k of a picture uses its seed + k.
        tasks: where they are known, the degradation of each picture.
        unclipped: the pictures have noise that was not clipped to [0, 1].

    Returns:
        Restored pictures, float (B, 3, H, W) in [0, 1] on the CPU, not rounded; and the result of ``look``, None from most methods.

    Raises:
        PictureError: ``pictures`` have another form or range; or the output of the model has; or the memory is too small.
        ConfigError: tiles that cannot be cut.
    """
    for picture in pictures.split(3, dim=1):
        images.check(picture, unclipped=unclipped)
    views = VIEWS[planner.method.self_ensemble]
    with torch.inference_mode():
        seen = _look(planner, pictures, tasks)

        def outputs() -> Iterator[Tensor]:
            for number, (turns, mirrored) in enumerate(views):
                view = pictures.rot90(turns, (-2, -1))
                view = view.flip(-1) if mirrored else view
                restored = _restore_view(planner, view.contiguous(), seen, [(seed + number) % 2**64 for seed in seeds])
                restored = restored.flip(-1) if mirrored else restored
                yield restored.rot90(-turns, (-2, -1))

        total = reduce(torch.add, outputs())
        return (total / len(views) if len(views) > 1 else total).clamp(0, 1), seen


def _look(planner: TilePlanner, pictures: Tensor, tasks: Sequence[str]) -> "Seen | None":
    """What the model's ``look`` returns for the padded pictures, which are not kept."""
    whole = images.pad(pictures, planner.restorer.multiple, planner.smallest)
    with _memory_errors(planner, whole):
        return planner.restorer.look(whole, tasks)


@contextmanager
def _memory_errors(planner: TilePlanner, whole: Tensor) -> Iterator[None]:
    """Turn what PyTorch raises when the memory runs out into a PictureError. ``whole``: padded pictures (B, C, H, W)."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not isinstance(error, (torch.OutOfMemoryError, MemoryError)) and "can't allocate memory" not in str(error):
            raise
        height, width = whole.shape[-2:]
        raise PictureError(
            f"out of memory at {width}x{height} px in tiles of {max(planner.tiles((height, width)).tile)} px; "
            "set a smaller memory budget: --memory-gib, or memory_gib in config/methods/"
        ) from None


def _restore_view(planner: TilePlanner, pictures: Tensor, seen: "Seen | None", seeds: list[int]) -> Tensor:
    """Pad, restore in tiles, crop. ``seen``: what the model's ``look`` returned."""
    height, width = pictures.shape[-2:]
    whole = images.pad(pictures, planner.restorer.multiple, planner.smallest)
    with _memory_errors(planner, whole):
        restored = planner.restorer.restore(whole, seen, seeds, planner.tiles((whole.shape[-2], whole.shape[-1])))
    if restored.shape != whole[:, :3].shape or not restored.isfinite().all():
        what = f"the shape {tuple(restored.shape)}" if restored.isfinite().all() else "values that are not numbers"
        raise PictureError(
            f"the model returned {what} for a picture of shape {tuple(whole.shape)}; "
            "its weights are damaged or its training diverged (see the run's curve)"
        )
    return restored[..., :height, :width]
