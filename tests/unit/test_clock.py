"""An input from the future is refused before a job starts, by the clock of its disk."""

import os
import time
from pathlib import Path

import pytest

from mperceiver import clock


@pytest.fixture
def world(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def made(path: str, ahead_s: float) -> None:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text("", encoding="utf-8")
    os.utime(path, (time.time() + ahead_s,) * 2)


@pytest.mark.parametrize(
    ("ahead_s", "words"), [(7200, "2:00:00"), (3 * 86400 + 60, "3 days, 0:01:00"), (30, "0:00:30")]
)
def test_a_file_from_the_future_is_named_with_the_next_command(world, ahead_s, words):
    made("config/methods/input.yaml", ahead_s + 0.3)
    with pytest.raises(
        clock.ClockError, match=rf"^config/methods/input\.yaml: its time is {words} .*: touch config/met"
    ):
        clock.check_times(["config/runs/none.yaml", "config/methods/input.yaml"])


@pytest.mark.parametrize("path", ["data/prepared/a.arrow", "data/prepared/a/.snakemake_timestamp"])
def test_the_data_that_a_card_describes_count_too(world, path):
    made("data/prepared/a.json", 0)
    made(path, 3600)
    with pytest.raises(clock.ClockError, match=rf"touch {path}$"):
        clock.check_times(["data/prepared/a.json"])


def test_a_link_and_what_it_leads_to(world):
    made("old.yaml", 0)
    Path("link.yaml").symlink_to("old.yaml")
    clock.check_times(["link.yaml"])
    os.utime("link.yaml", (time.time() + 3600,) * 2, follow_symlinks=False)
    with pytest.raises(clock.ClockError):
        clock.check_times(["link.yaml"])


def test_files_of_now_and_missing_ones_pass(world):
    made("a.yaml", 0)
    made("b.json", -86400)
    clock.check_times(["a.yaml", "b.json", "c.json"])


def test_a_file_server_has_its_own_clock(world, monkeypatch):
    """Inputs and outputs get its times; that this machine's clock is an hour behind changes nothing."""
    made("a.yaml", 0)
    now = time.time()
    monkeypatch.setattr(clock.time, "time", lambda: now - 3600)
    clock.check_times(["a.yaml"])
