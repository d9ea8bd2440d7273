"""What the models of all kinds of file share."""

import re
from typing import Annotated, Literal, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

# The nine degradations in the order of Fig. 8 of the paper; the predictor's classes and every prompt pool use it.
TASKS = ["haze", "snow", "gaussian-noise", "rain", "motion-blur", "defocus", "real-noise", "raindrop", "low-light"]
STAGES = ["predictor", "branches", "drm", "network"]
MetricName = Literal["psnr", "ssim", "lpips", "niqe"]  # the keys of METRICS in mperceiver/metrics.py
METRIC_NAMES = list(get_args(MetricName))
NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")

Name = Annotated[str, Field(pattern=f"^{NAME.pattern}$")]
Positive = Annotated[int, Field(gt=0)]
Share = Annotated[float, Field(gt=0, le=1)]
# YAML reads a bare `no` as false.
Precision = Annotated[Literal["no", "bf16", "fp16"], BeforeValidator(lambda value: "no" if value is False else value)]


class ConfigError(ValueError):
    """A configuration file is missing or wrong; the message says which file, which key and what to do."""


class Model(BaseModel):
    """What all kinds share: unknown keys are refused, and what was read does not change."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True, protected_namespaces=())
