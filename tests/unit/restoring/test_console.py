"""What `restore` says of a photograph."""

from pathlib import Path

import pytest

from mperceiver.app.markup import bars
from mperceiver.restoring.console import described
from mperceiver.restoring.photographs import Photograph, PhotographResult
from mperceiver.restoring.stream import RestoreOutcome, RestoreRequest

HAZE = {"haze": 0.7, "rain": 0.2, "low-light": 0.1}
ANYTHING = {"haze": 0.4, "rain": 0.35, "low-light": 0.25}


@pytest.mark.parametrize(
    ("probabilities", "clean", "line", "sentence"),
    [
        (HAZE, None, "looks like haze 70%, rain 20%, low light 10%", ""),
        (HAZE, 0.1, "looks like haze 70%, rain 20%, low light 10%", ""),
        (
            ANYTHING,
            0.2,
            "not sure what is wrong with it: haze 40%, rain 35%, low light 25%",
            "The predictor is not sure.",
        ),
        (ANYTHING, 0.93, "nothing seems wrong with it: 93%", "Nothing seems wrong with it: 93%."),
    ],
)
def test_what_is_wrong_with_it(probabilities, clean, line, sentence):
    request = RestoreRequest("a", lambda: None, lambda picture: None, 0)
    outcome = RestoreOutcome(request, seconds=1.23, probabilities=probabilities, clean=clean)
    photograph = Photograph(Path("a.jpg"), Path("a.png"), size=(30, 20))
    assert described(PhotographResult(photograph, outcome, 0)) == f"a.jpg: 30x20, 1.2 s; {line}"
    shown = bars(probabilities, clean)
    assert (f"<p>{sentence}</p>" in shown) if sentence else ("<p>" not in shown)
