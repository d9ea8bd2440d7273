"""Means over datasets, over the columns of a block, and over runs.

All parts of a mean have the same weight, whatever their numbers of pictures, and there is a mean only where every part has a
number. Sums are exact (math.fsum), so that no number depends on the order of its parts.
"""

import math
import statistics

import pandas as pd

from mperceiver.report.grid import NAMES_APART, Column, FilledBlock
from mperceiver.report.tables.layout import averaged
from mperceiver.report.tables.values import PLACE

MEMBER = [*PLACE, "member"]
SHOWN = ["mean", "sd", "low", "high", "n", "protocol", "why", "trained_on", "not_compared"]


def over_datasets(lines: pd.DataFrame) -> pd.DataFrame:
    """A line for each row, column and member. A value of a single dataset stays as it is, with its interval."""
    return _of_several(lines.assign(sd=math.nan)[[*MEMBER, *SHOWN]], MEMBER, "datasets")


def over_columns(lines: pd.DataFrame, block: FilledBlock, average: Column) -> pd.DataFrame:
    """The lines of a column of averages, for each row and member: the mean over the columns that it is of."""
    numbers = [column.number for column in averaged(block, average)]
    return _means(lines[lines["column"].isin(numbers)].assign(column=average.number), MEMBER, "columns")


def over_runs(lines: pd.DataFrame) -> pd.DataFrame:
    """A line for each row and column: of several runs the mean and the standard deviation; n stays that of one run."""
    return _of_several(lines, PLACE, "runs", spread=True)


def _of_several(lines: pd.DataFrame, by: list[str], parts: str, spread: bool = False) -> pd.DataFrame:
    """One line for each group: a group of one line stays as it is, a larger one becomes its mean."""
    several = lines.duplicated(by, keep=False)
    if not several.any():
        return lines
    return pd.concat([lines[~several], _means(lines[several], by, parts, spread)], ignore_index=True)


def _means(lines: pd.DataFrame, by: list[str], parts: str, spread: bool = False) -> pd.DataFrame:
    """The mean of each group; of a group in which a part lacks its number, no mean but the reason.

    Args:
        parts: what the lines of a group are, as the reason names them: "1 of 2 datasets".
        spread: the lines are runs, which were scored on the same pictures. Their standard deviation is computed, too, and n and the number
            of pictures that were trained on stay those of one run.
    """
    means = (
        lines.groupby(by, sort=False)
        .agg(
            mean=("mean", _exact_mean),
            sd=("mean", _standard_deviation),
            present=("mean", "count"),
            wanted=("mean", "size"),
            n=("n", "sum"),
            n_of_one=("n", "first"),
            protocol=("protocol", _joined),
            why=("why", _common),
            trained_on=("trained_on", "max" if spread else "sum"),
            not_compared=("not_compared", _all_names),
        )
        .reset_index()
    )
    if spread:
        means["n"] = means["n_of_one"]
    else:
        means["sd"] = math.nan
    lacking = means["present"] < means["wanted"]
    shares = means["present"].astype(str) + " of " + means["wanted"].astype(str) + f" {parts}"
    means["why"] = means["why"].where((means["present"] == 0) & (means["why"] != ""), shares).where(lacking, "")
    means.loc[lacking, ["mean", "sd"]] = math.nan
    means.loc[lacking, ["n", "trained_on"]] = 0
    means.loc[lacking, ["protocol", "not_compared"]] = ""
    return means.assign(low=math.nan, high=math.nan)[[*by, *SHOWN]]


def _exact_mean(numbers: pd.Series) -> float:
    return math.fsum(numbers) / len(numbers)


def _standard_deviation(numbers: pd.Series) -> float:
    """Of a sample (n - 1); NaN for a single number, or where one is missing or infinite."""
    finite = len(numbers) > 1 and all(map(math.isfinite, numbers))
    return statistics.stdev(numbers) if finite else math.nan


def _joined(names: pd.Series) -> str:
    return " + ".join(sorted(set(names)))


def _all_names(texts: pd.Series) -> str:
    """The names in all texts, each once."""
    return NAMES_APART.join(dict.fromkeys(name for text in texts if text for name in text.split(NAMES_APART)))


def _common(reasons: pd.Series) -> str:
    """The reason that all missing parts share; empty if they differ."""
    different = {reason for reason in reasons if reason}
    return different.pop() if len(different) == 1 else ""
