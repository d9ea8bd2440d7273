"""Options of a command are checked as if they stood in the method's file, for every kind of method."""

import math

import pytest

from mperceiver.config import ConfigError, with_options
from mperceiver.config.methods import Method
from mperceiver.config.modules import DrmConfig
from mperceiver.config.runs import Stage

METHODS = {
    "identity": {},
    "mperceiver": {"run": "ours", "sampler": {"steps": 7, "init": "lq_noised", "strength": 0.5}},
    "network": {"run": "net", "overlap_px": 16},
    "vae": {"foundation": "mini"},
    "mean": {"methods": ["a", "b"]},
    "reported": {"reported": "X"},
}


@pytest.fixture(params=METHODS)
def spec(request):
    return Method(title="t", kind=request.param, **METHODS[request.param])


@pytest.mark.parametrize(
    ("option", "key", "value"),
    [
        *(("--tile", "tile_px", value) for value in (0, -1, -96, 1.5)),
        *(("--memory-gib", "memory_gib", value) for value in (0, -2, math.nan, math.inf, -math.inf)),
        *(("--overlap", "overlap_px", value) for value in (0, -8)),
        ("--ensemble", "self_ensemble", "flip3"),
        ("--precision", "precision", "fp8"),
        ("--steps", "sampler", {"steps": 0}),
        ("--strength", "sampler", {"strength": 2}),
    ],
)
def test_a_wrong_value_is_named_with_its_option(spec, option, key, value):
    with pytest.raises(ConfigError, match=f"^{option} ") as raised:
        with_options(spec, {option: (key, value), "--other": ("channels_last", None)})
    assert str(value) in str(raised.value) and "--other" not in str(raised.value)


def test_a_right_value_changes_its_key_only(spec):
    if spec.kind in ("mean", "reported"):  # nothing is restored, so nothing reads it
        with pytest.raises(ConfigError, match=f"^--tile: .*`tile_px` .*does nothing for kind {spec.kind}"):
            with_options(spec, {"--tile": ("tile_px", 96)})
        return
    changed = with_options(spec, {"--tile": ("tile_px", 96), "--memory-gib": ("memory_gib", None)})
    assert changed.tile_px == 96
    assert changed.model_dump(exclude={"tile_px"}) == spec.model_dump(exclude={"tile_px"})


@pytest.mark.parametrize(
    ("model", "values"),
    [
        (Method, {"title": "t", "kind": "identity", "tile_px": True}),
        (Method, {"title": "t", "kind": "identity", "memory_gib": False}),
        (Stage, {"steps": 1, "phases": [{"batch": True, "crop_px": 16}]}),
        (Stage, {"steps": 1, "phases": [{"batch": 1, "crop_px": 16}], "task_weights": {"rain": True}}),
        (DrmConfig, {"levels": [2, 1, False]}),
    ],
)
def test_yes_is_no_number(model, values):
    """YAML 1.1 reads yes, no, on and off as truth values, and Python counts these as 1 and 0."""
    with pytest.raises(ValueError, match="a number is needed"):
        model(**values)


def test_a_truth_value_stays_one():
    method = Method(title="t", kind="mperceiver", run="ours", drm=False, precision=False)
    assert method.drm is False and method.precision == "no"


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_file_has_no_number_that_is_none(value):
    with pytest.raises(ValueError, match="finite"):
        Method(title="t", kind="identity", memory_gib=value)
