"""JPEG: the artefacts of the codec."""

import io
from typing import Annotated

import numpy as np
from PIL import Image
from pydantic import Field

from mperceiver.degradations.ranges import checked


@checked("jpeg")
def jpeg(
    image: np.ndarray, rng: np.random.Generator, *, quality: Annotated[int, Field(ge=1, le=100)] = 10
) -> np.ndarray:
    """Round to 8 bit, encode as JPEG (4:2:0, libjpeg's tables) and decode. Draws nothing.

    As LIVE1 and BSD500 are compressed at quality 10 (FBCNN, Jiang et al., ICCV 2021, arXiv:2109.14573). FBCNN writes with OpenCV,
    this function with Pillow: both call libjpeg-turbo, and gave equal pixels on four pictures of LIVE1 at qualities 10 and 40
    (Pillow 13.0, OpenCV 5.0, libjpeg-turbo 3). Another libjpeg, or 4:4:4, gives other pixels.

    Args:
        image: float32 (H, W, 3) in [0, 1].
        rng: not used.
        quality: as libjpeg counts it; the lower, the stronger the artefacts.
    """
    buffer = io.BytesIO()
    Image.fromarray(np.round(image * 255).astype(np.uint8)).save(
        buffer, "JPEG", quality=int(quality), subsampling="4:2:0"
    )
    return np.asarray(Image.open(buffer), np.float32) / np.float32(255)
