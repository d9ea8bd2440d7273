"""What the models of all kinds of file share: their base class, common types of values, the lists of tasks and stages."""

import re
from functools import cache
from typing import Annotated, Any, Literal, get_args, get_origin
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

# The nine degradations in the order of Fig. 8 of the paper; the predictor's classes and every prompt pool use this order.
TASKS = ["haze", "snow", "gaussian-noise", "rain", "motion-blur", "defocus", "real-noise", "raindrop", "low-light"]
SURE = 0.5  # the predictor is said not to be sure if the probability of its most probable class is below this
NOTHING_WRONG = "nothing wrong"  # column of the probability that a picture is clean; no degradation's name has a space
STAGES = ["predictor", "branches", "drm", "network"]  # in the order in which they are trained


def lpips_foundation(network: str) -> str:
    """The foundation with the weights of LPIPS with ``network``, "alex" or "vgg"."""
    return f"lpips-{network}"


# Every metric, a key of METRICS in mperceiver/metrics/ -> the foundation with its weights; None: the metric has no weights.
# {lpips} stands for the value of the protocol's key `lpips`.
METRIC_FOUNDATIONS: dict[str, str | None] = {
    "psnr": None,
    "ssim": None,
    "lpips": lpips_foundation("{lpips}"),
    "niqe": "niqe",
    "brisque": "brisque",
    "fid": "inception-fid",
}
NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")

Name = Annotated[str, Field(pattern=f"^{NAME.pattern}$")]


def check_once(names: list[str]) -> list[str]:
    """The names. Raises ValueError if one of them is given twice."""
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise ValueError(f"{twice} is named twice")
    return names


Names = Annotated[list[Name], AfterValidator(check_once)]
Positive = Annotated[int, Field(gt=0)]
Count = Annotated[int, Field(ge=0)]
Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
Share = Annotated[float, Field(gt=0, le=1)]
# YAML reads a bare `no` as false.
Precision = Annotated[Literal["no", "bf16", "fp16"], BeforeValidator(lambda value: "no" if value is False else value)]


def _check_url(value: str) -> str:
    parts = urlsplit(value)
    if (
        parts.scheme not in ("http", "https")
        or not parts.hostname
        or parts.username
        or re.search(r"[\x00-\x20\x7f]", value)
    ):
        raise ValueError("not an http or https URL (without user name, and with %20 for a space)")
    return value


Url = Annotated[str, AfterValidator(_check_url)]


def _check_metric(value: str) -> str:
    if value not in METRIC_FOUNDATIONS:
        raise ValueError(
            f"no metric {value!r}; the metrics are {', '.join(METRIC_FOUNDATIONS)} (the keys of METRIC_FOUNDATIONS in "
            "mperceiver/config/base.py, where a new one is named too)"
        )
    return value


MetricName = Annotated[str, AfterValidator(_check_metric)]


class ConfigError(ValueError):
    """A configuration file is missing or wrong. The message names the file and the key, and says what to do."""


class Model(BaseModel):
    """Base of all models: unknown keys are refused, values cannot be changed after reading, and `yes` or `on` is no number."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, populate_by_name=True, protected_namespaces=(), allow_inf_nan=False
    )

    @model_validator(mode="before")
    @classmethod
    def _check_numbers(cls, values: Any) -> Any:
        if isinstance(values, dict):
            for name in _numbers(cls) & values.keys():
                if _holds_bool(values[name]):
                    raise ValueError(f"{name}: a number is needed; yes, no, on, off, true and false are none in YAML")
        return values

    def is_set(self, key: str) -> bool:
        """Whether a key has another value than its default: a file may spell a default out."""
        return getattr(self, key) != type(self).model_fields[key].get_default(call_default_factory=True)


def without(key: str, place: str = "") -> str:
    """How a file is rid of a key that does nothing, for the end of an error's message; ``place``: where the key stands, such as `` in `drm```."""
    return f"remove it, or if the file that this one is `like` has it, write `{key}: null`{place}"


@cache
def _numbers(model: type[Model]) -> frozenset[str]:
    """The keys whose values are numbers, or lists or mappings of numbers."""
    kinds = {field.alias or name: _kinds(field.annotation) for name, field in model.model_fields.items()}
    return frozenset(name for name, of_field in kinds.items() if of_field & {int, float} and not of_field & {bool, Any})


def _kinds(annotation: Any) -> frozenset:
    """The types in an annotation: {int, NoneType} of `int | None`, {int} of `list[int]`."""
    inside = get_args(annotation)
    if not inside or get_origin(annotation) is Literal:
        return frozenset([annotation])
    return frozenset().union(*map(_kinds, inside))


def _holds_bool(value: Any) -> bool:
    if isinstance(value, dict):
        return any(map(_holds_bool, value.values()))
    return isinstance(value, bool) or (isinstance(value, list) and any(map(_holds_bool, value)))
