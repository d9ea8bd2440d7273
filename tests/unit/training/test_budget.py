"""A training whose length is CPU time: where it ends, what it tells, and how it goes on after a stop."""

import csv
import time

import pytest
from support.loops import at, draw, regress_drawn, smooth, stage, terminate

from mperceiver.training.budget import Budget
from mperceiver.training.loop import fit
from mperceiver.training.resume import Training
from mperceiver.training.schedule import TrainingError, learning_rate, phase_at, share_of_pixels


@pytest.fixture
def clock(monkeypatch):
    """CPU time that goes only when a step is taken: a quarter of a second each."""
    spent = [0.0]
    monkeypatch.setattr(time, "process_time", lambda: spent[0])

    def losses(*arguments):
        spent[0] += 0.25
        return regress_drawn(*arguments)

    return spent, losses


SPEC = {"steps": 1000, "cpu_seconds": 2.0, "warmup_steps": 0, "lr": 1e-3, "lr_end": 1e-5, "accumulate": 1}


def rows(curve: str) -> list[dict]:
    return list(csv.DictReader(curve.splitlines()))


def test_it_ends_when_its_time_is_gone(tmp_path, clock):
    _, losses = clock
    curve = fit(Training("timed", stage(**SPEC), 1, tmp_path / "s.pt"), smooth(), losses, draw=draw)
    (row,) = rows(curve)
    assert (row["step"], row["pictures"], row["cpu_seconds"]) == ("8", "64", "2")
    assert float(row["lr"]) == pytest.approx(learning_rate(stage(**SPEC), 0, 7 / 8), rel=1e-4)


def test_it_ends_with_its_steps_where_they_are_done_before(tmp_path, clock):
    _, losses = clock
    curve = fit(Training("short", stage(**SPEC | {"steps": 3}), 1, tmp_path / "s.pt"), smooth(), losses, draw=draw)
    assert rows(curve)[-1]["step"] == "3"


def test_it_has_a_step_however_little_time_there_is(tmp_path, clock):
    spent, losses = clock
    spent[0] = 10.0
    curve = fit(Training("late", stage(**SPEC), 1, tmp_path / "s.pt"), smooth(), losses, draw=draw)
    assert rows(curve)[-1]["step"] == "1"


def test_the_time_before_a_stop_counts(tmp_path, clock):
    spent, losses = clock
    with pytest.raises(SystemExit):
        fit(Training("timed", stage(**SPEC), 1, tmp_path / "s.pt"), smooth(), at(4, terminate, losses), draw=draw)
    spent[0] = 0.0  # another process
    curve = fit(Training("timed", stage(**SPEC), 1, tmp_path / "s.pt"), smooth(), losses, draw=draw)
    assert (rows(curve)[-1]["step"], rows(curve)[-1]["pictures"], rows(curve)[-1]["cpu_seconds"]) == ("8", "64", "2")


def test_phases_follow_the_time():
    phases = [{"share": 0.25, "batch": 2, "crop_px": 8}, {"share": 0.75, "batch": 4, "crop_px": 16}]
    spec = stage(**SPEC | {"phases": phases})
    assert [phase_at(spec, 0, share).batch for share in (0, 0.2, 0.3, 1.0)] == [2, 2, 4, 4]


def test_a_step_of_large_crops_has_a_larger_share():
    small, large = {"share": 0.5, "batch": 8, "crop_px": 32}, {"share": 0.5, "batch": 6, "crop_px": 64}
    spec = stage(steps=100, warmup_steps=0, phases=[small, large])
    assert [share_of_pixels(spec, step) for step in (0, 25, 50, 75, 100)] == [0, 0.125, 0.25, 0.625, 1]


def test_the_time_that_is_left_follows_the_pixels_of_later_phases(tmp_path, monkeypatch, capsys):
    """Steps of the second phase have twelve times the pixels, and take twelve times as long."""
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    phases = [{"share": 0.5, "batch": 4, "crop_px": 16}, {"share": 0.5, "batch": 12, "crop_px": 32}]

    def losses(module, batch, generator, phase, step):
        now[0] += phase.batch * phase.crop_px**2 / 4 / 16**2
        return regress_drawn(module, batch, generator, phase, step)

    spec = stage(steps=1400, warmup_steps=0, accumulate=1, phases=phases)
    fit(Training("phases", spec, 1, tmp_path / "s.pt"), smooth(), losses, draw=draw)
    lines = [line for line in capsys.readouterr().out.splitlines() if " ETA " in line]
    left = {int(line.split("step ")[1].split("/")[0]): float(line.split(" ETA ")[1].split()[0]) for line in lines}
    assert (left[50], left[700], left[1400]) == (650 + 700 * 12, 700 * 12, 0)
    assert left[1300] == 100 * 12


def test_several_processes_are_refused():
    with pytest.raises(TrainingError, match="cpu_seconds.*one process"):
        Budget(stage(**SPEC), 2)
