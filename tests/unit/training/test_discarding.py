"""Resume states go when nothing can take the weights away any more, and no sooner."""

import os
from pathlib import Path

import pytest

from mperceiver import paths
from mperceiver.training import discarding


@pytest.fixture
def world(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def made(path: Path, time: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("", encoding="utf-8")
    os.utime(path, (time, time))


def states(run: str, stage: str, *times: int) -> None:
    for step, time in enumerate(times, 1):
        made(paths.resume_folder(run) / f"{stage}-{step:08d}.pt", time)
    made(paths.resume_folder(run) / f"{stage}.csv", times[-1])


def finished(run: str, stage: str, time: int) -> None:
    made(paths.weights_file(run, stage), time)
    made(paths.weights_card(run, stage), time)


def left() -> list[str]:
    return sorted(str(path) for path in Path("results/resume").rglob("*") if path.is_file())


def test_states_of_finished_trainings_go(world):
    for stage in ("predictor", "branches", "drm"):
        states("demo", stage, 10, 20)
        finished("demo", stage, 30)
    made(discarding.latents_folder("demo") / "000.arrow", 15)
    discarding.discard_finished()
    assert left() == [] and not paths.resume_folder("demo").exists()


def test_states_of_a_training_without_weights_stay(world):
    """Snakemake removed them; the card alone or the weights alone are no finished training either."""
    for run in ("none", "card", "weights"):
        states(run, "network", 10)
    made(paths.weights_card("card", "network"), 30)
    made(paths.weights_file("weights", "network"), 30)
    before = left()
    discarding.discard_finished()
    assert left() == before and len(before) == 6


def test_states_of_a_training_in_progress_stay_beside_the_weights_of_an_earlier_one(world):
    finished("demo", "drm", 30)
    states("demo", "drm", 20, 40)
    made(discarding.latents_folder("demo") / "000.arrow", 15)
    before = left()
    discarding.discard_finished()
    assert left() == before


def test_other_work_in_the_folder_is_left_alone(world):
    made(Path("results/resume/foundation-mini/vae-00000010.pt"), 10)
    made(Path("results/resume/encode/000.arrow"), 10)
    states("demo", "predictor", 10)
    finished("demo", "predictor", 20)
    discarding.discard_finished()
    assert left() == ["results/resume/encode/000.arrow", "results/resume/foundation-mini/vae-00000010.pt"]


def test_without_a_folder_there_is_nothing_to_do(world):
    discarding.discard_finished()
