"""Pairs by order: names that contradict it are found, and sets whose names merely differ are left alone."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mperceiver.data.prepare.matching import natural_key
from mperceiver.data.prepare.ordering import contradictions


def between(left: list[str], right: list[str]) -> list[int]:
    return contradictions(sorted(left, key=natural_key), sorted(right, key=natural_key))


@pytest.mark.parametrize(
    ("left", "right"),
    [
        (["1", "2", "3"], ["1", "2", "3"]),
        (["lq/0001", "lq/0010"], ["gt/1", "gt/10"]),  # numbers, not letters
        (["LR_x4/0801x4", "LR_x4/0802x4"], ["HR/0801", "HR/0802"]),
        (["7_rain_1", "8_rain_2"], ["7", "8"]),
        (["c/1P0A0917", "c/1P0A0933", "c/1P0A0950"], ["t/1P0A0916", "t/1P0A0932", "t/1P0A0948"]),  # DPDD
        (["c/P9", "c/P10", "c/P20"], ["t/P8", "t/P11", "t/P22"]),  # before or after, by one or two
        (["1", "2", "3"], ["101", "102", "103"]),  # one distance
        (["cat", "dog"], ["cat", "dog"]),
        (["cat_rain", "dog_rain"], ["cat", "dog"]),
        (["a", "b"], ["x1", "x2"]),  # nothing to compare
        (["5"], ["9"]),
        (["s1/in/1", "s1/in/2", "s2/in/1"], ["s1/gt/1", "s1/gt/2", "s2/gt/1"]),
        (
            ["lq/1", "lq/01", "lq/2"],
            ["gt/01", "gt/1", "gt/2"],
        ),  # numbers of one value, written in two ways on both sides
        (["1_rain", "01_rain"], ["1", "01"]),
    ],
)
def test_sets_whose_order_is_right(left, right):
    assert between(left, right) == []


@pytest.mark.parametrize(
    ("left", "right", "wrong"),
    [
        (["1", "2", "4"], ["1", "3", "4"], [1]),
        (["1", "2", "3", "5"], ["2", "3", "4", "5"], [0, 1, 2]),  # the first and the fourth are missing
        (["1", "2", "3"], ["2", "3", "4"], [1, 2]),
        (["IMG_1", "img_2"], ["img_1", "IMG_2"], [0, 1]),  # capitals before small letters
        (["7_1", "7_2"], ["7", "8"], [1]),  # two of one scene, none of the other
        (["cat", "dog", "emu"], ["cat", "cow", "emu"], [1]),
        (["ant", "cat"], ["bee", "ant"], [1]),
        (["1", "2", "4", "5"], ["101", "103", "104", "105"], [1]),
        (["s1/in/1", "s2/in/1"], ["s1/gt/1", "s3/gt/1"], [1]),
        (["1", "01", "2"], ["1", "1b", "2"], [0]),  # 01 with 1, although there is another 1
        (["1", "1b", "2"], ["1", "01", "2"], [0]),
    ],
)
def test_sets_whose_order_is_wrong(left, right, wrong):
    assert between(left, right) == wrong


@settings(max_examples=300, derandomize=True, deadline=None)
@given(
    st.sets(st.integers(0, 999), min_size=4, max_size=12),
    st.data(),
    st.sampled_from(["{}", "{:04}", "in/{}_haze", "r{}x4"]),
)
def test_a_picture_missing_on_each_side_is_noticed(numbers, data, form):
    """Of pairs with equal numbers one picture is missing on each side, another one: always found, and never without."""
    ordered = sorted(numbers)
    first, second = data.draw(st.lists(st.sampled_from(ordered), min_size=2, max_size=2, unique=True))
    left, right = [form.format(n) for n in ordered], [f"gt/{n}" for n in ordered]
    assert between(left, right) == []
    left.remove(form.format(first))
    right.remove(f"gt/{second}")
    assert between(left, right)
