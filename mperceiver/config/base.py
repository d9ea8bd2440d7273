"""What the models of all kinds of file share."""

import re
from typing import Annotated, Literal, get_args
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

# The nine degradations in the order of Fig. 8 of the paper; the predictor's classes and every prompt pool use it.
TASKS = ["haze", "snow", "gaussian-noise", "rain", "motion-blur", "defocus", "real-noise", "raindrop", "low-light"]
STAGES = ["predictor", "branches", "drm", "network"]
MetricName = Literal["psnr", "ssim", "lpips", "niqe", "brisque", "fid"]  # the keys of METRICS in mperceiver/metrics/
METRIC_NAMES = list(get_args(MetricName))
NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")

Name = Annotated[str, Field(pattern=f"^{NAME.pattern}$")]
Positive = Annotated[int, Field(gt=0)]
Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
Share = Annotated[float, Field(gt=0, le=1)]
# YAML reads a bare `no` as false.
Precision = Annotated[Literal["no", "bf16", "fp16"], BeforeValidator(lambda value: "no" if value is False else value)]


def _web(value: str) -> str:
    parts = urlsplit(value)
    if (
        parts.scheme not in ("http", "https")
        or not parts.hostname
        or parts.username
        or re.search(r"[\x00-\x20\x7f]", value)
    ):
        raise ValueError("not an http or https URL (without user name, and with %20 for a space)")
    return value


Url = Annotated[str, AfterValidator(_web)]


class ConfigError(ValueError):
    """A configuration file is missing or wrong; the message says which file, which key and what to do."""


class Model(BaseModel):
    """What all kinds share: unknown keys are refused, and what was read does not change."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True, protected_namespaces=())
