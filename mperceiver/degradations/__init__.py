"""Degradations: pure functions ``(image, rng, **numbers) -> image`` on float32 RGB (H, W, 3) in [0, 1], H and W >= 16.

To add one, write it in the file of its family and name it here and in ``mix.ORDER``.
"""

from collections.abc import Callable

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

DEGRADATIONS: dict[str, Callable[..., np.ndarray]] = {
    "haze": haze,
    "snow": snow,
    "gaussian-noise": gaussian_noise,
    "rain": rain,
    "motion-blur": motion_blur,
    "defocus": defocus,
    "real-noise": real_noise,
    "raindrop": raindrop,
    "low-light": low_light,
    "gaussian-blur": gaussian_blur,
    "jpeg": jpeg,
    "underwater": underwater,
    "demosaic": demosaic,
    "moire": moire,
    "under-display": under_display,
}
