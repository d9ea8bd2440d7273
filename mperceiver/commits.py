"""The commit of the project's checkout, and what git tells of other commits. No other module runs git."""

import subprocess
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from mperceiver import shipped

DEPENDED_ON = ("mperceiver", "workflow", "config", "profiles", "assets", "Snakefile", "uv.lock")


class CommitError(RuntimeError):
    """Git cannot be asked, or does not tell what a result needs. The message says what git said and what to do."""


@cache
def current() -> tuple[str, bool]:
    """(commit of the project's checkout, whether code or configuration differ from it: changed files, and new ones).

    Raises:
        CommitError: the package is not in a git checkout of this project, or git fails.
    """
    try:
        # If the package is installed inside another project's checkout, that checkout's commit would be wrong.
        _git("ls-files", "--error-unmatch", f"{shipped.PACKAGE.name}/{Path(__file__).name}")
        head = _git("rev-parse", "HEAD")
        return head, _differs()
    except (OSError, subprocess.CalledProcessError) as error:
        detail = getattr(error, "stderr", "") or str(error)
        raise CommitError(
            f"{shipped.PACKAGE.parent}: git does not tell the commit ({detail.strip()}). A result without a commit cannot be "
            "traced: run from a git checkout (git clone; uv sync), and if git complains of dubious ownership, "
            "git config --global --add safe.directory <that folder>"
        ) from None


def require() -> None:
    """Raise CommitError now where ``current`` would, rather than after the work: a result without a commit cannot be kept."""
    current()


def not_here(names: Iterable[str]) -> set[str]:
    """Those of some commits that the checkout does not hold; empty if git cannot be asked."""
    wanted = sorted(names)
    try:
        answers = _git("cat-file", "--batch-check", given="".join(f"{commit}^{{commit}}\n" for commit in wanted))
    except (OSError, subprocess.CalledProcessError):
        return set()
    return {commit for commit, line in zip(wanted, answers.splitlines(), strict=True) if line.endswith(" missing")}


def resolve(name: str) -> str | None:
    """The full hash of a commit, a branch or a tag; None if the checkout does not know it, or if git cannot be asked."""
    try:
        return _git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}")
    except (OSError, subprocess.CalledProcessError):
        return None


def date(commit: str) -> str | None:
    """The day of a commit, YYYY-MM-DD; None if the checkout does not hold it, or if git cannot be asked."""
    try:
        return _git("show", "-s", "--format=%cs", commit)
    except (OSError, subprocess.CalledProcessError):
        return None


def files_between(one: str, other: str, place: str) -> list[str]:
    """Files below ``place`` that differ between two commits. Raises CommitError if git fails."""
    try:
        return _git("diff", "--name-only", one, other, "--", place).splitlines()
    except (OSError, subprocess.CalledProcessError) as error:
        raise CommitError(
            f"git cannot compare {one} with {other}: {error}; in a shallow clone: git fetch --unshallow"
        ) from None


def file_at(commit: str, path: str) -> str | None:
    """The text of a file at a commit; None if it is not there."""
    try:
        return _git("show", f"{commit}:{path}")
    except (OSError, subprocess.CalledProcessError):
        return None


def _differs() -> bool:
    """Whether what the work depends on is another state than the commit's.

    The configuration is that of the working directory; where this is no part of the checkout, the commit does not hold it.
    """
    root, configuration = shipped.PACKAGE.parent.resolve(), Path("config").resolve()
    if configuration.is_dir() and not configuration.is_relative_to(root):
        return True
    places = [*DEPENDED_ON, *([str(configuration.relative_to(root))] if configuration.is_relative_to(root) else [])]
    return bool(_git("status", "--porcelain", "--untracked-files=all", "--", *places))


def _git(*arguments: str, given: str | None = None) -> str:
    """Standard output of a git command in the project's checkout; ``given``: its standard input."""
    done = subprocess.run(
        ["git", *arguments], cwd=shipped.PACKAGE.parent, input=given, capture_output=True, encoding="utf-8", check=True
    )
    return done.stdout.strip()
