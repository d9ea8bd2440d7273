"""The commit of the checkout, and how it is refused where git does not tell it."""

import os
import subprocess
from pathlib import Path

import pytest

from mperceiver import commits, lineage, shipped
from mperceiver.commits import CommitError


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A checkout with this package's file in it, and nothing else of the project."""
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setenv("LC_ALL", "C")
    (tmp_path / "mperceiver").mkdir()
    (tmp_path / "mperceiver/commits.py").write_text("", encoding="utf-8")
    monkeypatch.setattr(shipped, "PACKAGE", tmp_path / "mperceiver")
    return tmp_path


def git(folder: Path, *arguments: str) -> str:
    who = ["-c", "user.name=a", "-c", "user.email=a@b"]
    return subprocess.run(["git", *who, *arguments], cwd=folder, capture_output=True, text=True, check=True).stdout


def test_the_commit_is_that_of_the_checkout(checkout, tmp_path, monkeypatch):
    git(checkout, "init", "-q")
    git(checkout, "add", ".")
    git(checkout, "commit", "-qm", "one")
    monkeypatch.chdir(tmp_path.parent)  # not that of the working directory
    head = git(checkout, "rev-parse", "HEAD").strip()
    assert commits.current.__wrapped__() == (head, False)
    (checkout / "notes.txt").write_text("", encoding="utf-8")
    assert commits.current.__wrapped__() == (head, False)
    (checkout / "mperceiver/commits.py").write_text("changed", encoding="utf-8")
    assert commits.current.__wrapped__() == (head, True)


def test_without_a_checkout_there_is_no_card(checkout, monkeypatch):
    monkeypatch.setattr(commits, "current", commits.current.__wrapped__)
    monkeypatch.chdir(checkout)
    with pytest.raises(CommitError) as caught:
        lineage.begin("test", {}).write_card("results/card.json")
    for part in (str(checkout), "not a git repository", "cannot be traced", "git clone", "safe.directory"):
        assert part in str(caught.value)
    assert not Path("results").exists()


def test_the_commit_of_somebody_elses_checkout_is_not_taken(checkout):
    """The package installed into an environment that lies inside another project's checkout."""
    git(checkout, "init", "-q")
    (checkout / "theirs.txt").write_text("", encoding="utf-8")
    git(checkout, "add", "theirs.txt")
    git(checkout, "commit", "-qm", "theirs")
    with pytest.raises(CommitError, match="did not match any file"):
        commits.current.__wrapped__()


def test_without_git_there_is_no_commit(checkout, monkeypatch):
    monkeypatch.setenv("PATH", str(checkout))
    with pytest.raises(CommitError, match=r"git does not tell the commit .*No such file.*git clone"):
        commits.current.__wrapped__()
