"""How right, how well calibrated and how sure a predictor is, against numbers worked out by hand."""

from types import SimpleNamespace

import pandas as pd
import pytest
from support import reports

from mperceiver.report import predictions
from mperceiver.report.columns import predictor

PICTURES = pd.DataFrame(
    [
        ("a", "haze", 0.95, 0.05),  # right
        ("b", "haze", 0.91, 0.09),  # right
        ("c", "rain", 0.93, 0.07),  # wrong: three of the bin from 0.9, of confidence 0.93, two of three right
        ("d", "rain", 0.45, 0.55),  # right, alone in its bin
        ("e", "clean", 0.52, 0.48),  # of no class
        ("f", "clean", 0.50, 0.50),  # of no class, just sure
    ],
    columns=["id", "task", "haze", "rain"],
)


def test_accuracy_and_calibration_error_are_of_the_pictures_that_have_a_class():
    found = predictions.predictions(PICTURES)
    assert len(found.right) == 4 and found.accuracy() == 0.75
    bins = [(0.55, 1.0, 1), (0.93, 2 / 3, 3)]
    assert [tuple(map(pytest.approx, b)) for b in bins] == found.bins()
    assert found.calibration_error() == pytest.approx((0.45 + 3 * (0.93 - 2 / 3)) / 4)
    assert predictions.predictions(PICTURES[4:]) is None
    certain = predictions.Predictions(PICTURES["haze"].to_numpy() * 0 + 1, PICTURES["haze"].to_numpy() > 0)
    assert certain.bins() == [(1.0, 1.0, 6)] and certain.calibration_error() == 0  # 1.0 belongs to the last bin


def test_a_predictor_is_sure_from_a_half_on():
    assert predictions.sure(PICTURES) == 1
    assert predictions.sure(PICTURES.assign(haze=[0.95, 0.91, 0.93, 0.45, 0.499, 0.4], rain=0.0)) == 0.5


def test_that_nothing_is_wrong_is_no_degradation():
    """Its probability is shared out among the others already: it changes none of their numbers."""
    pictures = PICTURES.assign(**{"nothing wrong": [0.0, 0.1, 0.99, 0.49, 0.5, 0.6]})
    assert list(predictions.classes(pictures)) == ["haze", "rain"]
    assert predictions.predictions(pictures).accuracy() == 0.75 and predictions.sure(pictures) == 1
    assert predictions.called_clean(pictures) == 0.5
    assert predictions.called_clean(PICTURES) is None


def test_what_is_found_of_a_mix():
    """As many of the most probable classes as the mix has degradations, its others among them or not."""
    classes = ["haze", "rain", "snow", "noise"]
    rows = [
        ("a", "rain-noise", 0.1, 0.5, 0.1, 0.3),  # both
        ("b", "rain-noise", 0.4, 0.3, 0.2, 0.1),  # rain alone
        ("c", "haze-blur-snow", 0.2, 0.1, 0.1, 0.6),  # blur is no class: of haze and snow, haze is among the two
        ("d", "clean", 0.7, 0.1, 0.1, 0.1),  # no mix
    ]
    pictures = pd.DataFrame(rows, columns=["id", "task", *classes])
    mixed = {"rain-noise": {"rain", "noise"}, "haze-blur-snow": {"haze", "blur", "snow"}, "blur": {"blur"}}
    assert predictions.among_most_probable(pictures, mixed).tolist() == [2, 1, 1]


@pytest.fixture
def restored(tree):
    reports.build_figures()


@pytest.mark.parametrize(
    ("method", "task", "key", "mean", "why"),
    [
        ("one", "haze", "right", 100.0, ""),
        ("one", "haze", "calibration", pytest.approx(0.2), ""),
        ("one", None, "sure", 100.0, ""),
        ("one", "snow", "sure", None, "no pictures of snow"),
        ("input", None, "right", None, "no predictor"),
    ],
)
def test_columns_of_the_predictor(restored, method, task, key, mean, why):
    value = predictor.value(method, "toys", SimpleNamespace(task=task, key=key))
    assert (value.mean, value.why) == (mean, why)
