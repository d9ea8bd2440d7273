"""What every method's model offers to restoring: the one interface between ``models`` and ``restoring``.

A class fulfils it by having these attributes and methods; it need not import or inherit it.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:  # a method without a network (Identity) must not wait for torch
    import torch
    from torch import Tensor, nn

    from mperceiver.models.tiling import Tiles


OnShare = Callable[[float], None]


def unheard(share: float) -> None:
    """The ``on_share`` of a restorer whose progress nobody follows."""


class Seen(Protocol):
    """What a model that names the degradations takes from whole pictures."""

    @property
    def probabilities(self) -> "Tensor":
        """Of the degradations in ``Restorer.tasks``, (B, N)."""

    @property
    def clean(self) -> "Tensor | None":
        """Probability that nothing is wrong with a picture, (B,); None from a model that does not tell."""


Look = TypeVar("Look", bound="Seen | None")


class Restorer(Protocol[Look]):
    """A model with its weights, ready to restore pictures.

    Whole pictures stay on the CPU: the device holds their latents and the work on one batch of tiles.
    """

    # Called by `restore` after each batch of tiles with the share of its work that the batch was; the shares of a call add up to 1.
    on_share: OnShare

    @property
    def multiple(self) -> int:
        """Pixels. Each side of a padded picture is a multiple of this number."""

    @property
    def minimum(self) -> int:
        """Pixels. Each side of a padded picture is at least this long."""

    @property
    def batch(self) -> int:
        """The largest number of tiles that the model takes at once."""

    @property
    def sees(self) -> tuple[str, ...]:
        """The pictures of a pair that the model is given, "lq" and "gt", as three channels each in this order."""

    @property
    def device(self) -> "torch.device | str":
        """Where the model computes."""

    @property
    def tasks(self) -> Sequence[str]:
        """The degradations whose probabilities ``look`` returns, in their order; empty where it returns None."""

    def look(self, whole: "Tensor", tasks: Sequence[str] = ()) -> Look:
        """Padded pictures (B, 3 for each of ``sees``, H, W) in [0, 1] on the CPU -> what the model takes from a whole picture.

        ``tasks``: where they are known, the degradation of each picture; only a method that asks to be told uses them.
        MPerceiver takes the CLIP embedding and the probabilities of the degradations, most other methods nothing (None).
        """

    def restore(self, whole: "Tensor", seen: Look, seeds: list[int], tiles: "Tiles") -> "Tensor":
        """The pictures of ``look`` and its result -> restored RGB pictures (B, 3, H, W) in [0, 1] on the CPU.

        All random numbers for picture b come from ``seeds[b]``. ``tiles`` says how the pictures are cut for the device.
        """

    def modules(self) -> "list[nn.Module]":
        """Every module that has weights; their bytes are part of a memory budget."""

    def probe(self, pictures: "Tensor") -> None:
        """Do every kind of work once on tiles (n, 3, h, w), so that the memory it takes can be counted."""
