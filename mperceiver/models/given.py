"""What hooks inside a frozen tower read while it runs."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint


class Given:
    """A value that is set while a tower runs, and again while a part of it is computed anew for the gradient."""

    def __init__(self) -> None:
        self.value: Any = None

    @contextmanager
    def __call__(self, value: Any) -> Iterator[None]:
        before, self.value = self.value, value
        try:
            yield
        finally:
            self.value = before

    def checkpoint(self, tower: nn.Module) -> None:
        """Gradient checkpointing of a diffusers model: of its blocks only the inputs are kept for the gradient.

        The value of the forward pass stays reachable until the last of its blocks has been computed again.
        """
        tower.enable_gradient_checkpointing(self._checkpointed)

    def _checkpointed(self, block: nn.Module, *arguments: Tensor) -> Tensor:
        value = self.value

        def run(*arguments: Tensor) -> Tensor:
            with self(value):
                return block(*arguments)

        return checkpoint(run, *arguments, use_reentrant=False)
