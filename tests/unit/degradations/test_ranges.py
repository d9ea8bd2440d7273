"""The ranges that the docstrings of degradations give are those that the functions keep."""

import inspect

import numpy as np
import pytest

from mperceiver.degradations import DEGRADATIONS
from mperceiver.degradations.ranges import parameters

PICTURE = np.random.default_rng(0).random((24, 20, 3), np.float32)


@pytest.mark.parametrize("name", DEGRADATIONS)
def test_what_the_docstring_allows_is_allowed_and_nothing_beyond(name):
    apply = DEGRADATIONS[name].apply
    found = {parameter.name: parameter for parameter in parameters(name)}
    defaults = {p.name: p.default for p in inspect.signature(apply).parameters.values()}
    set_by_people = {name for name, value in defaults.items() if type(value) in (int, float, str)}
    assert set(found) == set_by_people
    for parameter in found.values():
        if parameter.choices:
            allowed, refused = parameter.choices, ["no-such-word"]
        else:
            allowed, refused = [parameter.low, parameter.high], [parameter.low - 1, parameter.high + 1]
        for value in allowed:
            value = int(value) if parameter.whole else value
            assert apply(PICTURE, np.random.default_rng(0), **{parameter.name: value}).shape == PICTURE.shape
        for value in refused:
            value = int(value) if parameter.whole else value
            with pytest.raises(ValueError, match=parameter.name):
                apply(PICTURE, np.random.default_rng(0), **{parameter.name: value})


def test_ranges_of_names_described_together():
    by_name = {parameter.name: parameter for parameter in parameters("rain")}
    assert (by_name["length_px"].low, by_name["length_px"].high) == (1, 200)
    assert (by_name["width_px"].low, by_name["width_px"].high) == (0.5, 10)
    assert parameters("demosaic")[1].choices == ("bilinear", "malvar", "zeros")
