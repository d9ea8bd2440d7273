"""A home directory that cannot be written ends no verb."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from support import PROJECT

from mperceiver import homes


@pytest.fixture
def variables(monkeypatch, tmp_path):
    """None of the variables is set; what ``provide`` sets is taken back."""
    for name in (*homes.REPLACED, "HF_HOME", "HF_TOKEN_PATH"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.setattr(homes.tempfile, "gettempdir", lambda: str(tmp_path))
    return monkeypatch


@pytest.mark.parametrize("home", ["/dev/null", "/nobody/has/this", "/proc/1/fd"])
def test_caches_go_elsewhere(variables, tmp_path, home):
    variables.setenv("HOME", home)
    variables.setattr(homes, "_can_be_written", lambda path: False) if home == "/proc/1/fd" else None
    homes.provide()
    mine = tmp_path / f"mperceiver-home-{os.getuid()}"
    assert os.environ["XDG_CACHE_HOME"] == str(mine / ".cache") and mine.stat().st_mode & 0o777 == 0o700
    assert os.environ["MPLCONFIGDIR"].startswith(str(mine)) and os.environ["TRITON_HOME"] == str(mine)


def test_what_is_set_stays_and_a_sound_home_changes_nothing(variables, tmp_path):
    variables.setenv("HOME", str(tmp_path))
    homes.provide()
    assert "XDG_CACHE_HOME" not in os.environ
    variables.setenv("HOME", "/dev/null")
    variables.setenv("XDG_CACHE_HOME", "/scratch")
    homes.provide()
    assert os.environ["XDG_CACHE_HOME"] == "/scratch"


def test_a_folder_that_somebody_else_put_there_is_not_used(variables, tmp_path):
    variables.setenv("HOME", "/dev/null")
    (tmp_path / "theirs").mkdir()
    (tmp_path / f"mperceiver-home-{os.getuid()}").symlink_to(tmp_path / "theirs")
    variables.setattr(homes.tempfile, "tempdir", str(tmp_path))
    homes.provide()
    assert not Path(os.environ["XDG_CACHE_HOME"]).is_relative_to(tmp_path / f"mperceiver-home-{os.getuid()}")


def test_matplotlib_starts_without_a_word(tmp_path):
    program = "from mperceiver import homes; homes.provide(); import matplotlib.pyplot"
    bare = {k: v for k, v in os.environ.items() if k not in homes.REPLACED}
    told = bare | {"HOME": "/dev/null", "PYTHONPATH": str(PROJECT), "TMPDIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", program], env=told, capture_output=True, text=True, encoding="utf-8")
    assert (done.returncode, done.stderr) == (0, "")
