"""config/protocols/: how a picture is scored."""

from typing import Literal

from pydantic import Field

from mperceiver.config.base import MetricName, Model


class Protocol(Model):
    """config/protocols/<name>.yaml: how a picture is scored."""

    title: str = Field(description="the protocol in words, printed under tables")
    channel: Literal["rgb", "y"] = Field("rgb", description="y: BT.601 luma, for PSNR and SSIM")
    luma_rounded: bool = Field(False, description="round luma to 8 bit, as MATLAB's rgb2ycbcr does of 8-bit pictures")
    border_px: int = Field(0, ge=0, description="cropped from each side before scoring")
    quantised: bool = Field(True, description="round to 8 bit before scoring")
    align: Literal["none", "realblur"] = Field(
        "none",
        description="realblur: the restored picture is brought to the ground truth's exposure and warped onto it by a "
        "homography, for PSNR and SSIM",
    )
    ssim: Literal["gaussian", "uniform", "matlab-3d"] = Field(
        "gaussian",
        description="gaussian: 11x11 window of sigma 1.5, mean over channels (BasicSR); uniform: 7x7 flat window, sample "
        "covariance (skimage's default); matlab-3d: MATLAB's `ssim` of a colour picture, whose window runs over channels too",
    )
    lpips: Literal["alex", "vgg"] = Field("alex", description="trunk of LPIPS (version 0.1), which is always on RGB")
    metrics: list[MetricName] = Field(
        ["psnr", "ssim", "lpips"], description="what is computed, in the order of the score file's columns"
    )
