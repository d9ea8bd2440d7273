"""The worlds that the report's tests stand on (tests/support/reports.py)."""

import pytest
from support import reports

from mperceiver import commits


@pytest.fixture
def tree(tmp_path, monkeypatch):
    """A small but complete working directory, with all scores."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(commits, "current", lambda: reports.COMMIT)
    reports.build_world()
    return tmp_path


@pytest.fixture
def paper(tree):
    reports.build_paper()


@pytest.fixture
def kinds(tree):
    reports.build_figures()


@pytest.fixture
def seeds(tree):
    reports.build_mean()
