"""config/protocols/: how restored pictures are scored."""

from typing import Literal

from pydantic import Field

from mperceiver.config.base import MetricName, Model

SSIM_SIDE = 11  # px, of SSIM's Gaussian window


class Protocol(Model):
    """config/protocols/<name>.yaml: how restored pictures are scored."""

    title: str = Field(description="the protocol in words, printed below tables")
    channel: Literal["rgb", "y"] = Field("rgb", description="what PSNR and SSIM are computed on; y: BT.601 luma")
    luma_rounded: bool = Field(
        False, description="round luma to 8 bit, as MATLAB's rgb2ycbcr does for an 8-bit picture"
    )
    border_px: int = Field(0, ge=0, description="pixels cropped from each side before scoring")
    quantised: bool = Field(True, description="round the restored picture to 8 bit before scoring")
    align: Literal["none", "realblur"] = Field(
        "none",
        description="realblur: before PSNR and SSIM, match the restored picture's exposure to the ground truth and warp it "
        "onto the ground truth by a homography",
    )
    ssim: Literal["gaussian", "uniform", "matlab-3d"] = Field(
        "gaussian",
        description="gaussian: 11x11 Gaussian window of sigma 1.5, mean over channels (BasicSR); uniform: 7x7 flat window, "
        "sample covariance (scikit-image's default); matlab-3d: MATLAB's `ssim` of a colour picture, with a window over "
        "the channels too",
    )
    lpips: Literal["alex", "vgg"] = Field(
        "alex", description="network of LPIPS (version 0.1), which is always computed on RGB"
    )
    metrics: list[MetricName] = Field(
        ["psnr", "ssim", "lpips"],
        description="metrics to compute (keys of METRICS in mperceiver/metrics/), in the order of the score file's columns",
    )
