"""The ranges in the annotations of degradations are those that the functions keep, and those that people read."""

import inspect
from typing import Annotated, Any, Literal

import numpy as np
import pytest
from pydantic import Field

from mperceiver.degradations import DEGRADATIONS
from mperceiver.degradations.blur import disc_psf, motion_psf
from mperceiver.degradations.describe import print_docstring
from mperceiver.degradations.raindrop import MOST_DROPS
from mperceiver.degradations.ranges import checked, parameters

PICTURE = np.random.default_rng(0).random((24, 20, 3), np.float32)
WITHOUT_RANGE = {"image", "rng", "depth", "clip"}


@checked("law")
def law(
    image: np.ndarray,
    rng: np.random.Generator,
    *,
    much: Annotated[float, Field(le=2, ge=-1)] = 0.5,
    steps: Annotated[int | None, Field(ge=1, le=9)] = None,
    word: Literal["a", "b"] = "a",
) -> np.ndarray:
    """A law.

    Args:
        image: float32 (H, W, 3) in [0, 1].
        rng: not used.
        much, word: of something: it goes on
            in a second line.
    """
    return image


@pytest.mark.parametrize("name", DEGRADATIONS)
def test_what_the_annotation_allows_is_allowed_and_nothing_beyond(name):
    apply = DEGRADATIONS[name].apply
    found = {parameter.name: parameter for parameter in parameters(apply)}
    assert set(found) == set(inspect.signature(apply).parameters) - WITHOUT_RANGE
    for parameter in found.values():
        assert parameter.meaning, parameter.name
        if parameter.choices:
            allowed, refused = parameter.choices, ["no-such-word"]
        else:
            allowed, refused = [parameter.low, parameter.high], [parameter.low - 1, parameter.high + 1]
            if parameter.default is None:
                allowed.pop()  # 100,000 drops take long
        for value in (*allowed, parameter.default):
            assert apply(PICTURE, np.random.default_rng(0), **{parameter.name: value}).shape == PICTURE.shape
        for value in (*refused, np.nan, np.inf, True, "1", [1]):
            with pytest.raises(ValueError, match=f"{name}: {parameter.name} is .*, allowed is {parameter.allowed[:9]}"):
                apply(PICTURE, np.random.default_rng(0), **{parameter.name: value})


def test_parameters_are_read_from_annotations_and_docstring():
    much, steps, word = parameters(law)
    assert much == ("much", 0.5, "of something: it goes on in a second line.", -1, 2, False, ())
    assert steps == ("steps", None, "", 1, 9, True, ())
    assert word == ("word", "a", "of something: it goes on in a second line.", 0, 0, False, ("a", "b"))
    assert [parameter.allowed for parameter in (much, steps, word)] == [
        "a number in [-1, 2]",
        "a whole number in [1, 9]",
        "one of a, b",
    ]
    assert parameters(lambda image, rng: image) == []


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"much": 3}, r"law: much is 3, allowed is a number in \[-1, 2\]"),
        ({"much": None}, r"law: much is None, allowed is a number in \[-1, 2\]"),
        ({"much": False}, "law: much is False, allowed"),
        ({"steps": 2.0}, r"law: steps is 2\.0, allowed is a whole number in \[1, 9\]"),
        ({"steps": np.int64(10)}, "law: steps is .*10.*, allowed"),
        ({"word": "c"}, "law: word is 'c', allowed is one of a, b"),
    ],
)
def test_what_is_refused_is_named(given: dict[str, Any], words):
    with pytest.raises(ValueError, match=words):
        law(PICTURE, np.random.default_rng(0), **given)


def test_numbers_of_numpy_and_arguments_in_any_way():
    rng = np.random.default_rng(0)
    assert law(PICTURE, rng, much=np.float32(1), steps=np.int64(3)) is PICTURE
    assert law(rng=rng, image=PICTURE, steps=None, much=2) is PICTURE
    with pytest.raises(ValueError, match="law: image is float64"):
        law(rng=rng, image=np.zeros((32, 32, 3)))
    with pytest.raises(TypeError, match=r"law\(\) got an unexpected keyword argument 'many'"):
        law(PICTURE, rng, many=1)


def test_point_spread_functions_and_derived_numbers_are_checked_too():
    with pytest.raises(ValueError, match=r"motion-blur: length_px is 101, allowed is a number in \[0, 100\]"):
        motion_psf(np.random.default_rng(0), length_px=101, anxiety=0)
    with pytest.raises(ValueError, match=r"defocus: sigma_px is 11, allowed is a number in \[0, 10\]"):
        disc_psf(radius_px=3, sigma_px=11)
    wide = np.zeros((900, 900, 3), np.float32)
    with pytest.raises(ValueError, match=f"raindrop: count is 118392 .* allowed is a number up to {MOST_DROPS}"):
        DEGRADATIONS["raindrop"].apply(wide, np.random.default_rng(0), cover=0.9, radius_px=2)


def test_a_degradation_is_explained_with_its_ranges(capsys):
    print_docstring("gaussian-blur")
    said = capsys.readouterr().out
    assert "sigma_px: standard deviation.\n" in said
    assert "\nAllowed:\n    sigma_px: a number in [0, 50]\n    kernel_px: a whole number in [1, 401]\n" in said
