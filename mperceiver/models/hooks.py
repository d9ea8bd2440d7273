"""Values for hooks inside a frozen tower, which read them while the tower runs."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Generic, TypeVar

from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

if TYPE_CHECKING:
    from diffusers import ModelMixin

T = TypeVar("T")


class HookValue(Generic[T]):
    """A value that is set while a tower runs, and again while a checkpointed block is computed anew for the gradient.

    Outside, ``value`` is None, and the hooks leave the tower as it is.
    """

    def __init__(self) -> None:
        self.value: T | None = None

    @contextmanager
    def set_to(self, value: T | None) -> Iterator[None]:
        """Inside the block ``value`` is set; afterwards it is what it was before."""
        before, self.value = self.value, value
        try:
            yield
        finally:
            self.value = before

    def checkpoint(self, tower: "ModelMixin") -> None:
        """Switch on the gradient checkpointing of a diffusers model: of its blocks only the inputs are stored for the gradient.

        The value of a forward pass stays in memory until the last of its blocks has been computed again.
        """
        tower.enable_gradient_checkpointing(self._checkpointed)

    def _checkpointed(self, block: nn.Module, *arguments: Tensor) -> Tensor:
        value = self.value

        def run(*arguments: Tensor) -> Tensor:
            with self.set_to(value):
                return block(*arguments)

        return checkpoint(run, *arguments, use_reentrant=False)
