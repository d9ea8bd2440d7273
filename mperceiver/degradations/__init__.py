"""Degradations: pure functions ``(image, rng, **parameters) -> image`` on float32 RGB (H, W, 3) in [0, 1], H and W >= 16.

To add one, write its function in the file of its family, or in a new file, and give it an entry in DEGRADATIONS. mix.py
composes degradations. docs/add-a-degradation.md goes through it step by step.
"""

from collections.abc import Callable
from typing import Literal, NamedTuple, get_args

import numpy as np

from mperceiver.degradations.blur import defocus, gaussian_blur, motion_blur
from mperceiver.degradations.display import under_display
from mperceiver.degradations.haze import haze
from mperceiver.degradations.jpeg import jpeg
from mperceiver.degradations.lowlight import low_light
from mperceiver.degradations.moire import moire
from mperceiver.degradations.mosaic import demosaic
from mperceiver.degradations.noise import gaussian_noise, real_noise
from mperceiver.degradations.rain import rain
from mperceiver.degradations.raindrop import raindrop
from mperceiver.degradations.snow import snow
from mperceiver.degradations.underwater import underwater

# The path of light into a file: the order in which the layers of a mix are applied.
Place = Literal["scene", "lens", "blur", "noise", "codec"]
PLACES: tuple[Place, ...] = get_args(Place)


class Degradation(NamedTuple):
    """A degradation.

    Attributes:
        apply: its function.
        place: where it stands in a mix.
        either: pairs of its parameters; if the second of a pair is given, the first does nothing.
    """

    apply: Callable[..., np.ndarray]
    place: Place
    either: tuple[tuple[str, str], ...] = ()


DEGRADATIONS: dict[str, Degradation] = {
    "haze": Degradation(haze, "scene"),
    "rain": Degradation(rain, "scene"),
    "snow": Degradation(snow, "scene"),
    "low-light": Degradation(low_light, "scene"),
    "underwater": Degradation(underwater, "scene"),
    "under-display": Degradation(under_display, "lens"),
    "raindrop": Degradation(raindrop, "lens", either=(("cover", "count"),)),
    "motion-blur": Degradation(motion_blur, "blur"),
    "defocus": Degradation(defocus, "blur"),
    "gaussian-blur": Degradation(gaussian_blur, "blur"),
    "moire": Degradation(moire, "blur"),
    "gaussian-noise": Degradation(gaussian_noise, "noise"),
    "real-noise": Degradation(real_noise, "noise"),
    "demosaic": Degradation(demosaic, "codec"),
    "jpeg": Degradation(jpeg, "codec"),
}
