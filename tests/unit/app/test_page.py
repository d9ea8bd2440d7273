"""What is sent to the page while a work goes on."""

import pytest

from mperceiver import images
from mperceiver.app import markup
from mperceiver.app.work import PictureError, Progress, Result

gradio = pytest.importorskip("gradio")


@pytest.fixture
def results(tmp_path) -> list[Result]:
    import numpy as np

    file = tmp_path / "one.png"
    file.write_bytes(images.encode(np.zeros((2, 3, 3), np.uint8)))
    return [Result(f"{i}.png", before=file, after=file, size=(3, 2)) for i in range(2)]


def sent(events) -> list[tuple[str | None, str | None]]:
    """(progress bar, results) of each message; None: the page keeps what it has."""
    from mperceiver.app.page import _shown

    return [tuple(None if one == gradio.skip() else one for one in message) for message in _shown(events)]


def test_results_are_sent_when_there_is_a_new_one(results):
    first, second = results
    events = [Progress(1, 2, 0.0, "0.png"), Progress(1, 2, 0.5, "0.png"), first, Progress(2, 2, 0.5, "1.png"), second]
    bars = [markup.bar(event) for event in events if isinstance(event, Progress)]
    assert sent(iter(events)) == [
        (bars[0], ""),  # what was restored before is gone
        (bars[1], None),
        (None, markup.results([first])),
        (bars[2], None),
        (None, markup.results([first, second])),
        ("", None),
    ]


def test_an_error_keeps_what_is_finished(results):
    def events():
        yield results[0]
        raise PictureError("too large")

    assert sent(events())[-1] == ("", markup.results(results[:1]) + markup.failure("too large"))


def test_stop_says_so_where_something_was_going_on():
    assert "Stopped" in markup.stopped(markup.bar(Progress(1, 1, 0.4, "0.png")))
    assert markup.stopped("") == markup.stopped(None) == ""


def test_an_open_page_keeps_its_uploads_through_a_working_day():
    from mperceiver.app.page import OLD_UPLOADS_S

    assert OLD_UPLOADS_S[1] >= 12 * 3600


def test_who_waits_for_another_is_told(tmp_path):
    """Works begin at once, so that their first message comes; the model does one after the other."""
    from mperceiver.app.page import AT_ONCE
    from mperceiver.app.work import Workshop
    from mperceiver.config.methods import Method

    workshop = Workshop(tmp_path)
    workshop._busy.acquire()  # somebody's photograph is being restored
    events = workshop._told(lambda: Result("b.png"), Method(title="t", kind="identity"), 1, 1, "b.png")
    first = next(events)
    assert isinstance(first, Progress) and "b.png, waiting: another photograph" in markup.bar(first) and AT_ONCE > 1
    workshop._busy.release()
    assert [markup.bar(next(events)).count("b.png, 0 %"), next(events)] == [1, Result("b.png")]
