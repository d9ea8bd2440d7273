"""The pages that compare two methods of a table, or two runs of one, picture by picture.

A page holds the scores of all methods on the datasets and task of a column, so that a reader can choose any two of them. It opens
on the two best. Pictures are shown where two methods differ most: first those that the methods' own pages show too, since such a
picture lies in the site already, for some of the methods.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import pandas as pd

from mperceiver.report.columns.score import MAIN, MEASURES
from mperceiver.report.grid import Column, FilledTable
from mperceiver.report.site.folder import SiteFolder
from mperceiver.report.site.pictures import FULL_255, Pictures

PICTURES = 3  # shown on a page; each lies in the site once a method

Key = tuple[str, str]  # dataset, picture id


@dataclass(frozen=True)
class Compared:
    """A method on a page.

    Attributes:
        name, title: of the method.
        ranked: whether it is a method to open on, and no reference.
        scores: of its pictures, a row each; index: (dataset, picture id).
    """

    name: str
    title: str
    ranked: bool
    scores: pd.DataFrame


def page_of(table: FilledTable, column: Column) -> str:
    """The path in the site of the page that compares methods in the columns of these datasets and this task."""
    return f"compare/{table.name}/{column.place}.html"


def write(
    site: SiteFolder,
    pictures: Pictures,
    methods: list[Compared],
    columns: list[Column],
    elsewhere: Mapping[Key, int],
    shared: dict,
) -> tuple[str, list[Key]] | None:
    """Write the page of some columns of the same datasets and task.

    Args:
        methods: those with scores of single pictures, in the table's order.
        columns: their metrics are shown, in this order; further ones of the protocol follow.
        elsewhere: of a picture, the number of methods whose own page shows it.
        shared: what the pages of this place have in common (table, number, label, datasets, task).

    Returns:
        its path in the site and the pictures that it shows; None if there are fewer than two methods to compare.
    """
    methods = [method for method in methods if len(method.scores)]
    if len(methods) < 2:
        return None
    metrics = [
        name
        for name in dict.fromkeys([*(column.key for column in columns), *MEASURES])
        if name in MEASURES and any(name in method.scores and method.scores[name].notna().any() for method in methods)
    ]
    main = MAIN if MAIN in metrics else metrics[0] if metrics else None
    if main is None:
        return None
    of_main = pd.DataFrame({method.name: method.scores.get(main) for method in methods}, dtype=float).sort_index()
    pair = opening(methods, main)
    chosen = most_different(of_main, PICTURES, elsewhere)
    panes = {key: _panes(pictures, [method.name for method in methods], key) for key in chosen}
    shown = {key: of_picture for key, of_picture in panes.items() if of_picture}
    keys = by_difference(of_main, *(method.name for method in pair))
    page = page_of(shared["table"], columns[0])
    data = _data(methods, metrics, keys, shown)
    tasks = {key: task for method in methods for key, task in method.scores["task"].items()}
    site.page(
        page,
        "compare.html.j2",
        **shared,
        data=data,
        metrics=[(name, MEASURES[name]) for name in metrics],
        main=metrics.index(main),
        pair=[methods.index(method) for method in pair],
        mixed=len(set(tasks.values())) > 1,
        tasks=[tasks[key] for key in keys],
        white=FULL_255,
        protocol_words=shared["table"].protocols.get(shared["table"].protocol(columns[0]), ""),
    )
    return page, list(shown)


def opening(methods: list[Compared], metric: str) -> tuple[Compared, Compared]:
    """The two methods that a page opens on: the best and the second best by the mean of a metric; references come after all others."""
    better = -1 if MEASURES[metric].higher_is_better else 1

    def place(method: Compared) -> tuple[bool, float]:
        mean = method.scores[metric].mean() if metric in method.scores else math.nan
        return not method.ranked, math.inf if math.isnan(mean) else better * mean

    first, second = sorted(methods, key=place)[:2]
    return first, second


def by_difference(values: pd.DataFrame, one: str, other: str) -> list[Key]:
    """All pictures, those first on which two methods differ most; last those that one of them has no value of.

    ``values``: a row a picture, a column a method.
    """
    differences = (values[one] - values[other]).abs().fillna(-1)  # ∞ − ∞ is no number: both are perfect
    return sorted(values.index, key=lambda key: (-differences[key], key))


def most_different(values: pd.DataFrame, most: int, elsewhere: Mapping[Key, int]) -> list[Key]:
    """At most ``most`` pictures: first those that the pages of most methods show.

    Of pictures that equally many pages show, first that on which the first pair of methods differs most, then that of the second
    pair, and so on; after all pairs, each pair's second picture.

    ``values``: a row a picture, a column a method. ``elsewhere``: of a picture, the number of methods whose page shows it.
    """
    orders = [by_difference(values, one, other) for one, other in combinations(values.columns, 2)]
    by_pairs = dict.fromkeys(key for rank in zip(*orders, strict=True) for key in rank)
    return sorted(by_pairs, key=lambda key: -elsewhere.get(key, 0))[:most]


def _panes(pictures: Pictures, methods: list[str], key: Key) -> dict[str, dict] | None:
    """The panes of a picture by method; None if no method's picture is on this machine."""
    panes = {method: found for method in methods if (found := pictures.panes(method, *key))}
    return panes or None


def _data(
    methods: list[Compared], metrics: list[str], keys: list[Key], shown: dict[Key, dict[str, dict]]
) -> dict[str, Any]:
    """What the page's script reads, and its template prints: methods, metrics, and the pictures with their scores.

    ``scores`` of a picture: a list a method, in it a number a metric; None where there is none, "Infinity" where it is infinite.
    """
    values = {method.name: method.scores.to_dict("index") for method in methods}

    def number(method: str, key: Key, metric: str) -> float | str | None:
        value = values[method].get(key, {}).get(metric, math.nan)
        if math.isnan(value):
            return None
        return round(value, 8) if math.isfinite(value) else ("Infinity" if value > 0 else "-Infinity")

    pictures = []
    for key in keys:
        of_methods = shown.get(key, {})
        any_of = next(iter(of_methods.values()), None)
        pictures.append(
            {
                "dataset": key[0],
                "id": key[1],
                "scores": [[number(method.name, key, metric) for metric in metrics] for method in methods],
                "panes": any_of
                and {
                    **{name: any_of[name] for name in ("width", "height", "pixelated", "input", "target")},
                    "restored": [of_methods.get(method.name, {}).get("restored") for method in methods],
                    "comparable": [of_methods.get(method.name, {}).get("comparable", False) for method in methods],
                },
            }
        )
    measures = [
        {"label": m.label, "decimals": m.decimals, "higher": m.higher_is_better, "unit": m.unit}
        for m in (MEASURES[name] for name in metrics)
    ]
    return {
        "methods": [{"name": method.name, "title": method.title} for method in methods],
        "metrics": measures,
        "pictures": pictures,
    }
