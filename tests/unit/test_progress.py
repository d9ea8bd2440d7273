"""Progress of long work: how fast it is, and how long it still takes."""

import io
import re
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from mperceiver import progress
from mperceiver.restoring import console, photographs
from mperceiver.restoring.restorers import Identity


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def clock(monkeypatch):
    """The clock of the progress, which stands still but for what a test adds; every report is printed."""
    hands = SimpleNamespace(now=1000.0)
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: hands.now))
    monkeypatch.setattr(progress, "LINE_SECONDS", 0)
    return hands


@pytest.mark.parametrize(
    ("done", "rate", "words"),
    [
        (12, 3.0, "12/80 pictures, 3/s, 23 s left"),
        (1, 1 / 47, "1/80 pictures, 47 s each, 3713 s left"),  # and not 0/s
        (80, 0.6, "80/80 pictures, 2 s each, 0 s left"),
        (80.0000001, 0.6, "80/80 pictures, 2 s each, 0 s left"),  # and not -0: shares of the work add up by rounding
        (0, 0.0, "0/80 pictures"),
    ],
)
def test_progress_tells_how_fast_it_is(done, rate, words):
    assert progress._state(done, 80, "pictures", rate) == words


def test_too_short_a_time_gives_no_estimate(clock, capsys):
    with progress.progress("work", 40) as advance:
        for seconds in (1, 1, 2):
            clock.now += seconds
            advance(2)
    assert capsys.readouterr().err.splitlines() == [
        "work: 2/40 pictures",
        "work: 4/40 pictures",
        "work: 6/40 pictures, 2/s, 23 s left",  # 6 in 4 s: 34 take 22.7 s
    ]


def test_what_came_before_the_work_is_no_part_of_the_pace(clock, capsys):
    with progress.progress("work", 100, "%", done=20) as advance:
        clock.now += 60
        advance(0)
        clock.now += 4
        advance(10)
        advance(0)  # in the middle of the work it changes nothing
        clock.now += 4
        advance(10)
    assert capsys.readouterr().err.splitlines() == [
        "work: 20 %",
        "work: 30 %, 28 s left",
        "work: 30 %, 28 s left",
        "work: 40 %, 24 s left",
    ]


@pytest.mark.parametrize(
    ("total", "seconds", "shown"),
    [(100, 2, "-:--:--"), (100, 10, "0:00:57"), (100_000, 10, "18:30:57"), (None, 10, "")],
)
def test_a_bar_tells_the_same(clock, monkeypatch, total, seconds, shown):
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    with progress.progress("work", total) as advance:
        clock.now += 60
        advance(0)
        clock.now += seconds
        advance(15)
    last = re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", terminal.getvalue()).strip().splitlines()[-1]
    assert last.split(f"15/{'?' if total is None else total}")[1].strip() == shown


@pytest.fixture
def slow_model(clock, tmp_path, monkeypatch):
    """A method whose model takes a minute to load; a picture of two takes it 5 s each, and one alone tells of 15 % after 3 s."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config/methods").mkdir(parents=True)
    (tmp_path / "config/methods/input.yaml").write_text("title: input\nkind: identity\n", encoding="utf-8")
    for name in ("one/a.png", "two/a.png", "two/b.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.fromarray(np.zeros((20, 20, 3), np.uint8)).save(name)
    restore_all, tell = photographs.restore_all, []

    def load(method, on_share):
        clock.now += 60
        tell.append(on_share)
        return Identity()

    def restore(restorer, method, requests, **options):
        requests = list(requests)
        shares = [(3, 0.15), (17, 0.85)] if len(requests) == 1 else [(5, 1.0)]
        for request in requests:
            for seconds, share in shares:
                clock.now += seconds
                tell[0](share)
            yield from restore_all(restorer, method, [request], **options)

    monkeypatch.setattr(photographs, "load_restorer", load)
    monkeypatch.setattr(photographs, "restore_all", restore)
    return tmp_path


@pytest.mark.parametrize(
    ("source", "target", "states"),
    [
        ("one/a.png", "b.png", ["0 %", "15 %, 17 s left", "100 %, 0 s left"]),
        ("two", "out", ["0/2 pictures", "1/2 pictures, 5 s each, 5 s left", "2/2 pictures, 5 s each, 0 s left"]),
    ],
)
def test_the_time_that_a_model_takes_to_load_is_no_part_of_the_estimate(slow_model, capsys, source, target, states):
    console.restore_photographs("input", slow_model / source, slow_model / target, {})
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("restore ")]
    assert lines == [f"restore input {slow_model / source}: {state}" for state in states]
