"""The package as a library: ``mperceiver.load("small").restore(picture)``."""

from typing import TYPE_CHECKING, TypeVar

import numpy as np

from mperceiver import config, images
from mperceiver.machine import quiet_model_libraries
from mperceiver.restoring.photographs import method_for_photographs
from mperceiver.restoring.restorers import load_restorer
from mperceiver.restoring.stream import RestoreRequest, restore_all

if TYPE_CHECKING:
    from torch import Tensor

    from mperceiver.images.pil import PilImage

    Picture = TypeVar("Picture", PilImage, Tensor, np.ndarray)
else:
    Picture = TypeVar("Picture")


class LoadedMethod:
    """A method with its weights in memory, for one thread at a time.

    Attributes:
        name: stem of `config/methods/<name>.yaml`.
        degradations: of the last call to ``restore``, a dictionary a picture: degradation -> probability. None for a method that
            predicts none.
    """

    def __init__(self, name: str) -> None:
        quiet_model_libraries()
        config.or_shipped()
        self.name, self._spec = name, method_for_photographs(name)
        self._restorer = load_restorer(name)
        self.degradations: list[dict[str, float] | None] = []

    def restore(self, picture: Picture) -> Picture:
        """Restore a picture, or a batch of pictures of one size.

        Args:
            picture: a PIL picture of mode RGB (another mode raises PictureError: convert it, so that what is lost is your choice),
                upright; or a tensor (B, 3, H, W), float in [0, 1], on any device; or an array (H, W, 3), uint8.

        Returns:
            What was given: a PIL picture of mode RGB with the colour profile of the argument; a float32 tensor of the same shape, in
            [0, 1], on the same device, in steps of 1/255; or an array uint8 of the same shape. The argument is not changed, and shares
            no memory with the result. The same picture gives the same values, whatever is restored with it.

        Raises:
            PictureError: another type, shape or range, a PIL picture that its EXIF data or XMP says lies on its side or is mirrored, or
                a picture that the method cannot restore; it says which.
        """
        import torch

        if isinstance(picture, np.ndarray):
            if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3:
                raise images.PictureError(f"expected an array (H, W, 3), uint8; got {picture.shape}, {picture.dtype}")
            return self._restore([picture.copy()])[0]  # kind identity returns the very array that it was given
        if images.is_pil(picture):
            upright = self._restore([images.from_pil(picture)])[0]
            return images.to_pil(upright, picture.info.get("icc_profile"))
        if not isinstance(picture, torch.Tensor):
            raise images.PictureError(f"expected a PIL picture, a tensor or an array; got {type(picture).__name__}")
        images.check(picture, "picture")
        arrays = [images.to_picture(one) for one in picture.detach().cpu().float()]
        restored = [images.to_tensor(array) for array in self._restore(arrays)]
        return torch.cat(restored).to(picture.device)

    def _restore(self, pictures: list[np.ndarray]) -> list[np.ndarray]:
        """Restore pictures, uint8 (H, W, 3) each; the results are in the same order."""
        results: dict[str, np.ndarray] = {}
        told: dict[str, dict[str, float] | None] = {}

        def request(number: int, picture: np.ndarray) -> RestoreRequest:
            name = str(number)
            return RestoreRequest(
                name, lambda: picture, lambda restored: results.update({name: restored}), self._spec.sampler.seed
            )

        requests = (request(number, picture) for number, picture in enumerate(pictures))
        for outcome in restore_all(self._restorer, self._spec, requests, alone=True):
            if outcome.error:
                raise images.PictureError(outcome.error)
            told[outcome.request.name] = outcome.probabilities
        self.degradations = [told[str(i)] for i in range(len(pictures))]
        return [results[str(i)] for i in range(len(pictures))]
