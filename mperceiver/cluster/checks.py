"""The result of one check of the cluster."""

from dataclasses import dataclass
from typing import Literal

State = Literal["ok", "wrong", "unknown"]


@dataclass(frozen=True)
class CheckResult:
    """What was checked, how it is, and what to do if it is wrong.

    ``state``: `ok`; `wrong`: the run would fail or hang; `unknown`: the cluster gave no answer now, or the value deserves a look.
    """

    subject: str
    state: State
    detail: str


def ok_or_wrong(subject: str, is_ok: bool, detail: str) -> CheckResult:
    """The result of a check that has two outcomes."""
    return CheckResult(subject, "ok" if is_ok else "wrong", detail)
