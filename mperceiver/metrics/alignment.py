"""RealBlur's alignment before scoring (Rim et al., ECCV 2020).

Its pairs come from two cameras. So the restored picture is scaled to the ground truth's exposure and warped onto it by a
homography (ECC, Evangelidis & Psarakis, doi:10.1109/TPAMI.2008.113); pixels that the warp does not cover are not counted.
"""

import numpy as np

from mperceiver.images import PictureError

ITERATIONS = 100  # of ECC
SMOOTHING_PX = 5  # side of the Gaussian that ECC looks through


def onto(restored: np.ndarray, gt: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Align a restored picture with its ground truth: float (H, W, 3) in [0, 1] twice -> (aligned, covered), both (H, W, 3).

    ``aligned`` is warped by cubic interpolation; ``covered`` is 1 where it has values, else 0. Raises PictureError where no
    homography fits: a picture without texture, or one of another scene.
    """
    import cv2

    restored, gt = restored.astype(np.float32), gt.astype(np.float32)
    exposed = restored * np.float32(
        (gt * restored).sum(dtype=np.float64) / max((restored**2).sum(dtype=np.float64), 1e-12)
    )
    grey_gt, grey = (cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY) for picture in (gt, exposed))
    criteria = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, ITERATIONS, 0)
    try:
        _, warp = cv2.findTransformECC(  # type: ignore[call-overload]  # its stub wants a mask
            grey_gt,
            grey,
            np.eye(3, dtype=np.float32),
            cv2.MOTION_HOMOGRAPHY,
            criteria,
            inputMask=None,
            gaussFiltSize=SMOOTHING_PX,
        )
    except cv2.error as error:
        raise PictureError(f"cannot be aligned with its ground truth ({error.err}); is it of the same scene?") from None
    size, back = gt.shape[1::-1], cv2.WARP_INVERSE_MAP
    aligned = cv2.warpPerspective(exposed, warp, size, flags=cv2.INTER_CUBIC + back, borderMode=cv2.BORDER_REFLECT)
    covered = cv2.warpPerspective(np.ones_like(gt), warp, size, flags=cv2.INTER_NEAREST + back)
    if not np.isfinite(aligned).all() or not covered[SMOOTHING_PX:-SMOOTHING_PX, SMOOTHING_PX:-SMOOTHING_PX].any():
        raise PictureError("its alignment with its ground truth covers no pixel; is it of the same scene?")
    return aligned.astype(np.float64), covered.astype(np.float64)
