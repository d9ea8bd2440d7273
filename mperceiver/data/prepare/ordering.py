"""Pairs by order: do the names of two sorted lists of files contradict it?

Order alone pairs the files at the same place of the two lists. If one file is missing on one side and another file on the other side, all
pairs between the two gaps are wrong. The names show it, if they have anything in common.
"""

import re
from collections import Counter
from collections.abc import Callable
from itertools import compress, pairwise
from pathlib import PurePosixPath
from typing import Any

Numbers = tuple[int, ...]


def contradictions(degraded: list[str], truths: list[str]) -> list[int]:
    """Places of the pairs whose names contradict their being a pair.

    Two names agree if one has the numbers of the other, or, where there are none, its letters. If some pairs agree, all must agree.

    If none does (DPDD's two pictures of a scene are shots with numbers one or two apart), no name may be that of another pair's partner.
    And if the numbers of most pairs differ by the same amount, those of all pairs must, unless each pair's numbers lie between those of
    its neighbours.

    Where two names of one side differ only in how they write a number ("01" and "1"), a partner must write it the same way.

    Args:
        degraded, truths: paths, sorted, equally many.
    """
    return sorted({*_contradicted(degraded, truths), *_written_otherwise(degraded, truths)})


def _contradicted(degraded: list[str], truths: list[str]) -> list[int]:
    left, right = _numbers(degraded), _numbers(truths)
    for sides in ((left, right), (_all_numbers(degraded), _all_numbers(truths))):
        agree = [_agree(*pair) for pair in zip(degraded, truths, *sides, strict=True)]
        if any(agree) or all(known is None for known in agree):
            return [i for i, known in enumerate(agree) if known is False]
    keys = [left[i] or _letters(degraded[i]) for i in range(len(degraded))]
    places: dict[Numbers | str, int] = {}
    for i, numbers in enumerate(right):
        places.setdefault(numbers or _letters(truths[i]), i)
    if taken := [i for i, key in enumerate(keys) if key in places]:
        return taken
    return _odd_distances(left, right)


def _written_otherwise(degraded: list[str], truths: list[str]) -> list[int]:
    """Places of pairs that write their numbers differently, if one of the two names has a twin: a name on its side that is equal except for
    zeros before its numbers.
    """
    twins = _twins(degraded), _twins(truths)
    if not any(twins):
        return []
    pairs = zip(degraded, truths, _written(degraded), _written(truths), strict=True)
    return [
        i
        for i, (lq, gt, left, right) in enumerate(pairs)
        if (lq in twins[0] or gt in twins[1]) and left and right and not _one_in_other(left, right)
    ]


def _twins(paths: list[str]) -> set[str]:
    """The paths that are equal to another one except for zeros before numbers."""
    plain = [re.sub("0*([0-9]+)", r"\1", path) for path in paths]
    uses = Counter(plain)
    return {path for path, text in zip(paths, plain, strict=True) if uses[text] > 1}


def _odd_distances(left: list[Numbers], right: list[Numbers]) -> list[int]:
    """Places where two numbers differ by another amount than most do; none where each pair lies apart from the next one."""
    if len({len(numbers) for numbers in (*left, *right)}) != 1:
        return []
    both = list(zip(left, right, strict=True))
    if all(max(pair) < min(following) for pair, following in pairwise(both)):
        return []
    distances = [tuple(b - a for a, b in zip(*pair, strict=True)) for pair in both]
    usual, count = Counter(distances).most_common(1)[0]
    return [i for i, distance in enumerate(distances) if distance != usual] if 2 * count > len(both) else []


def _agree(degraded: str, truth: str, left: Numbers, right: Numbers) -> bool | None:
    """Whether two names belong together; None if they have nothing that could tell."""
    if bool(left) != bool(right):
        return None
    if left:
        return _one_in_other(left, right)
    first, second = _letters(degraded), _letters(truth)
    return first in second or second in first


def _one_in_other(left: tuple[Any, ...], right: tuple[Any, ...]) -> bool:
    """Whether the shorter of two lists of numbers stands, in its order, in the longer one."""
    short, long = sorted((left, right), key=len)
    rest = iter(long)
    return bool(short) and all(number in rest for number in short)


def _numbers(paths: list[str]) -> list[Numbers]:
    """The numbers in each path, without those that all paths share (of a folder, of a camera).

    If the paths do not have equally many numbers, all numbers in the stem of each.
    """
    return [tuple(map(int, digits)) for digits in _varying(paths, int)]


def _written(paths: list[str]) -> list[tuple[str, ...]]:
    """As ``_numbers``, each as it is written."""
    return _varying(paths, str)


def _varying(paths: list[str], value: Callable[[str], Any]) -> list[tuple[str, ...]]:
    """As ``_numbers``, but as digits: two are the same number if ``value`` makes them equal."""
    found = [_digits_in(str(PurePosixPath(path).with_suffix(""))) for path in paths]
    if len(set(map(len, found))) != 1:
        return [_digits_in(PurePosixPath(path).stem) for path in paths]
    varies = [len(set(map(value, column))) > 1 for column in zip(*found, strict=True)]
    return [tuple(compress(digits, varies)) for digits in found]


def _all_numbers(paths: list[str]) -> list[Numbers]:
    return [tuple(map(int, _digits_in(str(PurePosixPath(path).with_suffix(""))))) for path in paths]


def _digits_in(text: str) -> tuple[str, ...]:
    return tuple(re.findall("[0-9]{1,4000}", text))


def _letters(path: str) -> str:
    return PurePosixPath(path).stem.casefold()
