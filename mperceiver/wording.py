"""Parts of messages: the first of many names, and the known word that a wrong one is nearest to."""

import difflib
from collections.abc import Iterable


def first_few(names: Iterable[str], most: int = 5) -> str:
    """The first ``most`` names, and how many more there are: "a, b and 7 more"."""
    listed = list(names)
    more = len(listed) - most
    return ", ".join(listed[:most]) + (f" and {more} more" if more > 0 else "")


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`` (did you mean rain?)`` with the nearest of the known words; empty if none is near."""
    near = difflib.get_close_matches(word, list(known), n=1)
    return f" (did you mean {near[0]}?)" if near else ""
